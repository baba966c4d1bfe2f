//! The task that listens in one database.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::{CHANNEL, Controls, Key, Phase};
use crate::branches::{Branches, Order};
use crate::hub::{Event, Fence, Hubs, Link, Server};
use crate::repeats::may_log;

/// The pause after its backend was lost, or none was to be had.
const PAUSE: Duration = Duration::from_secs(1);
/// So much of what is not understood is logged.
const SHOWN_CHARS: usize = 60;

pub(super) struct Task<B> {
    controls: Arc<Controls>,
    branches: Arc<B>,
    hubs: Arc<Hubs>,
    key: Key,
    server: Server,
    phase: watch::Sender<Phase>,
    emptied: Arc<Notify>,
}

impl<B: Branches> Task<B> {
    /// On the caller's thread.
    pub(super) fn start(
        controls: &Arc<Controls>,
        branches: &Arc<B>,
        hubs: &Arc<Hubs>,
        (key, server): (Key, Server),
        (phase, emptied): (watch::Sender<Phase>, Arc<Notify>),
    ) {
        let (controls, branches, hubs) = (controls.clone(), branches.clone(), hubs.clone());
        let task = Self { controls, branches, hubs, key, server, phase, emptied };
        tokio::task::spawn_local(task.run());
    }

    async fn run(self) {
        let (branch, database) = &self.key;
        loop {
            let opened =
                Link::open(branch, database, &self.server, self.hubs.fence_channel(), [CHANNEL.as_bytes()].into_iter());
            match opened.await {
                Ok(link) => {
                    self.phase.send_replace(Phase::Listens);
                    if self.listen(link).await {
                        return;
                    }
                }
                Err(error) if may_log("control not listened for") => {
                    tracing::warn!(%branch, database, %error, "control_role: nobody listens");
                }
                Err(_) => {}
            }
            self.phase.send_replace(Phase::Deaf);
            if self.controls.retire(&self.key) {
                return;
            }
            // Either way it is looked at again who is there.
            tokio::select! {
                () = sleep(PAUSE) => {}
                () = self.emptied.notified() => {}
            }
            if self.controls.retire(&self.key) {
                return;
            }
        }
    }

    /// Until its backend is lost, or everybody has left and all they said has been heard (true).
    async fn listen(&self, mut link: Link) -> bool {
        let mut last: Option<Fence> = None;
        loop {
            tokio::select! {
                event = link.next() => match event {
                    Ok(Event::Notification { channel, pid, payload, .. }) if channel == CHANNEL.as_bytes() => {
                        self.heard(pid, &payload);
                    }
                    Ok(Event::Notification { payload, .. }) => {
                        // The hub's fences are heard here too.
                        if last.is_some() && Fence::of(&payload) == last && self.controls.retire(&self.key) {
                            link.close().await;
                            return true;
                        }
                    }
                    Ok(Event::Done) => {}
                    Ok(Event::Refused(..)) | Err(_) => return false,
                },
                // Again, if somebody has come and gone since the fence before.
                () = self.emptied.notified() => if self.controls.is_empty(&self.key) {
                    let fence = self.hubs.fence();
                    last = Some(fence);
                    link.listen(std::iter::empty(), &[], self.hubs.fence_channel(), fence);
                },
            }
        }
    }

    fn heard(&self, pid: i32, payload: &[u8]) {
        let (branch, database) = &self.key;
        let role = self.controls.role_of(&self.key, pid);
        if role.is_none() || role != self.branches.control_role(branch) {
            if may_log("control by somebody else") {
                let role = role.as_deref().unwrap_or("unknown");
                tracing::warn!(%branch, database, role, "control_role: somebody else has notified the channel \"nap\"; ignored");
            }
            return;
        }
        let words = String::from_utf8_lossy(payload);
        let order = match words.trim() {
            "sleep" => Order::Sleep,
            "reload config" => Order::ReloadConfig,
            _ => {
                if may_log("control not understood") {
                    let words: String = words.chars().take(SHOWN_CHARS).collect();
                    tracing::warn!(%branch, database, ?words, "control_role: what was notified is not known; ignored");
                }
                return;
            }
        };
        tracing::info!(%branch, database, order = words.trim(), "control_role: notified");
        self.branches.control(branch, order);
    }
}
