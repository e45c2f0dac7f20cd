use std::sync::{Arc, Mutex};

use domain::Digest;
use moka::sync::Cache;
use protocol::Block;
use skills::{Library, Skill, render_block};

use crate::sessions::{Injected, SessionState, lock};

/// How many rendered blocks are kept; a block is a few kilobytes.
const MAX_BLOCKS: u64 = 1024;

/// Turns chosen skills into the block that goes into the prompt. Blocks are known by the content of their skills, so a block
/// is rendered and escaped once however many sessions use it.
pub(crate) struct Blocks(Cache<Arc<[Digest]>, Arc<Block>>);

impl Blocks {
    pub(crate) fn new() -> Self {
        Blocks(Cache::new(MAX_BLOCKS))
    }

    /// The block for these names, in order, as far as `budget` (estimated tokens) reaches. None when there is nothing to inject.
    ///
    /// A choice of the same skills in another order keeps the session's block as it was: the provider's prompt cache is
    /// worth more than the order.
    pub(crate) fn inject(
        &self,
        library: &Library,
        names: &[String],
        budget: u32,
        session: &Mutex<SessionState>,
    ) -> Option<Injected> {
        let mut left = budget;
        let chosen: Vec<Arc<Skill>> = names
            .iter()
            .filter_map(|name| library.get(name))
            .filter(|skill| {
                let fits = skill.tokens <= left;
                left -= if fits { skill.tokens } else { 0 };
                fits
            })
            .cloned()
            .collect();
        if chosen.is_empty() {
            lock(session).injected = None;
            return None;
        }
        let mut state = lock(session);
        if let Some(before) = state.injected.as_ref().filter(|b| same_set(&b.skills, &chosen)) {
            return Some(before.clone());
        }
        let key: Arc<[Digest]> = chosen.iter().map(|s| s.digest).collect();
        let block = self.0.get_with(key, || Arc::new(Block::new(&render_block(&chosen))));
        let injected = Injected { skills: chosen.into(), block };
        state.injected = Some(injected.clone());
        Some(injected)
    }
}

fn same_set(before: &[Arc<Skill>], now: &[Arc<Skill>]) -> bool {
    before.len() == now.len() && now.iter().all(|n| before.iter().any(|b| Arc::ptr_eq(b, n) || b.digest == n.digest))
}
