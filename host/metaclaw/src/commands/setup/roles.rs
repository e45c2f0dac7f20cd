//! Agents by role: what each is for, and the skills that it begins with.

use std::path::{Path, PathBuf};

use ::skills::{Shelf, add_skill};
use anyhow::{Context, bail};
use clap::ValueEnum;
use domain::{AgentId, AgentName};

/// What an agent is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Finds, compares and cites sources
    Researcher,
    /// Mail, plans and everyday questions
    Assistant,
    /// Reads changes and says what is wrong with them
    Reviewer,
}

/// A starter skill: the name of its folder, and its text.
type Skill = (&'static str, &'static str);

macro_rules! skill {
    ($folder:literal, $name:literal) => {
        ($name, include_str!(concat!("../../../../../examples/", $folder, "/", $name, "/SKILL.md")))
    };
}

const SHARED: &[Skill] =
    &[skill!("two-agents/skills/_shared", "admit-uncertainty"), skill!("two-agents/skills/_shared", "answer-first")];
const RESEARCHER: &[Skill] = &[
    skill!("two-agents/skills/researcher", "cite-sources"),
    skill!("two-agents/skills/researcher", "compare-papers"),
    skill!("two-agents/skills/researcher", "summarise-paper"),
];
const ASSISTANT: &[Skill] = &[
    skill!("two-agents/skills/assistant", "house-style"),
    skill!("two-agents/skills/assistant", "plan-day"),
    skill!("two-agents/skills/assistant", "write-email"),
];
const REVIEWER: &[Skill] =
    &[skill!("starter-skills/reviewer", "review-change"), skill!("starter-skills/reviewer", "judge-tests")];

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

    /// How many skills a prompt of its gets at most: few where answers are short, more where methods are combined.
    pub(crate) fn top_k(self) -> u32 {
        match self {
            Role::Researcher => 4,
            Role::Assistant | Role::Reviewer => 3,
        }
    }

    fn skills(self) -> &'static [Skill] {
        match self {
            Role::Researcher => RESEARCHER,
            Role::Assistant => ASSISTANT,
            Role::Reviewer => REVIEWER,
        }
    }
}

/// `NAME=ROLE`, or a role alone, which is then the name as well.
pub(crate) fn parse(text: &str) -> anyhow::Result<(AgentName, Role)> {
    let (name, role) = text.split_once('=').unwrap_or((text, text));
    let known = || Role::ALL.iter().map(|role| role.name()).collect::<Vec<_>>().join(", ");
    let Some(role) = Role::ALL.iter().find(|known| known.name() == role) else {
        bail!("{role:?} is not a role: there are {}; write NAME=ROLE", known());
    };
    Ok((name.parse()?, *role))
}

/// The starter skills of these agents: where each goes, and the words.
pub(super) fn starters(agents: &[(AgentName, Role)]) -> Vec<(Shelf, Skill)> {
    let shared = if agents.is_empty() { &[] } else { SHARED };
    let own = agents.iter().flat_map(|(name, role)| {
        role.skills().iter().map(|skill| (Shelf::Agent(AgentId::Named(name.clone())), *skill))
    });
    shared.iter().map(|skill| (Shelf::Shared, *skill)).chain(own).collect()
}

/// The folder that a starter skill gets.
pub(super) fn folder(skills_dir: &Path, shelf: &Shelf, name: &str) -> PathBuf {
    let shelf = match shelf {
        Shelf::Shared => "_shared",
        Shelf::Agent(agent) => agent.as_str(),
    };
    skills_dir.join(shelf).join(name)
}

/// Writes those that are not there; whatever has a skill's name stays as it is. Gives the names of what was written.
pub(super) fn write(skills_dir: &Path, agents: &[(AgentName, Role)]) -> anyhow::Result<Vec<String>> {
    let mut written = Vec::new();
    for (shelf, (name, text)) in starters(agents) {
        let folder = folder(skills_dir, &shelf, name);
        if folder.symlink_metadata().is_ok() {
            continue;
        }
        add_skill(skills_dir, &shelf, text.as_bytes(), None, false)
            .with_context(|| format!("the skill {} was not written", folder.display()))?;
        written.push(folder.strip_prefix(skills_dir).unwrap_or(&folder).display().to_string());
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use ::skills::Skill as Parsed;
    use domain::SkillScope;

    use super::*;

    #[test]
    fn starter_skills_can_be_served() {
        let all: Vec<_> = Role::ALL.iter().map(|role| (role.name().parse().unwrap(), *role)).collect();
        for (shelf, (name, text)) in starters(&all) {
            let skill = Parsed::parse(text.as_bytes(), name, SkillScope::Own).unwrap();
            assert_eq!(skill.name.as_str(), name, "{shelf:?}");
        }
        assert!(starters(&[]).is_empty());
    }

    #[test]
    fn agents_are_named_with_a_role() {
        let (name, role) = parse("ada=researcher").unwrap();
        assert_eq!((name.to_string().as_str(), role), ("ada", Role::Researcher));
        assert_eq!(parse("reviewer").unwrap().1, Role::Reviewer);
        for bad in ["ada", "ada=king", "../x=reviewer", "_default=reviewer", "=reviewer"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
