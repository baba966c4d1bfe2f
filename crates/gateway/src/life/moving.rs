//! A session is left to another process, and taken up there.

use std::any::Any;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use nap_wire::startup::CancelKey;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Attached, Life, Next, Over};
use crate::backend::Backend;
use crate::branches::Branches;
use crate::client::ClientStream;
use crate::connection::Interrupted;
use crate::error::Ended;
use crate::estate::{Key, Moved, Will, With};
use crate::forward::Begun;
use crate::hub::Listener;
use crate::local_stream::LocalStream;
use crate::parking::Kept;
use crate::traffic::Traffic;

impl<B: Branches, S: ClientStream> Life<'_, B, S> {
    /// With its backend, which goes on with whatever it does. It stays if nobody waits for it any more, or no descriptor is left.
    pub(super) fn leave_attached(
        &mut self,
        attached: Attached,
        rest: Begun,
        reply: oneshot::Sender<Moved>,
    ) -> Option<Box<(Attached, Begun)>> {
        let backend = attached.backend.stream.as_fd().try_clone_to_owned().ok();
        let (Some(client), Some(backend)) = (self.client(), backend.filter(|_| !reply.is_closed())) else {
            return Some(Box::new((attached, rest)));
        };
        let Begun { to_client, to_backend, .. } = rest;
        let Backend { socket, superuser, key, reported, _hold, .. } = attached.backend;
        let key = key.as_ref().map(Key::from);
        let status = self.session.entry.record().ready_status();
        let will = self.will(With::Backend { socket, superuser, key, reported, status, to_client, to_backend });
        let hold: Box<dyn Any + Send> = Box::new((_hold, self.session.past.take()));
        let moved = Moved { client, backend: Some(backend), listener: None, hold: Some(hold), will };
        // Who does not wait any more has seen to its end.
        let _ = reply.send(moved);
        None
    }

    /// Parked, with what is kept of it.
    pub(super) fn leave_parked(&mut self, kept: Box<Kept>, reply: oneshot::Sender<Moved>) {
        // One whose socket cannot be had is lost with this process.
        let Some(client) = self.client() else { return };
        let Kept { state, reported, idle_timeout, channels, listener, for_client, begun, .. } = *kept;
        let listens = listener.is_some();
        let state = Box::new(state);
        let with = With::State { state, reported, idle_timeout, channels, listens, deaf: false, for_client, begun };
        let will = self.will(with);
        let hold = self.session.past.take();
        let _ = reply.send(Moved { client, backend: None, listener, hold, will });
    }

    fn client(&self) -> Option<OwnedFd> {
        self.session.client.stream.duplicate().ok().flatten()
    }

    fn will(&mut self, with: With) -> Will {
        Will {
            id: self.session.entry.record().id(),
            identity: self.session.identity.clone(),
            address: self.session.client.address.clone(),
            origin: self.session.client.origin,
            idle: self.session.entry.record().worked_at().elapsed(),
            superuser: self.superuser,
            key: self.key.as_ref().map(Key::from),
            seen: std::mem::take(&mut self.traffic).into_seen(),
            with,
        }
    }

    /// As it was left. `backend` is its backend's socket, if it had one; `listener` hears for it, if somebody did.
    pub(crate) async fn resume(
        &mut self,
        left: LeftBehind,
        listener: Option<Listener>,
        go: impl Future<Output = ()>,
    ) -> Result<Next, Over> {
        let LeftBehind { idle, superuser, key, seen, with, backend, hold, .. } = left;
        (self.superuser, self.key, self.traffic) = (superuser, key.map(Into::into), Traffic::resumed(seen));
        let record = self.session.entry.record();
        match (with, backend) {
            (With::Backend { socket, superuser, key, reported, status, to_client, to_backend }, Some(stream)) => {
                record.resumed(status, idle);
                let key: Option<CancelKey> = key.map(Into::into);
                // A cancel may be the first that comes.
                let registered = self
                    .key
                    .clone()
                    .zip(key.clone())
                    .map(|(seen, key)| self.shared.cancels.register(seen, (&socket, key), record.alarm().clone()));
                go.await;
                let branch = &self.session.identity.branch;
                let deadline = Instant::now() + self.shared.places.limits().wake_timeout;
                let awake = self.shared.branches.wake(branch, deadline).await;
                let awake = awake.map_err(|refusal| Over::Refused(Ended::from(refusal)))?;
                let stream = LocalStream::new(stream).map_err(|_| Over::Gone)?;
                drop(hold);
                let (greeting, _hold) = (Vec::new(), awake.hold);
                let backend = Backend { stream, socket, superuser, key, greeting, ready: true, reported, _hold };
                let mut attached = self.attend(backend).await;
                attached._registered = registered;
                Ok(Next::forward(attached, Begun { to_client, to_backend, followed: true }))
            }
            (With::State { state, reported, idle_timeout, channels, listens, deaf, for_client, begun }, None) => {
                record.parked();
                let Some(share) = self.shared.stock.take(&state, &channels) else {
                    return Err(Over::Refused(Ended::refused(Interrupted::Ended)));
                };
                if deaf || (listens && listener.is_none()) {
                    return Err(Over::Refused(Ended::refused(Interrupted::Deaf)));
                }
                let state = *state;
                let kept = Kept { state, reported, idle_timeout, channels, listener, for_client, begun, _share: share };
                go.await;
                Ok(Next::Park(Box::new(kept)))
            }
            _ => Err(Over::Gone),
        }
    }
}

/// What a session goes on with, beside its client.
pub(crate) struct LeftBehind {
    pub(crate) id: u64,
    pub(crate) idle: Duration,
    pub(crate) superuser: bool,
    pub(crate) key: Option<Key>,
    pub(crate) seen: crate::traffic::Seen,
    pub(crate) with: With,
    pub(crate) backend: Option<OwnedFd>,
    /// From before, until it is held anew.
    pub(crate) hold: Option<Box<dyn Any + Send>>,
}

impl LeftBehind {
    /// What it listened to, if somebody heard for it.
    pub(crate) fn channels(&self) -> Option<&[Vec<u8>]> {
        match &self.with {
            With::State { channels, listens: true, .. } => Some(channels),
            _ => None,
        }
    }
}
