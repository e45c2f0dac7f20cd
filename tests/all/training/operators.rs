//! What operators and their programs are answered.

use reqwest::Response;

use super::*;

async fn body(response: Response) -> (u16, Value) {
    (response.status().as_u16(), serde_json::from_slice(&response.bytes().await.unwrap()).unwrap())
}

/// MetaClaw's route, which there has no lock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_route_of_metaclaw_trains_for_operators_only_and_answers_when_it_is_done() {
    let home = school(BOLD, "pupil: {}, other: {}");
    let host = home.start().await;
    let url = host.url("/v1/admin/train_step");
    let (status, refused) = body(host.client.post(&url).send().await.unwrap()).await;
    assert_eq!((status, &refused["error"]["code"]), (401, &json!("invalid_api_key")), "an open host is no open door");

    rewarded(&host, "pupil", 0, &[1.0, -1.0]).await;
    counted(&host, "pupil", "eligible", 2).await;
    // With the first key the host is shut to whoever has none; so this comes last.
    let (_, key, _) = home.run(&["keys", "add", "--admin"]);
    let key = key.trim().to_owned();
    let ask = async |query: &str| {
        within(LONG, "the key counts", async || {
            let request = host.client.post(format!("{url}{query}")).header("x-metaclaw-key", &key);
            let (status, answer) = body(request.send().await.unwrap()).await;
            (status != 401).then_some((status, answer))
        })
        .await
    };
    for (query, status, code) in [
        ("?agent=other", 409, "nothing_to_train"),
        ("?agent=_shared", 404, "unknown_agent"),
        ("?timeout=soon", 400, "invalid_query"),
        ("?agent=pupil&timeout=0", 504, "train_step_timeout"),
    ] {
        let (found, answer) = ask(query).await;
        assert_eq!((found, &answer["error"]["code"]), (status, &json!(code)), "{query}: {answer}");
    }
    // What has begun goes on, though nobody waits for it.
    counted(&host, "pupil", "consumed", 2).await;
    let (status, none) = ask("").await;
    assert_eq!((status, &none["error"]["code"]), (409, &json!("nothing_to_train")), "{none}");
}
