//! Every hostile guest of `tests/guests/hostile.md`, on one host, with the outcome that the table says, and with neighbours that notice
//! nothing.

mod guests;
mod residue;
mod table;

use std::collections::BTreeSet;
use std::fs;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use domain::Digest;
use futures_util::FutureExt as _;
use tests::{Answer, Home, Host, Upstream, guest};

use residue::{Holds, snapshot};
use table::{Asked, Outcome, Row, Table};

/// The threats that the table answers: those of the list that it was made from.
const THREATS: std::ops::RangeInclusive<u32> = 1..=54;
/// How much more memory the host may hold in the end, in MiB: what the pool keeps of used memories, so that it need not be asked for
/// again.
const MORE_MEMORY: u64 = 96;
/// The most that it may ever have held more, in MiB, with every guest at work at once: some of them have 64 MiB each.
const MORE_AT_PEAK: u64 = 1024;

/// A host with all these agents.
struct Zoo {
    host: Host,
    upstream: Upstream,
    home: Home,
    /// Not to be got at.
    outside: tempfile::TempDir,
    /// The digest of the neighbour's module, as headers show it.
    neighbour: String,
}

#[test]
fn each_threat_has_a_guest_or_a_test() {
    let table = Table::read();
    assert!(table.rows.len() >= 45, "{}", table.rows.len());
    table.proofs.iter().for_each(table::Proof::check);
    let rows = table.rows.iter().flat_map(|row| &row.threats);
    let answered: BTreeSet<u32> = rows.chain(table.proofs.iter().flat_map(|proof| &proof.threats)).copied().collect();
    assert_eq!(answered, THREATS.collect());
    let names: BTreeSet<&str> = table.rows.iter().map(|row| row.agent.as_str()).collect();
    assert_eq!(names.len(), table.rows.len(), "each has a name of its own");
}

/// Each guest alone and twice, then all at once. Neighbours speak at the same time and after each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_guest_has_the_outcome_that_the_table_says_and_harms_nobody() {
    let Table { rows, .. } = Table::read();
    let zoo = Zoo::open(&rows).await;
    let host = &zoo.host;
    zoo.good_turns("nobody").await;
    let written: Vec<PathBuf> = rows.iter().filter(|row| row.guest == "storing").map(|r| zoo.skills(r)).collect();
    let changes = [&written[..], &[zoo.home.path().join("state")]].concat();
    let look = || snapshot(&[zoo.home.path(), zoo.outside.path()], &changes);
    let (before, held) = (look(), Holds::of(host));

    let mut failed = Vec::new();
    for row in &rows {
        let twice = async {
            let (first, ()) = tokio::join!(zoo.try_one(row), zoo.good_turns(&row.agent));
            let second = zoo.try_one(row).await;
            assert_eq!(first, second, "{}: the second time it is as if there had been no first", row.agent);
            zoo.good_turns(&row.agent).await;
            zoo.check_counts(row, 2).await;
        };
        // What went wrong has been printed; the other rows are of interest as well.
        if AssertUnwindSafe(twice).catch_unwind().await.is_err() {
            failed.push(&row.agent);
        }
    }
    assert!(failed.is_empty(), "these did not go as the table says: {failed:?}");
    let over = AtomicBool::new(false);
    let neighbours = async {
        while !over.load(Ordering::Relaxed) {
            zoo.good_turns("all at once").await;
        }
    };
    let hostile = async {
        futures_util::future::join_all(rows.iter().map(|row| zoo.try_one(row))).await;
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(hostile, neighbours);
    for row in &rows {
        zoo.check_counts(row, 3).await;
    }

    let after = look();
    let changed: Vec<_> = before.iter().filter(|(path, was)| after.get(*path) != Some(was)).collect();
    let new: Vec<_> = after.keys().filter(|path| !before.contains_key(*path)).collect();
    assert!(changed.is_empty() && new.is_empty(), "changed: {changed:?}, new: {new:?}");
    let holds = Holds::of(host);
    let (was, is, peak) = (held.mebibytes, holds.mebibytes, host.peak());
    eprintln!("{} guests: {was} MiB before, {is} MiB after, {peak} MiB at most", rows.len());
    assert_eq!(holds.files, held.files, "what was opened is closed");
    assert!(is <= was + MORE_MEMORY && peak <= was + MORE_AT_PEAK, "{was} MiB before, {is} after, {peak} at most");
    assert_eq!(host.children(""), Vec::<String>::new(), "a process was left behind");
    zoo.check_log(&rows);
}

impl Zoo {
    async fn open(rows: &[Row]) -> Self {
        let (upstream, outside) = (Upstream::echo().await, tempfile::tempdir().unwrap());
        fs::write(outside.path().join("secret.txt"), "NOT-FOR-POLICIES").unwrap();
        let module = guest("tests/guests/misbehaving");
        let neighbour = Digest::of(&fs::read(&module).unwrap());
        let well_behaved = format!("{{ module: \"{}\", sha256: \"{neighbour}\" }}", module.display());
        let code = compiled(&upstream, &well_behaved).await;

        let modules = outside.path().join("modules");
        fs::create_dir(&modules).unwrap();
        let mut agents =
            "agents:\n  _default: { policy: { limits: { wall: 20s, filter_wall: 20s, queue: 10s } } }\n".to_owned();
        agents += &format!("  neighbour: {{ policy: {well_behaved} }}\n  plain: {{}}\n");
        for row in rows {
            let mode = if row.asked == Asked::Filter { "mode: rl, " } else { "" };
            agents += &format!("  {}: {{ {mode}policy: {{ {} }} }}\n", row.agent, guests::policy(row, &modules, &code));
        }
        let home = Home::with(&upstream, &agents);
        home.skill("_shared", "almanac", "Use when tides are asked for", "ALMANAC");
        home.skill("_shared", "file-tickets", "Use when filing tickets", "TICKETS");
        home.skill("neighbour", "mine", "For the neighbour alone", "OF-THE-NEIGHBOUR");
        rows.iter().for_each(|row| guests::lay_traps(row, &home, outside.path()));
        let host = home.start().await;
        Zoo { host, upstream, home, outside, neighbour: neighbour.short() }
    }

    fn skills(&self, row: &Row) -> PathBuf {
        self.home.path().join("skills").join(&row.agent)
    }

    /// One turn of each neighbour: the one has its own policy, the other the built-in.
    async fn good_turns(&self, after: &str) {
        let words = format!("filing tickets, after {after}");
        let say = |agent| self.host.say(&words).agent(agent).send();
        let (own, plain) = tokio::join!(say("neighbour"), say("plain"));
        for (answer, source, skill) in [
            (own, format!("{}; source=policy", self.neighbour), "ALMANAC"),
            (plain, "builtin; source=builtin".to_owned(), "TICKETS"),
        ] {
            assert_eq!((answer.status, answer.words()), (200, format!("echo: {words}")), "{after}: {}", answer.text);
            assert_eq!(answer.header("x-metaclaw-policy"), source, "{after}");
            let asked = self.upstream.seen().into_iter().rev().filter(|seen| seen.user() == words);
            assert!(asked.take(4).any(|seen| seen.system().contains(skill)), "{after}: nobody chose {skill}");
        }
    }

    /// Has one guest do its deed, checks the outcome, and says what the client, or the record, got of it.
    async fn try_one(&self, row: &Row) -> String {
        let agent = &row.agent;
        let spoken = matches!(row.guest.as_str(), "storing" | "wasi") && row.asked != Asked::Load;
        let words = if spoken { row.deed().to_owned() } else { format!("filing tickets, says {agent}") };
        let answer = self.host.say(&words).agent(agent).send().await;
        let header = answer.header("x-metaclaw-policy").to_owned();
        let shown = format!("{agent}: {} {header} {}", answer.status, answer.text);
        match (&row.outcome, row.asked) {
            (Outcome::Refused(reason), _) => {
                assert_eq!((answer.status, answer.code().as_str()), (503, "policy_unavailable"), "{shown}");
                assert!(message(&answer).contains(reason), "{shown}");
                message(&answer)
            }
            (outcome, Asked::Filter) => {
                assert_eq!((answer.status, answer.words()), (200, format!("echo: {words}")), "{shown}");
                self.check_sample(outcome, &answer, &shown).await
            }
            (Outcome::Fails(class, _), asked) => {
                assert_eq!((answer.status, answer.words()), (200, format!("echo: {words}")), "{shown}");
                assert_eq!(header, format!("builtin; source=builtin; failed={class}"), "{shown}");
                // Behind a route that fails, the same module still selects, in another instance.
                let skill = match (asked, row.guest.as_str()) {
                    (Asked::Select, _) => Some("TICKETS"),
                    (_, "misbehaving") => Some("ALMANAC"),
                    _ => None,
                };
                let seen = self.upstream.seen().into_iter().rev().find(|seen| seen.user() == words).unwrap();
                assert!(skill.is_none_or(|skill| seen.system().contains(skill)), "{agent}: {}", seen.system());
                answer.words()
            }
            (Outcome::Says(begin), _) => {
                assert!(answer.status == 200 && header.ends_with("; source=policy"), "{shown}");
                assert!(answer.words().starts_with(begin), "{shown}");
                answer.words()
            }
            (Outcome::KeepsToItself, _) => {
                assert!(answer.status == 200 && header.ends_with("; source=policy"), "{shown}");
                answer.words()
            }
            (Outcome::Drops(_), _) => panic!("{agent}: only a filter drops"),
        }
    }

    async fn check_sample(&self, outcome: &Outcome, answer: &Answer, shown: &str) -> String {
        let path = format!("/v1/turns/{}", answer.header("x-request-id"));
        let judged = async || Some(self.host.get(&path).await["sample"].clone()).filter(|sample| sample.is_object());
        let sample = tests::within(std::time::Duration::from_secs(30), "the turn is judged", judged).await;
        let reason = sample["reason"].as_str().unwrap_or_default();
        let expected = match outcome {
            Outcome::Fails(..) => "no policy could judge the sample",
            Outcome::Drops(reason) => reason,
            other => panic!("{shown}: {other:?} is nothing for a filter"),
        };
        assert!(sample["state"] == "dropped" && reason.starts_with(expected), "{shown}: {sample}");
        reason.to_owned()
    }

    /// Each failure is counted once, with its agent, hook and class, and nothing else is.
    async fn check_counts(&self, row: &Row, times: u64) {
        let text = self.host.text("/metrics").await;
        let begin = format!("metaclaw_policy_failures_total{{agent=\"{}\",", row.agent);
        let counted: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix(&begin)).collect();
        let hook = format!("{:?}", row.asked).to_lowercase();
        let expected: Vec<String> = match &row.outcome {
            Outcome::Fails(class, _) => vec![format!("hook=\"{hook}\",class=\"{class}\"}} {times}")],
            _ => Vec::new(),
        };
        assert_eq!(counted, expected, "{}", row.agent);
    }

    /// The log says why agents are not served, has no panic in it, and nothing that a guest could do to a terminal.
    fn check_log(&self, rows: &[Row]) {
        let log = self.host.log();
        assert!(!log.contains("panicked"), "{log}");
        assert!(log.chars().all(|c| c == '\n' || c == '\t' || !c.is_control()), "control characters in the log");
        assert!(!log.lines().any(|line| line.starts_with("level=error msg=forged")), "a forged line in the log");
        for row in rows {
            let agent = &row.agent;
            let said = |words: &str| log.lines().any(|line| line.contains(agent.as_str()) && line.contains(words));
            match &row.outcome {
                Outcome::Refused(reason) => {
                    assert!(said(&format!("agent `{agent}` is not served: ")) && said(reason), "{agent}: {log}");
                }
                Outcome::Fails(class, words) => {
                    let failed = format!("agent={agent} ");
                    let said = |line: &str| {
                        line.contains(&failed) && line.contains(&format!("={class}: ")) && line.contains(words)
                    };
                    assert!(log.lines().any(said), "{agent}: nothing of {class} and {words:?} in\n{log}");
                }
                _ => {}
            }
        }
        let forged = log.lines().filter(|line| line.contains(r"\u{1b}[2J\r\nlevel=error msg=forged")).count();
        // 1 KiB is 32 of its lines, and three times it was asked.
        assert_eq!(forged, 3 * 32, "what was granted, escaped, and no more");
        assert!(log.contains("the policy's log was cut off"));
    }
}

/// `error.message` of an error.
fn message(answer: &Answer) -> String {
    answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned()
}

/// The file in which a host keeps what it has compiled of this policy.
async fn compiled(upstream: &Upstream, policy: &str) -> Vec<u8> {
    let home = Home::with(upstream, &format!("agents: {{ own: {{ policy: {policy} }} }}\n"));
    let host = home.start().await;
    assert_eq!(host.say("x").agent("own").send().await.status, 200);
    let mut files = fs::read_dir(home.path().join("cache/policies")).unwrap();
    fs::read(files.next().unwrap().unwrap().path()).unwrap()
}
