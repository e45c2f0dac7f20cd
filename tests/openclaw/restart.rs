//! The host may go away in the middle of a conversation: nothing is lost, and nobody has to do anything.

use crate::{Outcome, World, agent, obliging, speaker};

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_restarted_mid_session_loses_nothing() {
    let world = World::new(&["research"], "agents: { research: { mode: rl } }\n", obliging).await;
    let World { gateway, host, home, upstream } = world;
    let port = host.address().port().to_string();
    assert_eq!(gateway.reply("research", "desk", "describe harbours one").await, "heard: describe harbours one");
    let [_, _, session] = speaker(&upstream.last()).unwrap();
    // The first time it is told to stop, the second time it dies.
    assert!(host.stop().success());
    // OpenClaw begins a turn while nobody listens, and tries again until somebody does.
    let (outcome, host) = tokio::join!(gateway.say("research", "desk", "describe harbours two"), async {
        tests::until("the turn has failed to connect once", async || gateway.log().contains("retry").then_some(()))
            .await;
        home.start_with(&["--dev", "--port", &port]).await
    });
    assert!(matches!(&outcome, Outcome::Reply(words) if words.contains("describe harbours two")), "{outcome:?}");
    let samples = async || host.metric("metaclaw_samples_total{agent=\"research\",verdict=\"keep\"}").await;
    tests::until("the second turn's sample is durable", async || (samples().await == 1).then_some(())).await;
    host.kill();
    let host = home.start_with(&["--dev", "--port", &port]).await;
    let third = gateway.reply("research", "desk", "describe harbours three").await;
    assert_eq!(third, "heard: describe harbours three");
    let history = upstream.last().body.to_string();
    assert!(history.contains("harbours one") && history.contains("harbours two"), "the conversation is whole");

    let world = World { gateway, host, home, upstream };
    let (_home, store) = world.stored().await;
    let turns = store.turns(&agent("research"), &session.parse().unwrap(), 10).await.unwrap();
    assert_eq!(turns.iter().map(|t| t.position).collect::<Vec<_>>(), [0, 1, 2], "one session");
    assert_eq!(store.sessions(&agent("research"), 10).await.unwrap().len(), 1);
    assert_eq!(store.samples(&agent("research"), 10).await.unwrap().len(), 3);
    store.close().await;
}
