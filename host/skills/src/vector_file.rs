//! Vectors from one start of the host to the next: a header, then one record for each text. A file of another model, of another
//! form or with a broken end is no error: what cannot be used is made anew.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::Digest;

use crate::vectors::Vector;

/// Changes with the form of the file and with what is embedded of a skill.
const MAGIC: &[u8; 16] = b"metaclaw vector1";
/// The key and the scale that stand before a record's numbers.
const RECORD_HEAD: usize = 32 + 4;
/// The most that is read: 10,000 skills of MiniLM's size take 4 MB.
const MAX_BYTES: u64 = 256 << 20;
/// A file of fewer records is never worth tidying up.
const TIDY_FROM: usize = 1024;

type Vectors = HashMap<Digest, Arc<Vector>>;

/// An open file, to which new vectors are added.
pub(crate) struct VectorFile {
    path: PathBuf,
    file: File,
    model: Digest,
    records: usize,
}

impl VectorFile {
    /// Opens the file, or begins a new one, and reads what is in it.
    pub(crate) fn open(path: PathBuf, model: Digest, dims: usize) -> io::Result<(Self, Vectors)> {
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let vectors = Self::read(path.clone(), model, dims).unwrap_or_default();
        // Written anew, so that it begins without a broken end, without doubles, and as one of this model.
        let file = write_anew(&path, model, &vectors)?;
        Ok((VectorFile { path, file, model, records: vectors.len() }, vectors))
    }

    /// What is in the file, which stays as it is.
    pub(crate) fn read(path: PathBuf, model: Digest, dims: usize) -> io::Result<Vectors> {
        let mut bytes = Vec::new();
        File::open(path)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
        let mut vectors = Vectors::new();
        let Some(records) = bytes.strip_prefix(MAGIC).and_then(|rest| rest.strip_prefix(model.as_bytes())) else {
            return Ok(vectors);
        };
        for record in records.chunks_exact(RECORD_HEAD + dims) {
            let (Some(key), Some(scale)) = (record.first_chunk::<32>(), record[32..].first_chunk::<4>()) else { break };
            let scale = f32::from_le_bytes(*scale);
            if scale.is_finite() && scale >= 0.0 {
                let values = record[RECORD_HEAD..].iter().map(|byte| byte.cast_signed()).collect();
                vectors.insert(Digest::from(*key), Arc::new(Vector { scale, values }));
            }
        }
        Ok(vectors)
    }

    /// Adds a vector.
    pub(crate) fn add(&mut self, key: Digest, vector: &Vector) -> io::Result<()> {
        self.file.write_all(&record(key, vector))?;
        self.records += 1;
        Ok(())
    }

    /// Writes the file anew when most of what is in it is not among `vectors` any more.
    pub(crate) fn tidy(&mut self, vectors: &Vectors) -> io::Result<()> {
        if self.records < TIDY_FROM || self.records < 2 * vectors.len() {
            return Ok(());
        }
        self.file = write_anew(&self.path, self.model, vectors)?;
        self.records = vectors.len();
        Ok(())
    }
}

/// Puts a file with these vectors in the place of the one there is, and leaves it open at its end.
fn write_anew(path: &Path, model: Digest, vectors: &Vectors) -> io::Result<File> {
    let draft = path.with_extension("new");
    let mut file = create(&draft)?;
    let mut bytes = [MAGIC.as_slice(), model.as_bytes()].concat();
    for (key, vector) in vectors {
        bytes.extend(record(*key, vector));
    }
    file.write_all(&bytes)?;
    fs::rename(&draft, path)?;
    Ok(file)
}

fn record(key: Digest, vector: &Vector) -> Vec<u8> {
    let mut record = Vec::with_capacity(RECORD_HEAD + vector.values.len());
    record.extend_from_slice(key.as_bytes());
    record.extend_from_slice(&vector.scale.to_le_bytes());
    record.extend(vector.values.iter().map(|value| value.cast_unsigned()));
    record
}

/// What users' skills are about is nobody else's business.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_survive_and_what_is_broken_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vectors/minilm");
        let (model, other) = (Digest::of(b"model"), Digest::of(b"other"));
        let vector = |x: f32| Vector::of(&[x, 0.5, -1.0]);
        let keys: Vec<Digest> = (0u8..4).map(|i| Digest::of(&[i])).collect();
        let (mut file, vectors) = VectorFile::open(path.clone(), model, 3).unwrap();
        assert!(vectors.is_empty());
        for (key, x) in keys.iter().zip([0.1, 0.2, 0.3, 0.4]) {
            file.add(*key, &vector(x)).unwrap();
        }
        let read = VectorFile::read(path.clone(), model, 3).unwrap();
        assert_eq!((read.len(), &*read[&keys[2]]), (4, &vector(0.3)));
        // As when the host is killed while it writes.
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 2]).unwrap();
        let (mut file, vectors) = VectorFile::open(path.clone(), model, 3).unwrap();
        assert_eq!(vectors.len(), 3);
        file.add(keys[3], &vector(0.4)).unwrap();
        assert_eq!(VectorFile::read(path.clone(), model, 3).unwrap().len(), 4);
        assert!(VectorFile::read(path.clone(), other, 3).unwrap().is_empty(), "another model's");
        fs::write(&path, "something else").unwrap();
        assert!(VectorFile::open(path, model, 3).unwrap().1.is_empty());
    }

    #[test]
    fn the_file_does_not_grow_with_what_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let (path, model) = (dir.path().join("v"), Digest::of(b"model"));
        let (mut file, _) = VectorFile::open(path.clone(), model, 1).unwrap();
        let vector = Arc::new(Vector::of(&[1.0]));
        for i in 0u32..2000 {
            file.add(Digest::of(&i.to_le_bytes()), &vector).unwrap();
        }
        let kept = Vectors::from([(Digest::of(b"kept"), vector)]);
        file.tidy(&kept).unwrap();
        assert_eq!(VectorFile::read(path, model, 1).unwrap(), kept);
    }
}
