use domain::SkillScope;

use super::*;

/// Name, description, start of the body: a library as MetaClaw ships and learns them, in four languages.
const SKILLS: &[(&str, &str, &str)] = &[
    (
        "debug-systematically",
        "Use when code fails, crashes or gives wrong results. Finds the cause before anything is changed.",
        "1. Reproduce the failure with the smallest input.\n2. Read the whole error and the stack trace.\n3. State one \
         hypothesis about the function, test it, and only then fix it. Never change two things at once.",
    ),
    (
        "sql-best-practices",
        "Use when writing or reviewing SQL queries against a relational database.",
        "Name columns, never select all. Filter before joining. Check the plan of slow queries and add an index.",
    ),
    (
        "professional-email-drafting",
        "Use when the user wants to write an email to a colleague, a client or a manager.",
        "Subject line first: what you want and by when. One request per message. How you close depends on how well you \
         know them. Capital letters only at the start of a sentence.",
    ),
    (
        "git-workflow",
        "Use when committing, branching, merging or rebasing in a git repository.",
        "Small commits with a message that says why. Rebase your own branch, merge the others. Never force-push main.",
    ),
    (
        "source-evaluation",
        "Use when research depends on whether a source can be trusted.",
        "Who says it, how do they know, who disagrees? Prefer the original paper over a blog post about it. Cite it.",
    ),
    (
        "verify-before-irreversible-action",
        "Use before deleting files, sending messages, spending money, or anything that cannot be undone.",
        "Say what will happen and ask. Make a backup first. Run it with a dry-run flag where there is one.",
    ),
    (
        "secrets-management",
        "Use when code needs passwords, tokens or API keys.",
        "Never write a secret to a file in the repository or a log. Read it from the environment or a vault.",
    ),
    (
        "visualization-selection",
        "Use when choosing a chart or graph to show data.",
        "Change over time: a line. Comparison: bars. Parts of a whole: rarely a pie. Label the axes.",
    ),
    (
        "test-before-ship",
        "Use before declaring code finished: what to test and how.",
        "Run the existing tests. Add one for the change that fails without it. Try the empty and the huge input.",
    ),
    (
        "avoid-hallucinating-specifics",
        "Use whenever exact names, numbers, dates or quotations are about to be stated from memory.",
        "Say what you are unsure of. Look it up or leave it out. Do not invent a version number.",
    ),
    (
        "meeting-notes",
        "Use when a conversation or transcript should become minutes: decisions, owners, dates.",
        "List decisions first, then actions with an owner and a date. Leave out the discussion.",
    ),
    (
        "umsatzbericht",
        "Anwenden, wenn ein Bericht über Umsatz oder Absatz eines Quartals erstellt werden soll.",
        "Zuerst die Zahlen des Quartals, dann der Vergleich mit dem Vorjahr. Abweichungen über fünf Prozent begründen.",
    ),
    (
        "reiseplanung",
        "Anwenden, wenn eine Dienstreise geplant, gebucht oder abgerechnet wird.",
        "Erst Termin und Ort, dann Bahn vor Flug. Hotel in der Nähe des Termins. Belege aufheben.",
    ),
    (
        "code-pruefung",
        "Anwenden, wenn fremder Quelltext geprüft und bewertet werden soll.",
        "Erst verstehen, was die Änderung will. Fehler vor Stil. Jede Anmerkung mit einem Vorschlag.",
    ),
    (
        "business-email-zh",
        "撰写或修改商务邮件时使用。",
        "先说明目的，再说明期限。每封邮件只提一个请求。语气礼貌而简洁。",
    ),
    (
        "data-analysis-zh",
        "分析销售数据或制作统计报表时使用。",
        "先检查缺失值和异常值，再计算平均值。报表必须注明数据来源。",
    ),
    ("translation-zh", "把文章翻译成中文时使用。", "忠实于原文的意思，而不是逐字翻译。专有名词第一次出现时附上原文。"),
    (
        "pismo-klientu",
        "Применяй, когда нужно написать письмо клиенту или ответить на жалобу.",
        "Сначала признай проблему, потом предложи решение и срок. Не больше десяти строк.",
    ),
    (
        "otchet-o-rashodakh",
        "Применяй, когда составляется отчёт о расходах или бюджете.",
        "Сначала итог, потом таблица по статьям. Объясни каждое отклонение больше десяти процентов.",
    ),
    (
        "planirovanie-vstrech",
        "Применяй, когда надо назначить встречу нескольким людям.",
        "Предложи три времени в часовых поясах участников. Отправь приглашение с повесткой.",
    ),
];

/// A query, and the skills that must come first, best first; none for a query that none fits.
const QUERIES: &[(&str, &[&str])] = &[
    ("debug this python function", &["debug-systematically"]),
    ("My program crashes with a stack trace, can you find out why?", &["debug-systematically"]),
    ("I keep getting wrong results, help me debugging", &["debug-systematically"]),
    ("please write an email to my manager about the delay", &["professional-email-drafting"]),
    ("draft two emails for me", &["professional-email-drafting"]),
    ("why is this SQL query so slow?", &["sql-best-practices"]),
    ("squash my last three commits and rebase the branch", &["git-workflow"]),
    ("Delete all files in the build folder", &["verify-before-irreversible-action"]),
    ("Where do I put the API token?", &["secrets-management"]),
    ("Which chart shows the growth of users best?", &["visualization-selection"]),
    ("turn this transcript into minutes", &["meeting-notes"]),
    ("Erstelle mir einen Bericht über den Umsatz im letzten Quartal", &["umsatzbericht"]),
    ("Ich muss eine Dienstreise nach Hamburg buchen", &["reiseplanung"]),
    ("帮我写一封邮件给客户", &["business-email-zh"]),
    ("请分析一下上个月的销售数据", &["data-analysis-zh"]),
    ("把这篇文章翻译成中文", &["translation-zh"]),
    ("Напиши, пожалуйста, письмо клиенту о задержке", &["pismo-klientu"]),
    ("Нужен отчёт по расходам за май", &["otchet-o-rashodakh"]),
    ("Is this blog post a trustworthy source?", &["source-evaluation"]),
    ("Write a unit test for the parser", &["test-before-ship"]),
    ("show me the data as a graph", &["visualization-selection"]),
    ("hello, how are you", &[]),
    ("What's the best pizza in town?", &[]),
    ("Write a poem about the sea", &[]),
    ("What time is it in Tokyo?", &[]),
    ("Who won the world cup in 2014?", &[]),
    ("Schreibe mir ein Gedicht", &[]),
    ("Напиши стихотворение про море", &[]),
    ("写一首关于大海的诗", &[]),
    ("What is the capital of France?", &[]),
    ("Thanks, that was very helpful!", &[]),
    ("Tell me a joke about cats", &[]),
    ("how do you know that?", &[]),
    ("ok", &[]),
    ("", &[]),
    ("Wie heißt die Hauptstadt von Frankreich?", &[]),
    ("你好，你是谁？", &[]),
    ("法国的首都是什么？", &[]),
    ("Привет, как дела?", &[]),
    ("Какая столица у Франции?", &[]),
    ("asdfgh qwertz", &[]),
];

fn skill(name: &str, description: &str, body: &str) -> Skill {
    let text = format!("---\nname: {name}\ndescription: {description:?}\n---\n{body}\n");
    Skill::parse(text.as_bytes(), name, SkillScope::Shared).unwrap()
}

fn library() -> (Vec<Skill>, Index) {
    let skills: Vec<Skill> = SKILLS.iter().map(|(name, description, body)| skill(name, description, body)).collect();
    let index = Index::build(&skills);
    (skills, index)
}

fn found<'a>(skills: &'a [Skill], index: &Index, query: &str) -> Vec<(&'a str, f32)> {
    index.search(query, 16, |_| false).into_iter().map(|(at, score)| (skills[at].name.as_str(), score)).collect()
}

#[test]
fn a_query_finds_the_skill_that_fits_or_none() {
    let (skills, index) = library();
    let mut wrong = Vec::new();
    for (query, want) in QUERIES {
        let found = found(&skills, &index, query);
        let names: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
        let good = if want.is_empty() { names.is_empty() } else { names.starts_with(want) && names.len() <= 3 };
        if !good {
            wrong.push(format!("{query:?}: wanted {want:?}, found {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn scores_fall_and_k_bounds_them() {
    let (skills, index) = library();
    let query = "email sql git chart";
    let all = found(&skills, &index, query);
    assert!(all.len() >= 4, "{all:?}");
    assert!(all.windows(2).all(|pair| pair[0].1 >= pair[1].1) && all.iter().all(|hit| hit.1 > 0.0), "{all:?}");
    assert_eq!(index.search(query, 3, |_| false).len(), 3);
    assert_eq!(index.search(query, 0, |_| false), []);
}

#[test]
fn words_of_most_skills_choose_none() {
    let skills: Vec<Skill> =
        (0..8).map(|n| skill(&format!("s{n}"), &format!("Handles kubernetes topic{n}."), "Do it.")).collect();
    let index = Index::build(&skills);
    assert_eq!(found(&skills, &index, "kubernetes"), []);
    assert_eq!(found(&skills, &index, "kubernetes topic3")[0].0, "s3");
}

#[test]
fn a_long_text_needs_more_than_one_stray_word() {
    let (skills, index) = library();
    let story = "Once upon a winter an old fisherman lived beside the frozen lake with seven daughters and a grey \
                 horse which nobody dared to ride because its temper was as wild as the northern storm and every \
                 spring the villagers met to decide whether the animal should be sold or let free upon the hills ";
    assert_eq!(found(&skills, &index, &format!("{story} money")), []);
    assert_eq!(
        found(&skills, &index, &format!("{story} Now write an email about it to a colleague"))[0].0,
        "professional-email-drafting"
    );
}

#[test]
fn only_the_ends_of_a_huge_query_are_read() {
    let (skills, index) = library();
    let noise = "漢 zzz ".repeat(10_000);
    let first = |query: String| found(&skills, &index, &query).first().map(|hit| hit.0);
    assert_eq!(first(format!("debug {noise}")), None, "a thousand unknown words outweigh one known");
    let pasted = ", . ; ".repeat(10_000);
    assert_eq!(first(format!("debug this function: {pasted}")), Some("debug-systematically"));
    assert_eq!(first(format!("{pasted} rebase the git branch")), Some("git-workflow"));
    assert_eq!(first(format!("{pasted} git rebase {pasted}")), None);
}

#[test]
fn forms_of_a_word_are_related_and_neighbours_are_not() {
    for (a, b) in [
        ("debug", "debugging"),
        ("email", "emails"),
        ("test", "testing"),
        ("schedule", "scheduling"),
        ("bericht", "berichte"),
        ("письмо", "письма"),
        ("deploy", "deployment"),
    ] {
        assert!(related(a, b) && related(b, a), "{a} {b}");
    }
    for (a, b) in [
        ("context", "content"),
        ("interface", "interview"),
        ("form", "formation"),
        ("cat", "cats"),
        ("debug", "debug"),
        ("step1", "step2"),
        ("portal", "portfolio"),
    ] {
        assert!(!related(a, b), "{a} {b}");
    }
}

#[test]
fn no_skills_no_hits() {
    let index = Index::build::<Skill>(&[]);
    assert_eq!(index.search("debug", 16, |_| false), []);
}

#[test]
fn one_skill_is_found_by_its_subject_only() {
    let skills = [skill("debug-systematically", "Use when code fails.", "Read the error.")];
    let index = Index::build(&skills);
    assert_eq!(found(&skills, &index, "please debug this").len(), 1);
    assert_eq!(found(&skills, &index, "how do I use the stove when it is on"), []);
}
