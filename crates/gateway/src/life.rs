//! A session's life between being let in and its end: attached, parked, attached again.

mod hand_over;
mod leave;
mod moving;
mod restore;
mod wait;

use nap_model::pin::Pin;
use nap_wire::startup::CancelKey;

use crate::attach::attach;
use crate::backend::Backend;
use crate::branches::Branches;
use crate::cancel::Registered;
use crate::client::ClientStream;
use crate::connection::{Interrupted, Shared};
use crate::control::Attendance;
use crate::error::Ended;
use crate::forward::{Begun, Stopped, forward};
use crate::parking::Kept;
use crate::session::Session;
use crate::sessions::Request;
use crate::traffic::{Ready, Traffic};
use leave::Left;
pub(crate) use moving::LeftBehind;
use wait::Woken;

/// How a session ended.
pub(crate) enum Over {
    /// Nobody is there any more.
    Gone,
    /// The client may still be reading what its backend said last.
    Listens,
    /// The client is to be told.
    Refused(Ended),
    /// The client is to be told in a server's words.
    Words(Vec<u8>),
}

/// What a session does next.
pub(crate) enum Next {
    Forward(Box<(Attached, Begun)>),
    Park(Box<Kept>),
}

impl Next {
    fn forward(attached: Attached, begun: Begun) -> Self {
        Self::Forward(Box::new((attached, begun)))
    }
}

/// A session under way.
pub(crate) struct Life<'a, B, S> {
    shared: &'a Shared<B>,
    session: &'a mut Session<S>,
    traffic: Traffic,
    /// What the client sends to cancel: the key of its first backend.
    key: Option<CancelKey>,
    /// Whether who logged in is a superuser.
    superuser: bool,
    /// Why it was not parked, and how much had passed then: as long as nothing has since, that holds.
    pinned: Option<(Pin, u64)>,
}

/// A backend, and the key that leads to it.
pub(crate) struct Attached {
    backend: Backend,
    _registered: Option<Registered>,
    _attendance: Option<Attendance>,
}

impl<'a, B: Branches, S: ClientStream> Life<'a, B, S> {
    pub(crate) fn new(shared: &'a Shared<B>, session: &'a mut Session<S>) -> Self {
        Self { shared, session, traffic: Traffic::default(), key: None, superuser: false, pinned: None }
    }

    /// To the end. What is seldom and large is boxed, here and by who calls `begin`: most of its life a session waits.
    pub(crate) async fn live(&mut self, first: Result<Next, Over>) -> Over {
        let mut next = match first {
            Ok(next) => next,
            Err(over) => return over,
        };
        loop {
            let (mut attached, begun) = match next {
                Next::Forward(forward) => *forward,
                Next::Park(kept) => match self.park(kept).await {
                    Ok(back) => back,
                    Err(over) => return over,
                },
            };
            let (client, backend) = (&mut self.session.client.stream, &mut attached.backend.stream);
            let (record, branch) = (self.session.entry.record(), &self.session.identity.branch);
            let heeds = |on| self.shared.branches.keep_awake(branch, on);
            let reply = match forward(client, backend, begun, &mut self.traffic, record, &heeds).await {
                Stopped::Over { client_listens: true } => return Over::Listens,
                Stopped::Over { client_listens: false } => return Over::Gone,
                Stopped::Asked(Request::End) => return Box::pin(self.end(attached)).await,
                Stopped::Asked(Request::Park(reply)) => reply,
                Stopped::Moves(reply, rest) => match self.leave_attached(attached, rest, reply) {
                    None => return Over::Gone,
                    Some(stays) => {
                        next = Next::Forward(stays);
                        continue;
                    }
                },
                // That is answered where it comes to rest.
                Stopped::Asked(Request::Move(_)) => return Over::Gone,
            };
            self.session.entry.record().begin_asking();
            let left = Box::pin(self.leave(attached)).await;
            self.session.entry.record().end_asking();
            next = match left {
                Left::Parked(kept) => {
                    // Who is told looks at once.
                    self.session.entry.record().parked();
                    let _ = reply.send(Ok(()));
                    Next::Park(kept)
                }
                Left::Stays(pin, back, to_client) => {
                    let _ = reply.send(Err(pin));
                    Next::forward(*back, Begun { to_client, ..Begun::default() })
                }
                Left::Broken(ended) => return Over::Refused(ended),
            };
        }
    }

    /// To its first backend.
    pub(crate) async fn begin(&mut self) -> Result<Next, Over> {
        let mut attached = self.attach(false).await.map_err(Over::Refused)?;
        // Before the client is told the key: it may use it at once.
        self.key = attached.backend.key.clone();
        self.register(&mut attached);
        self.superuser = attached.backend.reported.get("is_superuser").is_some_and(|value| value == b"on");
        let to_client = std::mem::take(&mut attached.backend.greeting);
        let record = self.session.entry.record();
        self.traffic.greeted(&to_client, |Ready { status, worked, .. }| record.ready(status, worked));
        Ok(Next::forward(attached, Begun { to_client, ..Begun::default() }))
    }

    /// From now on the key leads to this backend.
    fn register(&self, attached: &mut Attached) {
        let keys = self.key.clone().zip(attached.backend.key.clone());
        attached._registered = keys.map(|(seen, key)| {
            let alarm = self.session.entry.record().alarm().clone();
            self.shared.cancels.register(seen, (&attached.backend.socket, key), alarm)
        });
    }

    async fn attach(&mut self, returns: bool) -> Result<Attached, Ended> {
        let backend = tokio::select! {
            biased;
            attached = attach(self.shared, self.session, returns) => attached?,
            () = self.shared.closed() => return Err(Ended::refused(Interrupted::Closing)),
        };
        Ok(self.attend(backend).await)
    }

    /// What its client notifies is heard from now on, if it may control the branch.
    async fn attend(&self, backend: Backend) -> Attached {
        let Shared { controls, branches, hubs, .. } = self.shared;
        let _attendance = controls.attend((branches, hubs), &self.session.identity, &backend).await;
        Attached { backend, _registered: None, _attendance }
    }

    /// Without a backend, until its client wants one again.
    async fn park(&mut self, mut kept: Box<Kept>) -> Result<(Attached, Begun), Over> {
        match self.wait(&mut kept).await {
            Woken::Bytes(bytes) => {
                self.session.entry.record().returns();
                Box::pin(self.restore(*kept, bytes)).await
            }
            Woken::Moves(reply) => {
                self.leave_parked(kept, reply);
                Err(Over::Gone)
            }
            Woken::Gone => Err(Over::Gone),
            Woken::Ended(why) => Err(Over::Refused(Ended::refused(why))),
        }
    }

    /// Somebody ends it. The client is told where its backend has not begun to say something else.
    async fn end(&self, attached: Attached) -> Over {
        let at_boundary = self.traffic.backend_is_at_boundary();
        if let Some(key) = &self.key {
            self.shared.cancels.cancel(key).await;
        }
        drop(attached);
        if at_boundary { Over::Refused(Ended::refused(Interrupted::Ended)) } else { Over::Gone }
    }
}
