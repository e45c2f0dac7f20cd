use std::sync::{Arc, Mutex};

use config::SkillsConfig;
use domain::Digest;
use moka::sync::Cache;
use policy::Rendering;
use protocol::Block;
use skills::{Library, Skill, render_block};

use crate::sessions::{Injected, SessionState, lock};
use crate::sticky::{self, Settled};

/// How many rendered blocks are kept; a block is a few kilobytes.
const MAX_BLOCKS: u64 = 1024;

/// Turns chosen skills into the block that goes into the prompt. Blocks are known by the content of their skills, so a block
/// is rendered and escaped once however many sessions use it.
pub(crate) struct Blocks(Cache<Arc<[Digest]>, Arc<Block>>);

/// What a selection comes to.
pub(crate) enum Choice {
    /// No skill.
    Nothing,
    /// What the session's turn before had.
    AsBefore(Injected),
    /// These.
    New(Vec<Arc<Skill>>),
}

impl Blocks {
    pub(crate) fn new() -> Self {
        Blocks(Cache::new(MAX_BLOCKS))
    }

    /// These skills, in order, as far as the agent's budget (estimated tokens) reaches. Where the built-in has chosen them by rank,
    /// `scores` tells the scores of skills by their names: then the session keeps what it has until that is clearly worse.
    ///
    /// A choice of the same skills in another order keeps the session's block as it was: the provider's prompt cache is
    /// worth more than the order.
    pub(crate) fn choose(
        library: &Library,
        names: &[String],
        config: &SkillsConfig,
        session: &Mutex<SessionState>,
        scores: Option<impl FnOnce(&[&str]) -> Vec<Option<f32>>>,
    ) -> Choice {
        let mut left = config.token_budget;
        let mut chosen: Vec<Arc<Skill>> = names
            .iter()
            .filter_map(|name| library.get(name))
            .filter(|skill| {
                let fits = skill.tokens <= left;
                left -= if fits { skill.tokens } else { 0 };
                fits
            })
            .cloned()
            .collect();
        let before = lock(session).injected.clone();
        if let (Some(scores), Some(before)) = (scores, &before)
            && before.skills.iter().all(|skill| library.get(skill.name.as_str()).is_some_and(|now| same(now, skill)))
        {
            let most = config.top_k as usize;
            match sticky::settle(&before.skills, &chosen, scores, config.token_budget, most) {
                Settled::Stay => return Choice::AsBefore(before.clone()),
                Settled::Become(skills) => chosen = skills,
            }
        }
        if chosen.is_empty() {
            lock(session).injected = None;
            return Choice::Nothing;
        }
        match before.filter(|before| same_set(&before.skills, &chosen)) {
            Some(before) => Choice::AsBefore(before),
            None => Choice::New(chosen),
        }
    }

    /// The block of a new choice, laid out as the policy wants it. None when there is nothing to inject.
    pub(crate) fn inject(
        &self,
        skills: Vec<Arc<Skill>>,
        rendering: Rendering,
        session: &Mutex<SessionState>,
    ) -> Option<Injected> {
        let block = match rendering {
            Rendering::Usual => {
                let key: Arc<[Digest]> = skills.iter().map(|s| s.digest).collect();
                Some(self.0.get_with(key, || Arc::new(Block::new(&render_block(&skills)))))
            }
            Rendering::Text(text) => (!text.is_empty()).then(|| Arc::new(Block::new(&text))),
        };
        let injected = block.map(|block| Injected { skills: skills.into(), block });
        lock(session).injected.clone_from(&injected);
        injected
    }
}

fn same_set(before: &[Arc<Skill>], now: &[Arc<Skill>]) -> bool {
    before.len() == now.len() && now.iter().all(|n| before.iter().any(|b| same(b, n)))
}

fn same(a: &Arc<Skill>, b: &Arc<Skill>) -> bool {
    Arc::ptr_eq(a, b) || a.digest == b.digest
}
