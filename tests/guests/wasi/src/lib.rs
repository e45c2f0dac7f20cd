//! A policy that was built for WASI, and looks around for what it can get there. The user's words say where to look; it answers with what
//! it found. See `../README.md`.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant, SystemTime};

wit_bindgen::generate!({ path: "../../../wit/0.1.1", world: "policy" });

use exports::metaclaw::policy::{lifecycle, routing, sample_filter, skill_selection};
use metaclaw::policy::catalog::Catalog;
use metaclaw::policy::sample::Sample;
use metaclaw::policy::turn::Turn;
use metaclaw::policy::types::{Decision, Description, Problem, Refusal, Verdict};

struct Looking;

fn told<T: std::fmt::Debug>(done: std::io::Result<T>) -> String {
    match done {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("error: {:?}", error.kind()),
    }
}

fn look(words: &str) -> String {
    let mut parts = words.splitn(3, ' ');
    let mut next = || parts.next().unwrap_or_default();
    let (verb, one, two) = (next(), next(), next());
    match verb {
        "args" => format!("{:?}", std::env::args().collect::<Vec<_>>()),
        "env" => format!("{:?}", std::env::vars().collect::<Vec<_>>()),
        "time" => format!("{:?}", SystemTime::UNIX_EPOCH.elapsed().map(|d| d.as_secs())),
        // Whether time passes.
        "clock" => {
            let began = Instant::now();
            let sum = (0..10_000_000_u64).fold(0, |sum, n| std::hint::black_box(sum ^ n));
            format!("{:?} {}", began.elapsed(), sum & 1)
        }
        // The order of a map with a random seed.
        "random" => format!("{:?}", (0..64).map(|n| (n, ())).collect::<HashMap<_, _>>().into_keys().collect::<Vec<_>>()),
        "read" => told(fs::read_to_string(one)),
        "list" => told(fs::read_dir(one).and_then(|dir| {
            let mut names: Vec<String> = dir.filter_map(|e| Some(e.ok()?.file_name().to_string_lossy().into_owned())).collect();
            names.sort();
            Ok(names)
        })),
        "write" => told(fs::write(one, two)),
        "truncate" => told(fs::OpenOptions::new().write(true).truncate(true).open(one).map(|_| ())),
        "remove" => told(fs::remove_file(one)),
        "rename" => told(fs::rename(one, two)),
        "link" => told(fs::hard_link(one, two)),
        "mkdir" => told(fs::create_dir(one)),
        "print" => {
            println!("{}", "x".repeat(1 << 20));
            "printed".into()
        }
        // As many open files as it can get.
        "open-many" => {
            let mut open = Vec::new();
            while let Ok(file) = fs::File::open(one) {
                open.push(file);
                if open.len() > 10_000 {
                    break;
                }
            }
            format!("{}", open.len())
        }
        "sleep" => {
            std::thread::sleep(Duration::from_secs(30));
            "slept".into()
        }
        _ => "what?".into(),
    }
}

impl lifecycle::Guest for Looking {
    fn describe() -> Description {
        let grants = ("grants".to_owned(), "skills:read wasi wasi-fs".to_owned());
        Description { name: "looking".into(), version: "0.1.0".into(), summary: "Looks around.".into(), attrs: vec![grants] }
    }

    fn validate_config(_json: String) -> Vec<Problem> {
        Vec::new()
    }
}

impl routing::Guest for Looking {
    fn route(turn: &Turn) -> Result<Decision, Problem> {
        Ok(Decision::Refuse(Refusal { message: look(&turn.user_text()) }))
    }
}

impl skill_selection::Guest for Looking {
    fn select(_turn: &Turn, _catalog: &Catalog) -> Result<Vec<String>, Problem> {
        Ok(Vec::new())
    }
}

impl sample_filter::Guest for Looking {
    fn filter(_sample: &Sample) -> Result<Verdict, Problem> {
        Ok(Verdict::Keep(1.0))
    }
}

export!(Looking);
