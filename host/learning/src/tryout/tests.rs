use serde_json::json;

use super::*;

fn proposal(action: &str, outcomes: &[Became]) -> Checked {
    let tried = |outcome: &Became| Tried { turn: "t".into(), before: None, after: None, outcome: Some(*outcome) };
    let text = "---\nname: cite\ndescription: \"d\"\n---\n\nNew words.\n";
    Checked {
        action: action.into(),
        name: "cite".into(),
        fate: Fate::Apply,
        reason: None,
        why: String::new(),
        text: (action != "retire").then(|| text.into()),
        retires: vec![],
        tryout: Some(Tryout { turns: outcomes.iter().map(tried).collect(), score: None }),
    }
}

fn decided(action: &str, outcomes: &[Became], room: bool) -> (Fate, String) {
    let mut one = proposal(action, outcomes);
    decide(&mut one, room);
    assert!(one.tryout.as_ref().unwrap().score.is_some());
    (one.fate, one.reason.unwrap())
}

#[test]
fn more_better_than_worse_is_used_and_the_other_way_round_refused() {
    use Became::{Better, Same, Worse};
    for (outcomes, fate) in [
        (&[Better][..], Fate::Apply),
        (&[Better, Same, Same], Fate::Apply),
        (&[Better, Better, Worse], Fate::Apply),
        (&[Better, Worse], Fate::Hold),
        (&[Same, Same, Same], Fate::Hold),
        (&[Better, Worse, Worse], Fate::Refuse),
        (&[Same, Worse], Fate::Refuse),
    ] {
        assert_eq!(decided("add", outcomes, true).0, fate, "{outcomes:?}");
    }
    assert_eq!(decided("add", &[Better, Worse, Same], true).1, "tried out on 3 turns: better on 1, worse on 1");
    // Where no more candidates have room, there is none.
    assert_eq!(decided("add", &[Same], false).0, Fate::Refuse);
    // What takes away need not make anything better.
    for (outcomes, fate) in [(&[Same][..], Fate::Apply), (&[Better, Worse], Fate::Apply), (&[Worse], Fate::Refuse)] {
        assert_eq!(decided("retire", outcomes, true).0, fate, "{outcomes:?}");
    }
}

#[test]
fn what_is_compared_is_the_prompt_as_it_is_and_as_it_would_be() {
    let skill = |name: &str, body: &str| {
        let text = format!("---\nname: {name}\ndescription: \"d\"\n---\n\n{body}\n");
        Skill::parse(text.as_bytes(), name, SkillScope::Own).unwrap()
    };
    let library =
        Library::of(vec![skill("cite", "Old words."), skill("sort", "Sort them."), skill("other", "Other words.")]);
    let used = ["sort".to_owned(), "gone".to_owned()];
    // The skill that is changed is in both, whether or not it was in that prompt.
    let (before, after) = blocks(&library, &used, &proposal("update", &[])).unwrap();
    assert!(before.contains("Old words") && before.contains("Sort them") && !before.contains("Other words"));
    assert!(after.contains("New words") && after.contains("Sort them") && !after.contains("Old words"), "{after}");
    let merge = Checked { retires: vec!["other".into()], ..proposal("merge", &[]) };
    let (before, after) = blocks(&library, &used, &merge).unwrap();
    assert!(before.contains("Other words") && !after.contains("Other words") && after.contains("New words"));
    let retire = Checked { retires: vec!["cite".into()], ..proposal("retire", &[]) };
    let (before, after) = blocks(&library, &[], &retire).unwrap();
    assert!(before.contains("Old words") && after.is_empty(), "{after}");
}

#[test]
fn a_request_is_asked_again_without_what_steers_sampling() {
    let request = json!({
        "model": "m", "messages": [{"role": "user", "content": "x"}], "tools": [], "stream": true, "n": 2, "temperature": 1.5,
        "max_tokens": 9, "response_format": {"type": "json_object"},
    });
    let body = body(request.to_string().as_bytes()).unwrap();
    assert_eq!(body.as_object().unwrap().keys().collect::<Vec<_>>(), ["messages", "response_format", "tools"]);
    assert_eq!(super::body(b"[]"), None);
    assert_eq!(super::body(b"{\"model\":\"m\"}"), None);
}

#[test]
fn a_sample_is_about_one_in_four() {
    let taken = (0..400).filter(|number| sampled(&format!("skill {number}"))).count();
    assert!((70..130).contains(&taken), "{taken}");
}
