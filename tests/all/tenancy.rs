//! Promise T1: who a request speaks for comes from its key alone. Eight keys, eight ways to name an agent, every route, nine ways to
//! present a key: nothing of one agent reaches another, and agents that are not one's own look like agents that do not exist.

use std::collections::{BTreeMap, BTreeSet};

use tests::{Home, Host, Upstream};

const CONFIG: &str = "
agents_unknown: reject
proxy: { api_key: \"env:HOST_KEY\" }
agents: { a1: {}, a2: {}, a3: {}, a4: { client_key: \"env:A4_KEY\" }, a5: {} }
";
const HOST_KEY: &str = "host-3f9c2b7d51e86a04";
const A4_KEY: &str = "four-8d1e5c90b37f264a";
/// `a5` has no key of its own; nobody is what the last two say.
const NAMES: [Option<&str>; 8] =
    [None, Some("a1"), Some("a2"), Some("a3"), Some("a4"), Some("a5"), Some("nobody"), Some("no-one")];
const EXISTING: [&str; 6] = ["_default", "a1", "a2", "a3", "a4", "a5"];

#[derive(Clone)]
struct Key {
    text: String,
    /// For whom it speaks; none: for all.
    agents: Option<Vec<&'static str>>,
}

/// How a key is shown, and whether that counts.
const PRESENTATIONS: [(&str, bool); 9] = [
    ("absent", false),
    ("right", true),
    ("foreign", true),
    ("unknown", false),
    ("duplicated", false),
    ("comma-joined", false),
    ("odd case", false),
    ("in body", false),
    ("in query", false),
];

impl Key {
    /// The agent that a request with this key and this name speaks for, if it may.
    fn speaks_as(&self, name: Option<&'static str>) -> Option<&'static str> {
        match (&self.agents, name) {
            (Some(own), Some(name)) => own.contains(&name).then_some(name),
            (Some(own), None) if own.len() == 1 => Some(own[0]),
            (Some(_), None) => None,
            (None, Some(name)) => EXISTING.contains(&name).then_some(name),
            (None, None) => Some("_default"),
        }
    }

    fn sees(&self, agent: &str) -> bool {
        self.agents.as_ref().is_none_or(|own| own.contains(&agent))
    }
}

/// A request's status, agent, and body without the request's own id.
struct Outcome {
    status: u16,
    agent: String,
    body: String,
}

struct Matrix {
    host: Host,
    keys: Vec<Key>,
    /// A turn of each agent.
    turns: BTreeMap<&'static str, String>,
}

impl Matrix {
    /// Sends what a route wants, with a key presented in one of the nine ways.
    async fn send(&self, route: &str, name: Option<&str>, turn: &str, key: usize, how: &str) -> Outcome {
        let route = route.replace("{id}", turn);
        let (method, path) = route.split_once(' ').unwrap();
        let mut body = match path {
            // In each shape that a key may be tried in, too: then it is refused before it is read.
            "/v1/feedback" => serde_json::json!({"turn": turn, "rating": "up"}),
            _ => serde_json::json!({"messages": [{"role": "user", "content": "harbours"}]}),
        };
        let shown = &self.keys[if how == "foreign" { (key + 1) % self.keys.len() } else { key }].text;
        let mut url = self.host.url(path);
        if how == "in query" {
            url = format!("{url}?api_key={shown}&key={shown}&access_token={shown}");
        }
        if how == "in body" {
            (body["api_key"], body["key"], body["authorization"]) =
                (shown.as_str().into(), shown.as_str().into(), format!("Bearer {shown}").into());
        }
        let mut request = self.host.client.request(method.parse().unwrap(), url);
        let bearer = |text: &str| format!("Bearer {text}");
        request = match how {
            "right" | "foreign" => request.header("authorization", bearer(shown)),
            "unknown" => request.header("authorization", bearer("mck_0000000000000000_not-a-key")),
            "duplicated" => request.header("authorization", bearer(shown)).header("authorization", bearer(shown)),
            "comma-joined" => request.header("authorization", format!("Bearer {shown}, Bearer {shown}")),
            "odd case" => request.header("authorization", bearer(&shown.to_ascii_uppercase())),
            _ => request,
        };
        if let Some(name) = name {
            request = request.header("x-agent-id", name);
        }
        if path == "/v1/sessions/end" {
            request = request.header("x-session-id", "s");
        }
        if method == "POST" {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        let header = |name: &str| answer.headers().get(name).map_or("", |v| v.to_str().unwrap()).to_owned();
        let (status, agent, id) = (answer.status().as_u16(), header("x-metaclaw-agent"), header("x-request-id"));
        let body = answer.text().await.unwrap();
        Outcome { status, agent, body: if id.is_empty() { body } else { body.replace(&id, "ID") } }
    }
}

async fn matrix(upstream: &Upstream) -> Matrix {
    let home = Home::with(upstream, CONFIG);
    for agent in EXISTING {
        home.skill(agent, "a-skill", "Use when harbours are described", &format!("WORDS-OF-{agent}."));
    }
    let made = |words: &[&str], agents: Option<&[&'static str]>| {
        let (code, out, err) = home.run(&[&["keys", "add"], words].concat());
        assert_eq!(code, 0, "{err}");
        Key { text: out.trim().to_owned(), agents: agents.map(<[_]>::to_vec) }
    };
    let keys = vec![
        made(&["--agent", "a1"], Some(&["a1"])),
        made(&["--agent", "a2"], Some(&["a2"])),
        made(&["--agent", "a1", "--agent", "a2"], Some(&["a1", "a2"])),
        made(&["--agent", "a3"], Some(&["a3"])),
        made(&["--agent", "_default"], Some(&["_default"])),
        made(&["--all-agents"], None),
        Key { text: A4_KEY.into(), agents: Some(vec!["a4"]) },
        Key { text: HOST_KEY.into(), agents: None },
    ];
    let host = home.start_in(&[("HOST_KEY", HOST_KEY), ("A4_KEY", A4_KEY)]).await;
    let mut turns = BTreeMap::new();
    for agent in EXISTING {
        let turn = host.say("harbours").header("x-metaclaw-key", HOST_KEY).session("s");
        let answer = if agent == "_default" { turn.send().await } else { turn.agent(agent).send().await };
        assert_eq!(answer.header("x-metaclaw-agent"), agent);
        let id = answer.header("x-request-id").to_owned();
        let url = host.url(&format!("/v1/turns/{id}"));
        tests::until("the turn is durable", async || {
            let answer = host.client.get(&url).header("x-api-key", HOST_KEY).send().await.unwrap();
            answer.status().is_success().then_some(())
        })
        .await;
        turns.insert(agent, id);
    }
    Matrix { host, keys, turns }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_key_reaches_another_agent_however_it_is_shown() {
    let upstream = Upstream::echo().await;
    let matrix = matrix(&upstream).await;
    let routes: BTreeSet<String> = matrix.host.admin("GET", "/admin/routes").await["open"]
        .as_array()
        .unwrap()
        .iter()
        .map(|route| format!("{} {}", route["method"].as_str().unwrap(), route["path"].as_str().unwrap()))
        .collect();
    let (mut tried, mut accepted, before) = (0, 0, upstream.seen().len());
    for route in &routes {
        // What refuses a request for its key, and for the agent that it names, looks the same each time.
        let mut refusals: BTreeMap<(&str, usize), BTreeSet<String>> = BTreeMap::new();
        for at in 0..matrix.keys.len() {
            for name in NAMES {
                for (how, counts) in PRESENTATIONS {
                    tried += 1;
                    let holder = &matrix.keys[if how == "foreign" { (at + 1) % 8 } else { at }];
                    let what = format!("{route}, key {at}, agent {name:?}, {how}");
                    // Whose turn is asked for: the named agent's, or one that nobody has made.
                    let whose = name.unwrap_or("_default");
                    let turn = matrix.turns.get(whose).map_or("01990000-0000-7000-8000-000000000000", |id| id);
                    let outcome = matrix.send(route, name, turn, at, how).await;
                    let mut refused = |kind, status: u16| {
                        assert_eq!(outcome.status, status, "{what}: {}", outcome.body);
                        let for_whom = if status == 401 { at } else { 0 };
                        refusals.entry((kind, for_whom)).or_default().insert(outcome.body.clone());
                    };
                    match (route.as_str(), counts) {
                        ("GET /healthz" | "GET /readyz" | "GET /v1/models", _) => {
                            assert_eq!(outcome.status, 200, "{what}");
                            assert!(
                                EXISTING.iter().all(|name| !outcome.body.contains(name)),
                                "{what}: {}",
                                outcome.body
                            );
                        }
                        (_, false) => refused(how, 401),
                        ("GET /metrics", true) => match holder.agents {
                            None => assert_eq!(outcome.status, 200, "{what}"),
                            Some(_) => refused("an agent's key", 404),
                        },
                        ("GET /v1/turns/{id}", true) => match holder.sees(whose) && EXISTING.contains(&whose) {
                            true => assert_eq!(outcome.status, 200, "{what}: {}", outcome.body),
                            false => refused("turn", 404),
                        },
                        ("POST /v1/chat/completions", true) => match holder.speaks_as(name) {
                            Some(agent) => {
                                accepted += 1;
                                assert_eq!((outcome.status, outcome.agent.as_str()), (200, agent), "{what}");
                                let system = upstream.last().system();
                                let mixed = EXISTING
                                    .iter()
                                    .any(|n| system.contains(&format!("WORDS-OF-{n}.")) != (*n == agent));
                                assert!(!mixed, "{what}: {system}");
                            }
                            None if name.is_none() || holder.agents.is_none() => {
                                assert_eq!(outcome.status, 400, "{what}")
                            }
                            None => refused("agent", 400),
                        },
                        // No key of an agent's, nor one for all of them, administers.
                        ("POST /v1/admin/train_step", true) => refused(how, 401),
                        ("POST /v1/feedback", true) => match holder.speaks_as(name) {
                            Some(agent) if agent == whose => {
                                assert_eq!(outcome.status, 200, "{what}: {}", outcome.body)
                            }
                            // It speaks, as another than the turn's.
                            Some(_) => refused("turn", 404),
                            None if name.is_none() || holder.agents.is_none() => {
                                assert_eq!(outcome.status, 400, "{what}")
                            }
                            None => refused("agent", 400),
                        },
                        ("POST /v1/sessions/end", true) => match holder.speaks_as(name) {
                            Some(_) => assert_eq!(outcome.status, 200, "{what}"),
                            None if name.is_none() || holder.agents.is_none() => {
                                assert_eq!(outcome.status, 400, "{what}")
                            }
                            None => refused("agent", 400),
                        },
                        _ => panic!("{what} is not covered: say here what a key does on this route"),
                    }
                }
            }
        }
        for ((kind, at), bodies) in refusals {
            assert_eq!(bodies.len(), 1, "{route}, key {at}, {kind}: {bodies:#?}");
        }
    }
    println!("{tried} requests on {} routes, {accepted} turns accepted", routes.len());
    assert_eq!(tried, 8 * 8 * 9 * routes.len());
    assert_eq!(upstream.seen().len() - before, accepted, "nothing else went up");
    let log = matrix.host.log();
    assert!(matrix.keys.iter().all(|key| !log.contains(&key.text)), "{log}");
}

/// The three ways to show a key, alone and together, and what goes up of them: nothing.
#[tokio::test]
async fn a_key_is_shown_in_one_of_three_headers_and_stays_here() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, "agents: { a1: {}, a2: {} }\n");
    let key = |agent: &str| home.run(&["keys", "add", "--agent", agent]).1.trim().to_owned();
    let (one, two) = (key("a1"), key("a2"));
    let host = home.start().await;
    let bearer = |key: &str| format!("Bearer {key}");
    for (headers, outcome) in [
        (vec![("authorization", bearer(&one))], Ok("a1")),
        (vec![("authorization", bearer(&one).replacen("Bearer", "bearer", 1))], Ok("a1")),
        (vec![("x-api-key", one.clone())], Ok("a1")),
        (vec![("x-metaclaw-key", one.clone())], Ok("a1")),
        (vec![("x-metaclaw-key", one.clone()), ("authorization", bearer(&two))], Ok("a1")),
        (vec![("x-metaclaw-key", one.clone()), ("authorization", bearer("sk-of-a-provider"))], Ok("a1")),
        (vec![("authorization", bearer(&one)), ("x-api-key", one.clone())], Ok("a1")),
        (vec![("authorization", bearer(&one)), ("x-api-key", two.clone())], Err("several")),
        (vec![("x-metaclaw-key", "wrong".into()), ("authorization", bearer(&one))], Err("does not know")),
        (vec![("authorization", bearer(&one[..60]))], Err("mistyped")),
        (vec![("authorization", one.clone())], Err("wants an API key")),
    ] {
        let turn = headers.iter().fold(host.say("x"), |turn, (name, value)| turn.header(name, value));
        let answer = turn.send().await;
        match outcome {
            Ok(agent) => {
                assert_eq!((answer.status, answer.header("x-metaclaw-agent")), (200, agent), "{headers:?}");
                let sent = format!("{:?}", upstream.last().headers);
                assert!(!sent.contains(&one[4..]) && !sent.contains("x-metaclaw-key"), "{sent}");
            }
            Err(words) => {
                assert_eq!((answer.status, answer.code().as_str()), (401, "invalid_api_key"));
                let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
                assert!(message.contains(words), "{headers:?}: {message}");
            }
        }
    }
}

/// Where unlisted agents are taken for `_default`, a key of an unlisted one is no key of `_default`.
#[tokio::test]
async fn a_key_of_an_unlisted_agent_does_not_become_another_ones() {
    let upstream = Upstream::echo().await;
    for (rule, status) in [("own", 200), ("default", 400), ("reject", 400)] {
        let home = Home::with(&upstream, &format!("agents_unknown: {rule}\n"));
        let (code, key, err) = home.run(&["keys", "add", "--agent", "stranger"]);
        assert!(code == 0 && err.contains("no agent `stranger` is configured"), "{err}");
        let host = home.start().await;
        let answer = host.say("x").header("x-api-key", key.trim()).send().await;
        assert_eq!(answer.status, status, "{rule}: {}", answer.text);
        let agent = answer.header("x-metaclaw-agent");
        assert_eq!(agent, if status == 200 { "stranger" } else { "" });
    }
}
