//! A policy that does with its files and values what the user says, and answers with what came of it. See `../README.md`.

wit_bindgen::generate!({ path: "../../../wit/0.1.1", world: "policy", generate_all });

use exports::metaclaw::policy::{lifecycle, routing, sample_filter, skill_selection};
use metaclaw::policy::catalog::Catalog;
use metaclaw::policy::sample::Sample;
use metaclaw::policy::turn::Turn;
use metaclaw::policy::types::{Decision, Description, Problem, Refusal, Verdict};
use metaclaw::policy::{files, kv, log};

struct Storing;

/// What came of an operation, in words.
fn told<T>(done: Result<T, Problem>, show: impl FnOnce(T) -> String) -> String {
    match done {
        Ok(value) => show(value),
        Err(problem) => format!("{}: {}", problem.code, problem.message),
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `VERB ARGUMENTS…`, the last argument being the rest.
fn obey(words: &str) -> String {
    let mut parts = words.splitn(4, ' ');
    let mut next = || parts.next().unwrap_or_default();
    let (verb, one, two, rest) = (next(), next(), next(), next());
    let done = |(): ()| "done".to_owned();
    match verb {
        "list" => told(files::list(one, two), |entries| {
            let shown = entries.iter().map(|e| format!("{}:{}:{}", e.name, e.kind, e.size));
            shown.collect::<Vec<_>>().join(" ")
        }),
        "stat" => told(files::stat(one, two), |e| format!("{}:{}:{}", e.name, e.kind, e.size)),
        "read" => told(files::read(one, two, 0, 4096), text),
        "write" => told(files::write(one, two, rest.as_bytes()), done),
        "write-big" => told(files::write(one, two, &vec![b'x'; rest.parse().unwrap_or_default()]), done),
        "remove" => told(files::remove(one, two), done),
        "get" => told(kv::get(one), |value| value.map_or("nothing".to_owned(), text)),
        "set" => told(kv::set(one, two.as_bytes()), done),
        "set-big" => told(kv::set(one, &vec![b'x'; two.parse().unwrap_or_default()]), done),
        "delete" => told(kv::delete(one), done),
        "keys" => told(kv::keys(one), |keys| keys.join(" ")),
        // Counts its calls.
        "count" => {
            let before = told(kv::get("count"), |value| value.map_or("0".to_owned(), text));
            let next = before.parse::<u64>().unwrap_or_default() + 1;
            told(kv::set("count", next.to_string().as_bytes()), |()| before)
        }
        // Changes something, and then fails: nothing of it may stay.
        "set-and-panic" => {
            let _ = kv::set(one, two.as_bytes());
            panic!("on purpose");
        }
        // As many changes as it can make.
        "flood" => {
            let problem = (0..1_000_000).find_map(|n| kv::set(&format!("key-{n}"), b"").err().map(|p| format!("{n} {}", p.code)));
            problem.unwrap_or_default()
        }
        "write-flood" => loop {
            let _ = files::write("skills", "flood/x.txt", &vec![b'x'; 200 << 10]);
        },
        "say" => {
            log::write("info", words);
            "said".to_owned()
        }
        _ => "what?".to_owned(),
    }
}

impl lifecycle::Guest for Storing {
    fn describe() -> Description {
        let grants = ("grants".to_owned(), "skills:write lora:read".to_owned());
        Description { name: "storing".into(), version: "0.1.0".into(), summary: "Keeps things.".into(), attrs: vec![grants] }
    }

    fn validate_config(_json: String) -> Vec<Problem> {
        Vec::new()
    }
}

impl routing::Guest for Storing {
    fn route(turn: &Turn) -> Result<Decision, Problem> {
        let message = obey(&turn.user_text());
        Ok(Decision::Refuse(Refusal { message: if message.is_empty() { "(nothing)".into() } else { message } }))
    }
}

impl skill_selection::Guest for Storing {
    fn select(_turn: &Turn, _catalog: &Catalog) -> Result<Vec<String>, Problem> {
        Ok(Vec::new())
    }
}

impl sample_filter::Guest for Storing {
    fn filter(_sample: &Sample) -> Result<Verdict, Problem> {
        Ok(Verdict::Keep(1.0))
    }
}

export!(Storing);
