//! Every fixture of `tests/golden`: what connecting shows and writes, or why it refuses. `UPDATE_GOLDEN=1` writes the
//! `.out` files anew.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use domain::Secret;

use super::{Place, Wish, value};
use crate::{ApiKey, Choice};

#[test]
fn connecting_changes_what_it_says_and_nothing_else_and_disconnecting_gives_every_byte_back() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut fixtures: Vec<_> = fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
    fixtures.retain(|path| path.extension().is_some_and(|e| e == "json5"));
    fixtures.sort();
    assert!(fixtures.len() > 20);
    let mut wrong = Vec::new();
    for fixture in fixtures {
        let place = Place::with(&fs::read_to_string(&fixture).unwrap());
        let parts = place.config().with_file_name("parts");
        fs::create_dir(&parts).unwrap();
        for part in fs::read_dir(folder.join("parts")).unwrap().map(|e| e.unwrap()) {
            fs::copy(part.path(), parts.join(part.file_name())).unwrap();
        }
        fs::write(place.dir.path().join("secret.json5"), "{ defaults: {} }").unwrap();
        let name = fixture.file_stem().unwrap().to_str().unwrap();
        let out =
            connect(&place, &wish(name)).replace(place.dir.path().canonicalize().unwrap().to_str().unwrap(), "/DIR");
        let golden = fixture.with_extension("out");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &out).unwrap();
        }
        if fs::read_to_string(&golden).unwrap_or_default() != out {
            wrong.push(format!("{name}:\n{out}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

fn wish(name: &str) -> Wish {
    let only = |ids: &[&str]| Choice::Only(ids.iter().map(|id| (*id).to_owned()).collect());
    let mut wish = Wish::default();
    match name {
        "some-agents" => wish.agents = only(&["Research", "coder"]),
        "no-such-agent" => wish.agents = only(&["main", "nobody"]),
        "plain" => wish.api_key = ApiKey::Variable("METACLAW_KEY".into()),
        "json5" => wish.api_key = ApiKey::Literal(Secret::new("a-key-canary-with-${HOME}-and-${x}".into())),
        "crlf" => wish.api_key = ApiKey::File("/etc/metaclaw.key".into()),
        _ => {}
    }
    wish
}

fn connect(place: &Place, wish: &Wish) -> String {
    let before = place.text();
    let mut out = String::new();
    let job = match place.connecting(wish) {
        Ok(job) => job,
        Err(error) => {
            assert_eq!(place.text(), before);
            assert!(!place.connection().record_file().exists() && !place.backup().exists());
            assert!(!error.to_string().contains("canary"), "{error}");
            return format!("{error}\n");
        }
    };
    job.changes.iter().for_each(|line| writeln!(out, "{line}").unwrap());
    job.notes.iter().for_each(|note| writeln!(out, "note: {note}").unwrap());
    assert!(!out.contains("canary"), "{out}");
    assert_eq!(place.text(), before, "nothing is written before it is agreed to");
    job.run().unwrap();
    let after = place.text();
    write!(out, "-----\n{after}").unwrap();

    let again = place.connecting(wish).unwrap();
    assert!(again.is_done(), "{:?}", again.changes);
    let (was, is) = (value(&before), value(&after));
    for untouched in ["gateway", "tools", "channels", "skills"] {
        assert_eq!(was.get(untouched), is.get(untouched));
    }
    assert_eq!(fs::read_to_string(place.backup()).unwrap(), before);
    assert!(place.disconnect().is_empty());
    assert_eq!(place.text(), before, "every byte");
    place.check_tidy();
    out
}
