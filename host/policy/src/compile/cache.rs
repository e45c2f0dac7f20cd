use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use domain::{ByteSize, Digest};

use super::Compile;
use super::code::{Code, FORMAT, Key};
use super::folder::{Entry, PrivateFolder, Unfit};
use super::recipe::Recipe;
use crate::error::LoadError;

/// The folder below the cache's with the code, and the file with the key.
const FOLDER: &str = "policies";
const KEY: &str = "key";
/// The largest file that is read.
const MAX_FILE: u64 = 512 << 20;
/// What was used within this time is not marked again.
const LATELY: Duration = Duration::from_secs(3600);

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    /// Modules.
    pub files: usize,
    /// Their machine code together.
    pub bytes: ByteSize,
}

impl Default for CacheLimits {
    fn default() -> Self {
        CacheLimits { files: 4096, bytes: ByteSize(1 << 30) }
    }
}

/// Keeps the machine code that another compiler makes, in files that only this user can have written.
///
/// Each file bears the module's digest and the recipe in its name and under its seal. One whose seal is not whole, that
/// others can write or read, that is a link or somebody else's is not used: it is reported and made anew. So is the
/// whole folder, in which case nothing is kept.
#[derive(Debug)]
pub struct Cache {
    compiler: Arc<dyn Compile>,
    limits: CacheLimits,
    kept: Option<Kept>,
}

#[derive(Debug)]
struct Kept {
    folder: PrivateFolder,
    key: Key,
    /// What is there, as far as this process knows: others may add to it.
    stock: Mutex<Stock>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Stock {
    files: usize,
    bytes: u64,
}

impl Cache {
    /// Keeps what `compiler` makes below `folder`, which is made if its parent is there. A folder that cannot be trusted
    /// is reported in the log, and then everything is compiled each time.
    pub fn open(folder: &Path, compiler: Arc<dyn Compile>, limits: CacheLimits) -> Self {
        let kept = Kept::open(folder).map_err(|(place, reason)| {
            let place = place.display();
            tracing::warn!(%place, %reason, "compiled policies are not kept, so every start compiles them: remove this place");
        });
        Cache { compiler, limits, kept: kept.ok() }
    }
}

impl Compile for Cache {
    fn compile(&self, component: &[u8], digest: Digest, recipe: Recipe) -> Result<Code, LoadError> {
        let Some(kept) = &self.kept else { return self.compiler.compile(component, digest, recipe) };
        let name = format!("{digest}-{:016x}.v{FORMAT}", recipe.fingerprint);
        match kept.find(&name, digest, recipe, self.limits) {
            Ok(Some(code)) => return Ok(code),
            Ok(None) => {}
            Err(reason) => tracing::warn!(file = %name, %reason, "a compiled policy is not used but made anew"),
        }
        let mut code = self.compiler.compile(component, digest, recipe)?;
        if let Err(error) = kept.keep(&name, &mut code, self.limits) {
            tracing::warn!(file = %name, %error, "a compiled policy could not be kept");
        }
        Ok(code)
    }

    fn stop(&self) {
        self.compiler.stop();
    }
}

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error(transparent)]
    Broken(#[from] super::code::Broken),
}

impl Kept {
    /// Fails with the place that cannot be used.
    fn open(path: &Path) -> Result<Self, (PathBuf, Unfit)> {
        let at = |name: &str| {
            let place = path.join(name);
            move |reason| (place, reason)
        };
        let above = PrivateFolder::open(path).map_err(at(""))?;
        let folder = above.folder(FOLDER).map_err(at(FOLDER))?;
        let key = key(&above).map_err(at(KEY))?;
        let entries = folder.entries().map_err(Unfit::from).map_err(at(FOLDER))?;
        Ok(Kept { folder, key, stock: Mutex::new(Stock::of(&entries)) })
    }

    fn find(&self, name: &str, digest: Digest, recipe: Recipe, limits: CacheLimits) -> Result<Option<Code>, Unusable> {
        // What is read here is what the seal is held against and what will run: the file is not looked at again.
        let Some((bytes, file)) = self.folder.read(name, limits.bytes.0.min(MAX_FILE))? else { return Ok(None) };
        let code = Code::open(bytes, &self.key, digest, recipe)?;
        let now = SystemTime::now();
        let used = file.metadata().and_then(|about| about.modified()).unwrap_or(now);
        if now.duration_since(used).is_ok_and(|age| age > LATELY) {
            // If it cannot be marked, it goes earlier than it should.
            let _ = file.set_modified(now);
        }
        Ok(Some(code))
    }

    fn keep(&self, name: &str, code: &mut Code, limits: CacheLimits) -> std::io::Result<()> {
        let sealed = code.seal(&self.key);
        let size = sealed.len() as u64;
        if size > limits.bytes.0 {
            return Ok(());
        }
        self.folder.write(name, sealed)?;
        let mut stock = self.stock.lock().unwrap_or_else(PoisonError::into_inner);
        *stock = Stock { files: stock.files + 1, bytes: stock.bytes + size };
        if stock.files > limits.files || stock.bytes > limits.bytes.0 {
            *stock = self.make_room(name, limits)?;
        }
        Ok(())
    }

    /// Removes what has not been used for longest, until there is room for a while. The newest file stays.
    fn make_room(&self, newest: &str, limits: CacheLimits) -> std::io::Result<Stock> {
        let mut entries = self.folder.entries()?;
        entries.sort_by_key(|entry| (entry.name == newest, entry.used));
        let mut stock = Stock::of(&entries);
        for entry in entries.iter().filter(|entry| entry.name != newest) {
            if stock.files <= limits.files / 8 * 7 && stock.bytes <= limits.bytes.0 / 8 * 7 {
                break;
            }
            self.folder.remove(&entry.name);
            stock = Stock { files: stock.files - 1, bytes: stock.bytes - entry.size };
        }
        Ok(stock)
    }
}

impl Stock {
    fn of(entries: &[Entry]) -> Self {
        Stock { files: entries.len(), bytes: entries.iter().map(|entry| entry.size).sum() }
    }
}

/// The key in this folder. A new one is made if there is none; files that an older one has sealed are made anew.
fn key(folder: &PrivateFolder) -> Result<Key, Unfit> {
    let read = || folder.read(KEY, Key::LENGTH as u64);
    let (bytes, _) = match read()? {
        Some(found) => found,
        None => {
            folder.write_new(KEY, Key::random()?.as_bytes())?;
            // Somebody else may have been first: what counts is what is there.
            read()?.ok_or(Unfit::Kind)?
        }
    };
    let length = bytes.len() as u64;
    <[u8; Key::LENGTH]>::try_from(bytes).map(Key::from).map_err(|_| Unfit::Size(length))
}
