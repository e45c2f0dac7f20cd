//! The catalog of a case: written there, or a folder of `SKILL.md` files.

use std::path::Path;

use crate::case::Skill;
use crate::node::{Node, Value};
use crate::section::Report;

const KEYS: [&str; 6] = ["name", "description", "body", "category", "scope", "tokens"];
/// As the host estimates.
const BYTES_PER_TOKEN: usize = 4;

/// In the order of the names.
pub(crate) fn read_skills(node: &Node, path: &str, folder: &Path, report: &mut Report) -> Option<Vec<Skill>> {
    let mut skills = match &node.value {
        Value::Text(place) => match of_folder(&folder.join(place)) {
            Ok(skills) => skills,
            Err(message) => {
                report.add(node.place, path, message);
                return None;
            }
        },
        _ => {
            let mut skills = Vec::new();
            for (at, item) in report.list(node, path)?.iter().enumerate() {
                skills.extend(read_skill(item, &format!("{path}[{at}]"), report));
            }
            skills
        }
    };
    skills.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = skills.windows(2).find(|pair| pair[0].name == pair[1].name) {
        report.add(node.place, path, format!("two skills have the name {:?}", pair[0].name));
    }
    Some(skills)
}

fn read_skill(node: &Node, path: &str, report: &mut Report) -> Option<Skill> {
    let section = report.section(node, path, &KEYS)?;
    let name = section.read("name", |node, at| report.text(node, at));
    if section.get("name").is_none() {
        report.add(section.place, path, "the skill has no name; write `name: …`");
    }
    let mut text = |key: &str| section.read(key, |node, at| report.text(node, at)).unwrap_or_default();
    let (description, body, category) = (text("description"), text("body"), text("category"));
    let scope = section.read("scope", |node, at| report.choice(node, at, &["shared", "own"]));
    let tokens = section.read("tokens", |node, at| report.whole(node, at));
    let name = name?;
    // As the host: a skill without a description or instructions is none.
    let description = if description.is_empty() { name.clone() } else { description };
    let body = if body.is_empty() { description.clone() } else { body };
    let tokens = tokens.unwrap_or_else(|| estimate(&name, &description, &body));
    Some(Skill { name, description, body, category, scope: scope.unwrap_or_else(|| "own".to_owned()), tokens })
}

/// What the host would inject, a heading, the description in italics and the body, by its usual estimate.
fn estimate(name: &str, description: &str, body: &str) -> u32 {
    let injected = format!("### {name}\n_{description}_\n\n{body}");
    u32::try_from(injected.len().div_ceil(BYTES_PER_TOKEN)).unwrap_or(u32::MAX)
}

/// Each folder in it that holds a `SKILL.md`.
fn of_folder(folder: &Path) -> Result<Vec<Skill>, String> {
    let unusable = |place: &Path, error: &dyn std::fmt::Display| format!("{} cannot be read: {error}", place.display());
    let mut skills = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| unusable(folder, &error))? {
        let place = entry.map_err(|error| unusable(folder, &error))?.path();
        let file = place.join("SKILL.md");
        if !file.is_file() {
            continue;
        }
        let text = std::fs::read_to_string(&file).map_err(|error| unusable(&file, &error))?;
        let name = place.file_name().unwrap_or_default().to_string_lossy().into_owned();
        skills.push(of_document(&text, name));
    }
    Ok(skills)
}

/// Front matter of plain `key: value` lines, and the body beneath it. The host reads more than this; cases do not need it.
fn of_document(text: &str, folder: String) -> Skill {
    let text = text.replace("\r\n", "\n");
    let parts = text.strip_prefix("---\n").and_then(|rest| rest.split_once("\n---"));
    let (head, body) = parts.map_or(("", text.as_str()), |(head, rest)| (head, rest.trim_start_matches('-')));
    let value = |key: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.map(|value| value.trim().trim_matches('"').to_owned()).filter(|value| !value.is_empty())
    };
    let name = value("name").unwrap_or(folder);
    let description = value("description").unwrap_or_default();
    let body = body.trim().to_owned();
    let tokens = estimate(&name, &description, &body);
    let category = value("category").unwrap_or_else(|| "general".to_owned());
    Skill { name, description, body, category, scope: "own".to_owned(), tokens }
}
