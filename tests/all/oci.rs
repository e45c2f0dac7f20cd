//! Modules from OCI registries: pushed, pinned, pulled, kept, and refused when they are not what they were.

mod faults;
mod guide;
mod waiting;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tests::{Home, Host, RealRegistry, Registry, Upstream, guest};

const SIGNED: &str = "host/metaclaw/tests/signed/policy.wasm";
const TEAM_A: &str = "RWS2CmvI5orYkZkFjlAVxGmukLvdS4X558D3EeytVD2Esq+eCbGPxt0v";
const TEAM_B: &str = "RWTrix3EEkNIUt9t2+o/Ka226Z70XFEXLpTi6BAqTOo44BpsVpOphEsk";

fn policy() -> PathBuf {
    guest("examples/two-agents/policy")
}

/// Pushes a module and gives the reference that is printed.
fn push(home: &Home, module: &Path, to: &str, more: &[&str]) -> String {
    let (code, out, err) = home.run(&[&["policy", "push", module.to_str().unwrap(), to, "--json"][..], more].concat());
    assert_eq!(code, 0, "{err}");
    let told: Value = serde_json::from_str(&out).unwrap();
    told["reference"].as_str().unwrap().to_owned()
}

/// A configuration whose agent `own` has this for its policy.
fn own(policy: &str) -> String {
    format!("agents: {{ own: {{ policy: {policy} }} }}\n")
}

/// The status, and who decided or why nobody did.
async fn said(host: &Host, agent: &str) -> String {
    let answer = host.say("read my horoscope").agent(agent).send().await;
    match answer.status {
        200 => format!("200 {}", answer.header("x-metaclaw-policy").split("source=").last().unwrap_or_default()),
        status => format!("{status} {}", answer.code()),
    }
}

/// The file that keeps what a digest names.
fn kept(home: &Home, reference: &str) -> PathBuf {
    home.path().join("cache/modules/sha256").join(reference.rsplit("sha256:").next().unwrap())
}

/// What somebody does: push, pin, run, and restart when the registry is away. The registry is the real one, and wants a login.
#[tokio::test(flavor = "multi_thread")]
async fn a_module_goes_through_a_registry_and_then_needs_it_no_more() {
    let upstream = Upstream::echo().await;
    let mut registry = RealRegistry::start().await;
    let home = Home::new();
    let to = format!("oci://{}/team/topics:1.0", registry.name());

    let (code, _, err) = home.run(&["policy", "push", policy().to_str().unwrap(), &to]);
    assert!(code == 1 && err.contains("wants a login"), "{err}");
    let password = home.path().join("password");
    fs::write(&password, format!("{}\n", RealRegistry::PASSWORD)).unwrap();
    let login = ["--user", "ada", "--password-file", password.to_str().unwrap()];
    let (code, _, err) = home.run(&[&["policy", "pull", &to][..], &login].concat());
    assert!(code == 1 && err.contains("chmod 600"), "a password that others can read is none: {err}");
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
    let pinned = push(&home, &policy(), &to, &login);
    assert!(pinned.starts_with(&format!("{to}@sha256:")), "{pinned}");
    assert_eq!(push(&home, &policy(), &to, &login), pinned, "the same module makes the same artifact");

    let copy = home.path().join("copy.wasm");
    let words = ["policy", "pull", &to, "--out", copy.to_str().unwrap(), "--user", "ada", "--password-env", "TOKEN"];
    let (code, out, err) = home.run_in(&[("TOKEN", RealRegistry::PASSWORD)], &words);
    assert!(code == 0 && out.contains(&pinned), "{out}{err}");
    assert_eq!(fs::read(&copy).unwrap(), fs::read(policy()).unwrap());

    // A host of its own finds the login where its configuration says.
    let home = Home::new();
    let auth = home.path().join("docker.json");
    fs::write(&auth, RealRegistry::auth_file(&registry.name())).unwrap();
    fs::set_permissions(&auth, fs::Permissions::from_mode(0o600)).unwrap();
    home.config(&format!(
        "{}registry: {{ auth_file: docker.json }}\n{}",
        upstream.llm(),
        own(&format!("\"{pinned}\""))
    ));
    for (words, expected) in [(&["config", "check"][..], ""), (&["doctor"], "not in the cache yet")] {
        let (code, out, err) = home.run(words);
        assert!(out.contains(expected) && code == 0, "{words:?} {code}: {out}{err}");
        assert!(!kept(&home, &pinned).exists(), "nothing is fetched for a look");
    }
    let host = home.start_in(&[("METACLAW_LOG", "debug")]).await;
    assert_eq!(said(&host, "own").await, "200 policy");
    let log = host.log();
    assert!(host.stop().success());
    for secret in [RealRegistry::PASSWORD, "YWRhOm9wZW5zZXNhbWUtNzFjMg"] {
        assert!(!log.contains(secret), "{log}");
    }

    registry.stop();
    let host = home.start().await;
    assert_eq!(said(&host, "own").await, "200 policy", "it needs no registry now");
    assert!(host.stop().success());

    let file = kept(&home, &pinned);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    let module = kept(&home, &domain::Digest::of(&fs::read(policy()).unwrap()).to_string());
    let mut altered = fs::read(&module).unwrap();
    altered.extend([0, 2, 1, b'x']);
    fs::write(&module, &altered).unwrap();
    let host = home.start().await;
    assert_eq!(said(&host, "own").await, "503 policy_unavailable", "what is kept is not believed");
    assert_eq!(said(&host, "other").await, "200 builtin");
    assert!(!module.exists(), "and is out of the way");
    registry.start_again().await;
    tests::within(Duration::from_secs(20), "the registry is asked again", async || {
        (home.run(&["reload"]).0 == 0).then_some(())
    })
    .await;
    assert_eq!(said(&host, "own").await, "200 policy");
    assert_eq!(fs::read(&module).unwrap(), fs::read(policy()).unwrap());
}

/// Whoever brings the module into the cache by other means has it served at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_cannot_be_had_takes_its_own_agent_out_of_service_until_it_can() {
    let upstream = Upstream::echo().await;
    let registry = Registry::start().await;
    let elsewhere = Home::new();
    let pinned = push(&elsewhere, &policy(), &registry.reference("team/topics:1"), &[]);
    let gone = pinned.replace("team/topics", "team/gone");
    let home = Home::with(&upstream, &own(&format!("\"{gone}\"")));
    let host = home.start().await;
    assert_eq!(said(&host, "own").await, "503 policy_unavailable");
    assert_eq!(said(&host, "other").await, "200 builtin");
    let log = host.log();
    assert!(log.contains(&gone) && log.contains("check repository, tag and digest"), "{log}");

    let (code, _, err) = home.run(&["policy", "pull", &pinned]);
    assert_eq!(code, 0, "{err}");
    tests::until("the host sees it", async || (said(&host, "own").await == "200 policy").then_some(())).await;
}

/// A tag may mean something else tomorrow.
#[tokio::test(flavor = "multi_thread")]
async fn a_tag_alone_is_for_dev_mode_and_the_digest_of_the_component_counts_too() {
    let upstream = Upstream::echo().await;
    let registry = Registry::start().await;
    let home = Home::new();
    let tag = registry.reference("team/topics:1");
    let pinned = push(&home, &policy(), &tag, &[]);
    let digest = domain::Digest::of(&fs::read(policy()).unwrap());

    home.config(&format!("{}{}", upstream.llm(), own(&format!("\"{tag}\""))));
    let (code, out, err) = home.run(&["config", "check"]);
    assert_eq!(code, 64, "{out}{err}");
    assert!(out.contains("has no digest") && out.contains("metaclaw policy pull"), "{out}{err}");
    let host = home.start_with(&["--dev"]).await;
    assert_eq!(said(&host, "own").await, "200 policy");
    let log = host.log();
    assert!(log.contains("has no digest"), "{log}");
    drop(host);

    let asked = registry.seen().len();
    for (sha256, expected) in [(digest, "200 policy"), (domain::Digest::of(b"other"), "503 policy_unavailable")] {
        let policy = format!("{{ module: \"{pinned}\", sha256: \"{sha256}\" }}");
        home.config(&format!("{}{}", upstream.llm(), own(&policy)));
        assert_eq!(said(&home.start().await, "own").await, expected);
    }
    assert_eq!(registry.seen().len(), asked, "what is kept is asked for no more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_goes_with_its_module() {
    let upstream = Upstream::echo().await;
    let registry = Registry::start().await;
    let home = Home::new();
    let signed = push(&home, &tests::root().join(SIGNED), &registry.reference("p:signed"), &[]);
    let unsigned = home.path().join("unsigned.wasm");
    fs::copy(tests::root().join(SIGNED), &unsigned).unwrap();
    let unsigned = push(&home, &unsigned, &registry.reference("p:unsigned"), &[]);
    assert_ne!(signed.rsplit('@').next(), unsigned.rsplit('@').next());
    for (module, who, expected) in [
        // It leaves the decision that is asked about to the built-in.
        (&signed, "team-a", "200 builtin"),
        (&signed, "team-b", "503 policy_unavailable"),
        (&unsigned, "team-a", "503 policy_unavailable"),
    ] {
        home.config(&format!(
            "{}trust: {{ team-a: {TEAM_A}, team-b: {TEAM_B} }}\n{}",
            upstream.llm(),
            own(&format!("{{ module: \"{module}\", signed_by: [{who}] }}"))
        ));
        let host = home.start().await;
        assert_eq!(said(&host, "own").await, expected, "{module} by {who}: {}", host.log());
    }
    let out = home.path().join("out.wasm");
    assert_eq!(home.run(&["policy", "pull", &signed, "--out", out.to_str().unwrap()]).0, 0);
    let signature = fs::read(tests::root().join(format!("{SIGNED}.minisig"))).unwrap();
    assert_eq!(fs::read(home.path().join("out.wasm.minisig")).unwrap(), signature);
}
