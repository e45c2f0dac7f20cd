//! A gateway that runs: connected, it speaks to the host with the host's key; disconnected, it is as it was.

use std::time::Duration;

use tests::{Home, Reply, Upstream};

use crate::{OpenClaw, obliging, speaker, words};

const KEY: &str = "host-3f9c2b7d51e86a04";
/// A gateway restarts itself to load a plugin, once it has nothing to do.
const PATIENCE: Duration = Duration::from_secs(60);

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
    let elsewhere = Upstream::scripted(|seen| Reply::Words(format!("elsewhere: {}", words(&seen.asked())))).await;
    let claw = OpenClaw::with(&["research", "coder"], |config| {
        config["models"]["providers"]["elsewhere"]["baseUrl"] = elsewhere.base().into();
    });
    let before = std::fs::read(claw.config_file()).unwrap();
    let gateway = claw.start().await;
    let claw = gateway.claw();
    assert_eq!(gateway.reply("research", "main", "hello").await, "elsewhere: hello");

    claw.connect(&home, &["--agents", "research"]);
    let text = std::fs::read_to_string(claw.config_file()).unwrap();
    assert!(!text.contains(KEY) && text.contains("host.key"), "the key is referred to: {text}");
    let said = async |words: &str| (gateway.try_say("research", "desk", "hi").await? == words).then_some(());
    tests::within(PATIENCE, "the gateway has taken the connection up", async || said("heard: hi").await).await;
    assert_eq!(speaker(&upstream.last()).unwrap()[0], "research");
    let metrics = host.client.get(host.url("/metrics")).bearer_auth(KEY).send().await.unwrap().text().await.unwrap();
    assert!(
        metrics.contains("metaclaw_turns_total{agent=\"research\",kind=\"main\",outcome=\"complete\"}"),
        "{metrics}"
    );
    assert_eq!(gateway.reply("coder", "main", "hello").await, "elsewhere: hello", "the other agent is left alone");

    let (code, out, err) = claw.metaclaw(&home, &["openclaw", "disconnect", "--yes"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(std::fs::read(claw.config_file()).unwrap() == before, "byte for byte");
    tests::within(PATIENCE, "the gateway speaks to its own provider again", async || said("elsewhere: hi").await).await;
}
