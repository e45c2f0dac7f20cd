//! What is trained on next.

use std::time::SystemTime;

use domain::{AgentId, SampleState};
use futures_util::future::join_all;
use store::{Batch, Claim, Staleness, StoreError, StoredSample};
use uuid::Uuid;

use crate::advantage::{Choice, choose};
use crate::batch::rewarded;
use crate::{Settings, Training};

/// How many eligible samples are looked at, as a multiple of a batch, and at least.
const LOOKED_AT: usize = 8;
const LEAST_LOOKED_AT: usize = 128;

fn looked_at(settings: &Settings) -> usize {
    (settings.batch_size * LOOKED_AT).max(LEAST_LOOKED_AT)
}

impl Training {
    /// The batch under way, be it of a host that died; else a new one, if there are `least` samples that teach something.
    pub(crate) async fn next_batch(
        &self,
        agent: &AgentId,
        settings: &Settings,
        least: usize,
    ) -> Result<Option<Batch>, StoreError> {
        if let Some(open) = self.store.open_batch(agent).await? {
            return Ok(Some(open));
        }
        self.expire(agent, settings).await?;
        let (eligible, choice) = self.choice(agent, settings).await?;
        // Answers that are equal so far may get others yet. They are given up when a batch is made of later answers, or when there would
        // be one but for them.
        let enough = choice.take.len() >= least.max(1);
        let newest = choice.take.last().copied().filter(|_| enough).unwrap_or_default();
        let in_the_way = !enough && eligible.len() >= settings.batch_size;
        let is_over = |group: &[usize]| in_the_way || group.last().is_some_and(|last| *last < newest);
        let given_up = choice.equal.iter().filter(|group| is_over(group));
        let equal = given_up.flatten().map(|at| {
            self.store.reject(eligible[*at].sample.turn, "every answer to its prompt was as good as the others")
        });
        for rejected in join_all(equal).await {
            self.metrics.samples(agent, "equal", rejected?.into());
        }
        if !enough {
            return Ok(None);
        }
        let parent = self.store.head(agent).await?.map_or(0, |head| head.generation);
        let turns = choice.take.iter().map(|at| eligible[*at].sample.turn).collect();
        self.store.claim(agent, Claim { batch: Uuid::now_v7(), parent, turns, least: least.max(1) }).await
    }

    /// What would be trained on now.
    pub(crate) async fn choice(
        &self,
        agent: &AgentId,
        settings: &Settings,
    ) -> Result<(Vec<StoredSample>, Choice), StoreError> {
        let mut eligible = self.store.samples_in(agent, SampleState::Eligible, looked_at(settings)).await?;
        // Every eligible sample has both; the places must be the same.
        eligible.retain(|sample| sample.sample.tokens.is_some() && sample.score.is_some());
        let choice = {
            let rewarded: Vec<_> = rewarded(&eligible).into_iter().map(|(_, _, rewarded)| rewarded).collect();
            choose(&rewarded, settings.batch_size)
        };
        Ok((eligible, choice))
    }

    /// Lets go what is too old.
    pub(crate) async fn expire(&self, agent: &AgentId, settings: &Settings) -> Result<u64, StoreError> {
        let limits = settings.staleness;
        let head = self.store.head(agent).await?.map_or(0, |head| head.generation);
        let skill_generation = if limits.skills { self.host.skill_generation(agent) } else { None };
        let staleness = Staleness {
            oldest: SystemTime::now().checked_sub(limits.age).unwrap_or(SystemTime::UNIX_EPOCH),
            least_adapter: head.saturating_sub(limits.adapters),
            skill_generation,
        };
        let count = self.store.expire(agent, staleness).await?;
        self.metrics.samples(agent, "expired", count);
        Ok(count)
    }
}
