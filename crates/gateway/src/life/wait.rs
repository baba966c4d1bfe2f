//! Parked: waiting for the client, answering its pings.

use std::future::pending;

use nap_wire::messages::tag;
use nap_wire::ping::{PING_MAX_BYTES, UnnamedAfter, Verdict, answer};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep_until};

use super::Life;
use crate::branches::Branches;
use crate::client::ClientStream;
use crate::connection::Interrupted;
use crate::hub::{Deaf, Listener};
use crate::parking::Kept;
use crate::sessions::Request;
use crate::traffic::Unnamed;

/// Why it waits no longer.
pub(super) enum Woken {
    /// The client wants a backend: this is what it has sent, perhaps not all of it, perhaps nothing that was read.
    Bytes(Vec<u8>),
    /// The client has left.
    Gone,
    /// It is to be told why.
    Ended(Interrupted),
}

impl<B: Branches, S: ClientStream> Life<'_, B, S> {
    pub(super) async fn wait(&mut self, kept: &mut Kept) -> Woken {
        let mut begun = Vec::new();
        let mut idle_since = Instant::now();
        let unsaid = std::mem::take(&mut kept.for_client);
        if !unsaid.is_empty()
            && let Some(woken) = self.tell(kept, &unsaid).await
        {
            return woken;
        }
        loop {
            let idle = idle_for(kept.idle_timeout.map(|span| idle_since + span));
            // In no order: neither notifications nor pings must keep the other from being heard.
            tokio::select! {
                () = self.shared.closed() => return Woken::Ended(Interrupted::Closing),
                request = self.session.entry.record().requests.next() => match request {
                    Request::End => return Woken::Ended(Interrupted::Ended),
                    Request::Park(reply) => drop(reply.send(Ok(()))),
                },
                heard = hear(&mut kept.listener) => {
                    let Ok(notifications) = heard else { return Woken::Ended(Interrupted::Deaf) };
                    if let Some(woken) = self.tell(kept, &notifications).await {
                        return woken;
                    }
                }
                first = self.session.client.peek() => match first {
                    Ok(Some(first)) => {
                        if begun.is_empty() && first == tag::TERMINATE {
                            return Woken::Gone;
                        }
                        if let Some(woken) = self.hear(kept, &mut begun).await {
                            return woken;
                        }
                        idle_since = Instant::now();
                    }
                    Ok(None) | Err(_) => return Woken::Gone,
                },
                () = idle => return Woken::Ended(Interrupted::IdleTooLong),
            }
        }
    }

    /// Tells the client what was heard for it. One that does not read keeps this waiting; if it is to be ended then, it has
    /// read half a message perhaps, and there are no last words.
    async fn tell(&mut self, kept: &Kept, notifications: &[u8]) -> Option<Woken> {
        let requests = &self.session.entry.record().requests;
        let ended = async {
            loop {
                match requests.next().await {
                    Request::End => return,
                    Request::Park(reply) => drop(reply.send(Ok(()))),
                }
            }
        };
        let sent = tokio::select! {
            biased;
            sent = self.session.client.send(notifications) => sent.is_ok(),
            () = overrun(&kept.listener) => {
                tracing::info!(branch = %self.session.identity.branch, "a listener does not read its notifications: it is closed");
                false
            }
            () = ended => false,
            () = self.shared.closed() => false,
        };
        if let Some(listener) = &kept.listener {
            listener.told();
        }
        (!sent).then_some(Woken::Gone)
    }

    /// The client has sent something. `begun` is what may still become a ping.
    async fn hear(&mut self, kept: &mut Kept, begun: &mut Vec<u8>) -> Option<Woken> {
        if !self.shared.branches.answers_pings(&self.session.identity.branch) {
            return Some(Woken::Bytes(std::mem::take(begun)));
        }
        begun.reserve_exact(PING_MAX_BYTES.saturating_sub(begun.len()).max(1));
        match self.session.client.stream.read_buf(begun).await {
            Ok(count) if count > 0 => {}
            _ => return Some(Woken::Gone),
        }
        let mut answers = Vec::new();
        let verdict = self.answer(kept, begun, &mut answers);
        if !answers.is_empty() && self.session.client.send(&answers).await.is_err() {
            return Some(Woken::Gone);
        }
        match verdict {
            Heard::Pings => {
                *begun = Vec::new();
                None
            }
            Heard::Unfinished => None,
            Heard::More if begun.first() == Some(&tag::TERMINATE) => Some(Woken::Gone),
            Heard::More => Some(Woken::Bytes(std::mem::take(begun))),
        }
    }

    /// Takes the pings from the front of `begun`.
    fn answer(&mut self, kept: &mut Kept, begun: &mut Vec<u8>, answers: &mut Vec<u8>) -> Heard {
        while !begun.is_empty() {
            let (used, unnamed) = match answer(begun, |name| kept.ping_of(name), answers) {
                Verdict::Unfinished => return Heard::Unfinished,
                Verdict::Other => return Heard::More,
                Verdict::Answered { used, unnamed } => {
                    let unnamed = match unnamed {
                        UnnamedAfter::Unchanged => None,
                        UnnamedAfter::Gone => Some(None),
                        UnnamedAfter::Parsed(body) => Some(Some(body.to_vec())),
                    };
                    (used, unnamed)
                }
            };
            if let Some(unnamed) = unnamed {
                self.traffic.set_unnamed(unnamed.clone().map_or(Unnamed::None, Unnamed::Parsed));
                kept.state.unnamed = unnamed;
            }
            begun.drain(..used);
        }
        Heard::Pings
    }
}

enum Heard {
    /// All of it was pings.
    Pings,
    /// The rest may become one.
    Unfinished,
    /// The rest is for a server.
    More,
}

async fn hear(listener: &mut Option<Listener>) -> Result<Vec<u8>, Deaf> {
    match listener {
        Some(listener) => {
            let mut notifications = Vec::new();
            listener.hear(&mut notifications).await.map(|_| notifications)
        }
        None => pending().await,
    }
}

async fn overrun(listener: &Option<Listener>) {
    match listener {
        Some(listener) => listener.overrun().await,
        None => pending().await,
    }
}

/// Waits until it has been idle for too long.
async fn idle_for(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending::<()>().await,
    }
}
