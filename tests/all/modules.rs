//! How a host comes by its modules' code: compiled in a child, kept, believed only while nobody else could have touched it,
//! and, where the configuration says so, signed.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tests::{Home, Host, Upstream, guest};

use crate::bombs;

const SIGNED: &str = "host/metaclaw/tests/signed";
const TEAM_A: &str = "RWS2CmvI5orYkZkFjlAVxGmukLvdS4X558D3EeytVD2Esq+eCbGPxt0v";
const TEAM_B: &str = "RWTrix3EEkNIUt9t2+o/Ka226Z70XFEXLpTi6BAqTOo44BpsVpOphEsk";

/// The compiled modules below a home.
fn kept(home: &Home) -> Vec<PathBuf> {
    let folder = fs::read_dir(home.path().join("cache/policies")).unwrap();
    folder.map(|entry| entry.unwrap().path()).collect()
}

async fn source(host: &Host) -> String {
    let answer = host.say("read my horoscope").agent("own").send().await;
    format!("{} {}", answer.status, answer.header("x-metaclaw-policy").split("source=").last().unwrap_or_default())
}

#[tokio::test]
async fn a_module_is_compiled_once_and_again_only_when_what_is_kept_cannot_be_trusted() {
    let upstream = Upstream::echo().await;
    let module = guest("examples/two-agents/policy");
    let agents = format!("agents: {{ own: {{ policy: {{ module: \"{}\" }} }} }}\n", module.display());
    let home = Home::with(&upstream, &agents);
    let served = async || {
        let host = home.start_with(&["--dev"]).await;
        assert_eq!(source(&host).await, "200 policy");
        assert!(host.stop().success());
        let [file] = &kept(&home)[..] else { panic!("{:?}", kept(&home)) };
        let about = fs::metadata(file).unwrap();
        assert_eq!(about.mode() & 0o777, 0o600);
        (about.ino(), fs::read(file).unwrap())
    };
    let (first, code) = served().await;
    assert_eq!(served().await.0, first, "the second start compiles nothing");

    let file = kept(&home).remove(0);
    let mut altered = code.clone();
    altered[code.len() / 2] ^= 1;
    fs::write(&file, altered).unwrap();
    let (second, _) = served().await;
    assert_ne!(second, first, "an altered file is made anew");
    fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
    assert_ne!(served().await.0, second, "so is one that others could have written");

    fs::set_permissions(home.path().join("cache"), Permissions::from_mode(0o777)).unwrap();
    fs::write(&file, "never read").unwrap();
    let host = home.start_with(&["--dev"]).await;
    assert_eq!(source(&host).await, "200 policy", "without the cache the module is compiled, and runs");
    assert_eq!(fs::read(&file).unwrap(), b"never read", "and nothing is kept where others can write");
}

/// One agent's module must be signed. Whether it is decides over that agent alone.
#[tokio::test]
async fn an_agent_whose_module_is_not_signed_as_it_must_be_is_not_served() {
    let upstream = Upstream::echo().await;
    let folder = tempfile::tempdir().unwrap();
    let policy = tests::root().join(SIGNED).join("policy.wasm");
    let copy = |name: &str, signature: Option<&Path>| {
        let module = folder.path().join(name);
        fs::copy(&policy, &module).unwrap();
        if let Some(signature) = signature {
            fs::copy(signature, folder.path().join(format!("{name}.minisig"))).unwrap();
        }
        module
    };
    let signature = tests::root().join(SIGNED).join("policy.wasm.minisig");
    let altered = copy("altered.wasm", Some(&signature));
    let mut bytes = fs::read(&altered).unwrap();
    bytes.extend([0, 2, 1, b'x']);
    fs::write(&altered, bytes).unwrap();
    for (what, module, who, status) in [
        ("signed by the right one", policy.clone(), "team-a", 200),
        ("signed by another", policy.clone(), "team-b", 503),
        ("not signed", copy("unsigned.wasm", None), "team-a", 503),
        ("altered since", altered, "team-a", 503),
    ] {
        // Without --dev: a signature is as good as a digest.
        let home = Home::with(
            &upstream,
            &format!(
                "trust: {{ team-a: {TEAM_A}, team-b: {TEAM_B} }}\n\
                 agents: {{ own: {{ policy: {{ module: \"{}\", signed_by: [{who}] }} }} }}\n",
                module.display()
            ),
        );
        let host = home.start().await;
        let own = host.say("hi").agent("own").send().await;
        assert_eq!(own.status, status, "{what}: {}", own.text);
        assert!(own.status == 200 || own.code() == "policy_unavailable", "{what}: {}", own.text);
        assert_eq!(host.say("hi").agent("other").send().await.status, 200, "{what}");
    }
}

/// A module that serves already stops when its signer is trusted no more.
#[tokio::test]
async fn who_withdraws_trust_from_a_signer_is_obeyed_at_once() {
    let upstream = Upstream::echo().await;
    let policy = tests::root().join(SIGNED).join("policy.wasm");
    let config = |who: &str| {
        format!(
            "{}trust: {{ team-a: {TEAM_A}, team-b: {TEAM_B} }}\n\
             agents: {{ own: {{ policy: {{ module: \"{}\", signed_by: [{who}] }} }} }}\n",
            upstream.llm(),
            policy.display()
        )
    };
    let home = Home::new();
    home.config(&config("team-a"));
    let host = home.start().await;
    for (who, status, reloaded) in
        [("team-a", 200, 0), ("team-b, team-a", 200, 0), ("team-b", 503, 1), ("team-a", 200, 0)]
    {
        home.config(&config(who));
        let (code, out, _) = home.run(&["reload"]);
        assert_eq!((code, host.say("hi").agent("own").send().await.status), (reloaded, status), "{who}: {out}");
        assert!(code == 0 || out.contains("is not served any more"), "{out}");
        assert_eq!(host.say("hi").agent("other").send().await.status, 200, "{who}");
    }
}

/// A file of 13 kB that would take minutes to compile replaces a running agent's module.
#[tokio::test]
async fn a_module_that_takes_for_ever_to_compile_holds_up_neither_turns_nor_the_end() {
    let upstream = Upstream::echo().await;
    let folder = tempfile::tempdir().unwrap();
    let module = folder.path().join("policy.wasm");
    fs::copy(guest("examples/two-agents/policy"), &module).unwrap();
    let agents = format!("agents: {{ own: {{ policy: {{ module: \"{}\" }} }} }}\n", module.display());
    let home = Home::with(&upstream, &agents);
    let host = home.start_with(&["--dev"]).await;
    fs::write(&module, bombs::nested_loops(400)).unwrap();
    let compiler = tests::until("it is being compiled", async || host.children("compile-policy").pop()).await;
    let began = Instant::now();
    assert_eq!(source(&host).await, "200 policy", "the module that was there serves on");
    assert!(host.stop().success());
    assert!(began.elapsed() < Duration::from_secs(8), "it took {:?}", began.elapsed());
    assert!(!Path::new(&format!("/proc/{compiler}")).exists(), "the compiler has ended, too");
}
