//! From parked to attached: another backend, which is given the session's state.

use std::borrow::Cow;

use nap_model::client_error::{ClientError, sqlstate};
use nap_wire::messages::parameter_status_bytes;
use tokio::time::sleep;

use super::{Attached, Life, Over};
use crate::backend::Backend;
use crate::branches::Branches;
use crate::client::ClientStream;
use crate::connection::Interrupted;
use crate::error::Ended;
use crate::forward::Begun;
use crate::parking::{Kept, NotRestored, replay};

/// A session's state was lost: it is closed, as if its server had ended it, so that its client begins anew.
#[derive(Debug, thiserror::Error)]
#[error("terminating connection because its state could not be restored")]
struct Lost(NotRestored);

impl ClientError for Lost {
    fn sqlstate(&self) -> &'static str {
        sqlstate::ADMIN_SHUTDOWN
    }

    fn detail(&self) -> Option<String> {
        Some(self.0.to_string())
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        Some("Connect again. The setting park = off keeps sessions from being parked.".into())
    }
}

impl<B: Branches, S: ClientStream> Life<'_, B, S> {
    /// `sent`: what the client has sent meanwhile.
    pub(super) async fn restore(&mut self, kept: Kept, sent: Vec<u8>) -> Result<(Attached, Begun), Over> {
        let mut attached = self.attach(true).await.map_err(Over::Refused)?;
        if !attached.backend.ready {
            return Err(refusal(&attached.backend));
        }
        // A statement may wait for a lock.
        self.register(&mut attached);
        let backend = &mut attached.backend;
        let requests = &self.session.entry.record().requests;
        let restored = tokio::select! {
            biased;
            restored = replay(&mut backend.stream, &kept.state, &mut backend.reported) => restored,
            () = self.shared.closed() => return Err(Over::Refused(Ended::refused(Interrupted::Closing))),
            () = requests.ended() => return Err(Over::Refused(Ended::refused(Interrupted::Ended))),
            () = sleep(self.shared.places.limits().wake_timeout) => Err(NotRestored::Late),
        };
        if let Err(error) = restored {
            tracing::warn!(branch = %self.session.identity.branch, %error, "a session's state could not be restored");
            return Err(Over::Refused(Ended::refused(Lost(error))));
        }
        let mut to_client = Vec::new();
        for (name, value) in &backend.reported {
            if kept.reported.get(name) != Some(value) {
                parameter_status_bytes(&mut to_client, name, value);
            }
        }
        if let Some(listener) = kept.listener {
            let heard = self.take_back(backend, listener, &kept.channels).await;
            to_client.append(&mut heard.map_err(|error| Over::Refused(Ended::refused(error)))?);
        }
        backend.greeting = Vec::new();
        self.traffic.begin();
        self.session.entry.record().returned();
        Ok((attached, Begun { to_client, to_backend: sent, followed: false }))
    }
}

/// What a new login would be told, as the server put it.
fn refusal(backend: &Backend) -> Over {
    backend.refusal().map_or(Over::Gone, |words| Over::Words(words.to_vec()))
}
