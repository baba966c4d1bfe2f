//! A session's channels go to the hub when it is parked, and come back to its next backend.

use std::time::Duration;

use tokio::time::timeout;

use super::{Attached, Life};
use crate::backend::Backend;
use crate::branches::Branches;
use crate::client::ClientStream;
use crate::connection::Interrupted;
use crate::hub::{Fence, Heard, Listener, Server};
use crate::parking::{ASK_WITHIN, Ear, Keep, NoAnswer};

/// How long the hub may take until it listens; until then the session does so by itself, and may go on with it.
const JOIN_WITHIN: Duration = Duration::from_secs(2);

/// What came of handing channels over.
pub(super) enum Handed {
    /// The hub listens.
    Over(Listener),
    /// The session goes on listening by itself, and is asked again later.
    Stays,
    /// Its backend is lost.
    Broken,
}

impl<B: Branches, S: ClientStream> Life<'_, B, S> {
    /// The hub listens in its place. What its backend has heard until then is appended to `for_client`.
    pub(super) async fn hand_over(
        &self,
        attached: &mut Attached,
        channels: &[Vec<u8>],
        for_client: &mut Vec<u8>,
    ) -> Handed {
        let identity = &self.session.identity;
        let hubs = &self.shared.hubs;
        let server = Server::of_backend(&attached.backend, identity.major);
        let mut ear = Ear::new(&mut attached.backend.stream, hubs.fence_channel());
        let handing = async {
            match ear.listen(&[]).await {
                Ok(()) => {}
                Err(NoAnswer::Pinned(_)) => {
                    for_client.append(&mut ear.heard());
                    return Ok(Handed::Stays);
                }
                Err(broken) => return Err(broken),
            }
            let (mut listener, answer) = hubs.join(&identity.branch, &identity.database, server, channels);
            // What comes after the fence may be there before it has been read here.
            let mut after = Vec::new();
            let joined = match timeout(JOIN_WITHIN, answer).await {
                Ok(Ok(fence)) => passes(&mut ear, fence, &mut listener, &mut after).await?,
                Ok(Err(_)) | Err(_) => false,
            };
            Ok(match joined {
                true => {
                    for_client.append(&mut ear.heard());
                    for_client.append(&mut after);
                    Handed::Over(listener)
                }
                false => {
                    drop(listener);
                    for_client.append(&mut ear.close().await?);
                    Handed::Stays
                }
            })
        };
        match timeout(ASK_WITHIN, handing).await {
            Ok(Ok(handed)) => handed,
            Ok(Err(NoAnswer::Pinned(_) | NoAnswer::Broken)) | Err(_) => Handed::Broken,
        }
    }

    /// Its new backend listens. Gives back what the client is to be told: what the hub has heard, and what came after.
    pub(super) async fn take_back(
        &self,
        backend: &mut Backend,
        mut listener: Listener,
        channels: &[Vec<u8>],
    ) -> Result<Vec<u8>, Interrupted> {
        let hubs = &self.shared.hubs;
        let taken = async {
            let mut ear = Ear::new(&mut backend.stream, hubs.fence_channel());
            ear.listen(channels).await.map_err(drop)?;
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
            _ => Err(Interrupted::Deaf),
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
