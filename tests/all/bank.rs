//! The shipped bank of skills: each can be served and is short, makes the answer of its case better, and is found.

mod judge;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use domain::AgentId;
use serde::Deserialize;
use skills::{Library, SkillDocument, SkillTree, TreeOptions};
use tests::{Home, Reply, Upstream};

use judge::{Check, judge};

/// The folder of everybody's skills.
const SHARED: &str = "_shared";
/// The folders of the bank, and how many skills each has at least.
const SHELVES: &[(&str, usize)] =
    &[(SHARED, 8), ("research-assistant", 12), ("daily-assistant", 12), ("code-reviewer", 12)];
/// Long bodies make answers worse, and every turn pays for them.
const MAX_BODY: usize = 1200;
/// A description is what a question is compared with: one that names everything is found for everything.
const MAX_DESCRIPTION: usize = 300;
/// An answer without the skill misses at least this share of the checks.
const MISSED_WITHOUT: f64 = 0.5;
/// How many skills a prompt gets in the tests of finding.
const OFFERED: usize = 3;
/// The share of `find` questions for which the words alone must find the skill. Measured: 0.988.
const FOUND: f64 = 0.95;

/// What lies beside a skill: `case.yaml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    question: String,
    /// What lies before the agent besides the question.
    #[serde(default)]
    #[expect(dead_code, reason = "it is for whoever asks a real model")]
    context: String,
    /// What a model says to it.
    without: String,
    /// What it says when it follows the skill.
    with: String,
    /// The same in other words, so that the checks fit more than one text.
    also: Option<String>,
    judge: Vec<Check>,
    queries: Queries,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Queries {
    /// Questions for which the skill should be found.
    find: Vec<String>,
    /// One more, in words that neither name nor description has.
    far: String,
    /// A question for which it should not.
    not: String,
}

/// A skill of the bank with its case.
struct Entry {
    shelf: &'static str,
    folder: String,
    text: String,
    skill: SkillDocument,
    case: Case,
}

fn root() -> PathBuf {
    tests::root().join("examples/skills")
}

/// The whole bank; whatever cannot be read is a failure of its own.
fn bank() -> (Vec<Entry>, Failures) {
    let (mut entries, mut failures) = (Vec::new(), Failures::default());
    for &(shelf, _) in SHELVES {
        let folders = fs::read_dir(root().join(shelf)).unwrap().map(|entry| entry.unwrap().path());
        for path in folders.collect::<BTreeSet<_>>() {
            let folder = path.file_name().unwrap().to_str().unwrap().to_owned();
            let entry = || -> Result<Entry, String> {
                let read = |file: &str| fs::read_to_string(path.join(file)).map_err(|e| format!("{file}: {e}"));
                let text = read("SKILL.md")?;
                let skill = SkillDocument::parse(text.as_bytes(), &folder).map_err(|e| e.to_string())?;
                let case = serde_yaml::from_str(&read("case.yaml")?).map_err(|e| format!("case.yaml: {e}"))?;
                Ok(Entry { shelf, folder: folder.clone(), text, skill, case })
            };
            match entry() {
                Ok(entry) => entries.push(entry),
                Err(why) => failures.add(&format!("{shelf}/{folder}"), why),
            }
        }
    }
    (entries, failures)
}

/// Everything that is wrong, so that one run shows it all.
#[derive(Default)]
struct Failures(Vec<String>);

impl Failures {
    fn add(&mut self, place: &str, what: impl std::fmt::Display) {
        self.0.push(format!("{place}: {what}"));
    }

    fn unless(&mut self, holds: bool, place: &str, what: impl std::fmt::Display) {
        if !holds {
            self.add(place, what);
        }
    }

    #[track_caller]
    fn none(self) {
        assert!(self.0.is_empty(), "{} of the bank's promises are broken:\n{}", self.0.len(), self.0.join("\n"));
    }
}

impl Entry {
    fn place(&self) -> String {
        format!("{}/{}", self.shelf, self.folder)
    }

    /// The agents that see it.
    fn seen_by(&self) -> Vec<&'static str> {
        let agents = SHELVES.iter().map(|(shelf, _)| *shelf).filter(|shelf| *shelf != SHARED);
        agents.filter(|agent| self.shelf == SHARED || self.shelf == *agent).collect()
    }
}

/// The bank as a host that had it for its skills would serve it.
fn tree() -> Arc<SkillTree> {
    SkillTree::open(&root(), TreeOptions { follow: false, ..TreeOptions::default() }).unwrap()
}

fn library(tree: &SkillTree, agent: &str) -> Arc<Library> {
    tree.library(&AgentId::from_trusted(agent).unwrap())
}

/// A case beside a skill, and a README above them all, disturb nothing.
#[test]
fn a_host_serves_all_of_it() {
    let (tree, (entries, mut failures)) = (tree(), bank());
    for problem in tree.problems() {
        failures.add(&problem.path, problem.reason);
    }
    for &(shelf, least) in SHELVES {
        let here: Vec<&Entry> = entries.iter().filter(|entry| entry.shelf == shelf).collect();
        failures.unless(here.len() >= least, shelf, format!("{} skills, promised are {least}", here.len()));
    }
    for entry in &entries {
        for agent in entry.seen_by() {
            let served = library(&tree, agent).get(&entry.folder).map(|skill| skill.path.clone());
            failures.unless(served == Some(entry.place()), &entry.place(), format!("{agent} is given {served:?}"));
        }
    }
    failures.none();
}

#[test]
fn each_skill_is_short_and_says_when_to_use_it() {
    let (entries, mut failures) = bank();
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let mut named: BTreeMap<&str, &str> = BTreeMap::new();
    for entry in &entries {
        let Entry { shelf, folder, text, skill, .. } = entry;
        let place = entry.place();
        let mut must = |holds: bool, what: &str| failures.unless(holds, &place, what);
        must(skill.name.as_str() == folder, "the name is not the folder's");
        must(named.insert(folder, shelf).is_none(), "another shelf has a skill of that name");
        must(readme.contains(&format!("`{folder}`")), "README.md does not list it");
        let keys: Vec<&str> = text.lines().take(5).map(|line| line.split(':').next().unwrap_or_default()).collect();
        must(keys == ["---", "name", "description", "category", "---"], "front matter is name, description, category");
        must(skill.description.starts_with("Use when "), "the description does not say when to use it");
        must(skill.description.chars().count() <= MAX_DESCRIPTION, "the description is too long");
        must(skill.body.chars().count() <= MAX_BODY, "the body is too long");
        must(!skill.body.lines().any(|line| line.starts_with('#')), "the body has a heading");
        must(!skill.body.contains("://"), "the body has a link");
    }
    failures.none();
}

#[test]
fn a_scripted_judge_sees_each_answer_improve() {
    let (entries, mut failures) = bank();
    for entry in &entries {
        let (place, case) = (entry.place(), &entry.case);
        failures.unless(case.judge.len() >= 3, &place, "fewer than three checks");
        for asked in case.judge.iter().flat_map(Check::asks_for) {
            let told = entry.skill.body.contains(&asked);
            failures.unless(told, &place, format!("the judge asks for {asked}, of which the skill says nothing"));
        }
        for (name, answer) in [("with", Some(&case.with)), ("also", case.also.as_ref())] {
            match answer.map(|answer| judge(&case.judge, answer)) {
                Some(Ok((_, missed))) if !missed.is_empty() => {
                    failures.add(&place, format!("`{name}` misses {missed:?}"))
                }
                Some(Err(why)) => failures.add(&place, why),
                _ => {}
            }
        }
        if let Ok((held, missed)) = judge(&case.judge, &case.without) {
            let worse = held <= 1.0 - MISSED_WITHOUT;
            failures.unless(worse, &place, format!("`without` holds {held:.2} and misses only {missed:?}"));
        }
    }
    failures.none();
}

/// The same test with other answers: exchanged, none at all, another case's. No case may pass it.
#[test]
fn no_case_holds_with_another_answer() {
    let (entries, mut failures) = bank();
    for entry in &entries {
        let Case { judge: checks, without, with, .. } = &entry.case;
        let share = |answer: &str| judge(checks, answer).unwrap().0;
        let (good, bad) = (share(with), share(without));
        let exchanged = bad == 1.0 || good <= 1.0 - MISSED_WITHOUT;
        failures.unless(!exchanged, &entry.place(), format!("with {good:.2}, without {bad:.2}"));
        failures.unless(share("") < 1.0, &entry.place(), "an empty answer holds every check");
        for other in entries.iter().filter(|other| other.shelf == entry.shelf && other.folder != entry.folder) {
            let held = share(&other.case.with);
            failures.unless(held < 1.0, &entry.place(), format!("the answer of {} holds every check", other.place()));
        }
    }
    failures.none();
}

#[test]
fn users_find_the_skill_that_they_need_and_no_other_question_does() {
    let (tree, (entries, mut failures)) = (tree(), bank());
    let (mut asked, mut missed, mut seen) = (0, Vec::new(), BTreeMap::new());
    for entry in &entries {
        let (place, Queries { find, far, not }) = (entry.place(), &entry.case.queries);
        failures.unless(find.len() == 3, &place, "not three questions for which it should be found");
        for query in find.iter().chain([far, not, &entry.case.question]) {
            let before = seen.insert(query, place.clone());
            failures.unless(before.is_none(), &place, format!("{before:?} has {query:?} as well"));
        }
        for agent in entry.seen_by() {
            let library = library(&tree, agent);
            let finds =
                |query: &str| library.search(query, OFFERED).iter().any(|hit| hit.skill.name.as_str() == entry.folder);
            asked += find.len();
            missed.extend(find.iter().filter(|query| !finds(query)).map(|query| format!("{agent}: {place}: {query}")));
            failures.unless(!finds(not), &place, format!("{agent} is given it for {not:?}"));
        }
    }
    let found = 1.0 - missed.len() as f64 / asked as f64;
    failures.unless(found >= FOUND, "all", format!("{found:.3} of {asked} found, not:\n  {}", missed.join("\n  ")));
    for (agent, _) in SHELVES.iter().filter(|(shelf, _)| *shelf != SHARED) {
        for talk in ["hello, how are you", "What is the capital of France?", "Thanks, that is all for today."] {
            let given = library(&tree, agent).search(talk, OFFERED);
            let names: Vec<&str> = given.iter().map(|hit| hit.skill.name.as_str()).collect();
            failures.unless(names.is_empty(), agent, format!("{names:?} for {talk:?}"));
        }
    }
    failures.none();
}

/// Asks every case's question of every agent that sees the skill, and gives the share of checks that hold.
async fn shares(home: &Home, entries: &[Entry]) -> Vec<(String, f64)> {
    let host = home.start().await;
    let mut shares = Vec::new();
    for entry in entries {
        for agent in entry.seen_by() {
            let answer = host.say(&entry.case.question).agent(agent).send().await;
            let (held, _) = judge(&entry.case.judge, &answer.words()).unwrap();
            shares.push((format!("{agent}, {}", entry.place()), held));
        }
    }
    shares
}

/// Through the real host, with a model that does what a skill says exactly if its prompt has the skill.
#[tokio::test]
async fn answers_improve_on_a_host_that_has_the_bank() {
    let (entries, mut failures) = bank();
    let answers = entries.iter().map(|Entry { folder, case, .. }| {
        (case.question.clone(), (format!("### {folder}\n"), case.with.clone(), case.without.clone()))
    });
    let answers: BTreeMap<String, (String, String, String)> = answers.collect();
    let upstream = Upstream::scripted(move |seen| match answers.get(&seen.asked()) {
        Some((heading, with, _)) if seen.system().contains(heading.as_str()) => Reply::Words(with.clone()),
        Some((_, _, without)) => Reply::Words(without.clone()),
        None => Reply::Status(400, "nobody asks this in a case".to_owned()),
    })
    .await;
    let config = format!("skills: {{ top_k: {OFFERED}, token_budget: 2000 }}\n");
    let (bare, furnished) = (Home::with(&upstream, &config), Home::with(&upstream, &config));
    for Entry { shelf, folder, text, .. } in &entries {
        let place = furnished.path().join("skills").join(shelf).join(folder);
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("SKILL.md"), text).unwrap();
    }
    let (without, with) = (shares(&bare, &entries).await, shares(&furnished, &entries).await);
    for ((place, before), (_, after)) in without.into_iter().zip(with) {
        failures.unless(
            after == 1.0 && before <= 1.0 - MISSED_WITHOUT,
            &place,
            format!("{before:.2}, then {after:.2}"),
        );
    }
    failures.none();
}

#[test]
fn a_role_gets_its_skills_and_what_is_there_stays() {
    let home = Home::new();
    let mine = home.skill("ada", "trace-a-claim", "Use when tracing.", "My own words.");
    let before = fs::read(&mine).unwrap();
    let (code, out, err) = home.run(&["skills", "add", "--bank", "research-assistant", "--agent", "ada"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("added ada/cite-what-was-read") && out.contains("added _shared/verdict-first"), "{out}");
    assert!(!out.contains("trace-a-claim") && fs::read(&mine).unwrap() == before, "{out}");
    assert!(!home.path().join("skills/ada/cite-what-was-read/case.yaml").exists());
    let (code, out, err) = home.run(&["skills", "add", "--bank", "researcher", "--agent", "ada"]);
    assert!(code == 0 && out.is_empty() && err.contains("has them all already"), "{out}{err}");
    let (code, out, err) = home.run(&["--json", "skills", "add", "--bank", "code-reviewer"]);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
    assert_eq!((code, report["agent"].as_str()), (0, Some("code-reviewer")));
    for words in
        [&["skills", "add"][..], &["skills", "add", "--bank", "king"], &["skills", "add", "x.md", "--bank", "reviewer"]]
    {
        assert_ne!(home.run(words).0, 0, "{words:?}");
    }
}
