//! MetaClaw's `retrieval_mode: template`, as it is: a question belongs to the first category of which a word occurs in it, within
//! other words too (there is an `api` in every capital); without any to the first category that there is. Its prompt gets the
//! first general skills, those of that category, and the common mistakes. Nothing is ranked, and something always comes.

use crate::{Library, Skill};

const GENERAL: &str = "general";
const MISTAKES: &str = "common_mistakes";
/// So many common mistakes.
const MAX_MISTAKES: usize = 5;

/// MetaClaw's categories in its order, with words for each.
const CATEGORIES: [(&str, &[&str]); 8] = [
    (
        "coding",
        &[
            "code",
            "bug",
            "debug",
            "function",
            "compile",
            "refactor",
            "test",
            "api",
            "python",
            "rust",
            "javascript",
            "git",
        ],
    ),
    ("research", &["research", "paper", "study", "literature", "cite", "citation", "source", "survey", "evidence"]),
    (
        "data_analysis",
        &["data", "csv", "chart", "plot", "statistic", "sql", "spreadsheet", "table", "average", "correlation"],
    ),
    (
        "productivity",
        &["plan", "schedule", "calendar", "todo", "task", "meeting", "agenda", "deadline", "remind", "organi"],
    ),
    (
        "security",
        &["security", "vulnerab", "password", "encrypt", "exploit", "attack", "permission", "secret", "token"],
    ),
    ("communication", &["email", "letter", "message", "reply", "write", "draft", "announce", "translate", "tone"]),
    ("automation", &["automat", "script", "cron", "pipeline", "workflow", "deploy", "container"]),
    ("agentic", &["agent", "tool", "browse", "step by step", "delegate", "orchestrate"]),
];

/// How many skills a question may get; both names are MetaClaw's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TemplateSizes {
    /// `top_k`: of the category `general`.
    pub general: usize,
    /// `task_specific_top_k`: of the question's category.
    pub specific: usize,
}

impl TemplateSizes {
    /// How many skills there may be in all.
    pub fn most(self) -> usize {
        self.general + self.specific + MAX_MISTAKES
    }
}

/// The positions that a question gets, in order.
pub(crate) fn choose(library: &Library, question: &str, sizes: TemplateSizes) -> Vec<usize> {
    let categories: Vec<String> = library.list().iter().map(|skill| category(skill)).collect();
    let text = question.to_lowercase();
    let named =
        CATEGORIES.iter().find(|(_, words)| words.iter().any(|word| text.contains(word))).map(|(name, _)| *name);
    let first = || categories.iter().map(String::as_str).find(|name| *name != GENERAL && *name != MISTAKES);
    let wanted = named.or_else(first);
    let of = |name: &str, most: usize| -> Vec<usize> {
        let all = categories.iter().enumerate().filter(|(_, category)| *category == name).map(|(at, _)| at);
        all.take(most).collect()
    };
    let specific = wanted.map(|name| of(name, sizes.specific)).unwrap_or_default();
    [of(GENERAL, sizes.general), specific, of(MISTAKES, MAX_MISTAKES)].concat()
}

fn category(skill: &Skill) -> String {
    skill.category.replace(['-', ' '], "_")
}

#[cfg(test)]
mod tests {
    use domain::SkillScope;

    use super::*;

    #[test]
    fn skills_are_chosen_as_metaclaw_does() {
        let skill = |name: &str, category: &str| {
            let text = format!("---\nname: {name}\ndescription: d\ncategory: {category}\n---\nb\n");
            Skill::parse(text.as_bytes(), name, SkillScope::Own).unwrap()
        };
        let library = Library::of(vec![
            skill("a-general", "general"),
            skill("b-general", "general"),
            skill("c-coding", "coding"),
            skill("d-data", "data analysis"),
            skill("e-agentic", "agentic"),
            skill("f-mistake", "common_mistakes"),
        ]);
        let names = |question: &str, general, specific| -> Vec<&str> {
            let chosen = choose(&library, question, TemplateSizes { general, specific });
            chosen.into_iter().map(|at| library.list()[at].name.as_str()).collect()
        };
        assert_eq!(names("fix this BUG", 6, 10), ["a-general", "b-general", "c-coding", "f-mistake"]);
        assert_eq!(
            names("the capital of France", 1, 10),
            ["a-general", "c-coding", "f-mistake"],
            "an api in every capital"
        );
        assert_eq!(names("draw a chart", 0, 10), ["d-data", "f-mistake"]);
        assert_eq!(names("hello", 0, 10), ["c-coding", "f-mistake"], "the first that there is");
        assert_eq!(names("draw a chart", 0, 0), ["f-mistake"]);
        assert_eq!(names("my password", 0, 10), ["f-mistake"], "a category without skills");
    }
}
