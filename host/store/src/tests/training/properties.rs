//! Random sequences of steps against a model that knows the rules: what each step says, and what is left, is the same.

mod invariants;

use proptest::prelude::*;
use proptest::sample::Index;
use tempfile::TempDir;

use super::*;

const AGENTS: [&str; 2] = ["a", "b"];

#[derive(Clone, Debug)]
enum Action {
    Capture {
        owner: usize,
        session: u8,
        prompt: u32,
        answer: u32,
    },
    Score(Index),
    Postpone(Index, bool),
    Admit(Index),
    HoldOut(Index),
    Reject(Index),
    Expire {
        owner: usize,
        adapter: u64,
    },
    Claim {
        owner: usize,
        turns: Vec<Index>,
        least: usize,
    },
    Release {
        owner: usize,
        reject: bool,
    },
    Commit {
        owner: usize,
        state: AdapterState,
    },
    CommitAgain(Index),
    Promote {
        owner: usize,
        generation: u64,
    },
    Rollback {
        owner: usize,
    },
    /// The host is killed, and starts again.
    Die,
}

/// A sample as it must be.
#[derive(Clone, Debug)]
struct Known {
    turn: TurnId,
    owner: usize,
    identity: (usize, u8, u32, u32),
    state: SampleState,
    batch: Option<Uuid>,
}

/// A batch as it must be.
#[derive(Clone, Debug)]
struct Begun {
    id: Uuid,
    owner: usize,
    parent: u64,
    generation: u64,
    open: bool,
    committed: bool,
}

#[derive(Clone, Debug)]
struct Made {
    owner: usize,
    generation: u64,
    parent: u64,
    state: AdapterState,
    batch: Uuid,
}

struct World {
    store: Store,
    dir: TempDir,
    samples: Vec<Known>,
    captures: usize,
    batches: Vec<Begun>,
    adapters: Vec<Made>,
}

/// Where syncing costs nothing, if there is such a place: a death is a copy of the files here, and the disk has no part in it.
fn quick_dir() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn action() -> impl Strategy<Value = Action> {
    let owner = 0..2usize;
    let pick = any::<Index>;
    let states = prop_oneof![Just(AdapterState::Live), Just(AdapterState::Shadow), Just(AdapterState::Rejected)];
    prop_oneof![
        8 => (owner.clone(), 0..4u8, 0..4u32, 0..2u32)
            .prop_map(|(owner, session, prompt, answer)| Action::Capture { owner, session, prompt, answer }),
        8 => pick().prop_map(Action::Score),
        1 => (pick(), any::<bool>()).prop_map(|(at, given_up)| Action::Postpone(at, given_up)),
        8 => pick().prop_map(Action::Admit),
        1 => pick().prop_map(Action::HoldOut),
        1 => pick().prop_map(Action::Reject),
        1 => (owner.clone(), 3..5u64).prop_map(|(owner, adapter)| Action::Expire { owner, adapter }),
        6 => (owner.clone(), prop::collection::vec(pick(), 0..6), 1..3usize)
            .prop_map(|(owner, turns, least)| Action::Claim { owner, turns, least }),
        2 => (owner.clone(), any::<bool>()).prop_map(|(owner, reject)| Action::Release { owner, reject }),
        4 => (owner.clone(), states).prop_map(|(owner, state)| Action::Commit { owner, state }),
        1 => pick().prop_map(Action::CommitAgain),
        1 => (owner.clone(), 0..4u64).prop_map(|(owner, generation)| Action::Promote { owner, generation }),
        1 => owner.prop_map(|owner| Action::Rollback { owner }),
        2 => Just(Action::Die),
    ]
}

impl World {
    async fn new() -> Self {
        let dir = quick_dir();
        let store = open(dir.path()).await;
        World { store, dir, samples: Vec::new(), captures: 0, batches: Vec::new(), adapters: Vec::new() }
    }

    fn pick(&mut self, at: Index) -> Option<&mut Known> {
        let number = self.samples.len();
        (number > 0).then(|| &mut self.samples[at.index(number)])
    }

    fn open_batch(&self, owner: usize) -> Option<usize> {
        self.batches.iter().position(|batch| batch.open && batch.owner == owner)
    }

    fn live(&self, owner: usize) -> u64 {
        let live = |made: &&Made| made.owner == owner && made.state == AdapterState::Live;
        self.adapters.iter().find(live).map_or(0, |made| made.generation)
    }

    /// Takes the place from the live adapter and gives it to another.
    fn flip(&mut self, owner: usize, from: AdapterState, to: u64) {
        for made in self.adapters.iter_mut().filter(|made| made.owner == owner) {
            if made.state == AdapterState::Live {
                made.state = from;
            }
            if made.generation == to {
                made.state = AdapterState::Live;
            }
        }
    }

    async fn act(&mut self, action: Action) {
        use SampleState::{Captured, Eligible, Expired, HeldOut, Rejected, Scored};
        match action {
            Action::Capture { owner, session, prompt, answer } => {
                let (name, identity) = (format!("s{session}"), (owner, session, prompt, answer));
                let record = turn(AGENTS[owner], &name, "{}");
                self.store.record_turn(record.clone()).await.unwrap();
                let captured = self.store.capture(sample_of(&record, tokens(prompt, answer)), KEEP).await.unwrap();
                let same = self.samples.iter().find(|known| known.identity == identity).map(|known| known.state);
                assert_eq!((captured.existed, captured.state), (same.is_some(), same.unwrap_or(Captured)));
                if same.is_none() {
                    self.samples.push(Known { turn: record.id, owner, identity, state: Captured, batch: None });
                    self.captures += 1;
                }
            }
            Action::Score(at) => {
                let Some(Known { turn, state, .. }) = self.pick(at) else { return };
                let (turn, allowed) = (*turn, *state == Captured);
                if allowed {
                    *state = Scored;
                }
                assert_eq!(self.store.score(turn, judged(0.5)).await.unwrap(), allowed);
            }
            Action::Postpone(at, given_up) => {
                let Some(Known { turn, state, .. }) = self.pick(at) else { return };
                let (turn, allowed) = (*turn, *state == Captured);
                if allowed && given_up {
                    *state = Rejected;
                }
                let until = (!given_up).then(|| super::at(1));
                assert_eq!(self.store.postpone_score(turn, "ill", until).await.unwrap(), allowed);
            }
            Action::Admit(at) | Action::HoldOut(at) => {
                let held = matches!(action, Action::HoldOut(_));
                let Some(Known { turn, state, .. }) = self.pick(at) else { return };
                let (turn, allowed) = (*turn, *state == Scored);
                if allowed {
                    *state = if held { HeldOut } else { Eligible };
                }
                let done = if held { self.store.hold_out(turn).await } else { self.store.admit(turn).await };
                assert_eq!(done.unwrap(), allowed);
            }
            Action::Reject(at) => {
                let Some(Known { turn, state, .. }) = self.pick(at) else { return };
                let (turn, allowed) = (*turn, matches!(state, Captured | Scored | Eligible));
                if allowed {
                    *state = Rejected;
                }
                assert_eq!(self.store.reject(turn, "no").await.unwrap(), allowed);
            }
            Action::Expire { owner, adapter } => {
                // Every sample here is of the third.
                let old = |known: &&mut Known| {
                    known.owner == owner && adapter > 3 && matches!(known.state, Captured | Scored | Eligible)
                };
                let expired = self.samples.iter_mut().filter(old).map(|known| known.state = Expired).count();
                let staleness = Staleness { oldest: super::at(1), least_adapter: adapter, skill_generation: None };
                let done = self.store.expire(&agent(AGENTS[owner]), staleness).await.unwrap();
                assert_eq!(done, expired as u64);
            }
            Action::Claim { owner, turns, least } => self.claim(owner, turns, least).await,
            Action::Release { owner, reject } => {
                let Some(at) = self.open_batch(owner) else { return };
                let id = self.batches[at].id;
                self.batches[at].open = false;
                self.settle(id, if reject { Rejected } else { Eligible });
                let done = if reject { self.store.abandon(id, "no").await } else { self.store.release(id).await };
                assert!(done.unwrap());
                assert!(!self.store.release(id).await.unwrap());
            }
            Action::Commit { owner, state } => self.commit(owner, state).await,
            Action::CommitAgain(at) => {
                let ended: Vec<_> = self.batches.iter().filter(|batch| !batch.open).collect();
                let Some(batch) = (!ended.is_empty()).then(|| ended[at.index(ended.len())]) else { return };
                let again = self.store.commit(batch.id, adapter(99, AdapterState::Live)).await.unwrap();
                assert_eq!(again.map(|made| made.generation), batch.committed.then_some(batch.generation));
            }
            Action::Promote { owner, generation } => {
                let before = self.live(owner);
                let there = self.adapters.iter().any(|made| made.owner == owner && made.generation == generation);
                let allowed = before != generation && (generation == 0 || there);
                if allowed {
                    self.flip(owner, AdapterState::Retired, generation);
                }
                assert_eq!(self.store.promote(&agent(AGENTS[owner]), generation, "so").await.unwrap(), allowed);
            }
            Action::Rollback { owner } => {
                let before = self.live(owner);
                let mut to = before;
                while to > 0 {
                    let find = |generation| {
                        self.adapters.iter().find(|made| made.owner == owner && made.generation == generation)
                    };
                    to = find(to).unwrap().parent;
                    let fine = |made: &Made| matches!(made.state, AdapterState::Retired | AdapterState::Shadow);
                    if find(to).is_some_and(fine) {
                        break;
                    }
                }
                self.flip(owner, AdapterState::RolledBack, to);
                let done = self.store.rollback(&agent(AGENTS[owner]), None, "bad").await.unwrap();
                let done = done.map(|(was, is)| (was.generation, is.map_or(0, |is| is.generation)));
                assert_eq!(done, (before > 0).then_some((before, to)));
            }
            Action::Die => self.die().await,
        }
    }

    async fn claim(&mut self, owner: usize, turns: Vec<Index>, least: usize) {
        let picked: Vec<usize> = match self.samples.len() {
            0 => Vec::new(),
            number => turns.iter().map(|at| at.index(number)).collect(),
        };
        // Whatever is eligible belongs to it as well; the rest is as it comes, another agent's among it.
        let wanted: Vec<usize> = (0..self.samples.len()).filter(|at| at % 2 == 0).chain(picked).collect();
        let mut taken = wanted.clone();
        taken.retain(|at| self.samples[*at].owner == owner && self.samples[*at].state == SampleState::Eligible);
        taken.sort_by_key(|at| self.samples[*at].turn);
        taken.dedup();
        let parent = self.live(owner);
        let claim =
            Claim { least, ..claim(parent, &wanted.iter().map(|at| self.samples[*at].turn).collect::<Vec<_>>()) };
        let allowed = self.open_batch(owner).is_none() && !taken.is_empty() && taken.len() >= least;
        let stale = Claim { batch: Uuid::now_v7(), parent: parent + 1, ..claim.clone() };
        assert!(self.store.claim(&agent(AGENTS[owner]), stale).await.unwrap().is_none());
        let batch = self.store.claim(&agent(AGENTS[owner]), claim.clone()).await.unwrap();
        assert_eq!(batch.is_some(), allowed);
        let Some(batch) = batch else { return };
        let turns: Vec<_> = batch.samples.iter().map(|sample| sample.sample.turn).collect();
        assert_eq!(turns, taken.iter().map(|at| self.samples[*at].turn).collect::<Vec<_>>());
        for at in taken {
            (self.samples[at].state, self.samples[at].batch) = (SampleState::Claimed, Some(batch.id));
        }
        let Batch { id, parent, generation, .. } = batch;
        assert!(self.adapters.iter().all(|made| made.owner != owner || made.generation < generation));
        self.batches.push(Begun { id, owner, parent, generation, open: true, committed: false });
    }

    async fn commit(&mut self, owner: usize, state: AdapterState) {
        let Some(at) = self.open_batch(owner) else { return };
        let Begun { id, parent, generation, .. } = self.batches[at];
        let allowed = self.live(owner) == parent;
        let made = self.store.commit(id, adapter(generation, state)).await.unwrap();
        assert_eq!(made.is_some(), allowed);
        if allowed {
            if state == AdapterState::Live {
                self.flip(owner, AdapterState::Retired, 0);
            }
            self.adapters.push(Made { owner, generation, parent, state, batch: id });
            (self.batches[at].open, self.batches[at].committed) = (false, true);
            self.settle(id, SampleState::Consumed);
        }
    }

    fn settle(&mut self, batch: Uuid, state: SampleState) {
        let claimed = |known: &&mut Known| known.batch == Some(batch) && known.state == SampleState::Claimed;
        self.samples.iter_mut().filter(claimed).for_each(|known| known.state = state);
    }

    /// Goes on with the files as they are at this moment, which is all that a killed process leaves.
    async fn die(&mut self) {
        let dir = quick_dir();
        for entry in std::fs::read_dir(self.dir.path()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
        }
        self.store.close().await;
        self.store = open(dir.path()).await;
        self.dir = dir;
        self.check().await;
    }
}

#[test]
fn whatever_happens_in_whatever_order_the_rules_hold() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = ProptestConfig { cases: 320, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(actions in prop::collection::vec(action(), 10..60))| {
        runtime.block_on(async {
            let mut world = World::new().await;
            for action in actions {
                world.act(action).await;
            }
            world.check().await;
            world.store.close().await;
        });
    });
}
