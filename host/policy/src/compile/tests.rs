//! What is kept, what is believed, and what is made anew.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, SystemTime};

use domain::{ByteSize, Digest};

use super::*;
use log::Log;

#[path = "../../tests/support/log.rs"]
mod log;

/// Compiles here, and counts.
#[derive(Debug, Default)]
struct Counting(AtomicUsize);

impl Compile for Counting {
    fn compile(&self, component: &[u8], digest: Digest, recipe: Recipe) -> Result<Code, LoadError> {
        self.0.fetch_add(1, SeqCst);
        recipe.follow(component, digest)
    }
    fn stop(&self) {}
}

/// A home for a cache, and the cache.
struct Fixture {
    home: tempfile::TempDir,
    compiler: Arc<Counting>,
    engine: wasmtime::Engine,
    limits: CacheLimits,
}

impl Fixture {
    fn new() -> Self {
        let engine = wasmtime::Engine::new(&config(Memories::Spacious)).unwrap();
        let home = tempfile::tempdir().unwrap();
        Fixture { home, compiler: Arc::default(), engine, limits: CacheLimits::default() }
    }

    /// A host that starts anew: loads this component through the cache and says whether it was compiled for that.
    fn compiles(&self, component: &[u8]) -> bool {
        self.compiles_with(&self.open(), component)
    }

    fn open(&self) -> Cache {
        Cache::open(&self.home.path().join("cache"), self.compiler.clone(), self.limits)
    }

    fn compiles_with(&self, cache: &Cache, component: &[u8]) -> bool {
        let before = self.compiler.0.load(SeqCst);
        let recipe = Recipe::of(&self.engine, Memories::Spacious);
        let code = cache.compile(component, Digest::of(component), recipe).unwrap();
        runnable(&self.engine, &code).unwrap();
        self.compiler.0.load(SeqCst) > before
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join("cache").join(name)
    }

    /// The files with code, oldest name first.
    fn kept(&self) -> Vec<PathBuf> {
        let mut files: Vec<_> = fs::read_dir(self.path("policies")).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        files
    }
}

fn component(number: usize) -> Vec<u8> {
    wat::parse_str(format!("(component (core module (func (export \"f\") (result i32) i32.const {number})))")).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_was_compiled_once_is_not_compiled_again() {
    let fixture = Fixture::new();
    assert!(fixture.compiles(&component(1)) && fixture.compiles(&component(2)));
    assert!(!fixture.compiles(&component(1)) && !fixture.compiles(&component(2)));
    let file = &fixture.kept()[0];
    let modes = [mode(&fixture.path("")), mode(&fixture.path("policies")), mode(&fixture.path("key")), mode(file)];
    assert_eq!(modes, [0o700, 0o700, 0o600, 0o600]);
}

#[test]
fn code_of_another_recipe_is_not_used() {
    let mut fixture = Fixture::new();
    assert!(fixture.compiles(&component(1)));
    let mut other = config(Memories::Spacious);
    fixture.engine = wasmtime::Engine::new(other.cranelift_opt_level(wasmtime::OptLevel::None)).unwrap();
    let recipe = Recipe::of(&fixture.engine, Memories::Spacious);
    let cache = fixture.open();
    // The compiler, too, notices that it is asked for what it does not make.
    let error = cache.compile(&component(1), Digest::of(&component(1)), recipe).unwrap_err();
    assert!(error.to_string().contains("another build"), "{error}");
}

/// Promise C3.
#[test]
fn a_cache_file_with_one_flipped_bit_is_made_anew() {
    let fixture = Fixture::new();
    fixture.compiles(&component(1));
    let file = fixture.kept().remove(0);
    let whole = fs::read(&file).unwrap();
    let bits = 8 * whole.len();
    for step in 0..1000 {
        // Every bit of the header, then all over the code.
        let bit = if step < 736 { step } else { step * 7919 % bits };
        let mut altered = whole.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        fs::write(&file, altered).unwrap();
        assert!(fixture.compiles(&component(1)), "bit {bit} was not noticed");
        assert!(!fixture.compiles(&component(1)), "bit {bit}: the new file is good");
    }
}

#[test]
fn what_others_may_have_written_is_not_used_and_made_anew() {
    let elsewhere = tempfile::tempdir().unwrap();
    let copy = elsewhere.path().join("copy");
    type Spoil<'a> = &'a dyn Fn(&Path);
    let cases: &[(&str, Spoil<'_>)] = &[
        ("open to be written", &|file| set_mode(file, 0o620)),
        ("open to be read", &|file| set_mode(file, 0o604)),
        ("somebody else's", &|file| {
            // Only root can give files away.
            let _ = chown(file, Some(12_345), None).or_else(|_| fs::write(file, "").map(drop));
        }),
        ("a link", &|file| {
            fs::rename(file, &copy).unwrap();
            symlink(&copy, file).unwrap();
        }),
        ("a second name", &|file| {
            let _ = fs::remove_file(&copy);
            fs::hard_link(file, &copy).unwrap();
        }),
        ("a pipe", &|file| {
            fs::remove_file(file).unwrap();
            rustix::fs::mknodat(rustix::fs::CWD, file, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        }),
        ("cut off", &|file| fs::write(file, &fs::read(file).unwrap()[..100]).unwrap()),
        ("empty", &|file| fs::write(file, "").unwrap()),
        ("bare machine code", &|file| fs::write(file, &fs::read(file).unwrap()[92..]).unwrap()),
    ];
    for (what, spoil) in cases {
        let fixture = Fixture::new();
        fixture.compiles(&component(1));
        spoil(&fixture.kept()[0]);
        let log = Log::of("policy::compile");
        let compiled = tracing::subscriber::with_default(log.clone(), || fixture.compiles(&component(1)));
        assert!(compiled, "{what}: it was used");
        assert_eq!(log.lines(), ["a compiled policy is not used but made anew"], "{what}: reported once");
        assert!(!fixture.compiles(&component(1)), "{what}: it was made anew");
        assert_eq!((mode(&fixture.kept()[0]), fixture.kept().len()), (0o600, 1), "{what}");
    }
}

#[test]
fn the_code_of_one_module_is_not_taken_for_anothers() {
    let fixture = Fixture::new();
    fixture.compiles(&component(1));
    let [first] = &fixture.kept()[..] else { panic!() };
    let code = fs::read(first).unwrap();
    fs::remove_file(first).unwrap();
    fixture.compiles(&component(2));
    fs::write(&fixture.kept()[0], code).unwrap();
    assert!(fixture.compiles(&component(2)));
}

#[test]
fn code_that_another_key_sealed_is_made_anew() {
    let fixture = Fixture::new();
    fixture.compiles(&component(1));
    fs::remove_file(fixture.path("key")).unwrap();
    assert!(fixture.compiles(&component(1)) && !fixture.compiles(&component(1)));
}

#[test]
fn in_a_folder_that_is_not_private_nothing_is_kept_or_believed() {
    let elsewhere = tempfile::tempdir().unwrap();
    type Spoil<'a> = &'a dyn Fn(&Fixture);
    let cases: &[(&str, Spoil<'_>)] = &[
        ("the folder is open", &|f| set_mode(&f.path("policies"), 0o755)),
        ("the folder above is open", &|f| set_mode(&f.path(""), 0o770)),
        ("the folder is a link", &|f| {
            let real = elsewhere.path().join("policies");
            fs::rename(f.path("policies"), &real).unwrap();
            symlink(real, f.path("policies")).unwrap();
        }),
        ("the folder above is a link", &|f| {
            let real = elsewhere.path().join("cache");
            fs::rename(f.path(""), &real).unwrap();
            symlink(real, f.home.path().join("cache")).unwrap();
        }),
        ("the folder is a file", &|f| {
            fs::remove_dir_all(f.path("policies")).unwrap();
            fs::write(f.path("policies"), "").unwrap();
        }),
        ("the key is open", &|f| set_mode(&f.path("key"), 0o644)),
        ("the key is a link", &|f| {
            fs::rename(f.path("key"), elsewhere.path().join("key")).unwrap();
            symlink(elsewhere.path().join("key"), f.path("key")).unwrap();
        }),
        ("the key is short", &|f| fs::write(f.path("key"), "short").unwrap()),
        ("the key is long", &|f| fs::write(f.path("key"), [7; 33]).unwrap()),
    ];
    for (what, spoil) in cases {
        let fixture = Fixture::new();
        fixture.compiles(&component(1));
        spoil(&fixture);
        let log = Log::of("policy::compile");
        let cache = tracing::subscriber::with_default(log.clone(), || fixture.open());
        assert_eq!(log.lines().len(), 1, "{what}: {:?}", log.lines());
        assert!(log.lines()[0].contains("compiled policies are not kept"), "{what}: {:?}", log.lines());
        for _ in 0..2 {
            assert!(fixture.compiles_with(&cache, &component(1)), "{what}: the cache was used");
        }
    }
    let without_home = Fixture::new();
    fs::remove_dir_all(without_home.home.path()).unwrap();
    assert!(without_home.compiles(&component(1)) && without_home.compiles(&component(1)));
}

#[test]
fn the_cache_is_bounded_and_what_was_not_used_for_longest_goes() {
    let mut fixture = Fixture::new();
    fixture.limits.files = 8;
    for number in 0..8 {
        assert!(fixture.compiles(&component(number)));
    }
    let long_ago = SystemTime::now() - Duration::from_secs(30 * 24 * 3600);
    for (age, file) in fixture.kept().iter().enumerate() {
        let used = long_ago + Duration::from_secs(60 * age as u64);
        fs::File::open(file).unwrap().set_modified(used).unwrap();
    }
    // This one is used again.
    let oldest = fixture.kept()[0].clone();
    let number = (0..8).find(|n| oldest.to_str().unwrap().contains(&Digest::of(&component(*n)).to_string())).unwrap();
    assert!(!fixture.compiles(&component(number)));
    assert!(fixture.compiles(&component(100)));
    assert!(fixture.kept().len() <= 8, "{:?}", fixture.kept());
    assert!(!fixture.compiles(&component(number)), "it was used a moment ago");
    assert!(!fixture.compiles(&component(100)), "it is new");

    let size = fs::metadata(&oldest).unwrap().size();
    fixture.limits = CacheLimits { bytes: ByteSize(4 * size), ..CacheLimits::default() };
    for number in 200..210 {
        assert!(fixture.compiles(&component(number)));
        let sum: u64 = fixture.kept().iter().map(|file| fs::metadata(file).unwrap().size()).sum();
        assert!(sum <= 5 * size, "{sum} bytes in {} files", fixture.kept().len());
    }
    fixture.limits.bytes = ByteSize(size / 2);
    assert!(fixture.compiles(&component(300)) && fixture.compiles(&component(300)), "it is too large to be kept");
}

#[test]
fn files_that_were_never_finished_are_swept_away() {
    let fixture = Fixture::new();
    fixture.compiles(&component(1));
    for (name, age) in [(".new-1-1", 7200), (".new-1-2", 10)] {
        let file = fixture.path("policies").join(name);
        fs::write(&file, "half").unwrap();
        fs::File::open(&file).unwrap().set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
    }
    fixture.compiles(&component(1));
    let names: Vec<_> = fixture.kept().iter().map(|f| f.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    assert!(!names.contains(&".new-1-1".to_owned()) && names.contains(&".new-1-2".to_owned()), "{names:?}");
}

/// Several starts at once, as of a host and a command: each gets right code, and what is kept is right.
#[test]
fn those_who_compile_the_same_at_once_do_not_disturb_each_other() {
    let fixture = Fixture::new();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for number in 0..4 {
                    fixture.compiles(&component(number));
                }
            });
        }
    });
    for number in 0..4 {
        assert!(!fixture.compiles(&component(number)));
    }
}
