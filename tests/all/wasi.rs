//! A policy whose language insists on WASI gets an empty one: nothing of the machine, and the same every time. With a further grant it
//! may read its own agent's folders there, and do nothing else to them.

use std::fs;
use std::os::unix::fs::symlink;

use tests::{Upstream, wasi_guest};

use crate::grants::{home, tell};

const GRANTS: &str = "{ skills: read, wasi: stub, wasi-fs: read }";

#[tokio::test(flavor = "multi_thread")]
async fn there_is_nothing_of_the_machine_in_it() {
    let upstream = Upstream::echo().await;
    let host = home(&upstream, &wasi_guest(), GRANTS).start_with(&["--dev"]).await;
    for (words, found) in [
        ("args", "[]"),
        ("env", "[]"),
        ("time", "Ok(0)"),
        ("print", "printed"),
        ("read /etc/passwd", "error: "),
        ("read skills/../../b/mine/SKILL.md", "error: "),
        ("list /", "error: "),
    ] {
        let said = tell(&host, "a", words).await;
        assert!(said.starts_with(found), "{words}: {said}");
    }
    assert!(tell(&host, "a", "clock").await.starts_with("0ns "), "no time passes");
    let first = tell(&host, "a", "random").await;
    assert_eq!(tell(&host, "a", "random").await, first, "the same in every call");
    assert_eq!(tell(&host, "b", "random").await, first, "and for every agent");
    let slept = host.say("sleep").agent("a").send().await;
    assert!(slept.header("x-metaclaw-policy").contains("failed=wall"), "{:?}", slept.headers);
}

#[tokio::test(flavor = "multi_thread")]
async fn its_own_folders_can_be_read_and_nothing_else_done_to_them() {
    let upstream = Upstream::echo().await;
    let home = home(&upstream, &wasi_guest(), GRANTS);
    let host = home.start_with(&["--dev"]).await;
    for (words, found) in [
        ("list skills", "[\"mine\"]"),
        ("list shared", "[\"common\"]"),
        ("list lora", "error: "),
        ("write skills/new.txt x", "error: "),
        ("truncate skills/mine/SKILL.md", "error: "),
        ("remove skills/mine/SKILL.md", "error: "),
        ("rename skills/mine/SKILL.md skills/mine/OTHER.md", "error: "),
        ("link skills/mine/SKILL.md skills/mine/OTHER.md", "error: "),
        ("mkdir skills/new", "error: "),
    ] {
        let said = tell(&host, "a", words).await;
        assert!(said.starts_with(found), "{words}: {said}");
    }
    assert!(tell(&host, "a", "read skills/mine/SKILL.md").await.contains("OF-A"));
    assert!(tell(&host, "b", "read skills/mine/SKILL.md").await.contains("OF-B"));
    let many = host.say("open-many skills/mine/SKILL.md").agent("a").send().await;
    assert!(many.header("x-metaclaw-policy").contains("failed="), "it opens as many as it likes: {:?}", many.headers);
    let text = fs::read_to_string(home.path().join("skills/a/mine/SKILL.md")).unwrap();
    assert!(text.contains("OF-A"), "untouched");
    // A folder with a link in it is not opened at all: where the link leads is nobody's business.
    symlink("/etc", home.path().join("skills/a/out")).unwrap();
    assert!(tell(&host, "a", "read skills/mine/SKILL.md").await.starts_with("error: "));
    assert!(tell(&host, "a", "read skills/out/passwd").await.starts_with("error: "));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_grant_it_is_not_loaded() {
    let upstream = Upstream::echo().await;
    for (grants, missing) in
        [("{}", "skills: read, wasi: stub, wasi-fs: read"), ("{ skills: read, wasi-fs: read }", "wasi: stub")]
    {
        let host = home(&upstream, &wasi_guest(), grants).start_with(&["--dev"]).await;
        let answer = host.say("args").agent("a").send().await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "policy_unavailable"));
        assert!(answer.text.contains(missing), "{}", answer.text);
    }
}
