//! Places for awake servers: `max_awake` of them, given out in the order of asking.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};

/// The places.
pub struct Slots {
    places: Arc<Semaphore>,
    size: AtomicU32,
    /// Places that were taken away while servers held them: the next that come back are not given out again.
    owed: AtomicU32,
    queued: AtomicU32,
    /// How many wakes have left the queue so far, with a place or without.
    left_queue: AtomicU64,
    changed: Notify,
    /// How many are held: with those that were taken over, perhaps more than there are.
    held: watch::Sender<usize>,
}

/// A place that is held; dropping it gives it to the next in the queue.
pub struct Slot {
    permit: Option<OwnedSemaphorePermit>,
    slots: Arc<Slots>,
}

impl Slots {
    /// This many places.
    pub fn new(size: u32) -> Arc<Self> {
        Arc::new(Self {
            places: Arc::new(Semaphore::new(size as usize)),
            size: AtomicU32::new(size),
            owed: AtomicU32::new(0),
            queued: AtomicU32::new(0),
            left_queue: AtomicU64::new(0),
            changed: Notify::new(),
            held: watch::Sender::new(0),
        })
    }

    /// A place, when the queue has come so far.
    pub async fn take(self: &Arc<Self>) -> Slot {
        if let Ok(permit) = self.places.clone().try_acquire_owned() {
            return self.slot(Some(permit));
        }
        let _queued = Queued::enter(self);
        // The semaphore is never closed, so there is always a permit in the end.
        let permit = self.places.clone().acquire_owned().await.ok();
        self.slot(permit)
    }

    /// A place for a server that runs already, whether or not one is free.
    pub fn take_over(self: &Arc<Self>) -> Slot {
        self.slot(self.places.clone().try_acquire_owned().ok())
    }

    fn slot(self: &Arc<Self>, permit: Option<OwnedSemaphorePermit>) -> Slot {
        self.held.send_modify(|held| *held += 1);
        Slot { permit, slots: self.clone() }
    }

    /// How many are held, to be watched.
    pub fn held(&self) -> &watch::Sender<usize> {
        &self.held
    }

    /// Another number of places. Fewer take effect as servers go to sleep.
    pub fn resize(&self, size: u32) {
        let before = self.size.swap(size, Ordering::Relaxed);
        if size > before {
            let added = size - before;
            let owed = self.owed.load(Ordering::Relaxed).min(added);
            self.owed.fetch_sub(owed, Ordering::Relaxed);
            self.places.add_permits((added - owed) as usize);
        } else {
            let forgotten = self.places.forget_permits((before - size) as usize) as u32;
            self.owed.fetch_add(before - size - forgotten, Ordering::Relaxed);
        }
        self.changed.notify_one();
    }

    /// How many wakes stand in the queue.
    pub fn queued(&self) -> u32 {
        self.queued.load(Ordering::Relaxed)
    }

    /// A number that grows whenever a wake leaves the queue.
    pub fn left_queue(&self) -> u64 {
        self.left_queue.load(Ordering::Relaxed)
    }

    /// Something may have changed: a wake queued, a server became idle.
    pub fn nudge(&self) {
        self.changed.notify_one();
    }

    /// Returns after the next nudge.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

struct Queued<'a>(&'a Slots);

impl<'a> Queued<'a> {
    fn enter(slots: &'a Slots) -> Self {
        slots.queued.fetch_add(1, Ordering::Relaxed);
        slots.nudge();
        Self(slots)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.queued.fetch_sub(1, Ordering::Relaxed);
        self.0.left_queue.fetch_add(1, Ordering::Relaxed);
        self.0.nudge();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            let pay = self.slots.owed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |owed| owed.checked_sub(1));
            if pay.is_ok() {
                permit.forget();
            }
        }
        self.slots.held.send_modify(|held| *held -= 1);
        self.slots.nudge();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn places_go_round_in_order() {
        let slots = Slots::new(1);
        let first = slots.take().await;
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for name in ["second", "third"] {
            let (slots, order) = (slots.clone(), order.clone());
            tasks.push(tokio::spawn(async move {
                let _slot = slots.take().await;
                order.lock().unwrap().push(name);
            }));
            tokio::task::yield_now().await;
        }
        assert_eq!(slots.queued(), 2);
        drop(first);
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), ["second", "third"]);
        assert_eq!(slots.queued(), 0);
    }

    #[tokio::test]
    async fn fewer_places_take_effect_as_they_come_back() {
        let slots = Slots::new(2);
        let (first, second) = (slots.take().await, slots.take().await);
        slots.resize(1);
        drop(first);
        assert_eq!(slots.places.available_permits(), 0, "the place was taken away");
        drop(second);
        assert_eq!(slots.places.available_permits(), 1);
        slots.resize(3);
        assert_eq!(slots.places.available_permits(), 3);
    }

    #[tokio::test]
    async fn a_running_server_gets_a_place_even_if_none_is_free() {
        let slots = Slots::new(1);
        let _first = slots.take().await;
        let over = slots.take_over();
        assert_eq!(*slots.held().borrow(), 2);
        drop(over);
        assert_eq!(*slots.held().borrow(), 1);
        assert_eq!(slots.places.available_permits(), 0, "it gave back what it never had");
    }
}
