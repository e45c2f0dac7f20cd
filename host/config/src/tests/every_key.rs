//! Promise L5: each key, missing, misspelt, of a wrong kind, or good.

use crate::schema::{self, KEYS, Key};
use crate::setting::Kind;
use crate::settings::default_setting;

use super::load_str;

/// A real path for the key: `*` becomes a name.
fn path(key: &Key) -> String {
    key.path.replace('*', "x1")
}

/// A file with this one value. An upstream needs more than, say, its model, so it has a provider unless that is meant.
fn file(path: &str, value: &str) -> String {
    let parts: Vec<&str> = path.split('.').collect();
    let mut text = String::new();
    for (depth, part) in parts.iter().enumerate() {
        let end = if depth + 1 == parts.len() { format!(" {value}\n") } else { "\n".to_owned() };
        text += &format!("{}{part}:{end}", "  ".repeat(depth));
    }
    text
}

fn wrong(kind: Kind) -> &'static str {
    match kind {
        Kind::Object => "7",
        _ => "{ a: [1] }",
    }
}

fn good(key: &Key) -> String {
    match key.kind {
        Kind::Bool => "true".to_owned(),
        Kind::Integer(least, _) => least.to_string(),
        Kind::Number(least, _) => least.to_string(),
        Kind::Choice(words) => words[0].to_owned(),
        Kind::Time(least, _) => format!("{least}ms"),
        Kind::Size(least, _) => format!("{least}B"),
        Kind::Object => "{}".to_owned(),
        Kind::Digest => "\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"".to_owned(),
        Kind::PublicKey => "RWS2CmvI5orYkZkFjlAVxGmukLvdS4X558D3EeytVD2Esq+eCbGPxt0v".to_owned(),
        Kind::Host => "127.0.0.1".to_owned(),
        Kind::Url => "https://models.example/v1".to_owned(),
        Kind::Path => "/srv/x".to_owned(),
        Kind::Clock => "\"22:00\"".to_owned(),
        Kind::Secret => "env:STRONG_KEY".to_owned(),
        Kind::Text | Kind::List => "words".to_owned(),
    }
}

#[test]
fn each_key_of_a_wrong_kind_is_an_error_at_its_path() {
    for key in KEYS {
        let path = path(key);
        let problems = load_str(&file(&path, wrong(key.kind))).unwrap_err();
        assert!(problems.errors().any(|p| p.path == path && p.place.is_some()), "{path}: {problems}");
    }
}

#[test]
fn each_misspelt_key_is_an_error_with_the_right_key_suggested() {
    // Where the user gives the last name, too, none is misspelt.
    for key in KEYS.iter().filter(|key| !key.path.ends_with('*')) {
        let path = path(key);
        let typo = format!("{path}z");
        let problems = load_str(&file(&typo, &good(key))).unwrap_err();
        let error = problems.errors().find(|p| p.path == typo).unwrap_or_else(|| panic!("{typo}: {problems}"));
        assert_eq!(error.message, "there is no such key", "{typo}");
        assert_eq!(error.remedy, format!("did you mean `{path}`?"), "{typo}");
    }
}

#[test]
fn each_good_value_is_taken_for_what_it_is() {
    for key in KEYS {
        let path = path(key);
        let problems = match load_str(&file(&path, &good(key))) {
            Ok(loaded) => loaded.warnings,
            Err(problems) => problems.problems,
        };
        // A value may need others beside it, but it is never misread.
        let misread =
            problems.iter().find(|p| p.message.contains("is not a ") || p.message.contains("fault in metaclaw"));
        let text_with_a_meaning = matches!(key.kind, Kind::Text | Kind::List);
        assert!(misread.is_none() || text_with_a_meaning, "{path}: {misread:?}");
        assert!(problems.iter().all(|p| !p.message.contains("fault in metaclaw")), "{path}: {problems:?}");
    }
}

#[test]
fn an_empty_key_says_nothing() {
    for key in KEYS {
        let loaded = load_str(&file(&path(key), ""));
        // An upstream that is named is there, and wants an address.
        assert!(loaded.is_ok() || key.path.starts_with("upstreams"), "{}: {}", key.path, loaded.unwrap_err());
    }
}

#[test]
fn the_schema_is_sound() {
    for (index, key) in KEYS.iter().enumerate() {
        assert!(KEYS[..index].iter().all(|other| other.path != key.path), "{} is there twice", key.path);
        assert!(schema::children(key.path).is_empty(), "{} is a key and a section", key.path);
        assert!(!key.about.is_empty(), "{}", key.path);
        if !key.default.is_empty() {
            let default = default_setting(key).unwrap_or_else(|| panic!("{}: the default does not fit", key.path));
            let same = default.to_string() == key.default
                || default.to_string().parse::<f64>().ok() == key.default.parse::<f64>().ok();
            assert!(same, "{}: {default} is {}", key.path, key.default);
        }
        assert_eq!(schema::find_path(&path(key)).map(|(found, _)| found.path), Some(key.path));
    }
}
