//! A gateway that runs: connected, it speaks to the host with the host's key; disconnected, it is as it was.

use tests::{Home, Upstream};

use crate::{OpenClaw, Outcome, obliging, speaker};

#[tokio::test(flavor = "multi_thread")]
async fn a_running_gateway_is_connected_and_given_back() {
    let upstream = Upstream::scripted(obliging).await;
    let home = Home::with(&upstream, "proxy: { api_key: \"file:host.key\" }\n");
    let key = home.path().join("host.key");
    std::fs::write(&key, "host-3f9c2b7d51e86a04").unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    home.config(
        &std::fs::read_to_string(home.path().join("config.yaml"))
            .unwrap()
            .replace("file:host.key", &format!("file:{}", key.display())),
    );
    let host = home.start().await;
    let claw = OpenClaw::new(&["research", "coder"]);
    let before = std::fs::read(claw.config_file()).unwrap();
    let gateway = claw.start().await;
    let claw = gateway.claw();
    assert!(
        matches!(gateway.say("research", "main", "hello").await, Outcome::Failed(_)),
        "its own provider is not there"
    );

    claw.connect(&home, &["--agents", "research"]);
    let text = std::fs::read_to_string(claw.config_file()).unwrap();
    assert!(!text.contains("host-3f9c2b7d51e86a04") && text.contains("host.key"), "the key is referred to: {text}");
    let connected = async || {
        (gateway.say("research", "desk", "hello").await == Outcome::Reply("heard: hello".into())).then_some(())
    };
    tests::until("the gateway has taken the connection up", connected).await;
    let [who, ..] = speaker(&upstream.last()).unwrap();
    assert_eq!(who, "research");
    let mine = "metaclaw_turns_total{agent=\"research\",kind=\"main\",outcome=\"complete\"}";
    let metrics = host.client.get(host.url("/metrics")).bearer_auth("host-3f9c2b7d51e86a04").send().await.unwrap();
    assert!(metrics.text().await.unwrap().contains(mine));
    let seen = upstream.seen().len();
    assert!(matches!(gateway.say("coder", "main", "hello").await, Outcome::Failed(_)), "the other agent is left alone");
    assert_eq!(upstream.seen().len(), seen);

    let (code, out, err) = claw.metaclaw(&home, &["openclaw", "disconnect", "--yes"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(std::fs::read(claw.config_file()).unwrap() == before, "byte for byte");
    let gone = async || matches!(gateway.say("research", "desk", "hello").await, Outcome::Failed(_)).then_some(());
    tests::until("the gateway speaks to its own provider again", gone).await;
}
