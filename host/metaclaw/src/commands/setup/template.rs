//! A new configuration file, for somebody who has never seen one.

use std::fmt::Write;

use super::choice::Choice;
use super::known::{self, EMBEDDED};
use crate::bank;

/// The usual port.
const PORT: u16 = 30_000;

/// The text of a new file. `key` is the reference to the provider's key, as `env:NAME`.
pub(super) fn render(choice: &Choice, key: Option<&str>, today: &str) -> String {
    let mode = choice.mode.unwrap_or("skills_only");
    let port = choice.port.unwrap_or(PORT);
    let mut text = format!(
        "# MetaClaw, as `metaclaw setup` wrote it on {today}. `metaclaw config keys` lists every key there is,\n\
         # `metaclaw config check` says what is wrong here, and a running host takes changes over by itself.\n\
         \n\
         # What turns are used for. skills_only: agents get their skills, and nothing is kept for training.\n\
         # rl: finished turns are kept as training samples as well.\n\
         mode: {mode}\n\
         \n\
         # Where agents reach this host: http://127.0.0.1:{port}/v1. Any other address than 127.0.0.1 opens it to the\n\
         # network, and then callers need a key.\n\
         proxy:\n  \
           host: 127.0.0.1\n  \
           port: {port}\n\
         \n"
    );
    upstream(&mut text, choice, key);
    text.push_str(
        "\n# Skills are Markdown files in `skills`, beside this file: `_shared/NAME/SKILL.md` for every agent,\n\
         # `AGENT/NAME/SKILL.md` for one. A prompt gets the few that fit it best.\n\
         skills:\n  top_k: 6\n",
    );
    agents(&mut text, choice);
    text
}

fn upstream(text: &mut String, choice: &Choice, key: Option<&str>) {
    let Some(upstream) = &choice.upstream else { return };
    let (provider, label) = (quoted(&upstream.provider), known::label(&upstream.provider));
    // Writing to a text cannot fail.
    let _ = match upstream.provider.as_str() {
        EMBEDDED => write!(
            text,
            "# Who answers: a small model inside this program. Nothing leaves the machine. For a better one name a\n\
             # provider (openai, openrouter, ollama, …), its model_id and its api_key, or run `metaclaw setup` again.\n\
             llm:\n  provider: {EMBEDDED}\n"
        ),
        _ => write!(
            text,
            "# Who answers: {label}, with this model, whatever the client asks for.\nllm:\n  provider: {provider}\n"
        ),
    };
    if !upstream.model.is_empty() {
        let _ = writeln!(text, "  model_id: {}", quoted(&upstream.model));
    }
    if let Some(base) = &upstream.base {
        let _ = writeln!(text, "  api_base: {}", quoted(base));
    }
    if let Some(key) = key {
        let _ = write!(
            text,
            "  # Never the key itself: env:NAME is a variable of the environment that the host is started in,\n  \
               # file:PATH a file that you alone can read.\n  api_key: {}\n",
            quoted(key)
        );
    }
}

fn agents(text: &mut String, choice: &Choice) {
    text.push_str(
        "\n# Your agents. Each names itself with the header `X-Agent-Id` and has its own skills; what is not said here\n\
         # holds as above. An agent that is not listed has `_default`'s settings and a skills folder of its own.\n\
         agents:\n",
    );
    for (name, role) in &choice.agents {
        let _ = write!(
            text,
            "  # {}.\n  {name}:\n    skills: {{ top_k: {} }}\n    # mode: rl          # keep its finished turns as samples\n",
            role.about(),
            bank::TOP_K
        );
    }
    let _ = writeln!(text, "  _default: {{}}");
}

/// A text as YAML: what JSON writes is YAML too, whatever characters are in it.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let simple = text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(plain);
    // These are words of YAML itself.
    let word = ["true", "false", "null", "yes", "no", "on", "off"].contains(&text.to_ascii_lowercase().as_str());
    if simple && !word { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}
