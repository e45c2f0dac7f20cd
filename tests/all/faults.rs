//! What comes of a faulty upstream: each fault with and without a stream, what the client gets, how the turn is recorded, and
//! whether it is learned from.

mod table;

use futures_util::future::join_all;
use serde_json::Value;
use tests::{Home, Host, RawUpstream};

use Want::{Answer, Broken, Torn, Unlearned};
use table::{BROKEN, Want, all};

#[tokio::test]
async fn whatever_comes_is_answered_well_and_only_what_is_whole_is_learned_from() {
    let faults = all();
    assert!(faults.len() >= 60, "{}", faults.len());
    let upstream = RawUpstream::scripted(|body| {
        let body: Value = serde_json::from_str(body).unwrap();
        let name = body["messages"][0]["content"].as_str().unwrap();
        let fault = all().into_iter().find(|fault| fault.name == name).unwrap();
        if body["stream"] == true { fault.stream.0 } else { fault.whole.0 }
    })
    .await;
    let home = Home::new();
    home.config(&format!(
        "llm: {{ api_base: \"{}\", model_id: m, timeouts: {{ first_byte: 3s, idle: 1500ms }},
                 retries: {{ max: 0 }}, ejection: {{ failures: 0 }} }}\nmode: rl\n",
        upstream.base()
    ));
    let host = home.start().await;
    let cases = faults.iter().flat_map(|f| [(f.name, true, f.stream.1), (f.name, false, f.whole.1)]);
    let wrong = join_all(cases.map(|(name, stream, want)| try_one(&host, name, stream, want))).await;
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), 2 * faults.len(), wrong.join("\n"));
    assert!(!host.log().contains("panic"), "{}", host.log());
}

/// What is not as it should be.
async fn try_one(host: &Host, name: &str, stream: bool, want: Want) -> Option<String> {
    let answer = host.say(name).with("stream", stream.into()).send().await;
    let got = if answer.status != 200 {
        let body: Value = serde_json::from_str(&answer.text).unwrap_or_default();
        let own_words = body["error"]["request_id"].is_null() && body["error"]["message"].is_string();
        let code = if own_words { "" } else { body["error"]["code"].as_str().unwrap_or("no error at all") };
        format!("Error({}, {code:?})", answer.status)
    } else if stream {
        match well_formed(&answer.text) {
            Ok((words, None)) if words == "words" => "Answer".to_owned(),
            Ok((words, None)) => format!("a stream that says {words:?}"),
            Ok((_, Some(code))) => format!("Broken({code:?})"),
            Err(why) => format!("a stream with {why}: {:?}", answer.text),
        }
    } else {
        let long = answer.words().len() == 2 << 20;
        if answer.words() == "words" || long { "Answer".to_owned() } else { format!("the body {:?}", answer.text) }
    };
    let turn = answer.header("x-request-id").to_owned();
    let learned = want == Answer;
    let state = tests::until("the turn is recorded", async || {
        let state = host.get(&format!("/v1/turns/{turn}")).await;
        let settled = state["outcome"].is_string() && (!learned || !state["sample"].is_null());
        settled.then_some(state)
    });
    let state = state.await;
    let outcome = if matches!(want, Answer | Unlearned) { "complete" } else { "failed" };
    let expected = if want == Unlearned { "Answer".to_owned() } else { format!("{want:?}") };
    let torn = want == Torn && [format!("{BROKEN:?}"), format!("{:?}", Broken("upstream_broken"))].contains(&got);
    let right = (got == expected || torn) && state["outcome"] == outcome && state["sample"].is_null() != learned;
    (!right).then(|| format!("{name} (stream: {stream}): got {got}, wanted {expected}; recorded {state}"))
}

/// Reads a stream as the standard of server-sent events has it: its words, and the code of the error that it ends with, if it
/// does.
fn well_formed(text: &str) -> Result<(String, Option<String>), String> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let Some(text) = text.strip_suffix("\n\n") else { return Err("half an event at its end".to_owned()) };
    let (mut words, mut last) = (String::new(), None);
    for event in text.split("\n\n").filter(|event| !event.trim().is_empty()) {
        let fields = event.lines().filter_map(|line| line.split_once(':'));
        let data: Vec<&str> = fields.filter(|(name, _)| *name == "data").map(|(_, value)| value.trim_start()).collect();
        let data = data.join("\n");
        if data.is_empty() {
            continue;
        }
        if last.is_some() {
            return Err(format!("{data:?} after its end"));
        }
        if data == "[DONE]" {
            last = Some(None);
            continue;
        }
        let chunk: Value = serde_json::from_str(&data).map_err(|_| format!("the event {data:?}"))?;
        if let Some(code) = chunk["error"]["code"].as_str() {
            last = Some(Some(code.to_owned()));
        } else if !chunk["choices"].is_array() {
            return Err(format!("the event {data:?}"));
        }
        words += chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default();
    }
    last.map(|code| (words, code)).ok_or_else(|| "no end".to_owned())
}
