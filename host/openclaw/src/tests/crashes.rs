//! A run that ends after any of its steps leaves something that the next run finishes or takes back.

use super::{Place, Wish, value};

const TEXT: &str = "{\n  // mine\n  agents: { defaults: { model: 'a/b' } },\n}\n";

/// How the first run and the second go on from a crash.
fn other() -> Wish {
    Wish { base_url: "http://127.0.0.1:31000/v1".into(), ..Wish::default() }
}

fn connected() -> (Place, String) {
    let place = Place::with(TEXT);
    place.connect();
    let text = place.text();
    (place, text)
}

/// After a connect, and perhaps an edit by the user.
fn connected_and(edited: bool) -> Place {
    let (place, text) = connected();
    if edited {
        place.write(&text.replace("// mine", "// mine, newer"));
    }
    place
}

/// Disconnects if there is something to take back.
fn take_back(place: &Place) {
    if let Ok(job) = place.connection().disconnect() {
        job.run().unwrap();
    }
}

#[test]
fn a_connect_that_was_cut_off_is_finished_or_taken_back() {
    let whole = connected().1;
    for existed in [true, false] {
        for steps in 0..=4 {
            for finish in [true, false] {
                let place = if existed { Place::with(TEXT) } else { Place::new() };
                place.connecting(&Wish::default()).unwrap().run_some(steps).unwrap();
                let what = format!("existed: {existed}, after {steps} steps, finish: {finish}");
                if finish {
                    place.connect();
                    if existed {
                        assert_eq!(
                            place.text().replace(place.dir.path().to_str().unwrap(), ""),
                            strip(&whole),
                            "{what}"
                        );
                    }
                }
                take_back(&place);
                assert_eq!(place.config().exists(), existed, "{what}");
                if existed {
                    assert_eq!(place.text(), TEXT, "{what}");
                }
                place.check_tidy();
            }
        }
    }
}

/// The text without the folder that it was made in.
fn strip(text: &str) -> String {
    let at = text.find("/metaclaw/openclaw/plugin").unwrap();
    let from = text[..at].rfind('"').unwrap() + 1;
    format!("{}{}", &text[..from], &text[at..])
}

#[test]
fn an_update_that_was_cut_off_is_finished_or_taken_back() {
    for edited in [false, true] {
        for steps in 0..=3 {
            for finish in [true, false] {
                let place = connected_and(edited);
                place.connecting(&other()).unwrap().run_some(steps).unwrap();
                let what = format!("edited: {edited}, after {steps} steps, finish: {finish}");
                if finish {
                    place.connecting(&other()).unwrap().run().unwrap();
                    assert!(place.text().contains("31000"), "{what}");
                }
                assert!(place.disconnect().is_empty(), "{what}");
                match edited {
                    true => {
                        assert_eq!(value(&place.text()), value(TEXT), "{what}");
                        assert!(place.text().contains("// mine, newer"), "{what}");
                    }
                    false => assert_eq!(place.text(), TEXT, "{what}"),
                }
                place.check_tidy();
            }
        }
    }
}

#[test]
fn a_disconnect_that_was_cut_off_is_finished_or_followed_by_a_connect() {
    for edited in [false, true] {
        for steps in 0..=4 {
            for connect in [true, false] {
                let place = connected_and(edited);
                place.connection().disconnect().unwrap().run_some(steps).unwrap();
                let what = format!("edited: {edited}, after {steps} steps, connect: {connect}");
                if connect {
                    place.connect();
                    assert!(place.connection().plugin_folder().join("index.ts").exists(), "{what}");
                    assert!(place.text().contains("metaclaw/gpt-x"), "{what}");
                }
                take_back(&place);
                assert_eq!(value(&place.text()), value(TEXT), "{what}");
                if !edited {
                    assert_eq!(place.text(), TEXT, "{what}");
                }
                place.check_tidy();
            }
        }
    }
}

#[test]
fn a_user_who_edits_between_a_crash_and_the_next_run_loses_nothing() {
    for steps in 1..=3 {
        let place = Place::with(TEXT);
        place.connecting(&Wish::default()).unwrap().run_some(steps).unwrap();
        let newer = TEXT.replace("a/b", "newer/model");
        place.write(&newer);
        place.connect();
        assert_eq!(std::fs::read_to_string(place.backup()).unwrap(), newer, "after {steps} steps");
        place.disconnect();
        assert_eq!(place.text(), newer, "after {steps} steps");
        place.check_tidy();
    }
}
