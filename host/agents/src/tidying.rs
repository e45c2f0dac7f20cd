//! Ending what is not used any more.

use std::time::{Duration, SystemTime};

use domain::EndReason;
use store::StoreError;

use crate::host::Host;

/// How many idle sessions are looked up at once.
const IDLE_AT_ONCE: usize = 256;

impl Host {
    /// Ends what is not used any more: idle sessions and policy instances, and upstreams that have been replaced. Runs until the
    /// host closes.
    pub async fn tidy_up(&self) {
        tokio::join!(self.end_idle_sessions(), self.retire_unused());
    }

    async fn retire_unused(&self) {
        while self.closing.run_until_cancelled(tokio::time::sleep(Duration::from_secs(1))).await.is_some() {
            for policy in self.registry.load().all().iter().filter_map(|agent| agent.policy.as_ref().ok()) {
                policy.retire_idle();
            }
            self.close_replaced().await;
        }
    }

    async fn end_idle_sessions(&self) {
        let pause = || (self.sessions.idle_timeout() / 4).clamp(Duration::from_secs(1), Duration::from_secs(60));
        let wait = async || tokio::time::timeout(pause(), self.sessions.idle_timeout_changed()).await;
        while self.closing.run_until_cancelled(wait()).await.is_some() {
            if let Err(error) = self.end_idle().await {
                tracing::error!(%error, "idle sessions could not be ended");
            }
        }
    }

    async fn end_idle(&self) -> Result<(), StoreError> {
        let before = SystemTime::now() - self.sessions.idle_timeout();
        loop {
            let idle = self.store.idle_sessions(before, IDLE_AT_ONCE).await?;
            for session in &idle {
                if self.store.end_silent_session(&session.agent, &session.session, before).await? {
                    self.metrics.count_ended(EndReason::Idle, 1);
                    self.sessions.forget(&session.agent, &session.session);
                }
            }
            if idle.len() < IDLE_AT_ONCE {
                return Ok(());
            }
        }
    }
}
