//! What a service manager is told (sd_notify(3)). Where there is none, nothing is done.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::branch_set::BranchSet;

/// How much time is asked for at once, and how often: one message may get lost.
const MORE_TIME: Duration = Duration::from_secs(60);
const ASK_EVERY: Duration = Duration::from_secs(20);
/// A status is for people: they need not see every change of a busy second.
const STATUS_PAUSE: Duration = Duration::from_secs(1);

/// The first start makes a cluster, and servers that crashed recover; what takes longer than this hangs.
pub(super) const START_AT_MOST: Duration = Duration::from_secs(900);

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager does not listen");
    }
}

fn is_listened_to() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// Connections are served.
pub(super) fn ready(branches: &BranchSet) {
    tell(&[NotifyState::Ready, NotifyState::Status(&status(branches))]);
}

/// The settings are being read again; `ready` says that it is done.
pub(super) fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// After `reloading`.
pub(super) fn reloaded() {
    tell(&[NotifyState::Ready]);
}

/// The end has begun.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("shutting the servers down")]);
}

/// Asks for more time for as long as it lives, and no longer than `at_most`.
pub(super) struct MoreTime(Option<AbortHandle>);

impl MoreTime {
    pub(super) fn ask(at_most: Duration) -> Self {
        if !is_listened_to() {
            return Self(None);
        }
        let until = Instant::now() + at_most;
        let task = tokio::spawn(async move {
            while Instant::now() < until {
                tell(&[NotifyState::ExtendTimeoutUsec(MORE_TIME.as_micros() as u32)]);
                sleep(ASK_EVERY).await;
            }
        });
        Self(Some(task.abort_handle()))
    }
}

impl Drop for MoreTime {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// Tells how many servers run, whenever that changes, and that we live, as often as is asked for.
pub(super) fn keep_telling(branches: Arc<BranchSet>) {
    if !is_listened_to() {
        return;
    }
    tokio::spawn(tell_status(branches));
    if let Some(within) = sd_notify::watchdog_enabled() {
        tokio::spawn(tell_that_we_live(within));
    }
}

async fn tell_status(branches: Arc<BranchSet>) {
    let mut changes = branches.fleet().changes();
    let mut told = String::new();
    while changes.changed().await.is_ok() {
        let now = status(&branches);
        if now != told {
            tell(&[NotifyState::Status(&now)]);
            told = now;
            sleep(STATUS_PAUSE).await;
        }
    }
}

fn status(branches: &BranchSet) -> String {
    let (running, all) = branches.fleet().counts();
    format!("{running} of {all} {} awake", if all == 1 { "branch" } else { "branches" })
}

/// It runs where the owners of the servers run: when they can do nothing any more, this is silent too.
async fn tell_that_we_live(within: Duration) {
    let mut ticks = interval((within / 2).max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}
