use domain::{Digest, SkillScope};

use super::*;
use crate::{Embedder, embed_now};

/// Knows four subjects, each by a few words.
pub(crate) struct Subjects;

const SUBJECTS: [&[&str]; 4] = [
    &["invoice", "invoices", "owe", "plumber", "bill", "pay"],
    &["french", "paris", "traduire", "bonjour"],
    &["bug", "debug", "crash", "panic"],
    &["sleep", "bed", "tired"],
];

impl Embedder for Subjects {
    fn model(&self) -> Digest {
        Digest::of(b"subjects")
    }

    fn dims(&self) -> usize {
        SUBJECTS.len()
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
        let text = text.to_lowercase();
        let count = |words: &[&str]| text.split(|c: char| !c.is_alphanumeric()).filter(|w| words.contains(w)).count();
        let counts: Vec<f32> = SUBJECTS.iter().map(|words| count(words) as f32).collect();
        let length = counts.iter().map(|x| x * x).sum::<f32>().sqrt();
        Ok(counts.iter().map(|x| if length > 0.0 { x / length } else { 0.0 }).collect())
    }
}

fn skill(name: &str, description: &str) -> Skill {
    let text = format!("---\nname: {name}\ndescription: {description}\n---\nDo it well.\n");
    Skill::parse(text.as_bytes(), name, SkillScope::Own).unwrap()
}

fn skills() -> Vec<Skill> {
    vec![
        skill("keep-invoices", "Keeps track of an invoice or bill"),
        skill("speak-french", "Answers in French"),
        skill("find-bugs", "Finds the bug behind a crash in French or English programs"),
        skill("good-night", "Helps who is tired to sleep"),
    ]
}

fn library() -> Arc<Library> {
    let library = Library::of(skills());
    embed_now(&library, &Subjects, None);
    assert!(library.is_understood());
    library
}

const SIZES: TemplateSizes = TemplateSizes { general: 6, specific: 10 };

fn question<'a>(text: &'a str, vector: Option<&'a [f32]>, mode: RetrievalMode) -> Question<'a> {
    Question { text, vector, mode, sizes: SIZES, experience: None }
}

fn found(library: &Library, text: &str, mode: RetrievalMode) -> Vec<String> {
    let vector = Subjects.embed(text).unwrap();
    let hits = library.rank(&question(text, Some(&vector), mode), 6);
    hits.iter().map(|hit| hit.skill.name.to_string()).collect()
}

#[test]
fn meaning_finds_what_words_do_not() {
    let library = library();
    use RetrievalMode::{Bm25, Embedding, Hybrid};
    for (text, mode, want) in [
        ("how much do I owe the plumber?", Bm25, &[][..]),
        ("how much do I owe the plumber?", Embedding, &["keep-invoices"]),
        ("how much do I owe the plumber?", Hybrid, &["keep-invoices"]),
        ("bonjour, my program panics: a panic", Hybrid, &["find-bugs", "speak-french"]),
        ("a word that nobody knows: zeitgeist", Hybrid, &[]),
        ("please, thank you", Hybrid, &[]),
        ("", Hybrid, &[]),
        // What the words alone would find, the meaning does not keep out.
        ("keep invoices", Bm25, &["keep-invoices"]),
    ] {
        assert_eq!(found(&library, text, mode), want, "{text:?} by {}", mode.as_str());
    }
}

#[test]
fn words_add_to_meaning() {
    let library = Library::of(vec![skill("a", "bed"), skill("b", "bed and breakfast")]);
    embed_now(&library, &Subjects, None);
    assert_eq!(found(&library, "breakfast in bed", RetrievalMode::Hybrid), ["b", "a"]);
    assert_eq!(found(&library, "breakfast in bed", RetrievalMode::Embedding), ["a", "b"], "equals in list order");
}

#[test]
fn without_a_vector_words_alone_decide_as_ever() {
    let (library, unknown) = (library(), Library::of(skills()));
    for text in ["an invoice, please", "how much do I owe the plumber?", "thanks", "french bug"] {
        let vector = Subjects.embed(text).unwrap();
        let words = library.search(text, 6);
        for (library, vector) in
            [(&library, None), (&unknown, Some(vector.as_slice())), (&library, Some(&[1.0, 0.0][..]))]
        {
            let hits = library.rank(&question(text, vector, RetrievalMode::Hybrid), 6);
            let same = |hits: &[Scored]| hits.iter().map(|hit| hit.skill.name.to_string()).collect::<Vec<_>>();
            assert_eq!(same(&hits), same(&words), "{text}");
        }
    }
}

#[test]
fn a_skill_that_is_not_understood_yet_is_found_by_its_words() {
    let library = library();
    // As when it has just been added: a table without it.
    let full = library.table().unwrap();
    let rows: Vec<_> = (0..4).map(|at| full.row(at).map(|row| crate::vectors::Vector::of(&row))).collect();
    library.set_table(Table::of(4, 0.3, rows.iter().enumerate().map(|(at, row)| row.as_ref().filter(|_| at != 3))));
    assert!(!library.is_understood());
    assert_eq!(found(&library, "keep my invoices", RetrievalMode::Hybrid)[0], "keep-invoices");
    assert_eq!(library.list()[3].name.as_str(), "speak-french");
    assert!(!found(&library, "paris", RetrievalMode::Hybrid).contains(&"speak-french".to_owned()));
    assert!(found(&library, "speak French", RetrievalMode::Hybrid).contains(&"speak-french".to_owned()));
}

struct Seen(Vec<(&'static str, Vec<f32>, f32)>);

impl Experience for Seen {
    fn each(&self, visit: &mut dyn FnMut(&str, &[f32], f32)) {
        self.0.iter().for_each(|(name, helped, harm)| visit(name, helped, *harm));
    }
}

#[test]
fn experience_moves_a_skill_and_harm_sinks_it() {
    let library = library();
    let seen = Seen(vec![
        ("good-night", vec![0.0, 3.0, 0.0, 0.0], 0.0),
        ("speak-french", Vec::new(), 0.9),
        ("gone", vec![1.0, 0.0, 0.0, 0.0], 0.0),
        ("keep-invoices", vec![1.0], 0.0),
    ]);
    let rank = |text: &str, experience| -> Vec<String> {
        let vector = Subjects.embed(text).unwrap();
        let question = Question { experience, ..question(text, Some(&vector), RetrievalMode::Hybrid) };
        library.rank(&question, 1).iter().map(|hit| hit.skill.name.to_string()).collect()
    };
    assert_eq!(rank("paris", None), ["speak-french"]);
    assert_eq!(rank("paris", Some(&seen)), ["good-night"]);
    assert_eq!(rank("tired", Some(&seen)), ["good-night"]);
    assert_eq!(rank("the plumber", Some(&seen)), ["keep-invoices"], "what does not fit changes nothing");
}

/// What has moved far is nearer to everything; that alone is no reason to choose it.
#[test]
fn a_skill_that_has_moved_must_come_a_little_nearer() {
    let library = Library::of(vec![skill("a", "bed")]);
    embed_now(&library, &Subjects, None);
    let far = |length: f32| vec![0.0, 0.0, 0.0, length];
    // A cosine of 0.31: enough, but for one that has moved.
    let vector = [0.0, 0.95, 0.0, 0.31];
    let found = |seen: &Seen| {
        let experience = Some(seen as &dyn Experience);
        let question = Question { experience, ..question("zeitgeist", Some(&vector), RetrievalMode::Hybrid) };
        library.rank(&question, 1).len()
    };
    assert_eq!(found(&Seen(Vec::new())), 1);
    assert_eq!(found(&Seen(vec![("a", far(0.1), 0.0)])), 1);
    assert_eq!(found(&Seen(vec![("a", far(50.0), 0.0)])), 0);
}

#[test]
fn explaining_agrees_with_ranking_and_says_why() {
    let library = library();
    use RetrievalMode::{Bm25, Embedding, Hybrid, Template};
    for mode in [Template, Bm25, Embedding, Hybrid] {
        for text in ["how much do I owe the plumber?", "the french bug", "thanks", "zeitgeist", "my invoices"] {
            for k in [0, 1, 6] {
                let vector = Subjects.embed(text).unwrap();
                let question = question(text, Some(&vector), mode);
                let (ranked, candidates) = (library.rank(&question, k), library.explain(&question, k));
                assert_eq!(candidates.len(), library.len());
                let chosen: Vec<_> = candidates.iter().filter(|c| c.verdict == Verdict::Chosen).collect();
                let same = |(hit, candidate): (&Scored, &&Candidate)| {
                    hit.skill == candidate.skill && hit.score.to_bits() == candidate.score.to_bits()
                };
                assert!(
                    ranked.len() == chosen.len() && ranked.iter().zip(&chosen).all(same),
                    "{text} {}",
                    mode.as_str()
                );
            }
        }
    }
    let verdicts = |text: &str, k, mode| -> Vec<Verdict> {
        let vector = Subjects.embed(text).unwrap();
        library.explain(&question(text, Some(&vector), mode), k).iter().map(|c| c.verdict).collect()
    };
    assert_eq!(verdicts("thanks", 6, Hybrid), [Verdict::NothingAsked; 4]);
    assert_eq!(verdicts("thanks", 6, Bm25), [Verdict::NothingAsked; 4]);
    assert_eq!(verdicts("zeitgeist", 6, Hybrid), [Verdict::NothingFits(0.3); 4]);
    assert!(matches!(verdicts("zeitgeist", 6, Bm25)[0], Verdict::LittleEvidence(_)));
    let plumber = verdicts("the plumber", 6, Hybrid);
    assert!(plumber[0] == Verdict::Chosen && matches!(plumber[1], Verdict::FarFromBest(_)), "{plumber:?}");
    assert_eq!(verdicts("bonjour, a panic", 1, Hybrid)[..2], [Verdict::Chosen, Verdict::Crowded]);
    assert_eq!(verdicts("", 0, Template), [Verdict::OtherCategory; 4]);
}
