//! An agent's own key says who speaks: no header, path or guess makes it another one.

use tests::{Home, Upstream};

const CONFIG: &str = "
proxy: { api_key: \"env:HOST_KEY\" }
agents:
  alpha: { client_key: \"env:ALPHA_KEY\" }
  beta:  { client_key: \"env:BETA_KEY\" }
";
const KEYS: [(&str, &str); 3] = [
    ("HOST_KEY", "host-3f9c2b7d51e86a04"),
    ("ALPHA_KEY", "alpha-8d1e5c90b37f264a"),
    ("BETA_KEY", "beta-60a7f3d92c1b845e"),
];

fn bearer(name: &str) -> String {
    format!("Bearer {}", KEYS.iter().find(|k| k.0 == name).map_or(name, |k| k.1))
}

/// Every key with every way to name an agent.
#[tokio::test]
async fn a_key_can_only_speak_for_its_own_agent() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, CONFIG);
    home.skill("alpha", "a-skill", "Use when harbours are described", "ALPHA-BODY");
    home.skill("beta", "b-skill", "Use when harbours are described", "BETA-BODY");
    let host = home.start_in(&KEYS).await;
    for (key, header, outcome) in [
        ("ALPHA_KEY", None, Ok("alpha")),
        ("ALPHA_KEY", Some("alpha"), Ok("alpha")),
        ("ALPHA_KEY", Some("ALPHA"), Ok("alpha")),
        ("ALPHA_KEY", Some("beta"), Err((400, "invalid_identity"))),
        ("ALPHA_KEY", Some("nobody"), Err((400, "invalid_identity"))),
        ("ALPHA_KEY", Some("alpha,beta"), Err((400, "invalid_identity"))),
        ("BETA_KEY", None, Ok("beta")),
        ("HOST_KEY", None, Ok("_default")),
        ("HOST_KEY", Some("alpha"), Ok("alpha")),
        ("HOST_KEY", Some("beta"), Ok("beta")),
        ("alpha-8d1e5c90b37f264", None, Err((401, "invalid_api_key"))),
        ("", None, Err((401, "invalid_api_key"))),
    ] {
        let mut turn = host.say("harbours").header("authorization", &bearer(key));
        if let Some(header) = header {
            turn = turn.agent(header);
        }
        let answer = turn.send().await;
        match outcome {
            Ok(agent) => {
                assert_eq!((answer.status, answer.header("x-metaclaw-agent")), (200, agent), "{key} {header:?}");
                let system = upstream.last().system();
                assert_eq!((system.contains("ALPHA"), system.contains("BETA")), (agent == "alpha", agent == "beta"));
            }
            Err((status, code)) => {
                assert_eq!((answer.status, answer.code().as_str()), (status, code), "{key} {header:?}")
            }
        }
    }
    let body_of = async |agent: &str| {
        let answer = host.say("x").header("authorization", &bearer("ALPHA_KEY")).agent(agent).send().await;
        let mut body = answer.json();
        body["error"]["request_id"] = "".into();
        body
    };
    assert_eq!(
        body_of("beta").await,
        body_of("nobody").await,
        "a foreign agent and one that does not exist look alike"
    );
    assert_eq!(host.say("x").send().await.status, 401, "no key at all");
}

/// What else there is: an agent's key sees its own turns and nothing of the others'; the models are open to all.
#[tokio::test]
async fn a_key_sees_what_is_its_agents_and_no_more() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, CONFIG);
    let host = home.start_in(&KEYS).await;
    let turn = host.say("x").header("authorization", &bearer("ALPHA_KEY")).send().await;
    let path = format!("/v1/turns/{}", turn.header("x-request-id"));
    let get = async |path: &str, key: &str| {
        host.client.get(host.url(path)).header("authorization", bearer(key)).send().await.unwrap().status().as_u16()
    };
    tests::until("the turn is durable", async || (get(&path, "ALPHA_KEY").await == 200).then_some(())).await;
    for (path, key, status) in [
        (&*path, "HOST_KEY", 200),
        (&path, "BETA_KEY", 404),
        (&path, "", 401),
        ("/metrics", "HOST_KEY", 200),
        ("/metrics", "ALPHA_KEY", 404),
        ("/metrics", "", 401),
        ("/v1/models", "", 200),
        ("/healthz", "", 200),
    ] {
        assert_eq!(get(path, key).await, status, "{path} {key}");
    }
    let end = async |key: &str, agent: &str, session: &str| {
        let request = host.client.post(host.url("/v1/sessions/end")).header("authorization", bearer(key));
        let answer = request.header("x-agent-id", agent).header("x-session-id", session).send().await.unwrap();
        let (status, body) = (answer.status().as_u16(), answer.bytes().await.unwrap());
        (status, serde_json::from_slice::<serde_json::Value>(&body).unwrap()["ended"].clone())
    };
    let session = turn.header("x-metaclaw-session");
    assert_eq!(end("BETA_KEY", "alpha", session).await, (400, serde_json::Value::Null));
    assert_eq!(end("BETA_KEY", "beta", session).await, (200, false.into()), "another agent's session of that name");
    assert_eq!(end("ALPHA_KEY", "alpha", session).await, (200, true.into()));
    assert_eq!(end("ALPHA_KEY", "alpha", session).await, (200, false.into()), "once");
    // The command waits for the upstream, which runs on this thread.
    let said =
        tokio::task::spawn_blocking(move || home.run_in(&KEYS, &["chat", "--agent", "beta", "hello"])).await.unwrap();
    assert_eq!((said.0, said.1.trim()), (0, "echo: hello"), "{}", said.2);
}
