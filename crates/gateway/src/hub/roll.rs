//! Who listens to what, and what each is still to be given.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, mpsc};
use tokio::task::yield_now;

use super::Fence;
use super::listener::Delivery;
use super::outlet::Outlet;

/// So much may wait for a client that does not read. PostgreSQL would keep it in its queue of 8 GB, for all databases.
const BACKLOG_MAX_BYTES: usize = 64 * 1024 * 1024;
/// So much for all of them together, whoever they are: past it those are dropped for whom more than a little waits.
const TOTAL_MAX_BYTES: usize = 256 * 1024 * 1024;
const LITTLE_BYTES: usize = 64 * 1024;
/// So many channels has a hub: PostgreSQL looks through all of them at each notification.
const CHANNELS_MAX: usize = 10_000;
/// So many are given a message before others get their turn.
const TURN: usize = 32;
/// What a message takes besides its bytes.
const MESSAGE_OVERHEAD_BYTES: usize = 64;

/// What waits for one client.
#[derive(Debug)]
pub(super) struct Backlog {
    bytes: AtomicUsize,
    total: Arc<AtomicUsize>,
    /// It was too much: the client is dropped.
    pub(super) overrun: Notify,
}

impl Backlog {
    /// Whether so many more bytes have room.
    fn add(&self, bytes: usize) -> bool {
        let bytes = Self::cost_bytes(bytes);
        let own = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let total = self.total.fetch_add(bytes, Ordering::Relaxed) + bytes;
        own <= BACKLOG_MAX_BYTES && (total <= TOTAL_MAX_BYTES || own <= LITTLE_BYTES)
    }

    /// What this takes, a message of so many bytes.
    pub(super) fn cost_bytes(message_bytes: usize) -> usize {
        message_bytes + MESSAGE_OVERHEAD_BYTES
    }

    /// So much waits no more.
    pub(super) fn told(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.total.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Backlog {
    fn drop(&mut self) {
        self.total.fetch_sub(*self.bytes.get_mut(), Ordering::Relaxed);
    }
}

/// The hub's end of what a listener is given.
#[derive(Clone)]
pub(super) struct Sink {
    deliveries: mpsc::UnboundedSender<Delivery>,
    backlog: Arc<Backlog>,
    outlet: Arc<Outlet>,
}

impl Sink {
    /// `total` is what waits for all clients together.
    pub(super) fn new(total: &Arc<AtomicUsize>) -> (Self, mpsc::UnboundedReceiver<Delivery>) {
        let (deliveries, given) = mpsc::unbounded_channel();
        let backlog = Backlog { bytes: AtomicUsize::default(), total: total.clone(), overrun: Notify::new() };
        (Self { deliveries, backlog: Arc::new(backlog), outlet: Arc::default() }, given)
    }

    pub(super) fn backlog(&self) -> Arc<Backlog> {
        self.backlog.clone()
    }

    pub(super) fn outlet(&self) -> Arc<Outlet> {
        self.outlet.clone()
    }

    /// Whether it could still be given: to the client's socket, or else to its session. One that lends its socket has nothing
    /// left to tell, and cannot begin with what comes behind this before this is given.
    fn give(&self, message: &Arc<[u8]>) -> bool {
        let mut outlet = self.outlet.lock();
        let rest = outlet.write(message);
        if rest.is_empty() {
            return true;
        }
        if self.backlog.add(rest.len()) {
            let rest = if rest.len() == message.len() { message.clone() } else { rest.into() };
            return self.deliveries.send(Delivery::Message(rest)).is_ok();
        }
        self.backlog.overrun.notify_one();
        false
    }
}

/// Where a listener stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It hears what comes before its fence at its own backend.
    Joining,
    Listening,
    /// It hears what comes after its fence at its own backend.
    Leaving,
}

struct Member {
    channels: Vec<Vec<u8>>,
    phase: Phase,
    /// The fence that it waits for.
    fence: Option<Fence>,
    sink: Sink,
}

/// One who listens to a channel. What a notification takes is here: with a thousand listeners each look elsewhere is one more
/// that the processor waits for.
struct Hearing {
    sink: Sink,
    /// It does not hear by itself any more.
    hears: bool,
}

/// All listeners of a hub.
#[derive(Default)]
pub(super) struct Roll {
    members: HashMap<u64, Member>,
    channels: HashMap<Vec<u8>, HashMap<u64, Hearing>>,
}

impl Roll {
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// All channels that somebody listens to.
    pub(super) fn channels(&self) -> impl Iterator<Item = &[u8]> {
        self.channels.keys().map(Vec::as_slice)
    }

    /// Whether there is room for one who listens to so many.
    pub(super) fn has_room(&self, channels: usize) -> bool {
        self.channels.len() + channels <= CHANNELS_MAX
    }

    pub(super) fn has(&self, channel: &[u8]) -> bool {
        self.channels.contains_key(channel)
    }

    pub(super) fn join(&mut self, id: u64, channels: Vec<Vec<u8>>, sink: Sink) {
        for channel in &channels {
            let hearing = Hearing { sink: sink.clone(), hears: false };
            self.channels.entry(channel.clone()).or_default().insert(id, hearing);
        }
        self.members.insert(id, Member { channels, phase: Phase::Joining, fence: None, sink });
    }

    /// It has been listened for before: it hears everything from now on.
    pub(super) fn inherit(&mut self, id: u64, channels: Vec<Vec<u8>>, sink: Sink) {
        self.join(id, channels, sink);
        self.begin_to_hear(id);
    }

    fn begin_to_hear(&mut self, id: u64) {
        let Some(member) = self.members.get_mut(&id) else { return };
        (member.phase, member.fence) = (Phase::Listening, None);
        for channel in &member.channels {
            if let Some(hearing) = self.channels.get_mut(channel).and_then(|hearing| hearing.get_mut(&id)) {
                hearing.hears = true;
            }
        }
    }

    /// Everybody.
    pub(super) fn ids(&self) -> Vec<u64> {
        self.members.keys().copied().collect()
    }

    /// Whether somebody joins or leaves just now.
    pub(super) fn is_waiting(&self) -> bool {
        self.members.values().any(|member| member.phase != Phase::Listening)
    }

    pub(super) fn leave(&mut self, id: u64) {
        if let Some(member) = self.members.get_mut(&id) {
            member.phase = Phase::Leaving;
        }
    }

    /// A listener waits for this fence. Whether there is such a listener.
    pub(super) fn expect(&mut self, id: u64, fence: Fence) -> bool {
        self.members.get_mut(&id).map(|member| member.fence = Some(fence)).is_some()
    }

    fn waiting_for(&self, fence: Fence) -> Vec<u64> {
        let waiting = self.members.iter().filter(|(_, member)| member.fence == Some(fence));
        waiting.map(|(id, _)| *id).collect()
    }

    /// A fence has passed. Gives back the channels that nobody listens to any more.
    pub(super) fn fence(&mut self, passed: Fence) -> Vec<Vec<u8>> {
        let mut unheard = Vec::new();
        for id in self.waiting_for(passed) {
            let Some(member) = self.members.get_mut(&id) else { continue };
            if member.phase == Phase::Leaving {
                let _ = member.sink.deliveries.send(Delivery::Over);
                unheard.append(&mut self.forget(id));
            } else {
                self.begin_to_hear(id);
            }
        }
        unheard
    }

    /// A fence will not pass: whoever waits for it is lost. Gives back the channels that nobody listens to any more.
    pub(super) fn refuse(&mut self, refused: Fence) -> Vec<Vec<u8>> {
        self.waiting_for(refused).into_iter().flat_map(|id| self.forget(id)).collect()
    }

    /// A notification, for all who listen to its channel. Gives back the channels that nobody listens to any more: who does
    /// not read is dropped. Others on this thread get their turns in between.
    pub(super) async fn notify(&mut self, channel: &[u8], message: &[u8]) -> Vec<Vec<u8>> {
        let Some(listeners) = self.channels.get(channel) else { return Vec::new() };
        let message: Arc<[u8]> = message.into();
        let mut lost = Vec::new();
        for (number, (id, hearing)) in listeners.iter().filter(|(_, hearing)| hearing.hears).enumerate() {
            if number % TURN == TURN - 1 {
                yield_now().await;
            }
            if !hearing.sink.give(&message) {
                lost.push(*id);
            }
        }
        lost.into_iter().flat_map(|id| self.forget(id)).collect()
    }

    /// A listener is gone. Gives back the channels that nobody listens to any more.
    pub(super) fn forget(&mut self, id: u64) -> Vec<Vec<u8>> {
        let Some(member) = self.members.remove(&id) else { return Vec::new() };
        let mut unheard = Vec::new();
        for channel in member.channels {
            let listeners = self.channels.get_mut(&channel);
            if listeners.is_some_and(|listeners| listeners.remove(&id).is_some() && listeners.is_empty()) {
                self.channels.remove(&channel);
                unheard.push(channel);
            }
        }
        unheard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(deliveries: &mut mpsc::UnboundedReceiver<Delivery>) -> Vec<String> {
        std::iter::from_fn(|| deliveries.try_recv().ok())
            .map(|delivery| match delivery {
                Delivery::Message(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                Delivery::Over => "over".to_owned(),
            })
            .collect()
    }

    #[tokio::test]
    async fn a_listener_is_given_what_comes_between_its_fences() {
        let mut roll = Roll::default();
        let (sink, mut deliveries) = Sink::new(&Arc::default());
        roll.join(1, vec![b"a".to_vec()], sink);
        roll.notify(b"a", b"before it is asked").await;
        assert!(roll.expect(1, Fence(7)));
        roll.notify(b"a", b"before").await;
        assert!(roll.fence(Fence(6)).is_empty());
        roll.notify(b"a", b"still before").await;
        roll.fence(Fence(7));
        roll.notify(b"a", b"one").await;
        roll.notify(b"b", b"not for it").await;
        roll.leave(1);
        assert!(roll.expect(1, Fence(8)));
        roll.notify(b"a", b"two").await;
        assert_eq!(roll.fence(Fence(8)), [b"a".to_vec()]);
        roll.notify(b"a", b"after").await;
        assert_eq!(given(&mut deliveries), ["one", "two", "over"]);
        assert!(roll.is_empty() && roll.channels().next().is_none());
        assert!(!roll.expect(1, Fence(9)));
    }

    #[tokio::test]
    async fn one_fence_serves_all_who_wait_for_it() {
        let mut roll = Roll::default();
        let mut heard: Vec<_> = (0..3)
            .map(|id| {
                let (sink, deliveries) = Sink::new(&Arc::default());
                roll.join(id, vec![b"a".to_vec()], sink);
                roll.expect(id, Fence(1));
                deliveries
            })
            .collect();
        roll.fence(Fence(1));
        roll.notify(b"a", b"x").await;
        roll.leave(0);
        roll.expect(0, Fence(2));
        assert!(roll.refuse(Fence(2)).is_empty(), "the others listen");
        for deliveries in &mut heard {
            assert_eq!(given(deliveries), ["x"]);
        }
        assert!(heard[0].is_closed() && !heard[1].is_closed());
    }

    #[tokio::test]
    async fn who_does_not_read_is_dropped_and_the_others_are_not() {
        let mut roll = Roll::default();
        let mut heard = Vec::new();
        for id in [1, 2] {
            let (sink, deliveries) = Sink::new(&Arc::default());
            let backlog = sink.backlog();
            roll.join(id, vec![b"a".to_vec()], sink);
            roll.expect(id, Fence(id));
            roll.fence(Fence(id));
            heard.push((deliveries, backlog));
        }
        let message = vec![0; BACKLOG_MAX_BYTES / 4];
        for _ in 0..5 {
            roll.notify(b"a", &message).await;
            let (deliveries, backlog) = &mut heard[0];
            assert!(matches!(deliveries.try_recv(), Ok(Delivery::Message(_))));
            backlog.told(Backlog::cost_bytes(message.len()));
        }
        let (slow, _) = &mut heard[1];
        assert_eq!(given(slow).len(), 3);
        assert!(slow.is_closed());
        assert_eq!(roll.channels().count(), 1);
    }
}
