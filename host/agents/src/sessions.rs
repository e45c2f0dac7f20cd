use std::hash::Hasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use domain::{AgentId, SessionId};
use moka::Expiry;
use moka::sync::Cache;
use protocol::{Block, ChatRequest};
use skills::Skill;
use tokio::sync::Notify;
use xxhash_rust::xxh3::Xxh3;

/// How many sessions are remembered in memory. One that was forgotten, or spoke before a restart, is counted on from the store.
const MAX_SESSIONS: u64 = 50_000;

/// The sessions that are alive, each under its agent: the same session id of two agents is two sessions.
#[derive(Debug)]
pub(crate) struct Sessions {
    live: Cache<(AgentId, SessionId), Arc<Mutex<SessionState>>>,
    /// For clients that name no session: the hash of a conversation so far → the session it belongs to.
    conversations: Cache<(AgentId, u64), SessionId>,
    idle: Idle,
    idle_changed: Notify,
    /// Keeps conversation hashes from being computed outside.
    seed: u64,
}

/// After which silence a session is over, in milliseconds. A reload may change it while sessions live.
#[derive(Clone, Debug)]
struct Idle(Arc<AtomicU64>);

/// What a session carries from turn to turn.
#[derive(Debug)]
pub(crate) struct SessionState {
    /// Turns that have begun.
    pub(crate) turns: u32,
    /// What was injected last.
    pub(crate) injected: Option<Injected>,
}

/// A choice of skills and the block made of it.
#[derive(Clone, Debug)]
pub(crate) struct Injected {
    pub(crate) skills: Arc<[Arc<Skill>]>,
    pub(crate) block: Arc<Block>,
}

impl SessionState {
    /// The number of the turn that begins now, from 0.
    pub(crate) fn next_turn(&mut self) -> u32 {
        let index = self.turns;
        self.turns = self.turns.saturating_add(1);
        index
    }
}

impl Sessions {
    pub(crate) fn new(idle: Duration, seed: u64) -> Self {
        let idle = Idle(Arc::new(AtomicU64::new(millis(idle))));
        Sessions {
            live: Cache::builder().max_capacity(MAX_SESSIONS).expire_after(idle.clone()).build(),
            conversations: Cache::builder().max_capacity(MAX_SESSIONS).expire_after(idle.clone()).build(),
            idle,
            idle_changed: Notify::new(),
            seed,
        }
    }

    /// After which silence a session is over.
    pub(crate) fn idle_timeout(&self) -> Duration {
        self.idle.get()
    }

    /// Changes it: for a session that is remembered already from its next turn on.
    pub(crate) fn set_idle_timeout(&self, idle: Duration) {
        if self.idle.0.swap(millis(idle), Ordering::Relaxed) != millis(idle) {
            self.idle_changed.notify_one();
        }
    }

    /// Returns when it has changed since it was last waited for.
    pub(crate) async fn idle_timeout_changed(&self) {
        self.idle_changed.notified().await;
    }

    /// The session's state, when it is remembered.
    pub(crate) fn get(&self, agent: &AgentId, session: &SessionId) -> Option<Arc<Mutex<SessionState>>> {
        self.live.get(&(agent.clone(), session.clone()))
    }

    /// The session's state, begun with this many turns behind it when it is not remembered.
    pub(crate) fn open(&self, agent: &AgentId, session: &SessionId, turns: u32) -> Arc<Mutex<SessionState>> {
        let begun = || Arc::new(Mutex::new(SessionState { turns, injected: None }));
        self.live.get_with((agent.clone(), session.clone()), begun)
    }

    pub(crate) fn forget(&self, agent: &AgentId, session: &SessionId) {
        self.live.invalidate(&(agent.clone(), session.clone()));
    }

    /// The session of a request that names none: the one whose conversation this request continues, or a new one.
    ///
    /// A conversation is known by what was said in it, without what clients write anew for each request. Each request moves
    /// its session's mark to its own last message; a request that holds no mark begins a new session. So two conversations
    /// that start with the same words part as soon as the first has gone on.
    pub(crate) fn by_conversation(
        &self,
        agent: &AgentId,
        request: &ChatRequest,
        fresh: impl FnOnce() -> SessionId,
    ) -> SessionId {
        // Where nothing was said by anybody there is no conversation to know again.
        let Some((last, earlier)) = self.marks(request) else { return fresh() };
        let known = |mark: &u64| self.conversations.get(&(agent.clone(), *mark)).map(|s| (*mark, s));
        if let Some((_, session)) = known(&last) {
            return session;
        }
        let session = match earlier.iter().rev().find_map(known) {
            Some((mark, session)) => {
                self.conversations.invalidate(&(agent.clone(), mark));
                session
            }
            None => fresh(),
        };
        self.conversations.insert((agent.clone(), last), session.clone());
        session
    }

    /// A rolling hash of what was said: at the end, and after each message before it.
    fn marks(&self, request: &ChatRequest) -> Option<(u64, Vec<u64>)> {
        let mut hash = Xxh3::with_seed(self.seed);
        let mut earlier = Vec::with_capacity(request.message_count());
        for index in 0..request.message_count() {
            let Some(parts) = request.lasting(index) else { continue };
            parts.iter().for_each(|part| hash.write(part));
            // Message borders count, so that moving text between messages changes the hash.
            hash.write_u8(0);
            earlier.push(hash.finish());
        }
        Some((earlier.pop()?, earlier))
    }
}

impl Idle {
    fn get(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

impl<K, V> Expiry<K, V> for Idle {
    fn expire_after_create(&self, _: &K, _: &V, _: Instant) -> Option<Duration> {
        Some(self.get())
    }

    fn expire_after_read(&self, _: &K, _: &V, _: Instant, _: Option<Duration>, _: Instant) -> Option<Duration> {
        Some(self.get())
    }

    fn expire_after_update(&self, _: &K, _: &V, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(self.get())
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Locks a session's state. A poisoned lock is taken over: the state is a cache, each field valid by itself.
pub(crate) fn lock(state: &Mutex<SessionState>) -> std::sync::MutexGuard<'_, SessionState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    struct Client<'a> {
        sessions: &'a Sessions,
        agent: AgentId,
        next: std::cell::Cell<u32>,
    }

    impl Client<'_> {
        /// Sends a conversation (user and assistant in turn) and says which session it got.
        fn send(&self, system: &str, said: &[&str]) -> String {
            let roles = ["user", "assistant"].iter().cycle();
            let mut messages = vec![json!({"role": "system", "content": system})];
            messages.extend(said.iter().zip(roles).map(|(text, role)| json!({"role": role, "content": text})));
            let request = ChatRequest::parse(json!({"messages": messages}).to_string().into()).unwrap();
            let fresh = || {
                self.next.set(self.next.get() + 1);
                format!("auto-{}", self.next.get()).parse().unwrap()
            };
            self.sessions.by_conversation(&self.agent, &request, fresh).to_string()
        }
    }

    #[test]
    fn conversations_are_told_apart_without_headers() {
        let sessions = Sessions::new(Duration::from_secs(60), 7);
        let client = |agent: &str| Client {
            sessions: &sessions,
            agent: AgentId::Named(agent.parse().unwrap()),
            next: Default::default(),
        };
        let (a, b) = (client("a"), client("b"));
        assert_eq!(a.send("monday", &["hello"]), "auto-1");
        assert_eq!(a.send("monday", &["hello"]), "auto-1", "a retry stays in its session");
        assert_eq!(a.send("tuesday", &["hello", "hi", "how?"]), "auto-1", "a changed system prompt changes nothing");
        assert_eq!(
            a.send("monday", &["hello"]),
            "auto-2",
            "the same opening, once the first has gone on, is a new one"
        );
        assert_eq!(a.send("monday", &["other"]), "auto-3");
        assert_eq!(a.send("monday", &["hello", "hi", "how?", "so", "thanks"]), "auto-1");
        assert_eq!(a.send("monday", &["hello", "hey", "why?"]), "auto-2");
        assert_eq!(b.send("monday", &["hello"]), "auto-1", "another agent's own numbering: nothing is shared");
    }
}
