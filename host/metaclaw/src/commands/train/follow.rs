//! Watches training from outside: a bar for what is under way and a line for each agent; without a terminal, a line for each
//! change.

use std::collections::HashMap;
use std::time::Duration;

use domain::AgentId;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::Value;

use super::{agents, only, show, text};
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
    let mut board = Board::new();
    let mut before = Value::Null;
    loop {
        let state = only(admin.look(&["training"]).await?, agent)?;
        match json {
            true if state != before => output::line(&state),
            true => {}
            false => agents(&state).for_each(|one| board.show(one)),
        }
        before = state;
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits for `done`, and shows meanwhile how training goes.
pub(super) async fn meanwhile(
    admin: &Admin,
    agent: Option<&AgentId>,
    shown: bool,
    done: impl Future<Output = anyhow::Result<Value>>,
) -> anyhow::Result<Value> {
    let mut board = Board::new();
    let watch = async {
        loop {
            tokio::time::sleep(LOOK).await;
            if let (true, Ok(state)) = (shown, admin.look(&["training"]).await) {
                let wanted = |one: &&Value| agent.is_none_or(|agent| one["agent"] == agent.as_str());
                agents(&state).filter(wanted).for_each(|one| board.show(one));
            }
        }
    };
    let done = tokio::select! {
        done = done => done,
        never = watch => never,
    };
    board.clear();
    done
}

impl Board {
    fn new() -> Self {
        let terminal = console::user_attended_stderr();
        Board { bars: MultiProgress::new(), shown: HashMap::new(), terminal }
    }

    fn show(&mut self, one: &Value) {
        let agent = text(&one["agent"]);
        let (bar, said) = self.shown.entry(agent.clone()).or_insert_with(|| {
            let bar = if self.terminal { self.bars.add(ProgressBar::no_length()) } else { ProgressBar::hidden() };
            (bar.with_prefix(agent.clone()), String::new())
        });
        let progress = &one["progress"];
        match (progress["tokens"].as_u64(), progress["tokens_total"].as_u64()) {
            (Some(done), Some(total)) if total > 0 => {
                bar.set_length(total);
                bar.set_position(done);
                bar.set_style(style("{prefix} {wide_bar} {pos}/{len} tokens {elapsed} {msg}"));
                bar.set_message(text(&progress["phase"]));
            }
            _ => {
                bar.set_style(style("{prefix} {msg}"));
                bar.set_message(show::standing(one));
            }
        }
        // A pipe gets what happens, and not how far each of it is.
        let phase = if progress.is_null() { show::standing(one) } else { text(&progress["phase"]) };
        if !self.terminal && *said != phase {
            output::line(format_args!("{agent}: {phase}"));
            *said = phase;
        }
    }

    fn clear(&mut self) {
        self.shown.drain().for_each(|(_, (bar, _))| bar.finish_and_clear());
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
