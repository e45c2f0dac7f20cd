//! The bank of skills that the program comes with, by the role of an agent (`examples/skills`).

use std::path::{Path, PathBuf};

use ::skills::{Shelf, add_skill};
use anyhow::{Context, bail};
use clap::ValueEnum;
use domain::{AgentId, AgentName};

/// Each skill's folder in the bank, such as `_shared/verdict-first`, and its `SKILL.md`. The build script lists them.
const BANK: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/bank.rs"));
/// The folder of those that every agent gets.
const SHARED: &str = "_shared";
/// How many skills a prompt gets at most: each asks for a form of the answer, and more of them would contradict one another.
pub(crate) const TOP_K: u32 = 2;

/// What an agent is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Finds, compares and cites sources
    #[value(name = "research-assistant", alias = "researcher")]
    Researcher,
    /// Mail, plans and everyday questions
    #[value(name = "daily-assistant", alias = "assistant")]
    Assistant,
    /// Reads changes and says what is wrong with them
    #[value(name = "code-reviewer", alias = "reviewer")]
    Reviewer,
}

/// A skill of the bank that is to be put on a shelf.
pub(crate) struct Starter {
    shelf: Shelf,
    name: &'static str,
    text: &'static [u8],
}

impl Role {
    /// All of them, in the order in which they are offered.
    pub(crate) const ALL: &[Role] = &[Role::Researcher, Role::Assistant, Role::Reviewer];

    /// The name of an agent that is given none, and the role's on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Role::Researcher => "researcher",
            Role::Assistant => "assistant",
            Role::Reviewer => "reviewer",
        }
    }

    /// What it is for, in a line.
    pub(crate) fn about(self) -> &'static str {
        match self {
            Role::Researcher => "finds, compares and cites sources",
            Role::Assistant => "mail, plans and everyday questions",
            Role::Reviewer => "reads changes and says what is wrong with them",
        }
    }

    /// Its folder in the bank, and the name of an agent that gets its skills and is given none.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Role::Researcher => "research-assistant",
            Role::Assistant => "daily-assistant",
            Role::Reviewer => "code-reviewer",
        }
    }
}

/// `NAME=ROLE`, or a role alone, which is then the name as well.
pub(crate) fn parse(text: &str) -> anyhow::Result<(AgentName, Role)> {
    let (name, role) = text.split_once('=').unwrap_or((text, text));
    let known = || Role::ALL.iter().map(|role| role.name()).collect::<Vec<_>>().join(", ");
    let Some(role) = Role::ALL.iter().find(|known| known.name() == role || known.folder() == role) else {
        bail!("{role:?} is not a role: there are {}; write NAME=ROLE", known());
    };
    Ok((name.parse()?, *role))
}

/// The skills that these agents begin with.
pub(crate) fn starters(agents: &[(AgentId, Role)]) -> Vec<Starter> {
    let of = |folder: &'static str, shelf: Shelf| {
        BANK.iter().filter_map(move |(path, text)| {
            let name = path.strip_prefix(folder)?.strip_prefix('/')?;
            Some(Starter { shelf: shelf.clone(), name, text })
        })
    };
    let own = agents.iter().flat_map(|(agent, role)| of(role.folder(), Shelf::Agent(agent.clone())));
    let shared = (!agents.is_empty()).then(|| of(SHARED, Shelf::Shared));
    shared.into_iter().flatten().chain(own).collect()
}

impl Starter {
    /// Whether anything is where it would go.
    pub(crate) fn is_there(&self, skills_dir: &Path) -> bool {
        self.folder(skills_dir).symlink_metadata().is_ok()
    }

    fn folder(&self, skills_dir: &Path) -> PathBuf {
        let shelf = match &self.shelf {
            Shelf::Shared => SHARED,
            Shelf::Agent(agent) => agent.as_str(),
        };
        skills_dir.join(shelf).join(self.name)
    }
}

/// Writes those that are not there; whatever has a skill's name stays as it is. Gives the names of what was written.
pub(crate) fn write(skills_dir: &Path, agents: &[(AgentId, Role)]) -> anyhow::Result<Vec<String>> {
    let mut written = Vec::new();
    for starter in starters(agents).into_iter().filter(|starter| !starter.is_there(skills_dir)) {
        let folder = starter.folder(skills_dir);
        add_skill(skills_dir, &starter.shelf, starter.text, None, false)
            .with_context(|| format!("the skill {} was not written", folder.display()))?;
        written.push(folder.strip_prefix(skills_dir).unwrap_or(&folder).display().to_string());
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_has_skills_and_the_shared_ones_come_once() {
        let agents: Vec<_> =
            Role::ALL.iter().map(|role| (AgentId::from_trusted(role.name()).unwrap(), *role)).collect();
        let all = starters(&agents);
        assert_eq!(all.len(), BANK.len());
        for (agent, _) in &agents {
            let own = all.iter().filter(|starter| starter.shelf == Shelf::Agent(agent.clone())).count();
            assert!(own >= 12, "{agent}: {own}");
        }
        assert!(starters(&[]).is_empty());
    }

    #[test]
    fn agents_are_named_with_a_role() {
        let (name, role) = parse("ada=researcher").unwrap();
        assert_eq!((name.to_string().as_str(), role), ("ada", Role::Researcher));
        assert_eq!(parse("reviewer").unwrap().1, Role::Reviewer);
        assert_eq!(parse("bob=code-reviewer").unwrap().1, Role::Reviewer);
        for bad in ["ada", "ada=king", "../x=reviewer", "_default=reviewer", "=reviewer"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
