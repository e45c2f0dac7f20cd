//! Keeps an agent within a number of tokens a day. Once they are spent, turns go to a cheaper target, or are refused until the day is over.
//!
//! What a turn costs is known when it has ended: `filter` adds the tokens that the upstream counted, or an estimate when it counts none. That hook is asked for
//! `main` turns in `rl` and `auto` mode; of others only the request is known, so `route` counts that, at four bytes to a token.

use metaclaw_policy::prelude::*;

const DAY: u64 = 24 * 60 * 60 * 1000;
/// Under which key the running day's account is kept: `DAY TOKENS`.
const ACCOUNT: &str = "spent";
/// English prose in common vocabularies.
const BYTES_PER_TOKEN: u64 = 4;

/// The agent's `config:`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Budget {
    /// Tokens of prompts and answers, each day, which begins at 00:00 UTC.
    daily_tokens: u64,
    /// Who answers once they are spent: `upstream/model`; without it the turn is refused.
    #[serde(default)]
    cheaper: Option<String>,
    /// What the user reads when a turn is refused.
    #[serde(default = "usual_words")]
    refusal: String,
}

fn usual_words() -> String {
    "This agent has used up its tokens for today. It is there again tomorrow.".into()
}

impl Policy for Budget {
    fn check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.daily_tokens == 0 {
            problems.push("`daily_tokens` must be greater than 0".to_owned());
        }
        if !(1..=4096).contains(&self.refusal.len()) {
            problems.push("`refusal` must have 1 to 4,096 bytes".to_owned());
        }
        problems
    }

    fn route(&self, turn: &Turn) -> Result<Decision> {
        let today = turn.received_at() / DAY;
        let spent = spent(today)?;
        let is_counted_later = turn.is_main() && turn.mode() != "skills_only";
        if spent < self.daily_tokens {
            if !is_counted_later {
                keep(today, spent + turn.body_size().div_ceil(BYTES_PER_TOKEN))?;
            }
            return turn.to_first();
        }
        log::info!("{spent} of {} tokens are spent", self.daily_tokens);
        match &self.cheaper {
            Some(target) => Ok(turn.to(target)?.because("the day's tokens are spent")),
            None => Ok(Decision::refuse(&self.refusal)),
        }
    }

    fn filter(&self, sample: &Sample) -> Result<Verdict> {
        let today = sample.received_at() / DAY;
        keep(today, spent(today)?.saturating_add(cost(sample)))?;
        // Whether a turn is worth learning from is not a question of money: as the built-in policy, without its details.
        let finished = matches!(sample.finish_reason().as_str(), "stop" | "tool_calls");
        Ok(if finished { Verdict::Keep(1.0) } else { Verdict::drop("the answer is not finished") })
    }
}

/// The tokens of a finished turn, as the upstream counted them, or by its bytes.
fn cost(sample: &Sample) -> u64 {
    let counted = sample.prompt_tokens() + sample.completion_tokens();
    if counted > 0 {
        return counted;
    }
    let messages = (0..sample.message_count()).filter_map(|index| sample.message(index));
    let bytes: usize = messages.map(|message| message.text.len()).sum();
    (bytes + sample.answer_text().len()).div_ceil(BYTES_PER_TOKEN as usize) as u64
}

/// What was spent on this day. An account of another day is closed.
fn spent(today: u64) -> Result<u64> {
    let account = kv::text(ACCOUNT)?.unwrap_or_default();
    let of_today = account.split_once(' ').filter(|(day, _)| day.parse() == Ok(today));
    Ok(of_today.and_then(|(_, tokens)| tokens.parse().ok()).unwrap_or(0))
}

fn keep(today: u64, tokens: u64) -> Result<()> {
    kv::set(ACCOUNT, format!("{today} {tokens}"))
}

metaclaw_policy::export!(Budget: route, filter);

#[cfg(test)]
#[test]
fn it_decides_as_its_cases_say() {
    metaclaw_policy::testing::check::<Budget>("cases.yaml");
}
