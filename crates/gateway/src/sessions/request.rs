//! What others ask of a session: to be parked, or to end. The session's own task takes it up when it can.

use std::sync::{Mutex, PoisonError};

use nap_model::pin::Pin;
use tokio::sync::{Notify, oneshot};

/// What came of a request to park.
pub(crate) type Parked = Result<(), Pin>;

/// One request.
pub(crate) enum Request {
    /// To be parked, if nothing is lost by it.
    Park(oneshot::Sender<Parked>),
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
    end: bool,
}

impl Requests {
    /// Asks the session to be parked. The answer is an error if it ends meanwhile.
    pub(super) fn park(&self) -> oneshot::Receiver<Parked> {
        let (reply, answer) = oneshot::channel();
        // Who asked before has given up, or it would not be asked again.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).park = Some(reply);
        self.news.notify_one();
        answer
    }

    /// Asks the session to end.
    pub(super) fn end(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).end = true;
        self.news.notify_one();
    }

    /// Waits for the next request, and takes it.
    pub(crate) async fn next(&self) -> Request {
        loop {
            if let Some(request) = self.take() {
                return request;
            }
            self.news.notified().await;
        }
    }

    fn take(&self) -> Option<Request> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::take(&mut waiting.end) {
            true => Some(Request::End),
            false => waiting.park.take().map(Request::Park),
        }
    }
}
