//! Whether an adapter that serves has made its agent worse. If so it is taken back by itself, and nobody trains on its batch again.

use domain::AgentId;
use store::{StoreError, StoredAdapter};

use crate::statistics::{Summary, chance_of_fall, independent};
use crate::{Settings, Training};

/// Below this chance a fall of the rewards is none of chance. It is looked at several times, so it is less than where one looks once.
const SURE: f64 = 0.01;
/// So many groups of answers that are independent of one another there must be on either side.
const GROUPS: u64 = 4;

impl Training {
    /// Compares the rewards under the live adapter with those under its parent, and rolls back if they fell. It looks when there are
    /// enough, and again each time they have doubled.
    pub(crate) async fn watch(&self, head: &StoredAdapter, settings: &Settings) -> Result<bool, StoreError> {
        let (agent, least) = (&head.agent, settings.gate.watch);
        if least == 0 {
            return Ok(false);
        }
        let new = self.store.rewarded(agent, head.generation).await?;
        let lane = self.lane(agent);
        let (generation, seen) = lane.now().watched;
        let due = if generation == head.generation { (seen * 2).max(least) } else { least };
        if (new.len() as u64) < due {
            return Ok(false);
        }
        let is = Summary::of(&independent(&new));
        if is.count < GROUPS {
            return Ok(false);
        }
        let old = self.store.rewarded(agent, head.parent).await?;
        let was = Summary::of(&independent(&old));
        if (old.len() as u64) < least || was.count < GROUPS {
            return Ok(false);
        }
        lane.now().watched = (head.generation, new.len() as u64);
        let chance = chance_of_fall(was, is);
        if chance >= SURE {
            return Ok(false);
        }
        let reason = format!(
            "the mean reward fell from {:.3} ({} turns in {} conversations, generation {}) to {:.3} \
             ({} turns in {} conversations), chance {chance:.4}",
            was.mean,
            old.len(),
            was.count,
            head.parent,
            is.mean,
            new.len(),
            is.count
        );
        self.take_back(agent, head.generation, &reason).await
    }

    /// Takes the live adapter back if it is still this one.
    async fn take_back(&self, agent: &AgentId, generation: u64, reason: &str) -> Result<bool, StoreError> {
        let lane = self.lane(agent);
        let swap = lane.swap.lock().await;
        if self.store.head(agent).await?.is_none_or(|head| head.generation != generation) {
            return Ok(false);
        }
        let Some((_, now)) = self.store.rollback(agent, None, reason).await? else { return Ok(false) };
        lane.interrupt();
        let now = now.map_or(0, |adapter| adapter.generation);
        tracing::warn!(%agent, generation, now, reason, "an adapter has made its agent worse and is rolled back");
        self.metrics.step(agent, "rolled-back");
        if let Err(error) = self.swap(agent, &lane).await {
            self.trouble(agent, &lane, error.to_string());
        }
        drop(swap);
        Ok(true)
    }
}
