//! Trying out what was proposed: turns that it came from are answered with and without it, and a judge compares.
//!
//! ```text
//! proposal ─► plan: which turns, as far as the day's budget reaches (counted at once, with the plan)
//!               └► of each turn: the answer as things are ─► the answer as they would be ─► which one is better, in both orders
//!                    each kept in the lesson before the next is asked ─► more better than worse? applied
//! ```
//!
//! An answer counts as better only where the judge says so in both orders. With three turns no test of significance says anything,
//! so the majority decides: a skill is used when more answers became better than worse, which is at least one; when fewer did, it is
//! refused; when neither, or when nothing could be tried out, a person decides. A retirement needs only to make nothing worse.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use domain::{Digest, SkillScope, TurnId};
use judge::{Pair, Preference};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use skills::{Library, Skill, render_block};
use store::{Lesson, VersionState};

use crate::checks::{Checked, Fate};
use crate::episodes::Episode;
use crate::lesson::{Failure, MAX_BYTES, PATIENCE, episodes_of};
use crate::question::clip;
use crate::{Evolver, Learning, Replay, Settings, Verify};

/// On how many turns a proposal is tried out at most.
const TURNS: usize = 3;
/// What one turn takes: two answers, and two comparisons.
const QUESTIONS: u64 = 4;
/// One proposal in so many is tried out where a sample is wanted.
const SAMPLE: u8 = 4;
/// How much of an answer is kept until it has been compared, in bytes; no judge is shown more.
const KEPT: usize = 6_000;
/// How much of what the user said afterwards is shown to the judge, in bytes.
const AFTERWARDS: usize = 600;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// How a proposal does when it is tried out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tryout {
    pub(crate) turns: Vec<Tried>,
    /// What it came to, when it has come to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) score: Option<Score>,
}

/// One turn, answered again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tried {
    pub(crate) turn: String,
    /// The answer as things are, until it has been compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<String>,
    /// The answer as they would be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) outcome: Option<Became>,
}

/// What an answer became.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Became {
    Better,
    Same,
    Worse,
}

/// How many answers became better, stayed, became worse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Score {
    pub(crate) better: u32,
    pub(crate) same: u32,
    pub(crate) worse: u32,
}

/// What a lesson's proposals are tried out with.
pub(crate) struct Bench<'a> {
    pub(crate) learning: &'a Learning,
    pub(crate) evolver: &'a dyn Evolver,
    pub(crate) settings: Settings,
    pub(crate) lesson: &'a Lesson,
}

impl Bench<'_> {
    /// Tries out what is to be, and changes what becomes of it accordingly. What fails is tried again, from where it was.
    pub(crate) async fn try_all(&self, checked: &mut [Checked]) -> Result<(), Failure> {
        let open = |one: &Checked| {
            one.fate == Fate::Apply
                && self.wants(one)
                && one.tryout.as_ref().is_none_or(|tryout| tryout.score.is_none())
        };
        let open: Vec<usize> = (0..checked.len()).filter(|index| open(&checked[*index])).collect();
        if open.is_empty() {
            return Ok(());
        }
        let episodes = episodes_of(self.learning, self.lesson).await?;
        for index in open {
            if checked[index].tryout.is_none() && !self.plan(checked, index, &episodes).await? {
                continue;
            }
            let turns = checked[index].tryout.as_ref().map_or(0, |tryout| tryout.turns.len());
            for turn in 0..turns {
                self.try_one(checked, index, turn, &episodes).await?;
            }
            let versions = self.learning.store.skill_versions(&self.lesson.agent).await?;
            let waiting = versions.iter().filter(|version| version.state == VersionState::Candidate).count();
            decide(&mut checked[index], waiting < self.settings.max_skills);
            self.keep(checked, 0).await?;
        }
        Ok(())
    }

    fn wants(&self, one: &Checked) -> bool {
        let said = one.text.as_deref().unwrap_or(&one.name);
        match self.settings.verify {
            Verify::Off => false,
            Verify::Sample => sampled(said),
            Verify::Always => true,
        }
    }

    /// Settles on which turns it is tried out, and takes what that costs from the day's budget. False: it cannot be, and what
    /// becomes of it is settled.
    async fn plan(&self, checked: &mut [Checked], index: usize, episodes: &[Episode]) -> Result<bool, Failure> {
        let asked = self.learning.store.tryout_questions(&self.lesson.agent, today()).await?;
        let affordable = self.settings.verify_budget.saturating_sub(asked) / QUESTIONS;
        let most = usize::try_from(affordable).unwrap_or(TURNS).min(TURNS);
        let turns: Vec<Tried> = telling(episodes)
            .filter_map(|episode| episode.asked_in)
            .take(most)
            .map(|turn| Tried { turn: turn.0.to_string(), before: None, after: None, outcome: None })
            .collect();
        let why = match (most, turns.is_empty()) {
            (0, _) => "it was not tried out: the day's questions are used up (skills.verify_budget)",
            (_, true) => "it could not be tried out: none of its turns can be answered again",
            _ => {
                let questions = u32::try_from(turns.len()).unwrap_or(0) * u32::try_from(QUESTIONS).unwrap_or(0);
                checked[index].tryout = Some(Tryout { turns, score: None });
                self.keep(checked, questions).await?;
                return Ok(true);
            }
        };
        let versions = self.learning.store.skill_versions(&self.lesson.agent).await?;
        let waiting = versions.iter().filter(|version| version.state == VersionState::Candidate).count();
        hold(&mut checked[index], why.to_owned(), waiting < self.settings.max_skills);
        checked[index].tryout = Some(Tryout { turns: Vec::new(), score: Some(Score::default()) });
        self.keep(checked, 0).await?;
        Ok(false)
    }

    /// Answers one turn again, twice, and compares; from where it was.
    async fn try_one(
        &self,
        checked: &mut [Checked],
        index: usize,
        turn: usize,
        episodes: &[Episode],
    ) -> Result<(), Failure> {
        let Some(mut tried) = checked[index].tryout.as_ref().and_then(|tryout| tryout.turns.get(turn)).cloned() else {
            return Ok(());
        };
        if tried.outcome.is_some() {
            return Ok(());
        }
        let found = episodes.iter().find(|e| e.asked_in.is_some_and(|id| id.0.to_string() == tried.turn));
        let scene = match found.and_then(|episode| Some((episode, episode.asked_in?))) {
            Some((episode, id)) => self.scene(id, episode, &checked[index]).await?,
            None => None,
        };
        let Some((episode, scene)) = found.zip(scene) else {
            // It has been removed meanwhile, or cannot be answered again.
            tried.outcome = Some(Became::Same);
            return self.note(checked, index, turn, tried).await;
        };
        if tried.before.is_none() {
            tried.before = Some(self.answered(&scene, &scene.before).await?);
            self.note(checked, index, turn, tried.clone()).await?;
        }
        if tried.after.is_none() {
            tried.after = Some(self.answered(&scene, &scene.after).await?);
            self.note(checked, index, turn, tried.clone()).await?;
        }
        let pair = Pair {
            instruction: asked_for(episode),
            a: tried.before.take().unwrap_or_default(),
            b: tried.after.take().unwrap_or_default(),
        };
        let judging = self.evolver.prefer(&self.lesson.agent, &pair, &scene.model);
        let preferred = tokio::time::timeout(2 * PATIENCE, judging).await;
        tried.outcome = Some(match preferred.map_err(|_| late("the judge"))?.map_err(Failure::Attempt)? {
            Preference::A => Became::Worse,
            Preference::B => Became::Better,
            Preference::Tie => Became::Same,
        });
        self.note(checked, index, turn, tried).await
    }

    async fn answered(&self, scene: &Scene, block: &str) -> Result<String, Failure> {
        let block = (!block.is_empty()).then(|| block.to_owned());
        let replay = Replay { body: scene.body.clone(), block, model: scene.model.clone() };
        let told = tokio::time::timeout(PATIENCE, self.evolver.replay(&self.lesson.agent, &replay)).await;
        let told = told.map_err(|_| late("the agent's model"))?.map_err(Failure::Attempt)?;
        Ok(clip(&told.text, KEPT))
    }

    async fn note(&self, checked: &mut [Checked], index: usize, turn: usize, tried: Tried) -> Result<(), Failure> {
        if let Some(place) = checked[index].tryout.as_mut().and_then(|tryout| tryout.turns.get_mut(turn)) {
            *place = tried;
        }
        self.keep(checked, 0).await
    }

    async fn keep(&self, checked: &[Checked], questions: u32) -> Result<(), Failure> {
        let proposals = serde_json::to_string(checked).unwrap_or_default();
        let kept = self.learning.store.note_tryout(self.lesson.id, &proposals, today(), questions).await?;
        // An operator has taken it away meanwhile.
        kept.map(drop).ok_or(Failure::Stopped)
    }

    /// The turn, and the skills of its prompt as things are and as they would be. None when it cannot be answered again.
    async fn scene(&self, id: TurnId, episode: &Episode, one: &Checked) -> Result<Option<Scene>, Failure> {
        let Some(turn) = self.learning.store.turn(id).await? else { return Ok(None) };
        let library = self.learning.skills.library(&self.lesson.agent);
        let Some((before, after)) = blocks(&library, &turn.record.skills, one) else { return Ok(None) };
        let request = turn.record.request;
        if request.len() > MAX_BYTES {
            return Ok(None);
        }
        let body = tokio::task::spawn_blocking(move || body(&request)).await;
        let body = body.map_err(|_| Failure::Attempt("a part of the host has failed".to_owned()))?;
        Ok(body.map(|body| Scene { body, before, after, model: episode.model.clone() }))
    }
}

/// Whether this one is of the sample: the same each time it is looked at.
fn sampled(said: &str) -> bool {
    Digest::of(said.as_bytes()).as_bytes()[0].is_multiple_of(SAMPLE)
}

/// A turn to be answered again.
struct Scene {
    body: Value,
    before: String,
    after: String,
    model: String,
}

fn today() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.as_secs() / DAY.as_secs()
}

fn late(who: &str) -> Failure {
    Failure::Attempt(format!("{who} has not answered within {} s", PATIENCE.as_secs()))
}

/// The episodes that say most: what went badly before what went well, the newest of each first.
fn telling(episodes: &[Episode]) -> impl Iterator<Item = &Episode> {
    let mut ranked: Vec<&Episode> = episodes.iter().rev().collect();
    ranked.sort_by_key(|episode| episode.verdict().0);
    ranked.into_iter()
}

/// What a judge is told that the user wanted. What was said next is often what was meant.
fn asked_for(episode: &Episode) -> String {
    match &episode.then {
        Some(then) => format!(
            "{}\n\n(After an earlier answer to this the user went on:)\n{}",
            episode.user,
            clip(then, AFTERWARDS)
        ),
        None => episode.user.clone(),
    }
}

/// The request without its model and what steers sampling, which is ours now.
fn body(request: &[u8]) -> Option<Value> {
    const OURS: [&str; 13] = [
        "model",
        "stream",
        "stream_options",
        "n",
        "temperature",
        "top_p",
        "top_k",
        "seed",
        "max_tokens",
        "max_completion_tokens",
        "logprobs",
        "top_logprobs",
        "store",
    ];
    let Value::Object(mut body) = serde_json::from_slice(request).ok()? else { return None };
    body.retain(|field, _| !OURS.contains(&field.as_str()));
    body.contains_key("messages").then_some(Value::Object(body))
}

/// The skills of a prompt as things are, and as they would be.
fn blocks(library: &Library, used: &[String], one: &Checked) -> Option<(String, String)> {
    let goes = |skill: &Arc<Skill>| {
        *skill.name.as_str() == *one.name || one.retires.iter().any(|name| *name == *skill.name.as_str())
    };
    let mut names: Vec<&str> = used.iter().map(String::as_str).collect();
    for name in [one.name.as_str()].into_iter().chain(one.retires.iter().map(String::as_str)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let before: Vec<Arc<Skill>> = names.iter().filter_map(|name| library.get(name)).cloned().collect();
    let mut after: Vec<Arc<Skill>> = before.iter().filter(|skill| !goes(skill)).cloned().collect();
    if let Some(text) = &one.text {
        after.push(Arc::new(Skill::parse(text.as_bytes(), &one.name, SkillScope::Own).ok()?));
    }
    Some((render_block(&before), render_block(&after)))
}

/// Settles what becomes of a proposal all of whose turns have been compared.
fn decide(one: &mut Checked, room: bool) {
    let Some(tryout) = &mut one.tryout else { return };
    let count =
        |what| u32::try_from(tryout.turns.iter().filter(|tried| tried.outcome == Some(what)).count()).unwrap_or(0);
    let score = Score { better: count(Became::Better), same: count(Became::Same), worse: count(Became::Worse) };
    tryout.score = Some(score);
    let Score { better, same, worse } = score;
    let all = better + same + worse;
    let said =
        format!("tried out on {all} {}: better on {better}, worse on {worse}", if all == 1 { "turn" } else { "turns" });
    let is_retirement = one.text.is_none();
    if better > worse || (is_retirement && better == worse) {
        let before = one.reason.take().map(|reason| format!("{reason}; ")).unwrap_or_default();
        one.reason = Some(format!("{before}{said}"));
    } else if better == worse {
        hold(one, said, room);
    } else {
        one.fate = Fate::Refuse;
        one.reason = Some(said);
    }
}

/// Leaves it to a person. A retirement is none's: the skill stays, and `metaclaw skills retire` takes it away.
fn hold(one: &mut Checked, why: String, room: bool) {
    let (fate, why) = match (&one.text, room) {
        (None, _) => (Fate::Refuse, why),
        (Some(_), false) => {
            (Fate::Refuse, format!("{why}; and as many candidates as skills.max_learned allows wait already"))
        }
        (Some(_), true) => (Fate::Hold, why),
    };
    one.fate = fate;
    one.reason = Some(why);
}

#[cfg(test)]
mod tests;
