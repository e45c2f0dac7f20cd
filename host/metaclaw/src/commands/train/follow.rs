//! Watches training from outside: a bar for what is under way and a line for each agent; without a terminal, a line for each
//! change.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::bail;
use domain::AgentId;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::{lane, lanes, only, show, text};
use crate::admin::Admin;
use crate::output;

/// How often the host is asked.
const LOOK: Duration = Duration::from_millis(300);

/// What is on the screen, or was said last, of each agent.
struct Board {
    bars: MultiProgress,
    shown: HashMap<String, (ProgressBar, String)>,
    terminal: bool,
}

/// Shows what changes until somebody ends it. As JSON, each change is one line.
pub(super) async fn status(admin: &Admin, agent: Option<&AgentId>, json: bool) -> anyhow::Result<()> {
    let mut board = Board::new(!json);
    let mut before = Value::Null;
    loop {
        let state = only(admin.look(&["training"]).await?, agent)?;
        match json {
            true if state != before => output::line(&state),
            true => {}
            false => lanes(&state).for_each(|lane| board.show(lane)),
        }
        before = state;
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits until each of these agents has ended a step that had not ended `before`, and says what came of each.
pub(super) async fn steps(
    admin: &Admin,
    before: &Value,
    agents: &[String],
    timeout: Duration,
    shown: bool,
) -> anyhow::Result<Vec<Value>> {
    let began = Instant::now();
    let mut board = Board::new(shown);
    let mut done: HashMap<&str, Value> = HashMap::new();
    while done.len() < agents.len() {
        if began.elapsed() > timeout {
            bail!("the step is not done after {} s; it goes on: `metaclaw train status --follow`", timeout.as_secs());
        }
        tokio::time::sleep(LOOK).await;
        let state = admin.look(&["training"]).await?;
        for agent in agents.iter().filter(|agent| !done.contains_key(agent.as_str())).collect::<Vec<_>>() {
            let now = lane(&state, agent)?;
            let was = lanes(before).find(|lane| lane["agent"] == **agent).unwrap_or(&Value::Null);
            if shown {
                board.show(now);
            }
            let outcome = match (&now["last"], now["error"].as_str()) {
                (last, _) if last.is_object() && last["batch"] != was["last"]["batch"] => last.clone(),
                (_, Some(error)) if now["failures"] != was["failures"] => json!({"state": "failed", "reason": error}),
                _ => continue,
            };
            let mut outcome = outcome;
            outcome["agent"] = json!(agent);
            if shown {
                board.ended(agent, &show::outcome(&outcome));
            }
            done.insert(agent, outcome);
        }
    }
    Ok(agents.iter().filter_map(|agent| done.remove(agent.as_str())).collect())
}

impl Board {
    fn new(shown: bool) -> Self {
        let terminal = shown && console::user_attended_stderr();
        Board { bars: MultiProgress::new(), shown: HashMap::new(), terminal }
    }

    fn show(&mut self, lane: &Value) {
        let agent = text(&lane["agent"]);
        let line = match lane["refused"].as_str() {
            Some(reason) => format!("does not train: {}", output::harmless(reason)),
            None => show::standing(lane),
        };
        let entry = self.shown.entry(agent.clone()).or_insert_with(|| {
            let bar = if self.terminal { self.bars.add(ProgressBar::no_length()) } else { ProgressBar::hidden() };
            bar.set_prefix(agent.clone());
            (bar, String::new())
        });
        let (bar, said) = entry;
        match (lane["done"].as_u64(), lane["total"].as_u64()) {
            (Some(done), Some(total)) if total > 0 => {
                bar.set_length(total);
                bar.set_position(done);
                bar.set_style(style("{prefix} {wide_bar} {pos}/{len} tokens {elapsed} {msg}"));
                bar.set_message(text(&lane["phase"]));
            }
            _ => {
                bar.set_style(style("{prefix} {msg}"));
                bar.set_message(line.clone());
            }
        }
        // A pipe gets what happens, and not how far each of it is.
        let news = match lane["refused"].is_null() {
            true => format!("{}, generation {}, {} eligible", text(&lane["phase"]), lane["generation"], lane["eligible"]),
            false => line,
        };
        if !self.terminal && *said != news {
            output::line(format_args!("{agent}: {news}"));
            *said = news;
        }
    }

    fn ended(&mut self, agent: &str, outcome: &str) {
        if let Some((bar, _)) = self.shown.remove(agent) {
            bar.finish_and_clear();
        }
        output::line(format_args!("{agent}: {outcome}"));
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
