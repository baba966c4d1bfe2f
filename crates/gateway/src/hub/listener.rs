//! The session's end of the hub.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{mpsc, oneshot};

use super::Fence;
use super::outlet::Outlet;
use super::roll::Backlog;
use super::task::Command;

/// What the hub gives a listener.
#[derive(Debug)]
pub(crate) enum Delivery {
    /// A whole `NotificationResponse`.
    Message(Arc<[u8]>),
    /// The fence at which it leaves has passed.
    Over,
}

/// Why there is nothing to be heard any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deaf;

/// A session for which the hub listens, until this is dropped.
#[derive(Debug)]
pub(crate) struct Listener {
    id: u64,
    commands: mpsc::UnboundedSender<Command>,
    deliveries: mpsc::UnboundedReceiver<Delivery>,
    backlog: Arc<Backlog>,
    outlet: Arc<Outlet>,
    /// What has been heard, and the client has not been told yet.
    untold_bytes: AtomicUsize,
}

impl Listener {
    pub(super) fn new(
        id: u64,
        commands: mpsc::UnboundedSender<Command>,
        deliveries: mpsc::UnboundedReceiver<Delivery>,
        backlog: Arc<Backlog>,
        outlet: Arc<Outlet>,
    ) -> Self {
        Self { id, commands, deliveries, backlog, outlet, untold_bytes: AtomicUsize::default() }
    }

    /// The session takes its channels back, at the fence that is the answer.
    pub(crate) fn leave(&self) -> oneshot::Receiver<Fence> {
        let (reply, answer) = oneshot::channel();
        let _ = self.commands.send(Command::Leave { id: self.id, reply });
        answer
    }

    /// Waits for notifications and appends all that are there. May be dropped at any time.
    pub(crate) async fn hear(&mut self, out: &mut Vec<u8>) -> Result<Heard, Deaf> {
        let mut next = self.deliveries.recv().await;
        loop {
            match next {
                Some(Delivery::Message(bytes)) => {
                    self.untold_bytes.fetch_add(Backlog::cost_bytes(bytes.len()), Ordering::Relaxed);
                    out.extend_from_slice(&bytes);
                }
                Some(Delivery::Over) => return Ok(Heard::AllOfIt),
                None => return Err(Deaf),
            }
            match self.deliveries.try_recv() {
                Ok(delivery) => next = Some(delivery),
                // One that is lost is found lost at the next call, when this has been told.
                Err(_) => return Ok(Heard::Some),
            }
        }
    }

    /// The hub may write to the client's socket, as long as its session waits for something to happen and has nothing to tell.
    pub(crate) fn lend(&self, duplicate: impl FnOnce() -> io::Result<Option<OwnedFd>>) {
        let mut outlet = self.outlet.lock();
        if self.deliveries.is_empty() {
            outlet.lend(duplicate);
        }
    }

    /// The hub may not.
    pub(crate) fn take_back(&self) {
        self.outlet.lock().take_back();
    }

    /// Nor can it be lent again before it is duplicated again.
    pub(crate) fn close_outlet(&self) {
        self.outlet.lock().close();
    }

    /// Its number among all listeners.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Appends what is there. For when the hub has ended.
    pub(crate) fn drain(&mut self, out: &mut Vec<u8>) {
        while let Ok(Delivery::Message(bytes)) = self.deliveries.try_recv() {
            out.extend_from_slice(&bytes);
        }
    }

    /// The client has been told what was heard.
    pub(crate) fn told(&self) {
        self.backlog.told(self.untold_bytes.swap(0, Ordering::Relaxed));
    }

    /// Waits until its client has let too much wait.
    pub(crate) async fn overrun(&self) {
        self.backlog.overrun.notified().await;
    }
}

/// How much was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// There may be more.
    Some,
    /// Everything up to the fence at which it left.
    AllOfIt,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.outlet.lock().close();
        let _ = self.commands.send(Command::Forget { id: self.id });
    }
}
