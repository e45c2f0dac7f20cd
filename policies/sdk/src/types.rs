//! What makes the contract's types pleasant to use.

use crate::{
    Catalog, Decision, Error, Message, Permission, Refusal, Result, Route, Selection, SkillSummary, Target, Turn,
    Verdict,
};

/// The attribute in which a decision says why.
const REASON: &str = "reason";
/// How many summaries are fetched at once.
const PAGE: u32 = 256;

impl Turn {
    /// To the configured choice, the first of the targets.
    pub fn to_first(&self) -> Result<Decision> {
        match self.targets().into_iter().next() {
            Some(target) => Ok(Decision::to(target)),
            None => Err(Error::new("no-target", "the turn offers no target")),
        }
    }

    /// To the target of this name: `upstream/model`, an upstream, or a model. An error when the turn does not offer it.
    pub fn to(&self, name: &str) -> Result<Decision> {
        match self.target(name) {
            Some(target) => Ok(Decision::to(target)),
            None => Err(Error::new("no-target", format!("the turn does not offer `{name}`"))),
        }
    }

    /// The first target of this name: `upstream/model`, an upstream, or a model.
    pub fn target(&self, name: &str) -> Option<Target> {
        self.targets().into_iter().find(|target| target.is(name))
    }

    /// The messages, the oldest first, each fetched when it is asked for.
    pub fn messages(&self) -> impl Iterator<Item = Message> {
        (0..self.message_count()).filter_map(|index| self.message(index))
    }

    /// Whether somebody asked, rather than the client for its own housekeeping.
    pub fn is_main(&self) -> bool {
        self.kind() == "main"
    }
}

impl Catalog {
    /// All summaries, by name.
    pub fn all(&self) -> Vec<SkillSummary> {
        let mut all = Vec::new();
        loop {
            let page = self.list(u32::try_from(all.len()).unwrap_or(u32::MAX), PAGE);
            if page.is_empty() {
                return all;
            }
            all.extend(page);
        }
    }
}

impl Target {
    /// Whether this is its name: `upstream/model`, the upstream, or the model.
    pub fn is(&self, name: &str) -> bool {
        let both =
            || name.split_once('/').is_some_and(|(upstream, model)| self.upstream == upstream && self.model == model);
        self.model == name || self.upstream == name || both()
    }
}

impl Decision {
    /// Ask this one.
    pub fn to(target: Target) -> Self {
        Decision::To(Route { target, attrs: Vec::new() })
    }

    /// Ask nobody: the client gets these words, 1 to 4,096 bytes, as an ordinary answer.
    pub fn refuse(words: impl Into<String>) -> Self {
        Decision::Refuse(Refusal { message: words.into() })
    }

    /// Says why, for the operator.
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        if let Decision::To(route) = &mut self {
            route.attrs.push((REASON.to_owned(), reason.into()));
        }
        self
    }
}

impl Selection {
    /// These skills, in this order.
    pub fn of(skills: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Selection { skills: skills.into_iter().map(Into::into).collect(), attrs: Vec::new() }
    }

    /// No skills, which is a good answer.
    pub fn none() -> Self {
        Selection { skills: Vec::new(), attrs: Vec::new() }
    }

    /// Says why, for the operator.
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.attrs.push((REASON.to_owned(), reason.into()));
        self
    }
}

impl From<Vec<String>> for Selection {
    fn from(skills: Vec<String>) -> Self {
        Selection { skills, attrs: Vec::new() }
    }
}

impl Permission {
    /// The client does not get the call, and reads why.
    pub fn deny(why: impl Into<String>) -> Self {
        Permission::Deny(why.into())
    }

    /// An operator decides; for what reason.
    pub fn hold(why: impl Into<String>) -> Self {
        Permission::Hold(why.into())
    }
}

impl Verdict {
    /// Left out; for what reason.
    pub fn drop(why: impl Into<String>) -> Self {
        Verdict::Drop(why.into())
    }
}
