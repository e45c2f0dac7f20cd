use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{Block, Splice};

/// A conversation written in letters: `s`ystem, `u`ser, `a`nswer, `c`all, result of a `t`ool. A capital weighs a hundred times as much.
fn conversation(letters: &str) -> ChatRequest {
    let messages: Vec<Value> = letters.chars().enumerate().map(|(at, letter)| message(at, letter)).collect();
    ChatRequest::parse(Bytes::from(json!({ "model": "m", "messages": messages }).to_string())).unwrap()
}

fn message(at: usize, letter: char) -> Value {
    let words = format!("{at} ") + &"x".repeat(if letter.is_uppercase() { 2000 } else { 20 });
    match letter.to_ascii_lowercase() {
        's' => json!({"role": "system", "content": words}),
        'u' => json!({"role": "user", "content": words}),
        'a' => json!({"role": "assistant", "content": words}),
        'c' => {
            json!({"role": "assistant", "content": null, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": words}}]})
        }
        't' => json!({"role": "tool", "tool_call_id": "c", "content": words}),
        other => panic!("{other}"),
    }
}

/// The letters that stay.
fn kept(letters: &str, room: usize) -> String {
    let request = conversation(letters);
    let omission = request.omit(room);
    let goes = |at: &usize| omission.runs.iter().any(|run| run.contains(at));
    letters.char_indices().filter(|(at, _)| !goes(at)).map(|(_, letter)| letter).collect()
}

#[test]
fn the_oldest_goes_first_and_what_belongs_together_stays_together() {
    for (letters, room, want) in [
        ("suaua", 4000, "suaua"),
        // The oldest exchange, whole.
        ("suAUAua", 6000, "sUAua"),
        ("suAuAua", 3000, "suAua"),
        // Calls and their results.
        ("suctctau", 100, "su"),
        ("suCTauctau", 1000, "suctau"),
        ("suCTCTCTCT", 5000, "suCT"),
        ("suCTCTCTCT", 10_000, "suCTCT"),
        // An agent that has worked long on the last words: they stay, the oldest work goes.
        ("suauCTCTct", 1000, "suct"),
        // What must stay stays although it is too much.
        ("SUA", 100, "SUA"),
        ("SuaU", 100, "SU"),
        ("uA", 100, "uA"),
        // System messages in between stay.
        ("suAsua", 1500, "ssua"),
        // A result without a call is nobody's.
        ("sutUtu", 1000, "su"),
    ] {
        assert_eq!(kept(letters, room), want, "{letters} within {room}");
    }
}

#[test]
fn a_growing_conversation_keeps_its_beginning_for_many_turns() {
    let mut letters = "s".to_owned();
    let (mut starts, mut turns) = (Vec::new(), 0);
    for _ in 0..60 {
        letters.push('u');
        let kept = kept(&letters, 6000);
        assert!(conversation(&kept).weight() <= 6000, "{}", kept.len());
        starts.push(letters.len() - kept.len());
        letters.push('a');
        turns += 1;
    }
    starts.dedup();
    assert!(
        starts.is_sorted() && starts.len() > 2 && starts.len() * 6 < turns,
        "a new beginning every few turns: {starts:?}"
    );
}

#[test]
fn an_image_weighs_as_much_as_any_other() {
    let url = format!("data:image/png;base64,{}", "A".repeat(1 << 20));
    let body = json!({"messages": [
        {"role": "user", "content": "old"}, {"role": "assistant", "content": "older"},
        {"role": "user", "content": [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": url}}]},
    ]});
    let request = ChatRequest::parse(Bytes::from(body.to_string())).unwrap();
    assert!((MEDIUM..MEDIUM + 500).contains(&request.weight()), "{}", request.weight());
    assert!(request.omit(4000).is_empty());
}

proptest! {
    /// Whatever the conversation: what goes up is a conversation in which every result has its call, the last words are there, and nothing has changed but
    /// what is gone.
    #[test]
    fn what_is_left_is_a_conversation(exchanges in prop::collection::vec("[uU](([cC][tT]){0,3}[aA])?", 1..12), system in "s?", room in 0usize..20_000) {
        let letters = format!("{system}{}", exchanges.concat());
        let request = conversation(&letters);
        let omission = request.omit(room);
        let block = Block::new("skill");
        let body = request.splice(&Splice { block: Some(&block), omitted: Some(&omission), ..Splice::default() }).to_bytes();
        let sent: Value = serde_json::from_slice(&body).unwrap();
        let sent = sent["messages"].as_array().unwrap();
        prop_assert_eq!(sent.len(), letters.len() - omission.len() + usize::from(system.is_empty()));
        let all: Vec<Value> = letters.chars().enumerate().map(|(at, letter)| message(at, letter)).collect();
        prop_assert!(sent[1..].iter().all(|message| all.contains(message)));
        prop_assert!(sent[0]["content"].as_str().unwrap().ends_with("skill"));
        let last_words = letters.rfind(['u', 'U']).unwrap();
        prop_assert!(sent.contains(&all[last_words]) && sent.last() == all.last());
        for pair in sent.windows(2) {
            let is_call = pair[0].get("tool_calls").is_some();
            prop_assert_eq!(is_call, pair[1]["role"] == "tool", "{}", letters);
        }
        prop_assert_eq!(&sent[1]["role"], "user");
    }
}
