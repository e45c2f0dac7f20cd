//! Promise T4: what shows or changes the host's state has a listener and a credential of its own.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};

use serde_json::Value;
use tests::{Home, Host, Upstream, until};

const CONFIG: &str = "
admin: { listen: \"127.0.0.1:0\" }
proxy: { api_key: \"env:HOST_KEY\" }
agents: { a: { client_key: \"env:A_KEY\" } }
";
const ENVIRONMENT: [(&str, &str); 2] = [("HOST_KEY", "host-3f9c2b7d51e86a04"), ("A_KEY", "four-8d1e5c90b37f264a")];

fn key(home: &Home, words: &[&str]) -> String {
    let (code, out, err) = home.run_in(&ENVIRONMENT, &[&["keys", "add"], words].concat());
    assert_eq!(code, 0, "{err}");
    out.trim().to_owned()
}

/// Where the admin listener is, from the note that the host leaves.
fn admin_url(home: &Home) -> String {
    let note: Value = serde_json::from_slice(&fs::read(home.path().join("state/running.json")).unwrap()).unwrap();
    format!("http://{}", note["admin"].as_str().unwrap())
}

async fn ask(host: &Host, method: &str, url: String, key: Option<&str>) -> u16 {
    let request = host.client.request(method.parse().unwrap(), url);
    let request = if let Some(key) = key { request.header("x-metaclaw-key", key) } else { request };
    request.send().await.unwrap().status().as_u16()
}

/// Every route there is, on both listeners, with no key, an agent's, the host's, and one for administration.
#[tokio::test]
async fn each_door_opens_to_its_own_keys_only() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, CONFIG);
    let (agent, all, admin) = (key(&home, &["--agent", "a"]), key(&home, &["--all-agents"]), key(&home, &["--admin"]));
    let (ended, gone) = (key(&home, &["--admin", "--expires", "0s"]), key(&home, &["--admin"]));
    home.run_in(&ENVIRONMENT, &["keys", "revoke", &gone]);
    let host = home.start_in(&ENVIRONMENT).await;
    let base = admin_url(&home);
    let routes = host.client.get(format!("{base}/admin/routes")).header("x-metaclaw-key", &admin).send().await.unwrap();
    let routes: Value = serde_json::from_slice(&routes.bytes().await.unwrap()).unwrap();
    let listed = |door: &str| -> Vec<(String, String)> {
        let text = |route: &Value, name: &str| route[name].as_str().unwrap().to_owned();
        routes[door].as_array().unwrap().iter().map(|r| (text(r, "method"), text(r, "path"))).collect()
    };
    assert!(listed("admin").len() >= 8 && listed("open").len() >= 7);
    let others =
        [None, Some(&*agent), Some(&*all), Some(ENVIRONMENT[0].1), Some(ENVIRONMENT[1].1), Some(&ended), Some(&gone)];
    let mut tried = 0;
    for (method, path) in listed("admin") {
        let there_is_one = !["{call}", "{lesson}", "{name}", "{generation}"].iter().any(|part| path.contains(part));
        let path = path.replace("{id}", "a").replace("{session}", "s");
        let path = path.replace("{call}", "1").replace("{lesson}", "1").replace("{name}", "tidy");
        let path = path.replace("{generation}", "1").replace("{other}", "2");
        for key in others {
            assert_eq!(ask(&host, &method, format!("{base}{path}"), key).await, 401, "{method} {path} {key:?}");
            tried += 1;
        }
        for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS"] {
            let status = ask(&host, method, host.url(&path), Some(&admin)).await;
            assert!(!(200..300).contains(&status), "{method} {path} at the front door: {status}");
            tried += 1;
        }
        if path != "/admin/stop" {
            let status = ask(&host, &method, format!("{base}{path}"), Some(&admin)).await;
            let wanted = match &*path {
                // Nobody here trains.
                "/admin/train_step" => 503,
                "/admin/agents/a/training/step" | "/admin/agents/a/adapters/rollback" => 409,
                _ if there_is_one => 200,
                _ => 404,
            };
            assert_eq!(status, wanted, "{method} {path}");
        }
    }
    assert_eq!(ask(&host, "GET", format!("{base}/admin/nothing"), None).await, 401, "what is not there looks the same");
    for (method, path) in listed("open") {
        let open = ["/v1/models", "/healthz", "/readyz"].contains(&&*path);
        let status = ask(&host, &method, host.url(&path), Some(&admin)).await;
        let wanted = match &*path {
            "/v1/admin/train_step" => 503,
            _ if open => 200,
            _ => 401,
        };
        assert_eq!(status, wanted, "an admin key speaks for no agent: {method} {path}");
        let status = ask(&host, &method, format!("{base}{path}"), Some(&admin)).await;
        assert_eq!(status, 404, "{method} {path} at the back door");
        tried += 2;
    }
    println!("{tried} requests");

    // A web page that a browser sends here has an origin, or another name for this machine.
    for (name, value, status) in [
        ("origin", "https://evil.example", 403),
        ("origin", "http://localhost", 403),
        ("origin", "null", 403),
        ("host", "evil.example", 403),
        ("host", "127.0.0.1.evil.example:80", 403),
        ("host", "localhost", 200),
    ] {
        let request = host.client.get(format!("{base}/admin/status")).header("x-metaclaw-key", &admin);
        let answer = request.header(name, value).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{name}: {value}");
    }

    // The commands use it with the key, and do without where they can.
    let with = [ENVIRONMENT[0], ENVIRONMENT[1], ("METACLAW_ADMIN_KEY", &*admin)];
    let (code, out, err) = home.run_in(&with, &["status", "--json"]);
    let status: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &status["state"]["host"]["pid"]), (0, &host.pid().into()), "{err}");
    assert_eq!(home.run_in(&with, &["reload"]).1.trim(), "reloaded");
    assert!(home.run_in(&ENVIRONMENT, &["status"]).1.contains("ready: yes"));
    let (code, _, err) = home.run_in(&[("METACLAW_ADMIN_KEY", &agent)], &["status"]);
    assert!(code == 1 && err.contains("administration"), "{err}");
    assert_eq!(ask(&host, "POST", format!("{base}/admin/stop"), Some(&admin)).await, 202);
    assert!(host.ended().success());
}

/// By default it is a socket of this user's, which the commands use.
#[tokio::test]
async fn the_socket_is_its_owners_and_is_gone_with_the_host() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, "agents: { a: {} }\n");
    let host = home.start().await;
    let socket = home.path().join("run/admin.sock");
    let about = fs::symlink_metadata(&socket).unwrap();
    assert!(about.file_type().is_socket());
    let mode = |path| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(socket.clone()), mode(home.path().join("run"))), (0o600, 0o700));

    let state = host.admin("GET", "/admin/status").await;
    assert_eq!((&state["ready"], &state["host"]["pid"]), (&true.into(), &host.pid().into()));
    assert_eq!(host.get("/readyz").await, serde_json::json!({"ready": true}), "the open one says no more");
    assert_eq!(host.admin("POST", "/admin/reload").await["problems"], serde_json::json!([]));
    home.config(&format!("{}agents: {{ a: {{ mod: rl }} }}\n", upstream.llm()));
    let answer = host.admin("POST", "/admin/reload").await;
    assert!(answer["problems"].to_string().contains("agents.a.mod"), "answered when it is done: {answer}");
    assert!(home.run(&["status"]).1.contains("agents.a.mod"));

    // What a killed host left behind is no hindrance; what is no socket is left alone.
    host.kill();
    assert!(socket.exists());
    home.config(&upstream.llm());
    let host = home.start().await;
    assert_eq!(host.admin("GET", "/admin/status").await["ready"], true);
    assert_eq!(home.run(&["stop"]).0, 0);
    assert!(host.ended().success() && !socket.exists());
    fs::write(&socket, "mine").unwrap();
    let (code, _, err) = home.run(&["start", "--port", "0"]);
    assert!(code == 1 && err.contains("no socket") && fs::read(&socket).unwrap() == b"mine", "{err}");
    fs::remove_file(&socket).unwrap();
    fs::set_permissions(home.path().join("run"), fs::Permissions::from_mode(0o777)).unwrap();
    let (code, _, err) = home.run(&["start", "--port", "0"]);
    assert!(code == 1 && err.contains("chmod 700"), "{err}");
}

/// Without a listener, and with the old ways, the commands still do what they can.
#[tokio::test]
async fn a_host_without_administration_is_stopped_by_signal() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, "admin: { listen: none }\n");
    let host = home.start().await;
    assert!(!home.path().join("run").exists());
    assert!(home.run(&["status"]).1.contains("ready: yes"));
    let (code, out, _) = home.run(&["reload"]);
    assert!(code == 0 && out.contains("log"), "{out}");
    until("it serves on", async || (host.get("/readyz").await["ready"] == true).then_some(())).await;
    assert_eq!(home.run(&["stop"]).0, 0);
    assert!(host.ended().success());
}

/// What goes on in the host is looked at and mended by hand.
#[tokio::test]
async fn a_policy_is_asked_again_and_sessions_are_listed_and_ended_on_demand() {
    let upstream = Upstream::echo().await;
    let module = tests::guest("tests/guests/misbehaving");
    const LEFT_ALONE: &str = "breaker; failed=breaker";
    let breaker = "breaker: { failures: 2, backoff: 1h, longest: 1h }";
    let agent = format!(
        "policy: {{ module: \"{}\", config: {{ do: panic }}, limits: {{ wall: 20s }}, {breaker} }}",
        module.display()
    );
    let home = Home::with(&upstream, &format!("agents: {{ a: {{ {agent} }} }}\n"));
    let host = home.start_with(&["--dev"]).await;
    let source = async || {
        let answer = host.say("hi").agent("a").session("one").send().await;
        answer.header("x-metaclaw-policy").split("source=").nth(1).unwrap().to_owned()
    };
    until("it is left alone", async || (source().await == LEFT_ALONE).then_some(())).await;
    assert_eq!(source().await, LEFT_ALONE);
    let (code, out, err) = home.run(&["agents", "reset", "a"]);
    assert!(code == 0 && out.contains("asked again"), "{out}{err}");
    assert_eq!(source().await, "builtin; failed=trap", "the module is asked");
    assert!(home.run(&["agents", "reset", "a"]).1.contains("nothing changed"));
    let reset = |agent: &str| format!("/admin/agents/{agent}/breaker/reset");
    assert_eq!(host.admin("POST", &reset("_default")).await["was_open"], false);
    for unknown in ["nobody", "_shared", "a%2Fb", "%00"] {
        assert_eq!(host.admin("POST", &reset(unknown)).await["error"]["code"], "unknown_agent", "{unknown}");
    }
    let (code, _, err) = home.run(&["agents", "reset", "nobody"]);
    assert!(code == 1 && err.contains("metaclaw agents list"), "{err}");

    host.say("hi").agent("b").session("one").send().await;
    host.say("hi").agent("a").session("two").send().await;
    let listed = async |agent: &str, more: &[&str]| -> Vec<(String, bool)> {
        let (code, out, err) = home.run(&[&["sessions", "list", "--json", "--agent", agent], more].concat());
        assert_eq!(code, 0, "{err}");
        let list: Value = serde_json::from_str(&out).unwrap();
        let row = |s: &Value| (s["session"].as_str().unwrap().to_owned(), s["open"].as_bool().unwrap());
        list["sessions"].as_array().unwrap().iter().map(row).collect()
    };
    let (one, two) = (|open| ("one".to_owned(), open), |open| ("two".to_owned(), open));
    until("all is recorded", async || (listed("a", &[]).await == [two(true), one(true)]).then_some(())).await;
    let (code, out, _) = home.run(&["sessions", "list", "--agent", "a"]);
    assert!(code == 0 && out.lines().count() == 3 && out.contains("two "), "{out}");
    let end = ["sessions", "end", "--agent", "a", "one"];
    assert!(home.run(&end).1.contains("ended \"one\""));
    assert!(home.run(&end).1.contains("nothing changed"));
    assert_eq!(listed("a", &[]).await, [two(true)]);
    let mut all = listed("a", &["--all"]).await;
    all.sort();
    assert_eq!(all, [one(false), two(true)]);
    assert_eq!(listed("b", &[]).await, [one(true)], "another agent's session of the same name goes on");
    assert_eq!(listed("nobody", &[]).await, []);
    assert_eq!(host.admin("POST", "/admin/agents/a/sessions/%00/end").await["error"]["code"], "unknown_session");

    // The name begins anew; nothing of this is to be had at the front door.
    host.say("hi").agent("a").session("one").send().await;
    until("it is recorded", async || listed("a", &[]).await.contains(&one(true)).then_some(())).await;
    let request = host.client.get(host.url("/admin/agents/a/sessions")).send().await.unwrap();
    assert_eq!(request.status().as_u16(), 404);
}
