//! Tells systemd, when it started this host, how the host is: a service of `Type=notify` counts as started when it serves, and one
//! with `WatchdogSec` is started anew when it says nothing any more. Without systemd nothing happens.

use std::net::SocketAddr;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

/// It serves.
pub(crate) fn serving(address: SocketAddr) {
    tell(&[NotifyState::Ready, NotifyState::Status(&format!("serving on {address}"))]);
}

/// It reads its configuration anew. [`reloaded`] must follow.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "the time of a reload is not known"),
    }
}

/// It has done so, whatever came of it.
pub(crate) fn reloaded() {
    tell(&[NotifyState::Ready]);
}

/// Waits for `stop`, and says that the host finishes what it has begun, and ends.
pub(crate) async fn say_that_it_stops(stop: CancellationToken) {
    stop.cancelled().await;
    tell(&[NotifyState::Stopping]);
}

/// Says that it lives, twice as often as is wanted, until `stop`. `lives` must be true.
pub(crate) async fn keep_saying(lives: impl Fn() -> bool, stop: CancellationToken) {
    let Some(interval) = sd_notify::watchdog_enabled().filter(|interval| !interval.is_zero()) else { return };
    let pause = (interval / 2).max(Duration::from_millis(1));
    loop {
        if lives() {
            tell(&[NotifyState::Watchdog]);
        }
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

/// A service manager that does not listen is no reason not to serve.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager could not be told how the host is");
    }
}
