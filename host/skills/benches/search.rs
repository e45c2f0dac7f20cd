//! The search of the answer path: 40 skills, k = 16.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "what cannot be set up cannot be measured; memory is said beside"
)]

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use domain::{AgentId, Digest, RetrievalMode, SkillScope};
use skills::{
    Embedder, Ends, Experience, Learned, Library, Question, Shelf, Skill, SkillTree, TemplateSizes, TreeOptions, Use,
    add_skill, embed_now,
};

const SUBJECTS: [&str; 40] = [
    "debugging",
    "research",
    "email",
    "refactoring",
    "translation",
    "planning",
    "testing",
    "deployment",
    "security",
    "databases",
    "charts",
    "statistics",
    "interviews",
    "meetings",
    "budgets",
    "travel",
    "recipes",
    "contracts",
    "invoices",
    "hiring",
    "onboarding",
    "incidents",
    "monitoring",
    "logging",
    "caching",
    "migrations",
    "networking",
    "parsing",
    "compilers",
    "queues",
    "streams",
    "sessions",
    "cookies",
    "fonts",
    "layouts",
    "colours",
    "accessibility",
    "documentation",
    "releases",
    "backups",
];

/// About 800 bytes, hardly a word twice.
const LONG: &str = "Could you please look at the function below and tell me why its tests fail when our deployment runs \
    a second time? I suspect the caching of sessions, but logging says that several database migrations were applied \
    in the wrong order, while monitoring shows nothing unusual. Yesterday Maria changed how cookies expire and renamed \
    two queues; since then invoices arrive late, charts in the weekly report stay empty, and customers complain about \
    missing emails. Before we roll back, check whether the compiler flags differ between staging and production, list \
    every irreversible step, plan a safe release for Thursday afternoon, and write documentation for whoever is on \
    call. Keep security in mind: tokens must never appear inside backups. Finally, suggest which statistics would \
    convince management that networking is not to blame here, thanks!";

/// A plain tokenizer for the comparison.
struct Words;

impl bm25::Tokenizer for Words {
    fn tokenize(&self, text: &str) -> Vec<String> {
        text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
    }
}

fn tree(root: &Path) -> std::sync::Arc<SkillTree> {
    for (at, subject) in SUBJECTS.iter().enumerate() {
        let text = format!(
            "---\nname: {subject}-{at}\ndescription: Use when the user asks about {subject} or wants a result checked.\n\
             ---\n1. Name the goal of the {subject} in one sentence.\n2. List what is known and what is missing.\n\
             3. Change one thing at a time and say what you expect.\n4. Check the outcome against the goal.\n"
        );
        add_skill(root, &Shelf::Shared, text.as_bytes(), None, false).expect("a disk to measure on");
    }
    let options = TreeOptions { follow: false, ..TreeOptions::default() };
    SkillTree::open(root, options).expect("a disk to measure on")
}

fn search(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a disk to measure on");
    let tree = tree(dir.path());
    let library = tree.library(&AgentId::Default);
    let foreign = "请帮我看一下这个函数为什么测试失败，我怀疑是缓存的问题。Пожалуйста, проверьте отчёт. ".repeat(6);
    for (name, query) in [("800 bytes", LONG), ("400 bytes", &LONG[..400]), ("other scripts", foreign.as_str())] {
        c.bench_function(name, |b| b.iter(|| library.search(black_box(query), 16)));
    }
    let texts: Vec<String> =
        library.list().iter().map(|s| format!("{} {} {}", s.name, s.description, s.body)).collect();
    let engine: bm25::SearchEngine<u32, u32, Words> =
        bm25::SearchEngineBuilder::<u32, u32, Words>::with_tokenizer_and_corpus(Words, texts).build();
    c.bench_function("the bm25 crate's own engine, 800 bytes", |b| b.iter(|| engine.search(black_box(LONG), 16usize)));
    c.bench_function("library", |b| b.iter(|| tree.library(black_box(&AgentId::Default))));
}

/// Vectors as long as MiniLM's, without its work.
struct Scattered;

impl Embedder for Scattered {
    fn model(&self) -> Digest {
        Digest::of(b"scattered")
    }

    fn dims(&self) -> usize {
        384
    }

    fn is_quick(&self) -> bool {
        true
    }

    fn threshold(&self) -> f32 {
        0.01
    }

    fn twins(&self) -> f32 {
        0.7
    }

    fn embed(&self, text: &str) -> Result<Vec<f32>, String> {
        let seed = Digest::of(text.as_bytes());
        let bytes = seed.as_bytes();
        let numbers: Vec<f32> =
            (0..self.dims()).map(|i| f32::from(bytes[i % 32] ^ bytes[(i * 7 + i / 32) % 32]) - 127.5).collect();
        let length = numbers.iter().map(|x| x * x).sum::<f32>().sqrt();
        Ok(numbers.iter().map(|x| x / length).collect())
    }
}

/// Each skill was of use, and harmed once.
struct Seen<'a> {
    library: &'a Library,
    helped: Vec<f32>,
}

impl Experience for Seen<'_> {
    fn all(&self) -> Ends {
        Ends { good: 100.0, bad: 10.0 }
    }

    fn each(&self, visit: &mut dyn FnMut(&str, Use<'_>)) {
        for skill in self.library.list() {
            let ends = Ends { good: 2.0, bad: 1.0 };
            visit(skill.name.as_str(), Use { helped: &self.helped, left: 0.5, ends, digest: Some(skill.digest) });
        }
    }
}

/// Words and meaning together, for more and more skills.
fn rank(c: &mut Criterion) {
    for count in [10, 100, 1_000, 10_000] {
        let skill = |i: usize| {
            let subject = SUBJECTS[i % SUBJECTS.len()];
            let other = SUBJECTS[i / SUBJECTS.len() % SUBJECTS.len()];
            let text = format!(
                "---\nname: {subject}-{i}\ndescription: Use when the user asks about {subject} and {other}, case {i}.\n\
                 ---\n1. Name the goal of the {subject} in one sentence.\n2. List what is known.\n"
            );
            Skill::parse(text.as_bytes(), "x", SkillScope::Own).expect("a sound skill")
        };
        let library = Library::of((0..count).map(skill).collect());
        c.bench_function(&format!("words, {count} skills"), |b| b.iter(|| library.search(black_box(&LONG[..120]), 16)));
        embed_now(&library, &Scattered, None);
        let vector = Scattered.embed(LONG).expect("a vector");
        let seen = Seen { library: &library, helped: Scattered.embed("of use").expect("a vector") };
        let learned = Learned::of(&library, &seen);
        println!("{count} skills: experience of each takes {} KiB", learned.size() >> 10);
        c.bench_function(&format!("experience made ready, {count} skills"), |b| {
            b.iter(|| Learned::of(&library, &seen))
        });
        for (name, text) in [("short", &LONG[..120]), ("800 bytes", LONG)] {
            let question = Question {
                text,
                vector: Some(&vector),
                mode: RetrievalMode::Hybrid,
                sizes: TemplateSizes { general: 6, specific: 10 },
                learned: None,
            };
            c.bench_function(&format!("hybrid, {count} skills, {name}"), |b| {
                b.iter(|| library.rank(black_box(&question), 16));
            });
            let learned = Some(&learned);
            c.bench_function(&format!("hybrid with experience of each, {count} skills, {name}"), |b| {
                b.iter(|| library.rank(black_box(&Question { learned, ..question }), 16));
            });
        }
    }
}

criterion_group!(benches, search, rank);
criterion_main!(benches);
