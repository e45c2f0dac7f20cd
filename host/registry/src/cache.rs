use std::collections::HashSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use domain::Digest;
use rustix::fs::{Mode, OFlags};

use crate::manifest::Manifest;
use crate::transfer::Pulled;
use crate::{MAX_MANIFEST, MAX_MODULE, RegistryError};

/// Below the home.
const FOLDER: &str = "cache/modules/sha256";
/// What a file that is being written begins with.
const UNFINISHED: &str = ".new-";
/// The most that is kept, in bytes and in files: manifests and modules. What a configuration uses may be more.
const MAX_BYTES: u64 = 1 << 30;
const MAX_FILES: usize = 512;

/// Manifests and modules that were pulled, each in a file named by its digest. What a file holds is held against its name
/// whenever it is read, so nobody need be trusted with the folder.
#[derive(Clone, Debug)]
pub struct ModuleCache {
    folder: PathBuf,
}

impl ModuleCache {
    /// The one of a home. Nothing is made before something is kept.
    pub fn of(home: &Path) -> Self {
        ModuleCache { folder: home.join(FOLDER) }
    }

    /// Where the manifest with this digest is, or would be.
    pub fn file(&self, manifest: Digest) -> PathBuf {
        self.folder.join(manifest.to_string())
    }

    /// The artifact whose manifest has this digest, if manifest and module are here whole. A file with other bytes than its
    /// name says is removed, and a manifest without its module, too.
    pub fn find(&self, digest: Digest) -> Option<Pulled> {
        let manifest = self.read(digest, MAX_MANIFEST)?;
        let read = Manifest::read(&manifest).ok()?;
        let Some(module) = self.read(read.layer, MAX_MODULE) else {
            // Whether something is missing is seen by its manifest alone. If it cannot be removed, the next reading fetches all the same.
            let _ = fs::remove_file(self.file(digest));
            return None;
        };
        Some(Pulled { digest, manifest, module, signature: read.signature })
    }

    /// Keeps an artifact.
    pub fn keep(&self, pulled: &Pulled) -> Result<(), RegistryError> {
        let keep = || {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
            fs::set_permissions(&self.folder, fs::Permissions::from_mode(0o700))?;
            let module = Digest::of(&pulled.module);
            // The manifest comes last: whoever finds it finds the module, too.
            self.write(module, &pulled.module)?;
            self.write(pulled.digest, &pulled.manifest)
        };
        keep().map_err(|reason| self.failed(reason))
    }

    /// Removes what is oldest when there is too much, but nothing of the artifacts whose manifests these are.
    pub fn prune(&self, used: &[Digest]) -> Result<(), RegistryError> {
        let layer = |digest: &Digest| Manifest::read(&self.read(*digest, MAX_MANIFEST)?).ok().map(|read| read.layer);
        let layers: Vec<Digest> = used.iter().filter_map(layer).collect();
        let spared: HashSet<PathBuf> = used.iter().chain(&layers).map(|digest| self.file(*digest)).collect();
        self.prune_but(&spared).map_err(|reason| self.failed(reason))
    }

    fn failed(&self, reason: io::Error) -> RegistryError {
        RegistryError::Cache { path: self.folder.clone(), reason }
    }

    fn read(&self, digest: Digest, most: usize) -> Option<Vec<u8>> {
        let path = self.file(digest);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let read = || -> io::Result<Vec<u8>> {
            let file = File::from(rustix::fs::open(&path, flags, Mode::empty())?);
            if !file.metadata()?.is_file() {
                return Err(io::Error::other("it is not a regular file"));
            }
            let mut bytes = Vec::new();
            file.take(most as u64 + 1).read_to_end(&mut bytes)?;
            match Digest::of(&bytes) == digest {
                true => Ok(bytes),
                false => Err(io::Error::other("its bytes are not what they were")),
            }
        };
        match read() {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "a kept module is not used, and removed");
                // If it cannot be removed it is refused again.
                let _ = fs::remove_file(&path);
                None
            }
        }
    }

    fn write(&self, digest: Digest, bytes: &[u8]) -> io::Result<()> {
        // 0600, and seen under its name only when it is whole.
        let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(&self.folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(self.file(digest))?;
        Ok(())
    }

    fn prune_but(&self, spared: &HashSet<PathBuf>) -> io::Result<()> {
        let mut files: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            // Another process may be pruning, too.
            let Ok(about) = entry.metadata() else { continue };
            files.push((about.modified()?, about.len(), entry.path()));
        }
        files.sort();
        let (mut bytes, mut count) = (files.iter().map(|file| file.1).sum::<u64>(), files.len());
        for (_, size, path) in files {
            if bytes <= MAX_BYTES && count <= MAX_FILES {
                break;
            }
            if !spared.contains(&path) && fs::remove_file(&path).is_ok() {
                (bytes, count) = (bytes - size, count - 1);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::Artifact;

    fn pulled(module: &[u8]) -> Pulled {
        let artifact = Artifact { module, imports: &[], exports: &[], signature: None };
        let (_, manifest) = artifact.written().unwrap();
        Pulled { digest: Digest::of(&manifest), manifest, module: module.to_vec(), signature: None }
    }

    #[test]
    fn what_was_kept_is_found_until_somebody_touches_it() {
        let home = tempfile::tempdir().unwrap();
        let cache = ModuleCache::of(home.path());
        let kept = pulled(b"a module");
        assert!(cache.find(kept.digest).is_none());
        cache.keep(&kept).unwrap();
        assert_eq!(cache.find(kept.digest).unwrap().module, kept.module);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&home.path().join(FOLDER)), 0o700);

        let module = cache.file(Digest::of(&kept.module));
        for file in [module, cache.file(kept.digest)] {
            assert_eq!(mode(&file), 0o600);
            let spoils: [&dyn Fn(&Path); 5] = [
                &|file| fs::write(file, "another module").unwrap(),
                &|file| fs::write(file, "").unwrap(),
                &|file| {
                    fs::remove_file(file).unwrap();
                    symlink("/etc/passwd", file).unwrap();
                },
                &|file| File::create(file).unwrap().set_len(1 << 40).unwrap(),
                &|file| fs::remove_file(file).unwrap(),
            ];
            for spoil in spoils {
                spoil(&file);
                assert!(cache.find(kept.digest).is_none());
                assert!(
                    !file.exists() && !cache.file(kept.digest).exists(),
                    "it is out of the way, and seen to be missing"
                );
                cache.keep(&kept).unwrap();
                assert_eq!(cache.find(kept.digest).unwrap().module, kept.module);
            }
        }
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_and_nothing_that_is_used() {
        let home = tempfile::tempdir().unwrap();
        let cache = ModuleCache::of(home.path());
        let artifacts = [&b"used"[..], b"unused", b"the last"].map(pulled);
        artifacts.iter().for_each(|artifact| cache.keep(artifact).unwrap());
        let [used, unused, last] = artifacts;
        for digest in [&used, &unused].iter().flat_map(|a| [a.digest, Digest::of(&a.module)]) {
            File::options().write(true).open(cache.file(digest)).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        }
        let count = || fs::read_dir(home.path().join(FOLDER)).unwrap().count();
        cache.prune(&[]).unwrap();
        assert_eq!(count(), 6, "there is room");
        for n in 0..MAX_FILES - 3 {
            fs::write(home.path().join(FOLDER).join(format!(".new-{n}")), "left behind").unwrap();
        }
        cache.prune(&[used.digest, last.digest, Digest::of(b"never fetched")]).unwrap();
        assert_eq!(count(), MAX_FILES);
        assert!(cache.find(unused.digest).is_none(), "it was the oldest");
        assert_eq!(cache.find(used.digest).unwrap().module, used.module, "it was as old");
        assert_eq!(cache.find(last.digest).unwrap().module, last.module);
    }
}
