//! From an authenticated client to a backend that is ready: wake, connect, and wake again if the server went
//! meanwhile. Nobody is refused while it wakes; a client that leaves frees its place.

use std::borrow::Cow;
use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use nap_model::client_error::{ClientError, sqlstate};
use nap_model::ids::BranchName;
use tokio::time::{Instant, sleep, timeout_at};

use crate::backend::{Backend, NotYet, begin};
use crate::branches::{Awake, Branches};
use crate::client::ClientStream;
use crate::connection::Shared;
use crate::error::Ended;
use crate::hub::Server;
use crate::limits::Permit;
use crate::session::{Identity, Session};

/// The pause before a server that went is woken again: short at first, because it is mostly a matter of
/// milliseconds, and never so long that a client would feel it.
const PAUSE_FIRST: Duration = Duration::from_millis(5);
const PAUSE_LONGEST: Duration = Duration::from_millis(100);

/// The server was awake, but gave no backend until the deadline. A wake that is late tells its reason itself.
#[derive(Debug, thiserror::Error)]
#[error("branch \"{branch}\" did not wake within {}s", .timeout.as_secs_f32())]
struct NoBackend {
    branch: BranchName,
    timeout: Duration,
    last: NotYet,
}

impl ClientError for NoBackend {
    fn sqlstate(&self) -> &'static str {
        sqlstate::SYSTEM_ERROR
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = format!("`nap logs {}` shows what its server says; wake_timeout is the time it has.", self.branch);
        Some(hint.into())
    }

    fn detail(&self) -> Option<String> {
        Some(format!("Last: {}.", self.last))
    }
}

/// Gives the session a backend; `returns`: another one. A session that returns has sent something that a server would
/// have read, whatever its client does after that; and it has a place already.
pub(crate) async fn attach<B: Branches, S: ClientStream>(
    shared: &Shared<B>,
    session: &mut Session<S>,
    returns: bool,
) -> Result<Backend, Ended> {
    tokio::select! {
        biased;
        attached = try_until_attached(shared, &session.identity, returns) => attached,
        () = session.client.left(), if !returns => {
            tracing::debug!(branch = %session.identity.branch, "client left while it waited for its server");
            Err(Ended::Gone)
        }
    }
}

async fn try_until_attached<B: Branches>(
    shared: &Shared<B>,
    identity: &Identity,
    returns: bool,
) -> Result<Backend, Ended> {
    let Shared { branches, places, .. } = shared;
    let timeout = places.limits().wake_timeout;
    let deadline = Instant::now() + timeout;
    let packet = identity.startup_packet();
    let mut pause = PAUSE_FIRST;
    loop {
        let waiting = || if returns { Ok(None) } else { places.wait().map(Some).map_err(Ended::refused) };
        let awake = wake(&**branches, &waiting, &identity.branch, deadline).await?;
        // Whoever is let in could notify.
        let server = || Server::of(&awake, identity.major);
        let _ = timeout_at(deadline, shared.hubs.listening(&identity.branch, server)).await;
        let begun = timeout_at(deadline, begin(awake, &packet, identity.minor, returns)).await;
        let last = match begun.unwrap_or(Err(NotYet::Silent)) {
            Ok(backend) => return Ok(backend),
            Err(not_yet) => not_yet,
        };
        tracing::debug!(branch = %identity.branch, %last, "no backend yet");
        if Instant::now() + pause >= deadline {
            return Err(Ended::refused(NoBackend { branch: identity.branch.clone(), timeout, last }));
        }
        let _waiting = waiting()?;
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_LONGEST);
    }
}

/// Waits for the server. It counts among the waiting clients only if there is something to wait for.
async fn wake<B: Branches>(
    branches: &B,
    waiting: &impl Fn() -> Result<Option<Permit>, Ended>,
    branch: &BranchName,
    deadline: Instant,
) -> Result<Awake, Ended> {
    let mut wake = pin!(branches.wake(branch, deadline));
    let at_once = std::future::poll_fn(|context| match wake.as_mut().poll(context) {
        Poll::Ready(woken) => Poll::Ready(Some(woken)),
        Poll::Pending => Poll::Ready(None),
    });
    let woken = match at_once.await {
        Some(woken) => woken,
        None => {
            let _waiting = waiting()?;
            wake.await
        }
    };
    Ok(woken?)
}
