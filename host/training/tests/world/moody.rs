//! A player whose moods a test sets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use domain::AgentId;
use training::{BackendError, Files, Played, Player, Prompt, Version, Work};

/// The real player, but for its moods.
pub(crate) struct Moody {
    pub(crate) inner: Arc<dyn Player>,
    /// Nothing can be loaded.
    pub(crate) broken: AtomicBool,
    /// Somebody is being answered.
    pub(crate) busy: AtomicBool,
    /// Every answer is taken to have ended by itself: the made-up model hardly ever ends one.
    pub(crate) ends: AtomicBool,
}

impl Player for Moody {
    fn load<'a>(&'a self, version: &'a Version, files: Files) -> Work<'a, ()> {
        match self.broken.load(Ordering::SeqCst) {
            true => Box::pin(async { Err(BackendError::Failed("no memory for it".to_owned())) }),
            false => self.inner.load(version, files),
        }
    }

    fn unload<'a>(&'a self, version: &'a Version) -> Work<'a, ()> {
        self.inner.unload(version)
    }

    fn sample<'a>(&'a self, version: Option<&'a Version>, prompt: Prompt) -> Work<'a, Played> {
        Box::pin(async move {
            let played = self.inner.sample(version, prompt).await?;
            Ok(Played { ended: played.ended || self.ends.load(Ordering::SeqCst), ..played })
        })
    }

    fn is_idle(&self) -> bool {
        !self.busy.load(Ordering::SeqCst) && self.inner.is_idle()
    }

    fn score<'a>(&'a self, version: Option<&'a Version>, tokens: Arc<[u32]>, from: usize) -> Work<'a, Vec<f32>> {
        self.inner.score(version, tokens, from)
    }

    fn serve<'a>(&'a self, agent: &'a AgentId, version: Option<&'a Version>) -> Work<'a, ()> {
        self.inner.serve(agent, version)
    }
}
