//! What comes of turns, on its way from whoever says so to the sums of the skills that had a part in them.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use domain::{AgentId, Digest, RewardSource, Sample, TurnId, Verdict};
use protocol::ChatRequest;
use skills::{Learned, Library, Meanings, SkillTree};
use store::{Captured, Credit, Feedback, Outcome, Store, StoreError};
use tokio::sync::oneshot;

use crate::metrics::{Metrics, OutcomeLabels};
use crate::possessions::Possessions;
use crate::question::MAX_TEXT;
use crate::registry::Agent;

/// How long the meaning of a question may take that nobody waits for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Notes outcomes.
pub(crate) struct Uses {
    pub(crate) store: Arc<Store>,
    pub(crate) skills: Arc<SkillTree>,
    pub(crate) possessions: Arc<Possessions>,
    pub(crate) metrics: Metrics,
}

/// What is said of a turn.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) source: RewardSource,
    /// From -1 to 1.
    pub(crate) reward: f32,
    /// Skills that helped, whether they were in the prompt or not; empty where nobody knows.
    pub(crate) named: Vec<String>,
    pub(crate) feedback: Option<Feedback>,
}

/// A turn, as far as it matters.
pub(crate) struct Judged<'a> {
    pub(crate) agent: &'a AgentId,
    pub(crate) turn: TurnId,
    pub(crate) request: &'a ChatRequest,
    /// Skills that were in its prompt.
    pub(crate) injected: &'a [String],
}

impl Uses {
    /// What this agent has learned of the skills of its library from their use; none when there is nothing, or it cannot be read.
    pub(crate) async fn learned(&self, agent: &Agent, library: &Arc<Library>) -> Option<Arc<Learned>> {
        if let Err(error) = agent.experience.load(&self.store, &agent.id).await {
            tracing::error!(agent = %agent.id, %error, "what came of the agent's skills cannot be read: it does not count for this turn");
        }
        let model = self.skills.meanings().map(|meanings| meanings.embedder().model());
        agent.experience.learned(library, model).await
    }

    /// Notes what came of a turn. False when that was known, or somebody has spoken who knows better.
    pub(crate) async fn note(&self, judged: &Judged<'_>, said: Said) -> Result<bool, StoreError> {
        let source = said.source;
        let outcome = self.outcome(judged, said).await;
        let experience = self.possessions.experience(judged.agent);
        experience.load(&self.store, judged.agent).await?;
        let _order = experience.order.lock().await;
        let noted = self.store.note_outcome(outcome).await?;
        experience.take(noted.uses);
        if noted.counted {
            self.count(judged.agent, source);
        }
        Ok(noted.counted)
    }

    /// Keeps a sample, and notes in the same commit what its policy said of the turn.
    pub(crate) async fn capture(
        &self,
        judged: &Judged<'_>,
        sample: Sample,
        verdict: Verdict,
    ) -> Result<Captured, StoreError> {
        let Some(reward) = sample.reward.filter(|_| matches!(verdict, Verdict::Keep { .. })) else {
            return self.store.capture(sample, verdict).await;
        };
        let said = Said { source: RewardSource::Policy, reward, named: Vec::new(), feedback: None };
        let outcome = self.outcome(judged, said).await;
        let mut changed: Vec<String> = outcome.credits.iter().map(|credit| credit.skill.clone()).collect();
        changed.push(String::new());
        let experience = self.possessions.experience(judged.agent);
        experience.load(&self.store, judged.agent).await?;
        let _order = experience.order.lock().await;
        let captured = self.store.capture_with(sample, verdict, Some(outcome)).await?;
        experience.take(self.store.skill_uses_of(judged.agent, &changed).await?);
        if !captured.existed {
            self.count(judged.agent, RewardSource::Policy);
        }
        Ok(captured)
    }

    fn count(&self, agent: &AgentId, source: RewardSource) {
        let labels = OutcomeLabels { agent: agent.to_string(), source: source.as_str() };
        self.metrics.outcomes.get_or_create(&labels).inc();
    }

    async fn outcome(&self, judged: &Judged<'_>, said: Said) -> Outcome {
        let credits = credits(&self.skills.library(judged.agent), judged.injected, &said.named, said.reward);
        // What moved a skill before may have to be taken back, so it is not only asked when one is to be moved.
        let question = self.meaning(judged.request).await;
        let Said { source, reward, feedback, .. } = said;
        let (turn, agent) = (judged.turn, judged.agent.clone());
        Outcome { turn, agent, source, reward, credits, question, feedback, given: SystemTime::now() }
    }

    /// What was asked in a turn: who says so, and the vector.
    async fn meaning(&self, request: &ChatRequest) -> Option<(Digest, Vec<f32>)> {
        let meanings: &Arc<Meanings> = self.skills.meanings()?;
        let model = meanings.embedder().model();
        let mut text = request.user_text().into_owned();
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        if meanings.embedder().is_quick() {
            return Some((model, meanings.embedder().embed(&text).ok()?));
        }
        let (tell, answer) = oneshot::channel();
        let taken = meanings.ask(&text, Instant::now() + PATIENCE, |vector| drop(tell.send(vector)));
        let vector = if taken { answer.await.ok() } else { None };
        if vector.is_none() {
            tracing::warn!("what came of a turn is counted, but its question's meaning was not to be had");
        }
        Some((model, vector?))
    }
}

/// Each skill's part in a turn that was as good as `reward`.
///
/// Where somebody names those that helped, they succeed, in the prompt or not, and a bad turn is the others' fault; where nobody
/// does, all that were in the prompt had a part in it. How it ended is counted for each in full, for it is compared with turns
/// without that skill; what was asked is shared out, for only one of them may have been what it was about.
fn credits(library: &Library, injected: &[String], named: &[String], reward: f32) -> Vec<Credit> {
    let part = |skill: &String, reward: f32, moves: f32| {
        let digest = library.get(skill)?.digest;
        (reward != 0.0 || moves > 0.0).then(|| Credit { skill: skill.clone(), digest, reward, moves })
    };
    if named.is_empty() {
        let share = reward.max(0.0) / injected.len().max(1) as f32;
        return injected.iter().filter_map(|skill| part(skill, reward, share)).collect();
    }
    let helped = named.iter().filter_map(|skill| part(skill, reward.max(0.0), reward.max(0.0)));
    let others = injected.iter().filter(|skill| !named.contains(skill));
    helped.chain(others.filter_map(|skill| part(skill, reward.min(0.0), 0.0))).collect()
}

#[cfg(test)]
mod tests {
    use domain::SkillScope;
    use skills::Skill;

    use super::*;

    #[test]
    fn who_is_credited_and_who_is_blamed() {
        let skill = |name: &str| {
            let text = format!("---\nname: {name}\ndescription: Does it\n---\nDo it.\n");
            Skill::parse(text.as_bytes(), name, SkillScope::Own).unwrap()
        };
        let library = Library::of(["a", "b", "c"].map(skill).to_vec());
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for (injected, named, reward, want) in [
            (&["a", "b"][..], &[][..], 0.5, &[("a", 0.5, 0.25), ("b", 0.5, 0.25)][..]),
            (&["a", "b"], &[], -0.5, &[("a", -0.5, 0.0), ("b", -0.5, 0.0)]),
            (&["a", "b"], &["b"], 1.0, &[("b", 1.0, 1.0)]),
            (&["a", "b"], &["b"], -1.0, &[("a", -1.0, 0.0)]),
            (&["a"], &["c"], 1.0, &[("c", 1.0, 1.0)]),
            (&["a", "b"], &[], 0.0, &[]),
            (&["gone", "a"], &[], -1.0, &[("a", -1.0, 0.0)]),
            (&[], &[], 1.0, &[]),
        ] {
            let credits = credits(&library, &names(injected), &names(named), reward);
            let found: Vec<_> = credits.iter().map(|c| (c.skill.as_str(), c.reward, c.moves)).collect();
            assert_eq!(found, want, "{injected:?} {named:?} {reward}");
        }
    }
}
