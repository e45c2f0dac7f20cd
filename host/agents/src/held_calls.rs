//! Tool calls that a policy has left to an operator.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use domain::{AgentId, SessionId, ToolCall};
use serde::Serialize;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// More calls than this are not held: they are denied at once.
const MAX_HELD: usize = 256;
/// How much of a call's arguments an operator is shown, in bytes.
const SHOWN: usize = 4 << 10;

/// The calls that wait for a word.
#[derive(Debug, Default)]
pub(crate) struct HeldCalls {
    waiting: Mutex<Waiting>,
    /// Cancelled when nobody will answer any more.
    closed: CancellationToken,
}

#[derive(Debug, Default)]
struct Waiting {
    last: u64,
    calls: BTreeMap<u64, (HeldCall, oneshot::Sender<bool>)>,
}

/// A call that waits for a word.
#[derive(Clone, Debug, Serialize)]
pub struct HeldCall {
    /// What to answer it by.
    pub id: u64,
    /// Whose turn it is from.
    pub agent: String,
    /// In which session.
    pub session: String,
    /// The tool.
    pub tool: String,
    /// The beginning of the arguments.
    pub arguments: String,
    /// Why the policy holds it.
    pub reason: String,
    /// Since when, in seconds since 1970.
    pub since: u64,
}

/// Takes the call off the list, however waiting ends.
struct Entry<'a> {
    held: &'a HeldCalls,
    id: u64,
}

impl HeldCalls {
    /// Waits for an operator's word on this call: true allows it. Without one in time it is denied.
    pub(crate) async fn wait(
        &self,
        agent: &AgentId,
        session: &SessionId,
        call: &ToolCall,
        reason: &str,
        limit: Duration,
    ) -> bool {
        let (answer, answered) = oneshot::channel();
        let entry = {
            let mut waiting = self.waiting();
            if waiting.calls.len() >= MAX_HELD {
                return false;
            }
            waiting.last += 1;
            let id = waiting.last;
            let shown = &call.arguments[..call.arguments.floor_char_boundary(SHOWN)];
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
            let held = HeldCall {
                id,
                agent: agent.to_string(),
                session: session.to_string(),
                tool: call.name.clone(),
                arguments: shown.to_owned(),
                reason: reason.to_owned(),
                since,
            };
            waiting.calls.insert(id, (held, answer));
            Entry { held: self, id }
        };
        let allowed = self.closed.run_until_cancelled(tokio::time::timeout(limit, answered)).await;
        drop(entry);
        matches!(allowed, Some(Ok(Ok(true))))
    }

    pub(crate) fn list(&self) -> Vec<HeldCall> {
        self.waiting().calls.values().map(|(call, _)| call.clone()).collect()
    }

    /// Answers a call. False when it does not wait any more.
    pub(crate) fn answer(&self, id: u64, allow: bool) -> bool {
        let call = self.waiting().calls.remove(&id);
        call.is_some_and(|(_, answer)| answer.send(allow).is_ok())
    }

    /// Denies what waits, and whatever comes: a host that stops waits for nobody.
    pub(crate) fn close(&self) {
        self.closed.cancel();
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.held.waiting().calls.remove(&self.id);
    }
}
