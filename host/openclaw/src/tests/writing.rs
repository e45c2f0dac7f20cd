//! How files are found, written and left.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::{Place, Wish};
use crate::{ApiKey, Hints, OpenclawError, find};

const TEXT: &str = "{ agents: { defaults: { model: 'a/b' } } }\n";

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn the_first_hint_wins() {
    let path = |text: &str| Some(PathBuf::from(text));
    let all =
        Hints { named: path("/n/x.json"), config_path: path("~/c.json"), state_dir: path("/s"), home: path("/h") };
    let without_name = Hints { named: None, ..all.clone() };
    let state = Hints { config_path: path(""), ..without_name.clone() };
    let home = Hints { state_dir: None, ..state.clone() };
    for (hints, file) in [
        (all, "/n/x.json"),
        (without_name, "/h/c.json"),
        (state, "/s/openclaw.json"),
        (home, "/h/.openclaw/openclaw.json"),
    ] {
        assert_eq!(find(&hints).unwrap(), Path::new(file));
    }
    assert!(matches!(find(&Hints::default()), Err(OpenclawError::NoHome)));
}

#[test]
fn modes_are_kept_and_what_is_ours_is_nobody_elses() {
    let place = Place::with(TEXT);
    fs::set_permissions(place.config(), fs::Permissions::from_mode(0o640)).unwrap();
    place.connect();
    let connection = place.connection();
    assert_eq!((mode(&place.config()), mode(&place.backup())), (0o640, 0o640));
    assert_eq!(mode(&connection.record_file()), 0o600);
    assert_eq!(mode(&connection.plugin_folder()), 0o700);
    assert_eq!(mode(&connection.plugin_folder().join("index.ts")), 0o600);
    place.disconnect();
    assert_eq!((mode(&place.config()), place.text().as_str()), (0o640, TEXT));
}

#[test]
fn a_key_is_not_written_where_others_can_read_it() {
    let place = Place::with(TEXT);
    let wish = Wish { api_key: ApiKey::Literal(domain::Secret::new("key-canary".into())), ..Wish::default() };
    assert!(place.connecting(&wish).is_ok());
    fs::set_permissions(place.config(), fs::Permissions::from_mode(0o644)).unwrap();
    let error = place.connecting(&wish).unwrap_err().to_string();
    assert!(error.contains("chmod 600") && !error.contains("canary"), "{error}");
    assert!(place.connecting(&Wish { api_key: ApiKey::Variable("KEY".into()), ..wish }).is_ok());
}

#[test]
fn the_owner_is_kept() {
    let place = Place::with(TEXT);
    // Only root may give files away.
    if std::os::unix::fs::chown(place.config(), Some(12345), Some(12346)).is_err() {
        return;
    }
    place.connect();
    for file in [place.config(), place.backup()] {
        let about = fs::metadata(file).unwrap();
        assert_eq!((about.uid(), about.gid()), (12345, 12346));
    }
}

#[test]
fn a_link_stays_a_link() {
    let place = Place::new();
    let dotfiles = place.dir.path().join("dotfiles");
    fs::create_dir(&dotfiles).unwrap();
    let real = dotfiles.join("openclaw.json5");
    fs::write(&real, TEXT).unwrap();
    symlink(&real, place.config()).unwrap();
    place.connect();
    assert!(place.config().is_symlink());
    assert!(fs::read_to_string(&real).unwrap().contains("metaclaw/gpt-x"));
    assert!(dotfiles.join("openclaw.json5.before-metaclaw").exists());
    place.disconnect();
    assert!(place.config().is_symlink());
    assert_eq!(fs::read_to_string(&real).unwrap(), TEXT);
    place.check_tidy();
}

#[test]
fn a_file_is_made_only_where_there_is_a_folder_for_it() {
    let place = Place::new();
    place.connect();
    assert_eq!(mode(&place.config()), 0o600);
    place.disconnect();
    assert!(!place.config().exists());
    fs::remove_dir(place.config().parent().unwrap()).unwrap();
    let error = place.connecting(&Wish::default()).unwrap_err();
    assert!(matches!(error, OpenclawError::NotFound(_)), "{error}");
}

#[test]
fn a_file_made_by_us_and_filled_by_its_user_stays() {
    let place = Place::new();
    place.connect();
    place.write(&place.text().replacen('{', "{ logging: { level: 'debug' },", 1));
    assert!(place.disconnect().is_empty());
    assert_eq!(super::value(&place.text()), serde_json::json!({"logging": {"level": "debug"}}));
}

#[test]
fn nothing_is_written_over_what_somebody_else_wrote_meanwhile() {
    let place = Place::with(TEXT);
    let job = place.connecting(&Wish::default()).unwrap();
    place.write("{ newer: true }");
    assert!(matches!(job.run(), Err(OpenclawError::Changed(_))));
    assert_eq!(place.text(), "{ newer: true }");

    let (one, two) = (place.connecting(&Wish::default()).unwrap(), place.connecting(&Wish::default()).unwrap());
    one.run().unwrap();
    assert!(matches!(two.run(), Err(OpenclawError::Changed(_))), "two commands at once");
}

#[test]
fn a_copy_that_somebody_else_needs_is_left_alone() {
    let place = Place::with(TEXT);
    fs::write(place.backup(), "another home's").unwrap();
    place.connect();
    assert_eq!(fs::read_to_string(place.backup()).unwrap(), "another home's");
    place.disconnect();
    assert_eq!((place.text().as_str(), fs::read_to_string(place.backup()).unwrap().as_str()), (TEXT, "another home's"));
}

#[test]
fn a_copy_that_was_deleted_is_done_without() {
    let place = Place::with(TEXT);
    place.connect();
    fs::remove_file(place.backup()).unwrap();
    assert!(place.disconnect().is_empty());
    assert_eq!(super::value(&place.text()), super::value(TEXT));
}

#[test]
fn a_home_has_one_connection() {
    let place = Place::with(TEXT);
    place.connect();
    let elsewhere = place.dir.path().join("other.json");
    fs::write(&elsewhere, TEXT).unwrap();
    let offer = |_: Option<&str>, _: Option<&str>| crate::Offer::Unfit(String::new());
    let wanted =
        crate::Wanted { base_url: String::new(), api_key: ApiKey::None, agents: crate::Choice::All, offer: &offer };
    let error = place.connection().connect(&elsewhere, &wanted, &[]).unwrap_err();
    assert!(matches!(error, OpenclawError::Elsewhere(_)), "{error}");
}

#[test]
fn what_cannot_be_a_configuration_is_refused() {
    let place = Place::new();
    fs::create_dir(place.config()).unwrap();
    assert!(matches!(place.connecting(&Wish::default()), Err(OpenclawError::Unreadable { .. })));
    fs::remove_dir(place.config()).unwrap();
    symlink("/nowhere/at/all", place.config()).unwrap();
    let error = place.connecting(&Wish::default()).unwrap_err();
    assert!(error.to_string().contains("leads nowhere"), "{error}");
    fs::remove_file(place.config()).unwrap();
    fs::write(place.config(), b"{ a: '\xff' }").unwrap();
    let error = place.connecting(&Wish::default()).unwrap_err();
    assert!(error.to_string().contains("UTF-8"), "{error}");
    let deep = format!("{}{}", "{a:".repeat(3000), "1".to_owned() + &"}".repeat(3000));
    place.write(&deep);
    assert!(matches!(place.connecting(&Wish::default()), Err(OpenclawError::Unreadable { .. })));
}
