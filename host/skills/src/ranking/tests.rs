use domain::{Digest, SkillScope};

use super::*;
use crate::{Embedder, Ends, Experience, Use, embed_now};

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
    Question { text, vector, mode, sizes: SIZES, learned: None }
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

/// What came of skills: the name, the questions that it helped with, and how its turns ended, good and bad.
struct Seen(Vec<(&'static str, Vec<f32>, (f32, f32))>);

impl Experience for Seen {
    fn all(&self) -> Ends {
        let sum = |of: fn(&(f32, f32)) -> f32| self.0.iter().map(|(_, _, ends)| of(ends)).sum::<f32>();
        Ends { good: sum(|ends| ends.0) + 20.0, bad: sum(|ends| ends.1) }
    }

    fn each(&self, visit: &mut dyn FnMut(&str, Use<'_>)) {
        for (name, helped, (good, bad)) in &self.0 {
            let digest = skills().into_iter().find(|skill| skill.name.as_str() == *name).map(|skill| skill.digest);
            visit(name, Use { helped, left: 1.0, ends: Ends { good: *good, bad: *bad }, digest });
        }
    }
}

const FINE: (f32, f32) = (0.0, 0.0);
const HARMFUL: (f32, f32) = (0.0, 9.0);

#[test]
fn experience_moves_a_skill() {
    let library = library();
    let seen = Seen(vec![
        ("good-night", vec![0.0, 3.0, 0.0, 0.0], FINE),
        ("gone", vec![1.0, 0.0, 0.0, 0.0], FINE),
        ("keep-invoices", vec![1.0], FINE),
    ]);
    let learned = Learned::of(&library, &seen);
    let rank = |text: &str, learned| -> Vec<String> {
        let vector = Subjects.embed(text).unwrap();
        let question = Question { learned, ..question(text, Some(&vector), RetrievalMode::Hybrid) };
        library.rank(&question, 1).iter().map(|hit| hit.skill.name.to_string()).collect()
    };
    assert_eq!(rank("paris", None), ["speak-french"]);
    let sinks = Seen([seen.0.clone(), vec![("speak-french", Vec::new(), HARMFUL)]].concat());
    let sinks = Learned::of(&library, &sinks);
    assert_eq!(rank("paris", Some(&sinks)), ["good-night"]);
    assert_eq!(rank("tired", Some(&learned)), ["good-night"]);
    assert_eq!(rank("the plumber", Some(&learned)), ["keep-invoices"], "what does not fit changes nothing");
}

#[test]
fn what_harms_is_not_chosen_even_where_it_alone_fits() {
    let library = library();
    use RetrievalMode::{Bm25, Embedding, Hybrid, Template};
    let chosen = |mode, ends, known: bool| -> Vec<Candidate> {
        let learned = Learned::of(&library, &Seen(vec![("speak-french", Vec::new(), ends)]));
        let vector = Subjects.embed("speak french in paris").unwrap();
        let question = question("speak french in paris", known.then_some(&*vector), mode);
        library.explain(&Question { learned: Some(&learned), ..question }, 6)
    };
    let verdict = |candidates: Vec<Candidate>| {
        let one = candidates.into_iter().find(|candidate| candidate.skill.name.as_str() == "speak-french").unwrap();
        (one.verdict, one.harm > 0.25)
    };
    for (mode, known) in [(Bm25, false), (Embedding, true), (Hybrid, true), (Hybrid, false)] {
        assert_eq!(verdict(chosen(mode, (20.0, 1.0), known)), (Verdict::Chosen, false), "{}", mode.as_str());
        assert_eq!(verdict(chosen(mode, HARMFUL, known)), (Verdict::Harms, true), "{}", mode.as_str());
    }
    assert!(verdict(chosen(Template, HARMFUL, true)) != (Verdict::Harms, true), "MetaClaw's lists rank nothing");
}

#[test]
fn a_little_harm_costs_a_little() {
    let library = Library::of(vec![skill("a", "bed"), skill("b", "bed")]);
    embed_now(&library, &Subjects, None);
    struct Blamed(f32);
    impl Experience for Blamed {
        fn all(&self) -> Ends {
            Ends { good: 20.0, bad: self.0 }
        }

        fn each(&self, visit: &mut dyn FnMut(&str, Use<'_>)) {
            let digest = Some(skill("a", "bed").digest);
            visit("a", Use { helped: &[], left: 1.0, ends: Ends { good: 2.0, bad: self.0 }, digest });
            // Another text than the library's: it is not that one's fault.
            visit("b", Use { helped: &[], left: 1.0, ends: Ends { good: 0.0, bad: 100.0 }, digest });
        }
    }
    let names = |bad| -> Vec<String> {
        let (learned, vector) = (Learned::of(&library, &Blamed(bad)), Subjects.embed("tired").unwrap());
        let question = question("tired", Some(&vector), RetrievalMode::Embedding);
        let hits = library.rank(&Question { learned: Some(&learned), ..question }, 6);
        hits.iter().map(|hit| hit.skill.name.to_string()).collect()
    };
    assert_eq!(names(0.0), ["a", "b"]);
    assert_eq!(names(3.0), ["b", "a"]);
    assert_eq!(names(30.0), ["b"]);
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
        let learned = Learned::of(&library, seen);
        let question = question("zeitgeist", Some(&vector), RetrievalMode::Hybrid);
        library.rank(&Question { learned: Some(&learned), ..question }, 1).len()
    };
    assert_eq!(found(&Seen(Vec::new())), 1);
    assert_eq!(found(&Seen(vec![("a", far(0.1), FINE)])), 1);
    assert_eq!(found(&Seen(vec![("a", far(50.0), FINE)])), 0);
}

#[test]
fn what_was_learned_is_about_one_library_as_it_was() {
    let library = library();
    let learned = Learned::of(&library, &Seen(Vec::new()));
    assert!(learned.fits(&library));
    let mut more = skills();
    more.push(skill("another", "of them"));
    assert!(!learned.fits(&Library::of(more)));
    embed_now(&library, &Subjects, None);
    assert!(!learned.fits(&library), "its skills are understood anew");
}

#[test]
fn scores_of_some_are_those_of_the_ranking() {
    let library = library();
    let vector = Subjects.embed("paris, a panic").unwrap();
    let learned = Learned::of(&library, &Seen(vec![("speak-french", vec![0.0, 0.0, 2.0, 0.0], FINE)]));
    for vector in [Some(&*vector), None] {
        let question =
            Question { learned: Some(&learned), ..question("paris, french bug", vector, RetrievalMode::Hybrid) };
        let hits = library.rank(&question, 6);
        assert!(!hits.is_empty());
        for hit in hits {
            let scores = library.scores(&question, &[hit.skill.name.as_str(), "no-such"]);
            assert_eq!(scores, [Some(hit.score), None]);
        }
    }
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
