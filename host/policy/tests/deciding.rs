//! What the built-in policy and the example's policy decide.
#![cfg(test)]

mod support;

use std::sync::atomic::Ordering::Relaxed;

use domain::{DecisionSource, Verdict};
use policy::RouteDecision;
use support::{ENGINE, agent, assistant, catalog, patient, plain, sample, turn};

#[tokio::test]
async fn the_client_gets_the_model_it_asks_for_or_the_configured_one() {
    for (requested, target) in [("model-a", 0), ("model-b", 1), ("", 0), ("gpt-9", 0), ("MODEL-B", 0), ("model-b ", 0)]
    {
        let got = plain().turn(turn(requested, "words")).route().await;
        assert_eq!(got.value, RouteDecision::To(target), "{requested:?}");
        assert_eq!((got.source, got.digest), (DecisionSource::Builtin, ENGINE.builtin().digest()));
        assert!(got.failure.is_none());
    }
}

#[tokio::test]
async fn skills_are_taken_best_first_while_they_fit() {
    let skills = &[("a", 9.0, 900), ("b", 8.0, 900), ("c", 7.0, 900), ("d", 6.0, 100), ("e", 0.5, 100), ("f", 0.0, 1)];
    for (settings, expected) in [
        ("{}", &["a", "b", "d", "e"][..]),
        (r#"{"max_skills":1}"#, &["a"]),
        (r#"{"max_skills":0}"#, &[]),
        (r#"{"max_tokens":2800}"#, &["a", "b", "c", "d"]),
        (r#"{"max_tokens":99}"#, &[]),
        (r#"{"min_score":1}"#, &["a", "b", "d"]),
        (r#" { } "#, &["a", "b", "d", "e"]),
    ] {
        let got = agent(&ENGINE.builtin(), settings, patient()).turn(turn("", "words")).select(catalog(skills)).await;
        assert_eq!(got.value.skills(), expected, "{settings}");
        assert_eq!(got.source, DecisionSource::Builtin);
        assert!(got.failure.is_none(), "{settings}: {:?}", got.failure);
    }
}

#[tokio::test]
async fn only_the_beginning_of_a_long_text_is_searched_for() {
    for (text, longest) in [
        ("short".to_owned(), 5),
        ("x".repeat(1 << 20), 4096),
        ("é".repeat(5000), 4096),
        (format!("x{}", "é".repeat(5000)), 4095),
    ] {
        let skills = catalog(&[("a", 1.0, 1)]);
        let got = plain().turn(turn("", &text)).select(skills.clone()).await;
        assert_eq!((got.value.skills(), skills.longest_query.load(Relaxed)), (&["a".to_owned()][..], longest));
    }
}

#[tokio::test]
async fn finished_answers_become_samples() {
    let dropped = |reason: &str| Verdict::Drop { reason: reason.to_owned() };
    for (reason, answer, expected) in [
        ("stop", "an answer", Verdict::Keep { weight: 1.0 }),
        ("tool_calls", "I look it up", Verdict::Keep { weight: 1.0 }),
        ("tool_calls", "", Verdict::Keep { weight: 1.0 }),
        ("stop", " \n", dropped("the answer is blank")),
        ("length", "cut o", dropped("the answer ended with \"length\"")),
        ("", "an answer", dropped("the answer ended with \"\"")),
    ] {
        assert_eq!(plain().filter(sample(reason, answer)).await.value, expected, "{reason:?} {answer:?}");
    }
}

#[tokio::test]
async fn the_assistant_refuses_topics_and_leads_with_its_skill() {
    let settings = r#"{"refuse":["Horoscope","lottery"],"first_skill":"house-style"}"#;
    let module = ENGINE.load(assistant(), None, settings).unwrap();
    let policy = agent(&module, settings, patient());
    let refusal = policy.turn(turn("model-b", "What is my HOROSCOPE today?")).route().await;
    let expected = "I would rather not talk about horoscope. Is there something else I can help with?";
    assert_eq!(refusal.value, RouteDecision::Refuse(expected.to_owned()));
    let mut call = policy.turn(turn("model-b", "Mend this function"));
    assert_eq!(call.route().await.value, RouteDecision::To(1));
    let skills = catalog(&[("mending", 2.0, 100), ("house-style", 1.0, 100), ("cooking", 0.0, 100)]);
    assert_eq!(call.select(skills).await.value.skills(), ["house-style", "mending"]);
}

#[tokio::test]
async fn the_assistant_knows_its_settings() {
    for (settings, expected) in [
        (r#"{"refuse": "horoscope"}"#, "`refuse` must be a list of words"),
        (r#"{"refuse": [1]}"#, "`refuse` must be a list of words"),
        (r#"{"first_skill": 1}"#, "`first_skill` must be the name of a skill"),
        (r#"{"refuses": []}"#, "there is no setting \"refuses\"; there are `refuse` and `first_skill`"),
        ("3", "the settings must be a mapping of names to values"),
    ] {
        let got = ENGINE.load(assistant(), None, settings).unwrap_err().to_string();
        assert!(got.contains(expected), "{settings}: {got}");
    }
}
