//! What others ask of a session: to be parked, or to end. The session's own task takes it up when it can.

use std::sync::{Mutex, PoisonError};

use nap_model::pin::Pin;
use tokio::sync::{Notify, oneshot};

use crate::estate::Moved;

/// What came of a request to park.
pub(crate) type Parked = Result<(), Pin>;

/// One request.
pub(crate) enum Request {
    /// To be parked, if nothing is lost by it.
    Park(oneshot::Sender<Parked>),
    /// To be left to another process, at the next boundary of both sides.
    Move(oneshot::Sender<Moved>),
    /// To end.
    End,
}

/// The requests to one session: one of each kind at most.
#[derive(Default)]
pub(crate) struct Requests {
    waiting: Mutex<Waiting>,
    news: Notify,
}

#[derive(Default)]
struct Waiting {
    park: Option<oneshot::Sender<Parked>>,
    moves: Option<oneshot::Sender<Moved>>,
    end: bool,
    /// The session has ended: nobody will take a request up.
    over: bool,
}

impl Requests {
    /// Asks the session to be parked. The answer is an error if it ends meanwhile.
    pub(super) fn park(&self) -> oneshot::Receiver<Parked> {
        self.ask(|waiting| &mut waiting.park)
    }

    fn ask<T>(&self, place: impl FnOnce(&mut Waiting) -> &mut Option<oneshot::Sender<T>>) -> oneshot::Receiver<T> {
        let (reply, answer) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // Who asked before has given up, or it would not be asked again.
        let reply = Some(reply).filter(|_| !waiting.over);
        *place(&mut waiting) = reply;
        drop(waiting);
        self.news.notify_one();
        answer
    }

    /// Asks the session to be left to another process. The answer is an error if it ends meanwhile, or cannot.
    pub(super) fn moves(&self) -> oneshot::Receiver<Moved> {
        self.ask(|waiting| &mut waiting.moves)
    }

    /// The session has ended. Who asked something of it must not wait for as long as somebody else remembers it.
    pub(super) fn close(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        *waiting = Waiting { over: true, ..Waiting::default() };
    }

    /// Asks the session to end.
    pub(super) fn end(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).end = true;
        self.news.notify_one();
    }

    /// Waits for the next request, and takes it.
    pub(crate) async fn next(&self) -> Request {
        loop {
            if let Some(request) = self.take().or_else(|| self.take_move()) {
                return request;
            }
            self.news.notified().await;
        }
    }

    /// Waits until it is to end. To be parked, it is too busy; to be left to somebody else, it is asked again by `next`.
    pub(crate) async fn ended(&self) {
        loop {
            match self.take() {
                Some(Request::End) => return,
                Some(Request::Park(reply)) => drop(reply.send(Err(Pin::Active))),
                Some(Request::Move(_)) | None => self.news.notified().await,
            }
        }
    }

    fn take_move(&self) -> Option<Request> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).moves.take().map(Request::Move)
    }

    fn take(&self) -> Option<Request> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::take(&mut waiting.end) {
            true => Some(Request::End),
            false => waiting.park.take().map(Request::Park),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_waits_for_a_session_that_has_ended() {
        let requests = Requests::default();
        let before = requests.park();
        requests.close();
        assert!(before.await.is_err());
        assert!(requests.park().await.is_err());
    }

    #[tokio::test]
    async fn the_end_comes_before_all_else() {
        let requests = Requests::default();
        let parked = requests.park();
        requests.end();
        assert!(matches!(requests.next().await, Request::End));
        let Request::Park(reply) = requests.next().await else { panic!("not asked to park") };
        reply.send(Ok(())).unwrap();
        assert_eq!(parked.await, Ok(Ok(())));
    }
}
