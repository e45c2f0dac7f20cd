//! The search of the answer path: 40 skills, k = 16.
#![expect(missing_docs, reason = "criterion's macros")]

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use domain::AgentId;
use skills::{Shelf, SkillTree, TreeOptions, add_skill};

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

const SENTENCE: &str = "Could you please look at the function below and tell me why the tests fail when the \
    deployment runs twice; I suspect the caching of sessions, but the logging says that the database migrations were \
    not applied in the right order, and the monitoring shows nothing. ";

fn tree(root: &Path) -> std::sync::Arc<SkillTree> {
    for (at, subject) in SUBJECTS.iter().enumerate() {
        let text = format!(
            "---\nname: {subject}-{at}\ndescription: Use when the user asks about {subject} or wants a result checked.\n\
             ---\n1. Name the goal of the {subject} in one sentence.\n2. List what is known and what is missing.\n\
             3. Change one thing at a time and say what you expect.\n4. Check the outcome against the goal.\n"
        );
        add_skill(root, &Shelf::Shared, text.as_bytes(), None, false).unwrap_or_else(|e| panic!("{e}"));
    }
    let options = TreeOptions { follow: false, ..TreeOptions::default() };
    SkillTree::open(root, options).unwrap_or_else(|e| panic!("{e}"))
}

fn search(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let tree = tree(dir.path());
    let library = tree.library(&AgentId::Default);
    let long = SENTENCE.repeat(4);
    let foreign = "请帮我看一下这个函数为什么测试失败，我怀疑是缓存的问题。Пожалуйста, проверьте отчёт. ".repeat(6);
    for (name, query) in [("800 bytes", &long[..800]), ("400 bytes", &long[..400]), ("other scripts", &foreign)] {
        c.bench_function(name, |b| b.iter(|| library.search(black_box(query), 16)));
    }
    c.bench_function("library", |b| b.iter(|| tree.library(black_box(&AgentId::Default))));
}

criterion_group!(benches, search);
criterion_main!(benches);
