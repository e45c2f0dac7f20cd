//! A host that is killed in a step.

use super::*;

/// Killed while it computes, it makes the step again from where it began: each sample is trained on once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_is_killed_is_made_once() {
    let home = school(BOLD, "pupil: {}");
    let host = home.start().await;
    rewarded(&host, "pupil", 0, &[1.0, -1.0]).await;
    counted(&host, "pupil", "eligible", 2).await;
    host.admin("POST", "/admin/agents/pupil/training/step").await;
    within(LONG, "it is under way", async || {
        let now = standing(&host, "pupil").await;
        (now["samples"]["claimed"] == 2).then_some(())
    })
    .await;
    host.kill();

    // Nobody tells it to: what has begun is brought to its end.
    let host = home.start().await;
    counted(&host, "pupil", "consumed", 2).await;
    within(LONG, "it serves", async || (words(&host, "pupil", 3).await.1 == "pupil@1").then_some(())).await;
    let now = standing(&host, "pupil").await;
    assert_eq!((&now["generation"], &now["steps"], &now["error"]), (&json!(1), &json!(1), &Value::Null), "{now}");
    let folders = std::fs::read_dir(home.path().join("lora/pupil")).unwrap();
    let names: Vec<String> = folders.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let versions: Vec<_> = names.iter().filter(|name| name.starts_with('g')).collect();
    assert!(versions.len() == 1 && names.len() == 2, "one version, and `current`: {names:?}");
}
