//! The injected block, in MetaClaw's form.
//!
//! Skill text is data. Only this module writes lines that begin with `## ` or `### `: whatever a body brings along as
//! headings is moved below its skill's own, so no body can look like another skill or another block.

use std::sync::Arc;

use crate::{Skill, SkillName};

/// The first line of every block.
pub const BLOCK_HEADING: &str = "## Active Skills";

/// How far a body's headings are moved down: `#` becomes `####`, below the skill's `###`.
const DEMOTE_BY: usize = 3;
/// Markdown knows no deeper heading.
const DEEPEST: usize = 6;

/// Renders skills in the given order, without a line end after the last. The same skills give the same bytes; no
/// skills give the empty text.
pub fn render_block(skills: &[Arc<Skill>]) -> String {
    if skills.is_empty() {
        return String::new();
    }
    let bytes = BLOCK_HEADING.len() + skills.iter().map(|skill| skill.rendered.len() + 2).sum::<usize>();
    let mut block = String::with_capacity(bytes);
    block.push_str(BLOCK_HEADING);
    for skill in skills {
        block.push_str("\n\n");
        block.push_str(&skill.rendered);
    }
    block
}

/// Heading, description in italics, body. `description` is one line.
pub(crate) fn render_skill(name: &SkillName, description: &str, body: &str) -> String {
    let mut out = format!("### {name}\n_{description}_\n");
    let mut fence: Option<&str> = None;
    let mut after_text = false;
    for line in body.lines() {
        out.push('\n');
        if let Some(open) = fence {
            // Code keeps its columns unless a line of it would look like one of our headings.
            if matches!(heading_level(line), Some(2..=DEMOTE_BY)) {
                out.push(' ');
            }
            out.push_str(line);
            fence = fence.filter(|_| !closes(line, open));
            continue;
        }
        // A row of dashes or equal signs right below text would turn the text into a heading.
        if after_text && underlines(line) {
            out.push('\n');
        }
        match heading_level(line) {
            Some(level) => {
                out.push_str(&"#".repeat((level + DEMOTE_BY).min(DEEPEST)));
                out.push_str(&unindented(line)[level..]);
            }
            None => out.push_str(line),
        }
        fence = fence_of(line);
        after_text = fence.is_none() && !line.trim().is_empty();
    }
    // An open fence would swallow the next skill.
    if let Some(open) = fence {
        out.push('\n');
        out.push_str(open);
    }
    out
}

/// The line without the up to three spaces that Markdown allows before a block.
fn unindented(line: &str) -> &str {
    let text = line.trim_start_matches(' ');
    if line.len() - text.len() <= 3 { text } else { "" }
}

fn heading_level(line: &str) -> Option<usize> {
    let text = unindented(line);
    let level = text.bytes().take_while(|byte| *byte == b'#').count();
    let ends = text.as_bytes().get(level).is_none_or(|byte| matches!(byte, b' ' | b'\t'));
    (1..=DEEPEST).contains(&level).then_some(level).filter(|_| ends)
}

/// The fence with which a line opens a code block.
fn fence_of(line: &str) -> Option<&str> {
    let text = unindented(line);
    let mark = text.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let length = text.bytes().take_while(|byte| *byte as char == mark).count();
    let inline = mark == '`' && text[length..].contains('`');
    (length >= 3 && !inline).then(|| &text[..length])
}

fn closes(line: &str, open: &str) -> bool {
    let text = unindented(line).trim_end();
    text.len() >= open.len() && text.starts_with(open) && text.bytes().all(|byte| byte == open.as_bytes()[0])
}

fn underlines(line: &str) -> bool {
    let text = unindented(line).trim_end();
    !text.is_empty() && (text.bytes().all(|byte| byte == b'-') || text.bytes().all(|byte| byte == b'='))
}

#[cfg(test)]
mod tests;
