//! The process-reward judge: how well did an answer serve what was asked, from −1 to 1?
//!
//! ```text
//! Exam ─► question (rubric; what is graded, marked and fenced) ─► m votes, some at a time ─► read ─► Verdict: mean, spread
//! Pair ─► the same, once in each order ─► Preference; who wins only where it stands first (or second) has not won
//! ```
//!
//! Who answers is behind a trait; this crate does nothing but make questions and read answers. What is graded was written by
//! strangers and by models that learn to be graded well: it is data, never instructions (`fence`), and a vote is read only from the
//! judge's own words (`reading`). A judge that fails gives no verdict: failure is never the reward 0.

mod fence;
mod question;
mod reading;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::Pin;

use futures_util::{StreamExt, stream};
use serde_json::Value;
use uuid::Uuid;

/// The most votes that one answer gets.
pub const MAX_VOTES: u32 = 15;

/// What is graded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exam {
    /// What was asked for.
    pub instruction: String,
    /// What was answered.
    pub response: String,
    /// What came next: the user's next words, or what the called tools gave. None when the session ended there.
    pub next_state: Option<String>,
}

/// Two answers to the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    /// What was asked for.
    pub instruction: String,
    /// One answer.
    pub a: String,
    /// The other.
    pub b: String,
}

/// How answers are graded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bench {
    /// How often the judge is asked about one answer, 1 to [`MAX_VOTES`].
    pub votes: u32,
    /// How many of these questions are under way at once.
    pub at_once: u32,
}

/// What a judge says of one answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// The mean of the votes, from −1 to 1.
    pub mean: f32,
    /// How many votes could be read.
    pub votes: u32,
    /// Their standard deviation: 0 when all agree, 1 when half says the best and half the worst.
    pub spread: f32,
}

/// What a judge says of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Preference {
    /// The first one of the pair is better, in whichever order they are shown.
    A,
    /// The second one.
    B,
    /// Neither, or the order decided.
    Tie,
}

/// What a judge is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// A list of chat messages.
    pub messages: Value,
    /// The JSON schema of the answer, for providers that can hold a model to it.
    pub schema: Value,
    /// 0 where one answer counts, more where several votes are to differ.
    pub temperature: f32,
    /// More tokens than a judge needs.
    pub max_tokens: u32,
}

/// What a judge has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its words.
    pub text: String,
    /// Whether they came to their end, and were not cut at some limit.
    pub whole: bool,
}

/// An answer on its way; the error is a sentence for the operator.
pub type Telling<'a> = Pin<Box<dyn Future<Output = Result<Told, String>> + Send + 'a>>;

/// Who judges. A question must come to an end: whoever implements this bounds its time.
pub trait Ask: Send + Sync {
    /// Asks once.
    fn ask<'a>(&'a self, question: &'a Question) -> Telling<'a>;
}

/// Why there is no verdict. It is not a bad one: whoever wanted it asks again later, or does without.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JudgeError {
    /// There is nothing that could be graded.
    #[error("there is nothing to judge: the {0} is empty")]
    Nothing(&'static str),
    /// Too few votes came, or could be read.
    #[error("the judge gave {read} usable votes of {asked}, and {quorum} are needed: {reason}")]
    NoQuorum {
        /// How many votes were asked for.
        asked: u32,
        /// How many could be read.
        read: u32,
        /// How many are needed.
        quorum: u32,
        /// What the first failure was.
        reason: String,
    },
}

impl Default for Bench {
    fn default() -> Self {
        Bench { votes: 3, at_once: 3 }
    }
}

impl Bench {
    /// How many votes make a verdict: more than half.
    pub fn quorum(&self) -> u32 {
        self.asked() / 2 + 1
    }

    fn asked(&self) -> u32 {
        self.votes.clamp(1, MAX_VOTES)
    }

    /// Grades one answer.
    pub async fn judge(&self, exam: &Exam, judge: &dyn Ask) -> Result<Verdict, JudgeError> {
        let named = [("instruction", &exam.instruction), ("response", &exam.response)];
        nothing_empty(&named)?;
        let asked = self.asked();
        let temperature = if asked > 1 { question::SEVERAL } else { 0.0 };
        let vote = |_| async move {
            let question = question::exam(exam, &seal(), temperature);
            reading::vote(&judge.ask(&question).await?)
        };
        let votes: Vec<Result<i8, String>> = self.ask_all(asked, vote).await;
        let (read, reason) = sorted(votes);
        verdict(&read).filter(|verdict| verdict.votes >= self.quorum()).ok_or_else(|| {
            let read = u32::try_from(read.len()).unwrap_or(u32::MAX);
            JudgeError::NoQuorum { asked, read, quorum: self.quorum(), reason }
        })
    }

    /// Compares two answers, in both orders; that takes two questions, whatever `votes` says.
    pub async fn better(&self, pair: &Pair, judge: &dyn Ask) -> Result<Preference, JudgeError> {
        nothing_empty(&[("instruction", &pair.instruction)])?;
        let said = |text: &str| !text.trim().is_empty();
        match (said(&pair.a), said(&pair.b)) {
            (true, true) => {}
            // No judge is needed to prefer an answer to none.
            (true, false) => return Ok(Preference::A),
            (false, true) => return Ok(Preference::B),
            (false, false) => return Ok(Preference::Tie),
        }
        if pair.a == pair.b {
            return Ok(Preference::Tie);
        }
        let choice = |order: u32| async move {
            let swapped = order == 1;
            let (first, second) = if swapped { (&pair.b, &pair.a) } else { (&pair.a, &pair.b) };
            let question = question::pair(&pair.instruction, first, second, &seal());
            let placed = reading::choice(&judge.ask(&question).await?)?;
            Ok(match (placed, swapped) {
                (reading::Placed::Same, _) => Preference::Tie,
                (reading::Placed::First, false) | (reading::Placed::Second, true) => Preference::A,
                (reading::Placed::First, true) | (reading::Placed::Second, false) => Preference::B,
            })
        };
        let (read, reason) = sorted(self.ask_all(2, choice).await);
        match read[..] {
            [one, other] if one == other => Ok(one),
            [_, _] => Ok(Preference::Tie),
            _ => {
                let read = u32::try_from(read.len()).unwrap_or(u32::MAX);
                Err(JudgeError::NoQuorum { asked: 2, read, quorum: 2, reason })
            }
        }
    }

    async fn ask_all<T, F: Future<Output = Result<T, String>>>(
        &self,
        count: u32,
        ask: impl Fn(u32) -> F,
    ) -> Vec<Result<T, String>> {
        let at_once = usize::try_from(self.at_once.max(1)).unwrap_or(1);
        stream::iter((0..count).map(ask)).buffer_unordered(at_once).collect().await
    }
}

/// What no text that is graded can have in it: it is made after the text.
fn seal() -> String {
    // The second half of a version 7 is random.
    Uuid::now_v7().simple().to_string().split_off(16)
}

fn nothing_empty(named: &[(&'static str, &String)]) -> Result<(), JudgeError> {
    let empty = named.iter().find(|(_, text)| text.trim().is_empty());
    empty.map_or(Ok(()), |(name, _)| Err(JudgeError::Nothing(name)))
}

/// What could be read, and the first reason why something could not.
fn sorted<T>(votes: Vec<Result<T, String>>) -> (Vec<T>, String) {
    let (mut read, mut reason) = (Vec::new(), None);
    for vote in votes {
        match vote {
            Ok(vote) => read.push(vote),
            Err(error) => {
                reason.get_or_insert(error);
            }
        }
    }
    (read, reason.unwrap_or_default())
}

fn verdict(votes: &[i8]) -> Option<Verdict> {
    let count = u32::try_from(votes.len()).ok().filter(|count| *count > 0 && *count <= MAX_VOTES)?;
    // At most 15 votes of at most 1: every sum is exact.
    let share =
        |sum: i32| f32::from(i16::try_from(sum).unwrap_or_default()) / f32::from(u8::try_from(count).unwrap_or(1));
    let mean = share(votes.iter().map(|vote| i32::from(*vote)).sum());
    let squares = share(votes.iter().map(|vote| i32::from(*vote) * i32::from(*vote)).sum());
    Some(Verdict { mean, votes: count, spread: (squares - mean * mean).max(0.0).sqrt() })
}
