//! One lesson, from where it stands to its end or to its next attempt.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use store::{Lesson, LessonState};
use tokio_util::sync::CancellationToken;

use crate::apply::{ApplyError, Outcome};
use crate::checks::{Checked, Context};
use crate::episodes::{self, Episode};
use crate::question::{once_more, question};
use crate::tryout::Bench;
use crate::{Evolver, Learning, Settings, Verify, answer};

/// How often a lesson is tried before it is given up.
const ATTEMPTS: u32 = 6;
/// The longest pause between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// How many turns of a session are looked at, the last ones, and how many bytes the request of one may have.
const MAX_TURNS: usize = 64;
pub(crate) const MAX_BYTES: usize = 16 << 20;
/// How long the model may take, whatever its upstream is allowed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

/// Why an attempt has failed.
pub(crate) enum Failure {
    /// To be tried again.
    Attempt(String),
    /// The host is shutting down: it goes on where it was.
    Stopped,
}

impl From<ApplyError> for Failure {
    fn from(error: ApplyError) -> Self {
        Failure::Attempt(error.to_string())
    }
}

impl From<store::StoreError> for Failure {
    fn from(error: store::StoreError) -> Self {
        Failure::Attempt(error.to_string())
    }
}

/// Takes the lesson as far as it goes. What fails is written down, and said in the log.
pub(crate) async fn hold(
    learning: Arc<Learning>,
    evolver: Arc<dyn Evolver>,
    settings: Settings,
    lesson: Lesson,
    stop: CancellationToken,
) {
    let (agent, session, id) = (lesson.agent.clone(), lesson.session.clone(), lesson.id);
    let attempts = lesson.attempts;
    match attempt(&learning, &*evolver, settings, lesson, &stop).await {
        Ok(outcome) => {
            let Outcome { applied, held, refused } = outcome;
            let word = match (applied, held, refused) {
                (1.., _, _) => "learned",
                (0, 1.., _) => "held",
                (0, 0, 1..) => "refused",
                (0, 0, 0) => "nothing",
            };
            learning.metrics.count(&agent, word);
            learning.metrics.learned(&agent, applied);
            tracing::info!(%agent, %session, lesson = %id, applied, held, refused, "learned from a session");
        }
        Err(Failure::Stopped) => {}
        Err(Failure::Attempt(error)) => {
            let wait = settings.retry_wait.saturating_mul(1 << attempts.min(16)).min(LONGEST_WAIT);
            let until = (attempts + 1 < ATTEMPTS).then(|| SystemTime::now() + wait);
            learning.metrics.count(&agent, if until.is_some() { "retried" } else { "failed" });
            match until {
                Some(_) => {
                    tracing::warn!(%agent, %session, lesson = %id, %error, again_in = ?wait, "a lesson has failed and is tried again")
                }
                None => {
                    tracing::error!(%agent, %session, lesson = %id, %error, "a lesson is given up: `metaclaw skills log` shows it, `metaclaw skills retry` tries it again")
                }
            }
            if let Err(error) = learning.store.postpone(id, &error, until).await {
                tracing::error!(%agent, lesson = %id, %error, "the failure of a lesson could not be recorded");
            }
        }
    }
}

async fn attempt(
    learning: &Learning,
    evolver: &dyn Evolver,
    settings: Settings,
    mut lesson: Lesson,
    stop: &CancellationToken,
) -> Result<Outcome, Failure> {
    if lesson.state == LessonState::Begun {
        let asking = propose(learning, evolver, settings, &lesson);
        let asked = stop.run_until_cancelled(tokio::time::timeout(PATIENCE, asking)).await.ok_or(Failure::Stopped)?;
        let late = |_| Failure::Attempt(format!("the model has not answered within {} s", PATIENCE.as_secs()));
        let (model, checked) = asked.map_err(late)??;
        let proposals = serde_json::to_string(&checked).unwrap_or_default();
        let Some(proposed) = learning.store.propose(lesson.id, &model, &proposals).await? else {
            return Ok(Outcome::default());
        };
        lesson = proposed;
    }
    let kept = lesson.proposals.as_deref().unwrap_or("[]");
    let mut checked: Vec<Checked> = serde_json::from_str(kept)
        .map_err(|error| Failure::Attempt(format!("what was proposed cannot be read back: {error}")))?;
    if settings.verify != Verify::Off {
        let bench = Bench { learning, evolver, settings, lesson: &lesson };
        stop.run_until_cancelled(bench.try_all(&mut checked)).await.ok_or(Failure::Stopped)??;
    }
    Ok(learning.apply(&lesson, checked).await?)
}

/// Asks the model, once more if its first answer cannot be read.
async fn propose(
    learning: &Learning,
    evolver: &dyn Evolver,
    settings: Settings,
    lesson: &Lesson,
) -> Result<(String, Vec<Checked>), Failure> {
    let episodes = episodes_of(learning, lesson).await?;
    if episodes.is_empty() {
        return Ok((String::new(), Vec::new()));
    }
    let versions = learning.store.skill_versions(&lesson.agent).await?;
    let library = learning.skills.library(&lesson.agent);
    let asked = question(&episodes, &library, &versions);
    drop(episodes);
    let mut told = evolver.ask(&lesson.agent, &asked).await.map_err(Failure::Attempt)?;
    let mut read = read(&told);
    if let Err(error) = &read {
        tracing::info!(agent = %lesson.agent, lesson = %lesson.id, %error, "the answer could not be read; the model is asked once more");
        let again = once_more(&asked, &told.text, error);
        told = evolver.ask(&lesson.agent, &again).await.map_err(Failure::Attempt)?;
        read = self::read(&told);
    }
    let proposals = read.map_err(|error| Failure::Attempt(format!("the model's answer cannot be read: {error}")))?;
    let lesson = lesson.clone();
    // Skills may have changed while the model was thinking.
    let versions = learning.store.skill_versions(&lesson.agent).await?;
    let library = learning.skills.library(&lesson.agent);
    let meanings = learning.skills.meanings().cloned();
    let check = move || {
        let embedder = meanings.as_ref().map(|meanings| meanings.embedder());
        let context = Context { lesson: &lesson, settings, library: &library, versions: &versions, embedder };
        context.check(proposals)
    };
    let checked = tokio::task::spawn_blocking(check).await;
    Ok((told.model, checked.map_err(|_| Failure::Attempt("a part of the host has failed".to_owned()))?))
}

fn read(told: &crate::Told) -> Result<Vec<answer::Proposal>, String> {
    match answer::read(&told.text) {
        Err(error) if !told.whole => Err(format!("it was cut off at the model's limit ({error})")),
        read => read,
    }
}

/// What a lesson is about. Bodies are read one at a time, for each holds the whole conversation.
pub(crate) async fn episodes_of(learning: &Learning, lesson: &Lesson) -> Result<Vec<Episode>, Failure> {
    let turns = learning.store.turns_of_lesson(lesson, MAX_TURNS).await?;
    let mut episodes = Vec::new();
    for id in turns {
        let Some(turn) = learning.store.turn(id).await? else { continue };
        // What it was scored with, by whomever; else what its policy said.
        let said = |sample: store::StoredSample| sample.score.map(|score| score.reward).or(sample.sample.reward);
        let reward = learning.store.sample_of(id).await?.and_then(said);
        if turn.record.request.len() > MAX_BYTES {
            continue;
        }
        let added = tokio::task::spawn_blocking(move || {
            episodes::add(&mut episodes, &turn.record, reward);
            episodes
        });
        episodes = added.await.map_err(|_| Failure::Attempt("a part of the host has failed".to_owned()))?;
    }
    Ok(episodes)
}
