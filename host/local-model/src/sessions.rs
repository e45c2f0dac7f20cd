use crate::kv::KvCache;

/// Whose past computation may be used again. Keys are never compared across agents: a hit is faster than a miss, and
/// would tell one agent what another has been asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CacheKey {
    /// Agent and session, as the caller names them.
    pub(crate) session: String,
    /// The adapter's id, 0 for none: its changes are in the keys and values.
    pub(crate) adapter: u64,
}

/// The keys and values of past turns, most recently used last, bounded in number and memory.
pub(crate) struct SessionCaches {
    entries: Vec<Entry>,
    max_entries: usize,
    max_bytes: usize,
}

struct Entry {
    key: CacheKey,
    /// The tokens that `cache` holds.
    tokens: Vec<u32>,
    cache: KvCache,
}

impl SessionCaches {
    pub(crate) fn new(max_entries: usize, max_bytes: usize) -> Self {
        SessionCaches { entries: Vec::new(), max_entries, max_bytes }
    }

    /// The longest beginning of `prompt` that is known under `key`, short of its last token, whose logits are wanted.
    pub(crate) fn longest_prefix(&mut self, key: &CacheKey, prompt: &[u32]) -> Option<KvCache> {
        let most = prompt.len().saturating_sub(1);
        let known = self.entries.iter().enumerate().filter(|(_, entry)| entry.key == *key);
        let (common, index) = known.map(|(i, entry)| (common(&entry.tokens, prompt).min(most), i)).max()?;
        if common == 0 {
            return None;
        }
        let entry = self.entries.remove(index);
        let mut cache = entry.cache.clone();
        self.entries.push(entry);
        cache.truncate(common);
        Some(cache)
    }

    /// Keeps what was computed for `tokens`, in place of its own beginnings, and lets the oldest go.
    pub(crate) fn keep(&mut self, key: CacheKey, mut tokens: Vec<u32>, cache: KvCache) {
        tokens.truncate(cache.len());
        self.entries.retain(|entry| entry.key != key || !tokens.starts_with(&entry.tokens));
        self.entries.push(Entry { key, tokens, cache });
        while self.entries.len() > self.max_entries || self.bytes() > self.max_bytes {
            self.entries.remove(0);
        }
    }

    fn bytes(&self) -> usize {
        self.entries.iter().map(|entry| entry.cache.bytes()).sum()
    }
}

fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::KvShape;

    const SHAPE: KvShape = KvShape { layers: 1, heads: 1, head_dim: 16 };

    fn key(session: &str, adapter: u64) -> CacheKey {
        CacheKey { session: session.to_owned(), adapter }
    }

    fn cache(len: usize) -> KvCache {
        let mut cache = KvCache::new(SHAPE);
        cache.reserve(len);
        cache.commit(len);
        cache
    }

    #[test]
    fn only_the_same_session_and_adapter_share_and_only_their_common_beginning() {
        let mut caches = SessionCaches::new(4, usize::MAX);
        caches.keep(key("a", 1), vec![1, 2, 3, 4], cache(4));
        let mut found = |key: CacheKey, prompt: &[u32]| caches.longest_prefix(&key, prompt).map(|c| c.len());
        assert_eq!(found(key("a", 1), &[1, 2, 9, 4]), Some(2));
        assert_eq!(found(key("a", 1), &[1, 2, 3, 4, 5]), Some(4));
        assert_eq!(found(key("a", 1), &[1, 2, 3, 4]), Some(3), "the last token is always computed");
        assert_eq!(found(key("a", 1), &[9]), None);
        assert_eq!(found(key("a", 2), &[1, 2]), None);
        assert_eq!(found(key("b", 1), &[1, 2]), None);
    }

    #[test]
    fn a_continuation_replaces_its_beginning_and_the_oldest_goes_first() {
        let mut caches = SessionCaches::new(2, 3 * SHAPE.page_bytes());
        caches.keep(key("a", 0), vec![1, 2], cache(2));
        caches.keep(key("a", 0), vec![1, 2, 3], cache(3));
        assert_eq!(caches.entries.len(), 1);
        caches.keep(key("b", 0), vec![5], cache(1));
        caches.longest_prefix(&key("a", 0), &[1, 2, 3]);
        caches.keep(key("c", 0), vec![6], cache(1));
        let kept: Vec<&str> = caches.entries.iter().map(|e| e.key.session.as_str()).collect();
        assert_eq!(kept, ["a", "c"], "too many: the least recently used goes");
        caches.keep(key("d", 0), vec![7; 70], cache(70));
        let kept: Vec<&str> = caches.entries.iter().map(|e| e.key.session.as_str()).collect();
        assert_eq!(kept, ["d"], "too large: as many go as it takes");
    }
}
