//! A session's channels go to the hub when it is parked, and come back to its next backend.

use std::borrow::Cow;

use nap_model::client_error::{ClientError, sqlstate};
use nap_model::pin::Pin;
use tokio::time::timeout;

use super::leave::Left;
use super::{Attached, Life};
use crate::backend::Backend;
use crate::branches::Branches;
use crate::client::ClientStream;
use crate::connection::Interrupted;
use crate::error::Ended;
use crate::hub::{Fence, Heard, Listener, Server};
use crate::parking::{ASK_WITHIN, Ear, Keep, NoAnswer};

/// Its channels did not come back: what it should have heard may be lost.
#[derive(Debug, thiserror::Error)]
#[error("terminating connection because notifications for it may have been lost")]
pub(super) struct NotTakenBack;

impl ClientError for NotTakenBack {
    fn sqlstate(&self) -> &'static str {
        sqlstate::ADMIN_SHUTDOWN
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        Some("Connect again, LISTEN, and look what has changed meanwhile.".into())
    }
}

impl<B: Branches, S: ClientStream> Life<'_, B, S> {
    /// The hub listens in its place. What its backend has heard until then the client is told.
    pub(super) async fn hand_over(
        &mut self,
        mut attached: Attached,
        channels: &[Vec<u8>],
    ) -> Result<(Listener, Attached), Left> {
        let identity = &self.session.identity;
        let server = Server {
            socket: attached.backend.socket.clone(),
            superuser: attached.backend.superuser.clone(),
            major: identity.major,
        };
        let hubs = &self.shared.hubs;
        let joined = async {
            let mut ear = Ear::open(&mut attached.backend.stream, &[], hubs.fence_channel()).await?;
            let (mut listener, answer) = hubs.join(&identity.branch, &identity.database, server, channels);
            // What comes after the fence may be there before it has been read here.
            let mut after = Vec::new();
            let joined = match answer.await {
                Ok(fence) => passes(&mut ear, fence, &mut listener, &mut after).await?,
                Err(_) => false,
            };
            match joined {
                true => Ok((Some(listener), [ear.heard(), after].concat())),
                // It goes on listening by itself.
                false => ear.close().await.map(|heard| (None, heard)),
            }
        };
        let joined = match timeout(ASK_WITHIN, joined).await {
            Ok(joined) => joined,
            Err(_) => Err(NoAnswer::Broken),
        };
        let (listener, heard) = match joined {
            Ok(joined) => joined,
            Err(NoAnswer::Pinned(pin)) => return Err(Left::Stays(pin, Box::new(attached))),
            Err(NoAnswer::Broken) => return Err(Left::Broken(Ended::refused(Interrupted::Deaf))),
        };
        if !heard.is_empty() && self.session.client.send(&heard).await.is_err() {
            return Err(Left::Broken(Ended::Gone));
        }
        match listener {
            Some(listener) => Ok((listener, attached)),
            // It is tried again.
            None => Err(Left::Stays(Pin::NotAsked, Box::new(attached))),
        }
    }

    /// Its new backend listens. Gives back what the client is to be told: what the hub has heard, and what came after.
    pub(super) async fn take_back(
        &self,
        backend: &mut Backend,
        mut listener: Listener,
        channels: &[Vec<u8>],
    ) -> Result<Vec<u8>, NotTakenBack> {
        let hubs = &self.shared.hubs;
        let taken = async {
            let mut ear = Ear::open(&mut backend.stream, channels, hubs.fence_channel()).await.map_err(drop)?;
            // The hub hears it too.
            ear.forget();
            let fence = listener.leave().await.map_err(drop)?;
            let mut heard = Vec::new();
            let all_of_it = async {
                while listener.hear(&mut heard).await.map_err(drop)? == Heard::Some {}
                Ok(())
            };
            let passed = async { ear.until(fence, Keep::After).await.map_err(drop) };
            tokio::try_join!(all_of_it, passed)?;
            heard.append(&mut ear.close().await.map_err(drop)?);
            Ok::<_, ()>(heard)
        };
        match timeout(ASK_WITHIN, taken).await {
            Ok(Ok(heard)) => Ok(heard),
            _ => Err(NotTakenBack),
        }
    }
}

/// Waits for the fence at the session's own backend. Not if the hub is lost before.
async fn passes(
    ear: &mut Ear<'_>,
    fence: Fence,
    listener: &mut Listener,
    after: &mut Vec<u8>,
) -> Result<bool, NoAnswer> {
    let mut until = std::pin::pin!(ear.until(fence, Keep::Before));
    loop {
        tokio::select! {
            biased;
            passed = &mut until => return passed.map(|()| true).map_err(NoAnswer::from),
            heard = listener.hear(after) => if heard.is_err() {
                return Ok(false);
            },
        }
    }
}
