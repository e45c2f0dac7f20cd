use std::collections::HashSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use domain::{AgentId, Digest};

use crate::{KeyFile, KeyState, KeysError, NewKey, NotAKey, Scope, Wish, check, named_id};

struct Place {
    home: tempfile::TempDir,
    file: KeyFile,
}

fn place() -> Place {
    let home = tempfile::tempdir().unwrap();
    let file = KeyFile::of(home.path());
    Place { home, file }
}

fn agents(names: &[&str]) -> Scope {
    Scope::agents(names.iter().map(|name| AgentId::from_trusted(name).unwrap())).unwrap()
}

fn wish(scope: Scope) -> Wish {
    Wish { scope, label: String::new(), lifetime: None }
}

impl Place {
    fn add(&self, scope: Scope) -> NewKey {
        self.file.add(&wish(scope)).unwrap().0
    }

    /// What a text is good for, by what is in the file now.
    fn find(&self, text: &str) -> Option<Scope> {
        let ring = self.file.read().unwrap().unwrap_or_default();
        ring.find(text.as_bytes(), &Digest::of(text.as_bytes())).cloned()
    }

    fn state(&self, key: &NewKey) -> KeyState {
        self.file.read().unwrap().unwrap().keys[&key.id].state(jiff::Timestamp::now())
    }
}

#[test]
fn a_key_is_good_for_what_it_was_made_for_and_nothing_of_it_is_kept() {
    let place = place();
    assert!(place.file.read().unwrap().is_none(), "nothing is made by looking");
    for scope in [agents(&["a"]), agents(&["b", "_default", "a", "b"]), Scope::AllAgents, Scope::Admin] {
        let key = place.add(scope.clone());
        assert_eq!(place.find(key.text.expose()), Some(scope));
        let secret = &key.text.expose()[21..];
        for file in fs::read_dir(place.home.path().join("keys")).unwrap() {
            let text = fs::read_to_string(file.unwrap().path()).unwrap();
            assert!(!text.contains(secret) && !text.contains(&secret[..8]), "{text}");
        }
    }
    let ring = place.file.read().unwrap().unwrap();
    assert!(ring.is_wanted() && ring.can_speak() && ring.can_administer());
    assert_eq!(ring.records().len(), 4);
}

#[test]
fn keys_have_260_bits_and_none_is_like_another() {
    let keys: Vec<NewKey> = (0..2000).map(|_| NewKey::generate().unwrap()).collect();
    let texts: HashSet<&str> = keys.iter().map(|key| key.text.expose()).collect();
    let ids: HashSet<_> = keys.iter().map(|key| key.id).collect();
    assert_eq!((texts.len(), ids.len()), (2000, 2000));
    // Each of the 52 places takes each of 32 letters: 5 bits each.
    for at in 21..73 {
        let letters: HashSet<u8> = keys.iter().map(|key| key.text.expose().as_bytes()[at]).collect();
        assert_eq!(letters.len(), 32, "place {at}");
    }
    assert!(!format!("{:?}", keys[0]).contains(&keys[0].text.expose()[21..]));
}

/// Ten thousand texts that share the prefix, or the id, with a key.
#[test]
fn no_mutation_of_a_key_is_accepted() {
    let place = place();
    let (key, other) = (place.add(agents(&["a"])), place.add(agents(&["b"])));
    let ring = place.file.read().unwrap().unwrap();
    let good = |text: &[u8]| ring.find(text, &Digest::of(text)).is_some();
    let text = key.text.expose().as_bytes();
    assert!(good(text));
    let mut tried = 0;
    let mut refuse = |bytes: &[u8]| {
        tried += 1;
        assert!(!good(bytes), "{}", String::from_utf8_lossy(bytes));
    };
    for at in 0..text.len() {
        for byte in 0..=127 {
            if byte != text[at] {
                let mut changed = text.to_vec();
                changed[at] = byte;
                refuse(&changed);
            }
        }
        refuse(&text[..at]);
        refuse(&text[at + 1..]);
        refuse(&[&text[..at], b"0", &text[at..]].concat());
        let mixed = [&text[..at], &other.text.expose().as_bytes()[at..]].concat();
        if mixed != text && mixed != other.text.expose().as_bytes() {
            refuse(&mixed);
        }
    }
    refuse(&text.to_ascii_uppercase());
    refuse(&[text, b" "].concat());
    refuse(&[text, text].concat());
    refuse(format!("mck_{}_{}", key.id, &NewKey::generate().unwrap().text.expose()[21..]).as_bytes());
    assert!(tried >= 10_000, "{tried}");
}

#[test]
fn a_typo_is_told_without_the_file() {
    let key = NewKey::generate().unwrap();
    let text = key.text.expose();
    assert_eq!(check(text.as_bytes()), Ok(key.id));
    let flipped = format!("{}{}{}", &text[..30], if &text[30..31] == "7" { "8" } else { "7" }, &text[31..]);
    for (shown, why) in [
        ("sk-123", NotAKey::Other),
        ("", NotAKey::Other),
        (&text[..70], NotAKey::Mistyped),
        (&flipped, NotAKey::Mistyped),
    ] {
        assert_eq!(check(shown.as_bytes()), Err(why));
    }
    for named in [text, &text[..20], key.id.as_str(), &format!(" {} ", key.id)] {
        assert_eq!(named_id(named).unwrap(), key.id);
    }
    let refused = named_id("sk-secret-secret").unwrap_err().to_string();
    assert!(!refused.contains("sk-secret"), "{refused}");
}

#[test]
fn revoked_and_expired_keys_are_of_no_use_and_the_door_stays_shut() {
    let place = place();
    let key = place.add(agents(&["a"]));
    place.file.revoke(key.id).unwrap();
    assert_eq!((place.find(key.text.expose()), place.state(&key)), (None, KeyState::Revoked));
    let ring = place.file.read().unwrap().unwrap();
    assert!(ring.is_wanted() && !ring.can_speak(), "clients must still show a key");
    let brief = Wish { lifetime: Some(Duration::ZERO), ..wish(agents(&["a"])) };
    let (brief, _) = place.file.add(&brief).unwrap();
    assert_eq!((place.find(brief.text.expose()), place.state(&brief)), (None, KeyState::Expired));
    assert!(matches!(place.file.revoke(NewKey::generate().unwrap().id), Err(KeysError::Unknown(_))));
    assert!(matches!(place.file.rotate(brief.id, Duration::ZERO), Err(KeysError::Dead(_))));
    let endless = Wish { lifetime: Some(Duration::MAX), ..wish(agents(&["a"])) };
    assert!(matches!(place.file.add(&endless), Err(KeysError::TooLong)));
}

#[test]
fn a_rotated_key_lives_on_for_its_grace_and_no_longer() {
    let place = place();
    let first = place.add(agents(&["a"]));
    let (second, _, old) = place.file.rotate(first.id, Duration::from_secs(3600)).unwrap();
    assert_eq!(old.replaced_by, Some(second.id));
    assert_eq!(place.find(first.text.expose()), Some(agents(&["a"])));
    let (third, ..) = place.file.rotate(second.id, Duration::ZERO).unwrap();
    assert_eq!(place.find(second.text.expose()), None);
    assert_eq!(place.find(third.text.expose()), Some(agents(&["a"])));
}

#[test]
fn what_others_could_have_touched_is_refused_with_the_remedy() {
    let place = place();
    place.add(agents(&["a"]));
    let file = place.file.path().to_owned();
    let folder = file.parent().unwrap().to_owned();
    let mode = |path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    for bits in 0..0o1000 {
        mode(&file, bits);
        let read = place.file.read();
        if bits & 0o077 != 0 {
            let refused = read.unwrap_err().to_string();
            // Whoever is not root cannot even open what has no read bit.
            assert!(
                refused.contains(&format!("chmod 600 {}", file.display())) || refused.contains("open"),
                "{refused}"
            );
        }
    }
    mode(&file, 0o600);
    mode(&folder, 0o750);
    let refused = place.file.read().unwrap_err().to_string();
    assert!(refused.contains(&format!("chmod 700 {}", folder.display())), "{refused}");
    assert!(place.file.add(&wish(agents(&["b"]))).is_err());
    mode(&folder, 0o700);
    let elsewhere = place.home.path().join("elsewhere");
    fs::rename(&file, &elsewhere).unwrap();
    symlink(&elsewhere, &file).unwrap();
    assert!(place.file.read().unwrap_err().to_string().contains("a symbolic link"));
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(place.file.read().unwrap_err().to_string().contains("not a regular file"));
}

/// Cut anywhere, or with any byte exchanged, the file is whole keys or none, and never panics.
#[test]
fn damage_is_told_and_half_a_file_is_none() {
    let place = place();
    place.add(agents(&["a"]));
    let key = place.add(agents(&["b"]));
    place.file.revoke(key.id).unwrap();
    let whole = fs::read(place.file.path()).unwrap();
    for end in 0..whole.len() - 2 {
        fs::write(place.file.path(), &whole[..end]).unwrap();
        let problem = place.file.read().unwrap_err().to_string();
        assert!(problem.contains("damaged") && problem.contains("metaclaw keys add"), "{problem}");
        assert!(place.file.add(&wish(agents(&["c"]))).is_err(), "nothing is built on a damaged file");
    }
    for text in [
        r#"{"version": 2, "revision": 1, "keys": []}"#,
        r#"{"version": 1, "revision": 1, "keys": [], "more": 1}"#,
        r#"{"version": 1, "revision": 1, "keys": [{"id": "x", "sha256": "", "agents": ["a"], "created": "2026-01-01T00:00:00Z"}]}"#,
    ] {
        fs::write(place.file.path(), text).unwrap();
        assert!(matches!(place.file.read(), Err(KeysError::Damaged { .. })), "{text}");
    }
}

#[test]
fn an_old_copy_is_known_for_one() {
    let place = place();
    let key = place.add(agents(&["a"]));
    let before = place.file.read().unwrap().unwrap();
    place.file.revoke(key.id).unwrap();
    let after = place.file.read().unwrap().unwrap();
    assert!(before.is_older_than(&after) && !after.is_older_than(&before));
    // Removed and made anew, it is younger still.
    fs::remove_file(place.file.path()).unwrap();
    place.add(agents(&["a"]));
    assert!(after.is_older_than(&place.file.read().unwrap().unwrap()));
}

/// Writers at once: each one's key is there, and a reader never meets half a file.
#[test]
fn writers_wait_for_one_another() {
    let place = place();
    place.add(agents(&["a"]));
    std::thread::scope(|scope| {
        let writer = || (0..20).map(|_| place.add(agents(&["a"])).id).collect::<Vec<_>>();
        let writers: Vec<_> = (0..4).map(|_| scope.spawn(writer)).collect();
        while writers.iter().any(|writer| !writer.is_finished()) {
            assert!(place.file.read().unwrap().is_some());
        }
        let ids: Vec<_> = writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
        let ring = place.file.read().unwrap().unwrap();
        assert!(ids.len() == 80 && ids.iter().all(|id| ring.keys.contains_key(id)));
    });
    let left: Vec<_> = fs::read_dir(place.home.path().join("keys")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}
