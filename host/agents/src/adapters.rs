//! Which adapter answers for each agent. A turn takes it when its prompt is made and keeps it to its end, so that an answer is
//! of one generation from its first token to its last, whatever training puts in the place meanwhile.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use domain::{AgentId, Digest};
use local_model::Adapter;
use serde::Serialize;

/// An adapter that answers for an agent from now on.
#[derive(Clone)]
pub struct ServedAdapter {
    /// Which one of the agent's: 1 is the first; without any, the model answers as it is.
    pub generation: u64,
    /// The file of the model that it changes. No other model is answered with.
    pub base: Digest,
    /// The changes.
    pub adapter: Arc<Adapter>,
    /// Where they are had from again once they were put aside for want of memory.
    pub source: Arc<dyn AdapterSource>,
}

/// Where adapters are kept.
pub trait AdapterSource: Send + Sync {
    /// Reads this one again; the error is a sentence for the operator. May block.
    fn load(&self) -> Result<Adapter, String>;
}

/// What of adapters is in memory.
#[derive(Clone, Debug, Serialize)]
pub struct AdaptersStatus {
    /// Bytes that they take.
    pub bytes: usize,
    /// Bytes that they may take together.
    pub limit: usize,
    /// Each agent that has one.
    pub agents: Vec<AdapterStatus>,
}

/// One agent's.
#[derive(Clone, Debug, Serialize)]
pub struct AdapterStatus {
    /// Whose.
    pub agent: String,
    /// `AGENT@GENERATION`.
    pub adapter: String,
    /// Which one of the agent's.
    pub generation: u64,
    /// Bytes that it takes when it is in memory.
    pub bytes: usize,
    /// Whether it is; otherwise the agent's next turn reads it.
    pub loaded: bool,
}

/// The adapters of all agents.
pub(crate) struct Adapters {
    slots: Mutex<HashMap<AgentId, Arc<Slot>>>,
    memory: Arc<Memory>,
}

/// The place of one agent's adapter. It outlives every reload.
pub(crate) struct Slot {
    agent: AgentId,
    live: ArcSwapOption<Live>,
    memory: Arc<Memory>,
}

/// The adapter in a slot.
struct Live {
    generation: u64,
    base: Digest,
    bytes: usize,
    source: Arc<dyn AdapterSource>,
    /// None while it is put aside.
    adapter: ArcSwapOption<Adapter>,
    /// When it was last asked for, by the memory's clock.
    used: AtomicU64,
    /// One reads it, the others wait.
    loading: tokio::sync::Mutex<()>,
}

/// How much all of them may take, and who was used last.
struct Memory {
    limit: AtomicUsize,
    clock: AtomicU64,
    lives: Mutex<HashMap<AgentId, Arc<Live>>>,
}

/// What one turn answers with.
#[derive(Clone)]
pub(crate) struct Taken {
    pub(crate) generation: u64,
    pub(crate) adapter: Arc<Adapter>,
}

impl Adapters {
    pub(crate) fn new() -> Self {
        let (limit, clock, lives) = (AtomicUsize::new(usize::MAX), AtomicU64::new(0), Mutex::default());
        Adapters { slots: Mutex::default(), memory: Arc::new(Memory { limit, clock, lives }) }
    }

    /// The place of this agent's adapter. The caller has seen to it that there are not too many agents.
    pub(crate) fn slot(&self, agent: &AgentId) -> Arc<Slot> {
        let mut slots = lock(&self.slots);
        let new = || Slot { agent: agent.clone(), live: ArcSwapOption::empty(), memory: self.memory.clone() };
        slots.entry(agent.clone()).or_insert_with(|| Arc::new(new())).clone()
    }

    /// How much they may take from now on, in bytes.
    pub(crate) fn limit(&self, bytes: usize) {
        self.memory.limit.store(bytes, Ordering::Relaxed);
        self.memory.shrink(None);
    }

    pub(crate) fn status(&self) -> AdaptersStatus {
        let lives = lock(&self.memory.lives);
        let one = |(agent, live): (&AgentId, &Arc<Live>)| AdapterStatus {
            agent: agent.to_string(),
            adapter: name(agent, live.generation),
            generation: live.generation,
            bytes: live.bytes,
            loaded: live.adapter.load().is_some(),
        };
        let mut agents: Vec<AdapterStatus> = lives.iter().map(one).collect();
        agents.sort_by(|a, b| a.agent.cmp(&b.agent));
        let bytes = agents.iter().filter(|one| one.loaded).map(|one| one.bytes).sum();
        AdaptersStatus { bytes, limit: self.memory.limit.load(Ordering::Relaxed), agents }
    }
}

impl Slot {
    /// Answers with this one from now on; none: with the model as it is. Turns that have begun keep theirs.
    pub(crate) fn put(&self, served: Option<ServedAdapter>) {
        let live = served.map(|ServedAdapter { generation, base, adapter, source }| {
            Arc::new(Live {
                generation,
                base,
                bytes: adapter.bytes(),
                source,
                adapter: ArcSwapOption::from(Some(adapter)),
                used: AtomicU64::new(self.memory.tick()),
                loading: tokio::sync::Mutex::default(),
            })
        });
        match &live {
            Some(live) => drop(lock(&self.memory.lives).insert(self.agent.clone(), live.clone())),
            None => drop(lock(&self.memory.lives).remove(&self.agent)),
        }
        self.memory.shrink(live.as_ref());
        self.live.store(live);
    }

    /// What a turn that is answered by the model of this file has to take. An adapter that cannot be read is done without, and
    /// the log says so: an answer of the model as it is, is better than none.
    pub(crate) async fn take(&self, base: &Digest) -> Option<Taken> {
        let live = self.live.load_full().filter(|live| live.base == *base)?;
        live.used.store(self.memory.tick(), Ordering::Relaxed);
        let generation = live.generation;
        if let Some(adapter) = live.adapter.load_full() {
            return Some(Taken { generation, adapter });
        }
        let _reading = live.loading.lock().await;
        if let Some(adapter) = live.adapter.load_full() {
            return Some(Taken { generation, adapter });
        }
        let source = live.source.clone();
        let loaded = tokio::task::spawn_blocking(move || source.load()).await;
        match loaded.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(adapter) => {
                let adapter = Arc::new(adapter);
                live.adapter.store(Some(adapter.clone()));
                self.memory.shrink(Some(&live));
                Some(Taken { generation, adapter })
            }
            Err(reason) => {
                let adapter = name(&self.agent, generation);
                tracing::error!(%adapter, %reason, "the adapter cannot be read: the model answers without it");
                None
            }
        }
    }
}

impl Memory {
    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    /// Puts those aside that were not asked for the longest, until the rest fits; never the one that is wanted now.
    fn shrink(&self, wanted: Option<&Arc<Live>>) {
        let lives = lock(&self.lives);
        let mut loaded: Vec<&Arc<Live>> = lives.values().filter(|live| live.adapter.load().is_some()).collect();
        let mut bytes: usize = loaded.iter().map(|live| live.bytes).sum();
        loaded.retain(|live| wanted.is_none_or(|wanted| !Arc::ptr_eq(live, wanted)));
        loaded.sort_by_key(|live| live.used.load(Ordering::Relaxed));
        for live in loaded {
            if bytes <= self.limit.load(Ordering::Relaxed) {
                return;
            }
            live.adapter.store(None);
            bytes -= live.bytes;
        }
    }
}

/// `AGENT@GENERATION`
pub(crate) fn name(agent: &AgentId, generation: u64) -> String {
    format!("{agent}@{generation}")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use local_model::{AdapterLayer, LowRank};

    use super::*;

    /// 8,000 bytes.
    fn adapter(name: &str) -> Adapter {
        let low = LowRank::new(1, 1.0, vec![0.0; 1_000], &[0.0; 1_000]).unwrap();
        let mut layer = AdapterLayer::default();
        layer.projections[0] = Some(low);
        Adapter::new(name, vec![layer])
    }

    #[derive(Default)]
    struct Counting {
        reads: AtomicU32,
        fails: bool,
    }

    impl AdapterSource for Counting {
        fn load(&self) -> Result<Adapter, String> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            if self.fails { Err("gone".into()) } else { Ok(adapter("again")) }
        }
    }

    fn served(generation: u64, source: &Arc<Counting>) -> ServedAdapter {
        let (base, adapter) = (Digest::of(b"model"), Arc::new(adapter("new")));
        ServedAdapter { generation, base, adapter, source: source.clone() }
    }

    fn agent(name: &str) -> AgentId {
        AgentId::from_trusted(name).unwrap()
    }

    #[tokio::test]
    async fn a_turn_keeps_what_it_took_and_only_its_own_model_is_changed() {
        let (adapters, source) = (Adapters::new(), Arc::default());
        let slot = adapters.slot(&agent("a"));
        let base = Digest::of(b"model");
        assert!(slot.take(&base).await.is_none());
        slot.put(Some(served(1, &source)));
        let taken = slot.take(&base).await.unwrap();
        let first = Arc::downgrade(&taken.adapter);
        slot.put(Some(served(2, &source)));
        assert_eq!((taken.generation, slot.take(&base).await.unwrap().generation), (1, 2));
        assert!(first.upgrade().is_some(), "the turn has it still");
        drop(taken);
        assert!(first.upgrade().is_none(), "and nobody else has");
        assert!(slot.take(&Digest::of(b"another model")).await.is_none());
        assert!(adapters.slot(&agent("b")).take(&base).await.is_none(), "another agent");
        slot.put(None);
        assert!(slot.take(&base).await.is_none() && adapters.status().agents.is_empty());
    }

    #[tokio::test]
    async fn what_is_used_least_is_put_aside_and_read_again_when_it_is_wanted() {
        let (adapters, source) = (Adapters::new(), Arc::<Counting>::default());
        adapters.limit(20_000);
        let base = Digest::of(b"model");
        for name in ["a", "b"] {
            adapters.slot(&agent(name)).put(Some(served(1, &source)));
        }
        adapters.slot(&agent("a")).take(&base).await.unwrap();
        adapters.slot(&agent("c")).put(Some(served(7, &source)));
        let loaded = || {
            let status = adapters.status();
            assert!(status.bytes <= status.limit, "{status:?}");
            let names = status.agents.into_iter().filter(|one| one.loaded).map(|one| one.adapter);
            names.collect::<Vec<_>>()
        };
        assert_eq!(loaded(), ["a@1", "c@7"], "b was used least");
        assert_eq!(source.reads.load(Ordering::Relaxed), 0);
        let slot = adapters.slot(&agent("b"));
        let (one, other) = tokio::join!(slot.take(&base), slot.take(&base));
        assert!(Arc::ptr_eq(&one.unwrap().adapter, &other.unwrap().adapter), "it is read once");
        assert_eq!((source.reads.load(Ordering::Relaxed), loaded()), (1, vec!["b@1".to_owned(), "c@7".to_owned()]));
        adapters.limit(0);
        assert_eq!(loaded(), Vec::<String>::new());
        assert_eq!(adapters.slot(&agent("c")).take(&base).await.unwrap().adapter.name(), "again");
    }

    #[tokio::test]
    async fn one_that_cannot_be_read_is_done_without() {
        let adapters = Adapters::new();
        let slot = adapters.slot(&agent("a"));
        slot.put(Some(served(1, &Arc::new(Counting { fails: true, ..Counting::default() }))));
        adapters.limit(0);
        assert!(slot.take(&Digest::of(b"model")).await.is_none());
    }
}
