//! An archive of skills, read in memory: nothing of it reaches the disk.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::Path;

use flate2::read::GzDecoder;
use tar::EntryType;
use zip::ZipArchive;

use super::{Bundle, BundleError, Collector, Kind, MAX_ARCHIVE};
use crate::error::shown;

const ZIP: &[u8] = b"PK\x03\x04";
const GZIP: &[u8] = b"\x1f\x8b";
/// Where tar writes `ustar`.
const TAR_MARK: std::ops::Range<usize> = 257..262;
/// The kinds of files that a Unix mode names.
const FILE_KIND: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
const FOLDER: u32 = 0o040_000;
const LINK: u32 = 0o120_000;

/// Ends with an error behind so many bytes.
struct Bounded<R> {
    inner: R,
    left: u64,
}

pub(super) fn read(path: &Path, mut collector: Collector) -> Result<Bundle, BundleError> {
    let name = path.display().to_string();
    let unreadable = |e| BundleError::Read(name.clone(), e);
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_ARCHIVE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    let size = bytes.len() as u64;
    if size > MAX_ARCHIVE {
        return Err(BundleError::TooLargeArchive(size));
    }
    if bytes.starts_with(ZIP) {
        collector.packed_in(size);
        read_zip(&bytes, &mut collector).map_err(|error| named(error, &name))?;
    } else if bytes.starts_with(GZIP) {
        collector.packed_in(size);
        let content = Bounded { inner: GzDecoder::new(&bytes[..]), left: collector.most() };
        read_tar(content, &mut collector).map_err(|error| named(error, &name))?;
    } else if bytes.get(TAR_MARK) == Some(b"ustar") {
        read_tar(&bytes[..], &mut collector).map_err(|error| named(error, &name))?;
    } else {
        return Err(BundleError::Format(name));
    }
    Ok(collector.finish())
}

/// What goes wrong between two entries goes wrong with the archive.
fn named(error: BundleError, archive: &str) -> BundleError {
    match error {
        BundleError::Read(path, source) if is_too_large(&source) => {
            drop(path);
            BundleError::TooLarge
        }
        BundleError::Read(path, source) if path.is_empty() => BundleError::Read(archive.to_owned(), source),
        other => other,
    }
}

fn read_zip(bytes: &[u8], collector: &mut Collector) -> Result<(), BundleError> {
    let broken = |e: zip::result::ZipError| BundleError::Read(String::new(), io::Error::other(e));
    let mut zip = ZipArchive::new(Cursor::new(bytes)).map_err(broken)?;
    for index in 0..zip.len() {
        let entry = zip.by_index_raw(index).map_err(broken)?;
        let path = entry.name().map_err(broken)?.into_owned();
        if entry.encrypted() {
            return Err(BundleError::Entry { path: shown(&path), why: "is encrypted" });
        }
        let kind = match entry.unix_mode().map_or(0, |mode| mode & FILE_KIND) {
            LINK => Kind::Link,
            FOLDER => Kind::Folder,
            0 | REGULAR if entry.is_dir() => Kind::Folder,
            0 | REGULAR => Kind::File,
            _ => Kind::Other,
        };
        let wanted = collector.meets(&path, kind, entry.size())?;
        drop(entry);
        if wanted {
            let content = zip.by_index(index).map_err(broken)?;
            collector.takes(&path, content)?;
        }
    }
    Ok(())
}

fn read_tar(content: impl Read, collector: &mut Collector) -> Result<(), BundleError> {
    let broken = |e: io::Error| BundleError::Read(String::new(), e);
    let mut tar = tar::Archive::new(content);
    for entry in tar.entries().map_err(broken)? {
        let entry = entry.map_err(broken)?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let kind = match entry.header().entry_type() {
            // It names the archive's comment, and no file.
            EntryType::XGlobalHeader => continue,
            EntryType::Regular => Kind::File,
            EntryType::Directory => Kind::Folder,
            EntryType::Link | EntryType::Symlink => Kind::Link,
            _ => Kind::Other,
        };
        if collector.meets(&path, kind, entry.size())? {
            collector.takes(&path, entry)?;
        }
    }
    Ok(())
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.inner.read(&mut buffer[..most])?;
        self.left -= read as u64;
        Ok(read)
    }
}

fn is_too_large(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<io::Error>());
    error.kind() == io::ErrorKind::FileTooLarge || inner.is_some_and(is_too_large)
}
