//! Taking a connection back after OpenClaw or its user has written the file anew.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{PLUGIN, Place, Wish, value};
use crate::Choice;

const PLAIN: &str = include_str!("../../tests/golden/plain.json5");

/// What a user does to a key after connecting; the keys are given with `/`.
#[derive(Clone, Debug)]
struct Deed {
    key: &'static str,
    put: Option<Value>,
}

/// Keys that are not ours, some of them inside what we made.
const THEIRS: &[&str] = &[
    "/gateway/port",
    "/models/mode",
    "/models/providers/other",
    "/plugins/slots",
    "/plugins/entries/telegram",
    "/plugins/load/watch",
    "/agents/defaults/workspace",
    "/agents/entries/research/sandbox",
    "/agents/entries/new",
    "/tools",
    "/channels/telegram",
    "/logging",
];

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let put = prop_oneof![
        Just(None),
        Just(Some(json!({"enabled": true, "list": [1, 2]}))),
        Just(Some(json!("text"))),
        Just(Some(json!({}))),
        any::<u16>().prop_map(|n| Some(json!(n))),
    ];
    let deed = (prop::sample::select(THEIRS), put).prop_map(|(key, put)| Deed { key, put });
    prop::collection::vec(deed, 0..8)
}

fn act(mut root: &mut Value, key: &str, put: &Option<Value>) {
    let keys: Vec<&str> = key.split('/').skip(1).collect();
    let (last, outer) = keys.split_last().unwrap();
    for key in outer {
        if !root.as_object().is_some_and(|members| members.get(*key).is_some_and(Value::is_object)) {
            if put.is_none() {
                return;
            }
            root[*key] = json!({});
        }
        root = &mut root[*key];
    }
    match put {
        Some(put) => root[*last] = put.clone(),
        None => drop(root.as_object_mut().unwrap().remove(*last)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_a_user_changes_elsewhere_stays_and_all_of_ours_goes(deeds in deeds(), plain in any::<bool>()) {
        let before = if plain { PLAIN } else { "{ agents: { entries: { research: {} } }, plugins: { allow: ['x'] } }" };
        let place = Place::with(before);
        place.connect();
        let (mut file, mut expected) = (value(&place.text()), value(before));
        for Deed { key, put } in &deeds {
            act(&mut file, key, put);
            act(&mut expected, key, put);
        }
        place.write(&serde_json::to_string_pretty(&file).unwrap());
        let kept = place.disconnect();
        prop_assert!(kept.is_empty(), "{kept:?}");
        // A container that we made, and that is empty at the end, cannot be told from one that a user made empty.
        prop_assert_eq!(without_empty(value(&place.text())), without_empty(expected));
        place.check_tidy();
    }
}

fn without_empty(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.into_iter().map(|(key, value)| (key, without_empty(value)));
            members
                .filter(|(_, value)| *value != json!({}) && *value != json!([]))
                .collect::<serde_json::Map<_, _>>()
                .into()
        }
        value => value,
    }
}

/// (what the user does after connecting, what stays although it is ours, what the file says at the end)
#[test]
fn what_a_user_changed_of_ours_stays_and_is_named() {
    let before = json!({"agents": {"defaults": {"model": "a/b"}, "entries": {"research": {"model": "c/d"}}}});
    type Change = fn(&mut Value);
    let cases: &[(&str, Change, &[&str], Change)] = &[
        (
            "another model",
            |file| file["agents"]["defaults"]["model"] = json!("e/f"),
            &["agents.defaults.model"],
            |file| file["agents"]["defaults"]["model"] = json!("e/f"),
        ),
        (
            "the agent is gone",
            |file| drop(file["agents"]["entries"].as_object_mut().unwrap().remove("research")),
            &["agents.research.model"],
            |file| drop(file["agents"]["entries"].as_object_mut().unwrap().remove("research")),
        ),
        ("the old model is back by hand", |file| file["agents"]["defaults"]["model"] = json!("a/b"), &[], |_| {}),
        (
            "a header for our provider",
            |file| file["models"]["providers"]["metaclaw"] = json!({"baseUrl": "http://x", "headers": {}}),
            &["models.providers.metaclaw"],
            |file| file["models"] = json!({"providers": {"metaclaw": {"baseUrl": "http://x", "headers": {}}}}),
        ),
        ("our provider is gone", |file| drop(file.as_object_mut().unwrap().remove("models")), &[], |_| {}),
        (
            "more plugins",
            |file| file["plugins"]["load"]["paths"].as_array_mut().unwrap().push(json!("/mine")),
            &[],
            |file| file["plugins"] = json!({"load": {"paths": ["/mine"]}}),
        ),
        (
            "OpenClaw moved the roster",
            |file| {
                let entries = file["agents"].as_object_mut().unwrap().remove("entries").unwrap();
                let mut entry = entries["research"].clone();
                entry["id"] = json!("research");
                file["agents"]["list"] = json!([{"id": "main"}, entry]);
            },
            &[],
            |file| {
                file["agents"].as_object_mut().unwrap().remove("entries");
                file["agents"]["list"] = json!([{"id": "main"}, {"id": "research", "model": "c/d"}]);
            },
        ),
    ];
    for (what, change, kept, wanted) in cases {
        let place = Place::with(&before.to_string());
        place.connect();
        let mut file = value(&place.text());
        change(&mut file);
        place.write(&file.to_string());
        let mut expected = before.clone();
        wanted(&mut expected);
        assert_eq!(place.disconnect(), *kept, "{what}");
        assert_eq!(value(&place.text()), expected, "{what}");
        place.check_tidy();
    }
}

#[test]
fn comments_of_the_user_survive_an_undoing_key_by_key() {
    let place = Place::with("{\n  // mine\n  agents: { defaults: { model: 'a/b' /* b */ } },\n}\n");
    place.connect();
    place.write(&place.text().replace("// mine", "// mine, and newer"));
    place.disconnect();
    assert_eq!(place.text(), "{\n  // mine, and newer\n  agents: { defaults: { model: \"a/b\" /* b */ } },\n}\n");
}

#[test]
fn what_still_speaks_of_us_is_named() {
    let place = Place::with("{ agents: { defaults: { model: 'a/b' } } }");
    place.connect();
    let mut file = value(&place.text());
    file["agents"]["defaults"]["modelPolicy"] = json!({"allow": ["a/*", "metaclaw/gpt-x"]});
    place.write(&file.to_string());
    let notes = place.connection().disconnect().unwrap().notes;
    assert_eq!(notes[0], "`agents.defaults.modelPolicy.allow` still names metaclaw/gpt-x");
    assert!(notes[1].starts_with("the file as it was before the connection stays at "), "{notes:?}");
    place.disconnect();
    assert_eq!(std::fs::read_to_string(place.backup()).unwrap(), "{ agents: { defaults: { model: 'a/b' } } }");
}

#[test]
fn connecting_again_brings_up_to_date_and_still_gives_the_first_text_back() {
    let place = Place::with(PLAIN);
    place.connect();
    let other = Wish { base_url: "http://127.0.0.1:31000/v1".into(), ..Wish::default() };
    let job = place.connecting(&other).unwrap();
    let lines: Vec<String> = job.changes.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [r#"~ models.providers.metaclaw.baseUrl: "http://127.0.0.1:30000/v1" → "http://127.0.0.1:31000/v1""#]
    );
    job.run().unwrap();
    assert!(place.text().contains("31000") && !place.text().contains("30000"));
    assert_eq!(std::fs::read_to_string(place.backup()).unwrap(), PLAIN);
    assert!(place.disconnect().is_empty());
    assert_eq!(place.text(), PLAIN);
    place.check_tidy();
}

#[test]
fn connecting_again_with_fewer_agents_gives_the_others_their_models_back() {
    let place = Place::with(PLAIN);
    place.connect();
    let fewer = Wish { agents: Choice::Only(vec!["research".into()]), ..Wish::default() };
    place.connecting(&fewer).unwrap().run().unwrap();
    let (now, before) = (value(&place.text()), value(PLAIN));
    assert_eq!(now["agents"]["defaults"], before["agents"]["defaults"]);
    assert_eq!(now["agents"]["entries"]["coder"], before["agents"]["entries"]["coder"]);
    assert_eq!(now["agents"]["entries"]["research"]["model"], "metaclaw/reader");
    assert_eq!(now["models"]["providers"]["metaclaw"]["models"].as_array().unwrap().len(), 1);
    place.disconnect();
    assert_eq!(place.text(), PLAIN);
}

#[test]
fn connecting_again_after_a_user_wrote_the_file_loses_nothing_of_it() {
    let place = Place::with(PLAIN);
    place.connect();
    let mut file = value(&place.text());
    file["logging"] = json!({"level": "debug"});
    file["agents"]["defaults"]["model"]["primary"] = json!("users/choice");
    file["models"]["providers"]["metaclaw"]["timeoutSeconds"] = json!(900);
    place.write(&file.to_string());
    let other = Wish { base_url: "http://127.0.0.1:31000/v1".into(), ..Wish::default() };
    place.connecting(&other).unwrap().run().unwrap();
    let now = value(&place.text());
    assert_eq!(now["models"]["providers"]["metaclaw"]["timeoutSeconds"], 900);
    assert_eq!(now["models"]["providers"]["metaclaw"]["baseUrl"], "http://127.0.0.1:31000/v1");
    assert_eq!(now["agents"]["defaults"]["model"]["primary"], "metaclaw/gpt-x");
    assert_eq!(std::fs::read_to_string(place.backup()).unwrap(), PLAIN, "the first copy stays");
    assert!(place.disconnect().is_empty());
    let mut expected = value(PLAIN);
    expected["logging"] = json!({"level": "debug"});
    expected["agents"]["defaults"]["model"]["primary"] = json!("users/choice");
    assert_eq!(value(&place.text()), expected);
    place.check_tidy();
}

#[test]
fn the_status_says_what_holds() {
    let place = Place::with(PLAIN);
    assert_eq!(place.connection().status(PLUGIN).unwrap(), None);
    place.connect();
    let status = place.connection().status(PLUGIN).unwrap().unwrap();
    assert_eq!(status.base_url.as_deref(), Some("http://127.0.0.1:30000/v1"));
    assert_eq!(status.default_model.as_deref(), Some("gpt-x"));
    let agents = [("coder", "gpt-x"), ("research", "reader")].map(|(a, m)| (a.to_owned(), m.to_owned()));
    assert_eq!(status.agents, agents);
    assert!(status.changed.is_empty() && !status.gone);
    place.write(&place.text().replace("metaclaw/reader", "openai/gpt-5.2"));
    let status = place.connection().status(PLUGIN).unwrap().unwrap();
    assert_eq!((status.changed, status.gone), (vec!["agents.research.model".to_owned()], false));
    place.write(PLAIN);
    assert!(place.connection().status(PLUGIN).unwrap().unwrap().gone);
}
