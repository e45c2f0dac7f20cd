//! `policies/guide/distribution.md` is run, against a registry of this machine in the place of ghcr.io.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use tests::{Home, RealRegistry};

use super::{policy, push};

/// What stands in the guide for a digest.
const DIGEST: &str = "4f1c…";
/// And for any number.
const ANY: &str = "…";

#[tokio::test]
async fn the_guide_leads_from_one_machine_to_many() {
    let registry = RealRegistry::start().await;
    let home = Home::new();
    let file = |name: &str, text: &str| {
        let path = home.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    let token = file("ghcr.token", RealRegistry::PASSWORD);
    file("docker.json", &RealRegistry::auth_file(&registry.name()));
    home.config("registry: { auth_file: docker.json }\n");
    fs::copy(policy(), home.path().join("policy.wasm")).unwrap();
    // The same module makes the same artifact, so the digest that the guide leaves out is known before.
    let login = ["--user", "ada", "--password-file", token.to_str().unwrap()];
    let to = format!("oci://{}/team/before:1", registry.name());
    let pinned = push(&home, &policy(), &to, &login);
    let digest = pinned.rsplit("sha256:").next().unwrap();

    let guide = fs::read_to_string(tests::root().join("policies/guide/distribution.md")).unwrap();
    let guide = guide.replace("ghcr.io", &registry.name()).replace(DIGEST, digest);
    let blocks: Vec<&str> = guide.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(blocks.len(), 2, "the guide has other commands than it had");
    let script = blocks.concat();
    let built = tests::metaclaw().parent().unwrap().display().to_string();
    let mut shell = Command::new("timeout");
    shell.args(["120", "bash", "-c", &format!("set -e\nexec 2>&1\n{script}")]).current_dir(home.path());
    shell
        .env("PATH", format!("{built}:{}", std::env::var_os("PATH").unwrap().display()))
        .env("METACLAW_HOME", home.path());
    let output = shell.output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{script}\n{printed}");
    for line in script.lines().filter_map(|line| line.strip_prefix("# ")) {
        let (before, after) = line.split_once(ANY).unwrap_or((line, ""));
        let is_there = printed.lines().any(|said| said.starts_with(before) && said.ends_with(after));
        assert!(is_there, "the guide says {line:?}, and there is\n{printed}");
    }
    assert_eq!(fs::read(home.path().join("topics.wasm")).unwrap(), fs::read(policy()).unwrap());
    let config = fs::read_to_string(home.path().join("config.yaml")).unwrap();
    assert!(config.contains(digest), "{config}");
}
