//! Which files are taken for an agent's module. `tests/signed` has a policy, signed with minisign by TEAM_A.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};

use config::{ModuleRef, ModuleSource};
use domain::{Digest, TrustRoot};
use policy::{Engine, EngineOptions};
use registry::Modules;
use tempfile::TempDir;

static ENGINE: LazyLock<Engine> = LazyLock::new(|| Engine::new(EngineOptions::default()).unwrap());

const TEAM_A: &str = "RWS2CmvI5orYkZkFjlAVxGmukLvdS4X558D3EeytVD2Esq+eCbGPxt0v";
const TEAM_B: &str = "RWTrix3EEkNIUt9t2+o/Ka226Z70XFEXLpTi6BAqTOo44BpsVpOphEsk";
const POLICY: &[u8] = include_bytes!("../../tests/signed/policy.wasm");
const SIGNATURE: &str = include_str!("../../tests/signed/policy.wasm.minisig");
const LEGACY: &str = include_str!("../../tests/signed/legacy.minisig");

fn root(name: &str, key: &str) -> TrustRoot {
    TrustRoot { name: name.to_owned(), key: key.parse().unwrap() }
}

/// A folder with the policy and its signature.
fn folder() -> (TempDir, ModuleRef) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.wasm");
    fs::write(&path, POLICY).unwrap();
    fs::write(folder.path().join("policy.wasm.minisig"), SIGNATURE).unwrap();
    let module = ModuleRef { source: ModuleSource::File(path), sha256: None, signed_by: vec![root("team-a", TEAM_A)] };
    (folder, module)
}

fn load_approved(module: &ModuleRef, settings: &str) -> anyhow::Result<Arc<policy::Module>> {
    let none = Modules::of(Path::new("/nonexistent"));
    super::load_approved(&ENGINE, module, settings, super::Sources { registries: &none, auth_file: None })
}

fn file(module: &ModuleRef) -> &Path {
    module.file().unwrap()
}

fn refusal(module: &ModuleRef) -> String {
    match load_approved(module, "{}") {
        Ok(module) => panic!("loaded: {module:?}"),
        Err(error) => format!("{error:#}"),
    }
}

#[test]
fn one_of_those_who_may_must_have_signed_it() {
    let (_folder, module) = folder();
    assert_eq!(load_approved(&module, "{}").unwrap().digest(), Digest::of(POLICY));
    let either = ModuleRef { signed_by: vec![root("team-b", TEAM_B), root("team-a", TEAM_A)], ..module.clone() };
    assert!(load_approved(&either, "{}").is_ok());
    let pinned = ModuleRef { sha256: Some(Digest::of(POLICY)), ..module.clone() };
    assert!(load_approved(&pinned, "{}").is_ok());

    let wrongly_pinned = ModuleRef { sha256: Some(Digest::of(b"")), ..module.clone() };
    assert!(refusal(&wrongly_pinned).contains("the configuration pins e3b0c44298fc"), "both are asked for");
    let other = ModuleRef { signed_by: vec![root("team-b", TEAM_B)], ..module };
    let got = refusal(&other);
    assert!(got.contains("it must be signed by team-b, but ") && got.contains("made with another key"), "{got}");
}

#[test]
fn without_a_good_signature_it_is_not_loaded() {
    type Spoil<'a> = &'a dyn Fn(&Path);
    let cases: &[(&str, Spoil<'_>, &str)] = &[
        ("no signature", &|file| fs::remove_file(file).unwrap(), "minisign -Sm"),
        ("an empty one", &|file| fs::write(file, "").unwrap(), "not one of minisign's"),
        ("words", &|file| fs::write(file, "trust me\n".repeat(9)).unwrap(), "not one of minisign's"),
        ("bytes", &|file| fs::write(file, [0xff; 300]).unwrap(), "not one of minisign's"),
        ("a long one", &|file| fs::write(file, SIGNATURE.repeat(100_000)).unwrap(), "made"),
        ("a legacy one", &|file| fs::write(file, LEGACY).unwrap(), "legacy kind"),
        (
            "a folder",
            &|file| {
                fs::remove_file(file).unwrap();
                fs::create_dir(file).unwrap()
            },
            "not a regular file",
        ),
        (
            "a pipe",
            &|file| {
                fs::remove_file(file).unwrap();
                pipe(file)
            },
            "not a regular file",
        ),
        ("of other bytes", &|file| fs::write(file.with_extension(""), b"\0asm").unwrap(), "one of the two was altered"),
    ];
    for (what, spoil, expected) in cases {
        let (folder, module) = folder();
        spoil(&folder.path().join("policy.wasm.minisig"));
        if *what == "a long one" {
            // Nothing after the first four lines is read, and no more than a few KiB.
            assert!(load_approved(&module, "{}").is_ok());
            continue;
        }
        let got = refusal(&module);
        assert!(got.contains(expected) && got.contains("policy.wasm"), "{what}: {got}");
    }
}

fn pipe(path: &Path) {
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
}

/// Promise C1.
#[test]
fn a_module_with_one_flipped_bit_is_refused_by_digest_and_by_signature() {
    let (_folder, signed) = folder();
    let pinned = ModuleRef { sha256: Some(Digest::of(POLICY)), signed_by: Vec::new(), ..signed.clone() };
    for step in 0..1000 {
        let bit = step * 7919 % (8 * POLICY.len());
        let mut altered = POLICY.to_vec();
        altered[bit / 8] ^= 1 << (bit % 8);
        fs::write(file(&signed), altered).unwrap();
        assert!(refusal(&signed).contains("one of the two was altered"), "bit {bit}");
        assert!(refusal(&pinned).contains("update the pin or the file"), "bit {bit}");
    }
}

/// Promise C2: the bytes that were checked are the bytes that run, whatever becomes of the file meanwhile.
#[test]
fn a_file_that_is_swapped_while_it_is_loaded_is_the_right_one_or_refused() {
    let (folder, signed) = folder();
    let good = Digest::of(POLICY);
    let pinned = ModuleRef { sha256: Some(good), signed_by: Vec::new(), ..signed.clone() };
    let mut other = POLICY.to_vec();
    // A custom section at the end: another policy that loads as well.
    other.extend([0, 5, 4, b'e', b'v', b'i', b'l']);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let beside = folder.path().join("beside");
            while !done.load(Relaxed) {
                for bytes in [&other[..], POLICY] {
                    // In place, byte by byte, and by a rename.
                    fs::write(file(&signed), bytes).unwrap();
                    fs::write(&beside, bytes).unwrap();
                    fs::rename(&beside, file(&signed)).unwrap();
                }
            }
        });
        let mut loaded = 0;
        let mut refused = 0;
        for _ in 0..2_000 {
            for module in [&pinned, &signed] {
                match load_approved(module, "{}") {
                    Ok(module) => {
                        assert_eq!(module.digest(), good);
                        loaded += 1;
                    }
                    Err(_) => refused += 1,
                }
            }
        }
        done.store(true, Relaxed);
        assert!(loaded > 0 && refused > 0, "{loaded} loaded, {refused} refused");
    });
    let unchecked = ModuleRef { signed_by: Vec::new(), ..signed };
    fs::write(file(&unchecked), &other).unwrap();
    assert_eq!(load_approved(&unchecked, "{}").unwrap().digest(), Digest::of(&other), "it would have run");
}

#[test]
fn what_is_no_regular_file_of_a_modules_size_is_not_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| ModuleRef {
        source: ModuleSource::File(folder.path().join(name)),
        sha256: None,
        signed_by: Vec::new(),
    };
    pipe(file(&at("pipe")));
    fs::File::create(file(&at("huge"))).unwrap().set_len(1 << 40).unwrap();
    for (name, expected) in [
        ("missing", "No such file"),
        ("pipe", "not a regular file"),
        (".", "not a regular file"),
        ("huge", "at most 33554432"),
    ] {
        let got = refusal(&at(name));
        assert!(got.contains(expected) && got.starts_with("policy module /"), "{name}: {got}");
    }
}
