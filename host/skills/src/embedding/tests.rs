use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use domain::AgentId;

use super::*;
use crate::{Question, Shelf, SkillTree, TemplateSizes, TreeOptions, add_skill};

/// Counts what it is asked, and can be held up.
#[derive(Default)]
struct Counting {
    asked: AtomicUsize,
    gate: Mutex<()>,
}

impl Embedder for Counting {
    fn model(&self) -> Digest {
        Digest::of(b"counting")
    }

    fn dims(&self) -> usize {
        2
    }

    fn is_quick(&self) -> bool {
        false
    }

    fn threshold(&self) -> f32 {
        0.3
    }

    fn twins(&self) -> f32 {
        0.7
    }

    fn embed(&self, text: &str) -> Result<Vec<f32>, String> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        drop(self.gate.lock().unwrap());
        match text {
            "bad" => Err("it is bad".to_owned()),
            _ => Ok(if text.contains("night") { vec![1.0, 0.0] } else { vec![0.0, 1.0] }),
        }
    }
}

fn add(root: &Path, agent: &str, name: &str) {
    let text = format!("---\nname: {name}\ndescription: about {name}\n---\nbody\n");
    let shelf = Shelf::Agent(AgentId::from_trusted(agent).unwrap());
    add_skill(root, &shelf, text.as_bytes(), None, true).unwrap();
}

fn until(what: &str, done: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < end, "{what}");
        thread::yield_now();
    }
}

#[test]
fn each_skill_is_embedded_once_also_across_starts() {
    let dir = tempfile::tempdir().unwrap();
    let (root, file) = (dir.path().join("skills"), dir.path().join("state/vectors"));
    add(&root, "a", "night-watch");
    add(&root, "a", "day-watch");
    add(&root, "b", "day-watch");
    let open = |embedder: &Arc<Counting>| {
        let meanings = Meanings::start(embedder.clone(), Some(file.clone())).unwrap();
        SkillTree::open_understood(&root, TreeOptions::default(), Some(meanings)).unwrap()
    };
    let [a, b] = ["a", "b"].map(|agent| AgentId::from_trusted(agent).unwrap());
    let embedder = Arc::new(Counting::default());
    let tree = open(&embedder);
    until("both understood", || tree.library(&a).is_understood() && tree.library(&b).is_understood());
    assert_eq!(embedder.asked.load(Ordering::SeqCst), 4, "the same text means the same");
    add(&root, "b", "night-shift");
    until("the new one, too", || tree.library(&b).len() == 2 && tree.library(&b).is_understood());
    assert_eq!(embedder.asked.load(Ordering::SeqCst), 6);
    let question = Question {
        text: "who works tonight?",
        vector: Some(&[1.0, 0.0]),
        mode: domain::RetrievalMode::Hybrid,
        sizes: TemplateSizes { general: 0, specific: 0 },
        learned: None,
    };
    assert_eq!(tree.library(&b).rank(&question, 6)[0].skill.name.as_str(), "night-shift");
    tree.close();

    let embedder = Arc::new(Counting::default());
    let tree = open(&embedder);
    until("understood from the file", || tree.library(&a).is_understood() && tree.library(&b).is_understood());
    assert_eq!(embedder.asked.load(Ordering::SeqCst), 0, "nothing is made twice");
    let library = tree.library(&b);
    tree.close();
    // For looking at it without a host.
    let alone = Library::of(library.list().iter().map(|skill| Skill::clone(skill)).collect());
    embed_now(&alone, &*embedder, Some(file));
    assert!(alone.is_understood() && embedder.asked.load(Ordering::SeqCst) == 0);
}

#[test]
fn questions_come_before_skills_and_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..50 {
        add(dir.path(), "a", &format!("skill-{i}"));
    }
    let embedder = Arc::new(Counting::default());
    let held_up = embedder.gate.lock().unwrap();
    let meanings = Meanings::start(embedder.clone(), None).unwrap();
    let tree =
        SkillTree::open_understood(dir.path(), TreeOptions { follow: false, ..TreeOptions::default() }, Some(meanings))
            .unwrap();
    let meanings = tree.meanings().unwrap();
    until("the first skill is under way", || embedder.asked.load(Ordering::SeqCst) == 1);
    let (tell, told) = mpsc::channel();
    let ask = |text: &str, until| {
        let (tell, embedder) = (tell.clone(), embedder.clone());
        meanings.ask(text, until, move |vector| {
            tell.send((vector, embedder.asked.load(Ordering::SeqCst))).unwrap();
        })
    };
    let (late, soon) = (Instant::now(), Instant::now() + Duration::from_secs(60));
    assert!(ask("nobody waits for this any more", late) && ask("bad", soon));
    for _ in 2..MAX_WAITING {
        assert!(ask("the night", soon));
    }
    assert!(!ask("one too many", soon));
    drop(held_up);
    for n in 0..MAX_WAITING - 2 {
        let (vector, asked) = told.recv_timeout(Duration::from_secs(20)).unwrap();
        // The skill that was under way (twice: name and description), the bad one, and those before it: no further skill.
        assert_eq!((vector, asked), (vec![1.0, 0.0], n + 4));
    }
    let library = tree.library(&AgentId::from_trusted("a").unwrap());
    until("understood in the end", || library.is_understood());
    tree.close();
    assert!(!ask("after the end", soon));
}
