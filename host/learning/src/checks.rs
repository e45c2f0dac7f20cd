//! What becomes of each proposal: it is applied, held for a person, or refused, and the reason is kept.

use domain::{Digest, SkillScope};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use skills::{Embedder, Library, Skill, SkillDocument, SkillName};
use store::{Lesson, SkillVersion, VersionState};

use crate::Settings;
use crate::answer::Proposal;
use crate::demotion::HURT;
use crate::likeness::{ALIKE, SAME, Twins, likeness};
use crate::screen::{screen, shown};
use crate::tryout::Tryout;

/// The most proposals of one lesson that count.
const MAX_PROPOSALS: usize = 3;
/// The longest description, in characters, and the longest body, in bytes.
const MAX_DESCRIPTION: usize = 300;
const MAX_BODY: usize = 4 << 10;
/// The most skills that one merge takes the place of.
const MAX_REPLACED: usize = 5;
/// The longest reason of a model's that is kept, in characters.
const MAX_WHY: usize = 300;

/// A proposal after its checks, as the lesson keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checked {
    pub(crate) action: String,
    pub(crate) name: String,
    pub(crate) fate: Fate,
    /// Why it is held or refused, or that it became something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    pub(crate) why: String,
    /// The whole `SKILL.md`; none when it is retired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
    /// The learned skills that go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) retires: Vec<String>,
    /// How trying it out goes, or went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tryout: Option<Tryout>,
}

/// What becomes of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Fate {
    /// It is done.
    Apply,
    /// It waits as a candidate.
    Hold,
    /// It is not done.
    Refuse,
}

/// Whose a skill of the agent's is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// There is none of that name.
    Nobody,
    /// A version that was learned, as it was written.
    Learned(Digest),
    /// A person wrote or changed it, or it is everybody's.
    Person,
}

/// What proposals are checked against.
pub(crate) struct Context<'a> {
    pub(crate) lesson: &'a Lesson,
    pub(crate) settings: Settings,
    pub(crate) library: &'a Library,
    pub(crate) versions: &'a [SkillVersion],
    /// What says what texts mean, where that is installed.
    pub(crate) embedder: Option<&'a dyn Embedder>,
}

/// Whose the skill of this name is.
pub(crate) fn owner(name: &str, library: &Library, versions: &[SkillVersion]) -> Owner {
    let Some(skill) = library.get(name) else { return Owner::Nobody };
    let known = versions.iter().any(|version| version.name == name && version.digest == skill.digest);
    if skill.scope == SkillScope::Own && known { Owner::Learned(skill.digest) } else { Owner::Person }
}

/// How many learned skills are in use.
pub(crate) fn in_use(library: &Library, versions: &[SkillVersion]) -> usize {
    let learned =
        |skill: &&std::sync::Arc<Skill>| matches!(owner(skill.name.as_str(), library, versions), Owner::Learned(_));
    library.list().iter().filter(learned).count()
}

impl Context<'_> {
    /// Checks each proposal; `nothing` is none.
    pub(crate) fn check(&self, proposals: Vec<Proposal>) -> Vec<Checked> {
        let mut checked: Vec<Checked> = Vec::new();
        for proposal in proposals.into_iter().filter(|proposal| proposal.action != "nothing") {
            if checked.len() == 2 * MAX_PROPOSALS {
                break;
            }
            let (action, why) = (proposal.action.clone(), shown(&proposal.why, &self.ids(), MAX_WHY));
            // What cannot be a name is shown without what could be in it.
            let name = shown(&proposal.name, &self.ids(), 64);
            let outcome = if checked.len() < MAX_PROPOSALS {
                self.one(&proposal, &checked)
            } else {
                Err(format!("a lesson has at most {MAX_PROPOSALS} proposals"))
            };
            checked.push(match outcome {
                Ok(one) => Checked { why, ..one },
                Err(reason) => Checked {
                    action,
                    name,
                    fate: Fate::Refuse,
                    reason: Some(reason),
                    why,
                    text: None,
                    retires: vec![],
                    tryout: None,
                },
            });
        }
        checked
    }

    /// Ids, and no words: a session may be called `review`.
    fn ids(&self) -> Vec<&str> {
        let session = self.lesson.session.as_str();
        let is_id = session.len() >= 8 && session.contains(|c: char| c.is_ascii_digit());
        is_id.then_some(session).into_iter().collect()
    }

    fn one(&self, proposal: &Proposal, before: &[Checked]) -> Result<Checked, String> {
        let name = name(&proposal.name)?;
        if before.iter().any(|other| other.name == name.as_str()) {
            return Err("another proposal of this lesson has the same name".to_owned());
        }
        if proposal.action == "retire" {
            return self.retirement(&name);
        }
        let (document, doubt) = self.document(&name, proposal)?;
        let said = format!("{}\n{}", document.description, document.body);
        let (document, moved) = self.in_its_place(document, &said, &proposal.replaces)?;
        let name = document.name.clone();
        let retires = self.replaced(&name, &proposal.replaces);
        let owner = self.owner(name.as_str());
        self.check_room(owner, before)?;
        let persons = proposal.replaces.iter().any(|other| self.owner(other) == Owner::Person);
        let held = if self.settings.review {
            Some("skills.review is on".to_owned())
        } else if owner == Owner::Person {
            Some(format!("a person wrote the skill {name}, or everybody has it"))
        } else if persons {
            Some("it would take the place of a skill that a person wrote, or that everybody has".to_owned())
        } else {
            doubt.map(str::to_owned)
        };
        let fate = if held.is_some() { Fate::Hold } else { Fate::Apply };
        let text = document.to_text().map_err(|error| error.to_string())?;
        let action = if owner == Owner::Nobody && retires.is_empty() { "add" } else { &*proposal.action };
        let action = if owner != Owner::Nobody && action == "add" { "update" } else { action };
        let (action, reason) = (action.to_owned(), held.or(moved));
        Ok(Checked {
            action,
            name: name.to_string(),
            fate,
            reason,
            why: String::new(),
            text: Some(text),
            retires,
            tryout: None,
        })
    }

    fn owner(&self, name: &str) -> Owner {
        owner(name, self.library, self.versions)
    }

    fn retirement(&self, name: &SkillName) -> Result<Checked, String> {
        match self.owner(name.as_str()) {
            Owner::Nobody => return Err("the agent has no skill of that name".to_owned()),
            Owner::Person => return Err("a person wrote it, or everybody has it".to_owned()),
            Owner::Learned(_) if self.settings.review => {
                return Err(format!("skills.review is on: `metaclaw skills retire {name}` takes it away"));
            }
            Owner::Learned(_) => {}
        }
        let (action, name) = ("retire".to_owned(), name.to_string());
        Ok(Checked {
            action,
            retires: vec![name.clone()],
            name,
            fate: Fate::Apply,
            reason: None,
            why: String::new(),
            text: None,
            tryout: None,
        })
    }

    /// The skill that is proposed, and why a person should look at it first.
    fn document(&self, name: &SkillName, proposal: &Proposal) -> Result<(SkillDocument, Option<&'static str>), String> {
        let body = without_front_matter(&proposal.body).trim();
        if body.is_empty() {
            return Err("it has no body".to_owned());
        }
        if body.len() > MAX_BODY {
            return Err(format!("its body has {} bytes, at most {MAX_BODY} are taken", body.len()));
        }
        let characters = proposal.description.chars().count();
        if proposal.description.trim().is_empty() || characters > MAX_DESCRIPTION {
            return Err(format!("its description has {characters} characters, 1 to {MAX_DESCRIPTION} are taken"));
        }
        let screened = |text: &str, what: &str| screen(text, &self.ids()).map_err(|why| format!("its {what}: {why}"));
        let (body, description) = (screened(body, "body")?, screened(&proposal.description, "description")?);
        let named = screened(&name.as_str().replace(['-', '_'], " "), "name")?;
        // A category is a word; what is none says nothing.
        let category = name_like(&proposal.category).unwrap_or_else(|| "general".to_owned());
        let mut metadata = Map::new();
        metadata.insert("source".to_owned(), Value::from("metaclaw learning"));
        metadata.insert("lesson".to_owned(), Value::from(self.lesson.id.to_string()));
        let document =
            SkillDocument { name: name.clone(), description: description.text, category, metadata, body: body.text };
        // As it will be read again: on one line, with one kind of line end.
        let text = document.to_text().map_err(|error| error.to_string())?;
        let document = SkillDocument::parse(text.as_bytes(), "").map_err(|error| error.to_string())?;
        Ok((document, body.doubt.or(description.doubt).or(named.doubt)))
    }

    /// A proposal that says what a skill says already, becomes that one's update, or is refused.
    fn in_its_place(
        &self,
        mut document: SkillDocument,
        said: &str,
        replaces: &[String],
    ) -> Result<(SkillDocument, Option<String>), String> {
        let twins = Twins::new(&document, self.embedder);
        if let Some(skill) = self.library.get(document.name.as_str())
            && likeness(said, &format!("{}\n{}", skill.description, skill.body)) > SAME
        {
            return Err("it changes nothing".to_owned());
        }
        for version in self.versions {
            let Ok(other) = SkillDocument::parse(version.text.as_bytes(), "") else { continue };
            let alike = likeness(said, &format!("{}\n{}", other.description, other.body));
            match version.state {
                VersionState::Rejected if alike > SAME => {
                    return Err(format!("a person has rejected {} with these words", version.name));
                }
                VersionState::Retired if alike > SAME && was_harmful(version) => {
                    return Err(format!("{} said this, and was retired: {HURT}", version.name));
                }
                VersionState::Candidate if version.name == document.name.as_str() && alike > SAME => {
                    return Err("it waits as a candidate already".to_owned());
                }
                VersionState::Candidate
                    if version.name != document.name.as_str()
                        && twins.likeness(other.name.as_str(), &other.description, &other.body) > ALIKE =>
                {
                    return Err(format!("the candidate {} says much the same", version.name));
                }
                _ => {}
            }
        }
        if self.library.get(document.name.as_str()).is_some() {
            return Ok((document, None));
        }
        let Some((alike, skill)) = twins.nearest(self.library, replaces) else { return Ok((document, None)) };
        match self.owner(skill.name.as_str()) {
            Owner::Learned(_) if alike <= SAME => {
                let moved = format!("it was proposed as {}, and says much the same as {}", document.name, skill.name);
                document.name = skill.name.clone();
                Ok((document, Some(moved)))
            }
            _ => Err(format!("the skill {} says it already", skill.name)),
        }
    }

    /// The learned skills that go when this one comes.
    fn replaced(&self, name: &SkillName, replaces: &[String]) -> Vec<String> {
        let mut names: Vec<String> = replaces.iter().filter(|other| *other != name.as_str()).cloned().collect();
        names.retain(|other| matches!(self.owner(other), Owner::Learned(_)));
        names.sort();
        names.dedup();
        names.truncate(MAX_REPLACED);
        names
    }

    fn check_room(&self, owner: Owner, before: &[Checked]) -> Result<(), String> {
        let most = self.settings.max_skills;
        let coming =
            |fate: Fate| before.iter().filter(move |other| other.fate == fate && other.action != "retire").count();
        if matches!(owner, Owner::Nobody) && in_use(self.library, self.versions) + coming(Fate::Apply) >= most {
            return Err(format!("the agent has {most} learned skills, the most that skills.max_learned allows"));
        }
        let waiting = self.versions.iter().filter(|version| version.state == VersionState::Candidate).count();
        if waiting + coming(Fate::Hold) >= most {
            return Err(format!(
                "{waiting} candidates wait for a person's word, the most that skills.max_learned allows"
            ));
        }
        Ok(())
    }
}

fn was_harmful(version: &SkillVersion) -> bool {
    version.reason.as_deref().is_some_and(|reason| reason.starts_with(HURT))
}

/// The name as a skill's, with what models write instead of hyphens put right.
fn name(written: &str) -> Result<SkillName, String> {
    let name: String = written.trim().to_lowercase().split([' ', '/', '.']).collect::<Vec<_>>().join("-");
    if name.contains("--") || written.contains(['/', '\\']) {
        return Err("its name is no skill's: lower-case letters, digits and hyphens".to_owned());
    }
    name.parse().map_err(|error| format!("its name cannot be used: {error}"))
}

fn name_like(category: &str) -> Option<String> {
    let category = name(category).ok()?.to_string();
    (category.len() <= 32).then_some(category)
}

/// Models often write the whole file; what its front matter says is said elsewhere, or not at all.
fn without_front_matter(body: &str) -> &str {
    let body = body.trim_start();
    let Some(rest) = body.strip_prefix("---\n") else { return body };
    rest.split_once("\n---").map_or("", |(_, after)| after.split_once('\n').map_or("", |(_, after)| after))
}

#[cfg(test)]
mod tests;
