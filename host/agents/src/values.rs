use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::AgentId;
use policy::{KvChanges, KvSource};
use store::{Store, StoreError};
use tokio::sync::OnceCell;

/// What one agent's policy keeps between calls. It is read from the store when it is first needed; what calls change counts at once,
/// and is handed to the store when the turn goes on.
#[derive(Debug, Default)]
pub(crate) struct AgentValues {
    loaded: OnceCell<Arc<Values>>,
    /// Held while changes are handed over, so that they reach the store in the order in which they were made.
    order: tokio::sync::Mutex<()>,
}

/// The values, once they are loaded.
#[derive(Debug, Default)]
pub(crate) struct Values(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    all: BTreeMap<String, Vec<u8>>,
    size: usize,
    /// What the store does not know yet.
    changed: KvChanges,
}

impl AgentValues {
    /// Reads the values, unless that has been done.
    pub(crate) async fn load(&self, store: &Store, agent: &AgentId) -> Result<(), StoreError> {
        let load = async || {
            let all: BTreeMap<String, Vec<u8>> = store.values(agent).await?.into_iter().collect();
            let size = all.iter().map(|(key, value)| key.len() + value.len()).sum();
            Ok(Arc::new(Values(Mutex::new(State { all, size, changed: KvChanges::new() }))))
        };
        self.loaded.get_or_try_init(load).await.map(|_| ())
    }

    /// The values, if they were ever needed.
    pub(crate) fn get(&self) -> Option<Arc<Values>> {
        self.loaded.get().cloned()
    }

    /// Hands what calls have changed to the store. A change is forgotten once the store has it: if this is given up in between, as
    /// when a client goes away, the next call hands it over again.
    pub(crate) async fn hand_over(&self, store: &Store, agent: &AgentId) {
        let Some(values) = self.loaded.get() else { return };
        if values.state().changed.is_empty() {
            return;
        }
        let _order = self.order.lock().await;
        let changed = values.state().changed.clone();
        match store.keep_values(agent, changed.clone().into_iter().collect()).await {
            Ok(()) => values.state().changed.retain(|key, value| changed.get(key) != Some(value)),
            Err(error) => tracing::error!(%agent, %error, "what the policy keeps could not be recorded"),
        }
    }
}

impl Values {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KvSource for Values {
    fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.state().all.get(key).cloned()
    }

    fn keys(&self, prefix: &str) -> Vec<String> {
        let state = self.state();
        let from = state.all.range(prefix.to_owned()..);
        from.map(|(key, _)| key).take_while(|key| key.starts_with(prefix)).cloned().collect()
    }

    fn size(&self) -> usize {
        self.state().size
    }

    fn apply(&self, changes: KvChanges, most: usize) -> bool {
        let mut state = self.state();
        let length = |key: &str, value: Option<&Vec<u8>>| value.map_or(0, |value| key.len() + value.len());
        let gone: usize = changes.keys().map(|key| length(key, state.all.get(key))).sum();
        let come: usize = changes.iter().map(|(key, value)| length(key, value.as_ref())).sum();
        let size = state.size - gone + come;
        // What was allowed more before may always shrink.
        if size > most && size > state.size {
            return false;
        }
        state.size = size;
        for (key, value) in changes {
            match &value {
                Some(value) => state.all.insert(key.clone(), value.clone()),
                None => state.all.remove(&key),
            };
            state.changed.insert(key, value);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(pairs: &[(&str, Option<&str>)]) -> KvChanges {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), value.map(|v| v.as_bytes().to_vec()))).collect()
    }

    #[test]
    fn changes_are_applied_whole_or_not_at_all() {
        let values = Values::default();
        assert!(values.apply(changes(&[("ab", Some("12345678"))]), 10));
        assert_eq!(values.size(), 10);
        assert!(!values.apply(changes(&[("c", Some(""))]), 10), "one byte too many");
        assert!(!values.apply(changes(&[("ab", Some("1")), ("cd", Some("1234567890"))]), 10));
        assert_eq!(values.get("ab").as_deref(), Some(&b"12345678"[..]), "nothing of it");
        assert!(values.apply(changes(&[("ab", None), ("cd", Some("12345678"))]), 10));
        assert!(values.apply(changes(&[("cd", Some("1234"))]), 3), "less than it was, though more than it may be now");
        assert_eq!((values.size(), values.keys("")), (6, vec!["cd".to_owned()]));
    }

    #[test]
    fn keys_are_found_by_their_beginning() {
        let values = Values::default();
        values.apply(changes(&[("a", Some("")), ("day/1", Some("")), ("day/2", Some("")), ("week", Some(""))]), 100);
        assert_eq!(values.keys("day/"), ["day/1", "day/2"]);
        assert_eq!(values.keys("x"), Vec::<String>::new());
    }
}
