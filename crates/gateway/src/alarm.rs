//! Whether somebody wants to know that a session of a branch does something: its server is about to be frozen, or is.
//!
//! Who arms the alarm looks at what the sessions do only then; a session that does something says so before it looks at the
//! alarm. With all of it in one order (`SeqCst`), one of the two sees the other.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::Notify;

/// One for each branch. Its sessions ring it, and pay one load as long as nobody listens.
#[derive(Default)]
pub(crate) struct Alarm {
    listeners: AtomicU32,
    rung: Notify,
}

/// Somebody listens, as long as this lives.
struct Armed(Arc<Alarm>);

impl Alarm {
    /// Something is done, and shows.
    pub(crate) fn ring(&self) {
        if self.listeners.load(Ordering::SeqCst) > 0 {
            self.rung.notify_one();
        }
    }

    /// Listens from now on, until what this gives is dropped; ends when it is rung.
    pub(crate) fn listen(self: &Arc<Self>) -> impl Future<Output = ()> + Send + use<> {
        // What was rung for an earlier listener, who had gone already, is past.
        let _ = pin!(self.rung.notified()).as_mut().enable();
        self.listeners.fetch_add(1, Ordering::SeqCst);
        Armed(self.clone()).rung()
    }
}

impl Armed {
    async fn rung(self) {
        self.0.rung.notified().await;
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        self.0.listeners.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use nap_model::ids::BranchName;

    use super::*;
    use crate::sessions::Registry;

    fn is_over(listening: &mut (impl Future<Output = ()> + Unpin)) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        std::pin::Pin::new(listening).poll(&mut context).is_ready()
    }

    #[test]
    fn it_rings_for_who_listens_and_for_nobody_else() {
        let alarm = Arc::new(Alarm::default());
        alarm.ring();
        let mut first = Box::pin(alarm.listen());
        assert!(!is_over(&mut first), "it rang before");
        alarm.ring();
        assert!(is_over(&mut first), "though nobody waited just then");
        let mut second = Box::pin(alarm.listen());
        drop(first);
        assert!(!is_over(&mut second));
        alarm.ring();
        alarm.ring();
        drop(second);
        let mut third = Box::pin(alarm.listen());
        assert!(!is_over(&mut third), "what was rung for the second is past");
        drop(third);
        assert_eq!(alarm.listeners.load(Ordering::SeqCst), 0);
    }

    /// Both at the same moment, again and again.
    #[test]
    fn who_does_something_shows_or_rings() {
        let registry = Arc::new(Registry::default());
        let main = BranchName::main();
        let entry = registry.add(main.clone(), "d".into(), "r".into(), "local".into());
        let both = Barrier::new(2);
        for round in 0..20_000 {
            entry.record().ready(b'I', true);
            let (active, mut listening) = std::thread::scope(|scope| {
                let speaks = scope.spawn(|| {
                    both.wait();
                    entry.record().active();
                });
                both.wait();
                let listening = Box::pin(registry.alarm(&main).listen());
                let active = registry.quiet(&main).active;
                speaks.join().unwrap();
                (active, listening)
            });
            assert!(active == 1 || is_over(&mut listening), "round {round}");
        }
    }
}
