//! Chooses skills by lists of words, as MetaClaw's `retrieval_mode: template` does: a turn belongs to the first category of which a word occurs in it; the
//! prompt gets the first general skills, those of the category, and the common mistakes. Nothing is ranked.

use metaclaw_policy::prelude::*;

mod categories;

use categories::Category;

/// The category of skills that every turn may have.
const GENERAL: &str = "general";
/// That of skills that say what to avoid.
const MISTAKES: &str = "common_mistakes";

/// The agent's `config:`; the first two names are MetaClaw's.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Template {
    /// At most so many general skills.
    top_k: usize,
    /// At most so many of the turn's category.
    task_specific_top_k: usize,
    /// At most so many common mistakes.
    mistakes: usize,
    /// Categories with their words, in the order in which they are tried.
    categories: Vec<Category>,
    /// The category of turns that hold no word of any; empty: they have none. MetaClaw takes the first that it has.
    otherwise: String,
    /// Whether a word counts within another, as in MetaClaw, for which there is an `api` in every capital.
    substrings: bool,
}

impl Default for Template {
    fn default() -> Self {
        Template {
            top_k: 6,
            task_specific_top_k: 10,
            mistakes: 5,
            categories: categories::usual(),
            otherwise: String::new(),
            substrings: false,
        }
    }
}

impl Policy for Template {
    fn check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.top_k + self.task_specific_top_k + self.mistakes > 64 {
            problems
                .push("a prompt gets at most 64 skills: lower `top_k`, `task_specific_top_k` or `mistakes`".to_owned());
        }
        if self.categories.iter().any(|category| category.words.is_empty()) {
            problems.push("a category must have words".to_owned());
        }
        problems
    }

    fn select(&self, turn: &Turn, catalog: &Catalog) -> Result<Selection> {
        let text = turn.user_text().to_lowercase();
        let category = self.categories.iter().find(|category| category.fits(&text, self.substrings));
        let category = category.map_or(self.otherwise.as_str(), |category| &category.name);
        let skills = catalog.all();
        let of = |name: &str, most: usize| {
            let all = skills.iter().filter(move |skill| skill.category.replace(['-', ' '], "_") == name);
            all.take(most).map(|skill| skill.name.clone()).collect::<Vec<_>>()
        };
        let mut chosen = of(GENERAL, self.top_k);
        // A category of one's own may have one of the two names.
        if !category.is_empty() && category != GENERAL && category != MISTAKES {
            chosen.extend(of(category, self.task_specific_top_k));
        }
        chosen.extend(of(MISTAKES, self.mistakes));
        Ok(Selection::of(chosen).because(format!("category {category}")))
    }
}

metaclaw_policy::export!(Template: select);

#[cfg(test)]
#[test]
fn it_decides_as_its_cases_say() {
    metaclaw_policy::testing::check::<Template>("cases.yaml");
}
