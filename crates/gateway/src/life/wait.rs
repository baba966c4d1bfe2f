//! Parked: waiting for the client, answering its pings.

use std::cell::Cell;
use std::future::pending;
use std::io;

use nap_wire::messages::tag;
use nap_wire::ping::{PING_MAX_BYTES, UnnamedAfter, Verdict, answer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::Life;
use crate::branches::Branches;
use crate::client::ClientStream;
use crate::connection::Interrupted;
use crate::estate::Moved;
use crate::hub::{Deaf, Listener};
use crate::parking::Kept;
use crate::sessions::Request;
use crate::traffic::Unnamed;

/// Why it waits no longer.
pub(super) enum Woken {
    /// The client wants a backend: this is what it has sent, perhaps not all of it, perhaps nothing that was read.
    Bytes(Vec<u8>),
    /// It is to be left to somebody else.
    Moves(oneshot::Sender<Moved>),
    /// The client has left.
    Gone,
    /// It is to be told why.
    Ended(Interrupted),
}

/// What happens to a parked session.
enum News {
    /// The gateway closes.
    Closing,
    /// Somebody asks for something.
    Asked(Request),
    /// Notifications have come, or will come no more.
    Heard(Result<Vec<u8>, Deaf>),
    /// The client has sent this first byte, or has gone.
    Said(io::Result<Option<u8>>),
    /// It has been idle for too long.
    Idle,
}

impl<B: Branches, S: ClientStream> Life<'_, B, S> {
    pub(super) async fn wait(&mut self, kept: &mut Kept) -> Woken {
        let woken = self.wait_and_tell(kept).await;
        if let Some(listener) = &kept.listener {
            listener.close_outlet();
        }
        woken
    }

    async fn wait_and_tell(&mut self, kept: &mut Kept) -> Woken {
        let mut idle_since = Instant::now();
        let unsaid = std::mem::take(&mut kept.for_client);
        if !unsaid.is_empty()
            && let Some(woken) = self.tell(kept, &unsaid).await
        {
            return woken;
        }
        loop {
            let idle = idle_for(kept.idle_timeout.map(|span| idle_since + span));
            let first = match self.news(&mut kept.listener, idle).await {
                News::Closing => return Woken::Ended(Interrupted::Closing),
                News::Asked(Request::End) => return Woken::Ended(Interrupted::Ended),
                News::Asked(Request::Move(reply)) => return Woken::Moves(reply),
                News::Asked(Request::Park(reply)) => {
                    let _ = reply.send(Ok(()));
                    continue;
                }
                News::Heard(Err(Deaf)) => return Woken::Ended(Interrupted::Deaf),
                News::Heard(Ok(notifications)) => match self.tell(kept, &notifications).await {
                    Some(woken) => return woken,
                    None => continue,
                },
                News::Idle => return Woken::Ended(Interrupted::IdleTooLong),
                News::Said(Ok(Some(first))) => first,
                News::Said(Ok(None) | Err(_)) => return Woken::Gone,
            };
            if kept.begun.is_empty() && first == tag::TERMINATE {
                return Woken::Gone;
            }
            if let Some(woken) = self.hear(kept).await {
                return woken;
            }
            idle_since = Instant::now();
        }
    }

    /// What happens next. Meanwhile the hub may write to the client.
    async fn news(&mut self, listener: &mut Option<Listener>, idle: impl Future<Output = ()>) -> News {
        if let Some(listener) = listener {
            listener.lend(|| self.session.client.stream.duplicate());
        }
        // In no order: neither notifications nor pings must keep the other from being heard.
        let news = tokio::select! {
            () = self.shared.closed() => News::Closing,
            request = self.session.entry.record().requests.next() => News::Asked(request),
            heard = hear(listener) => News::Heard(heard),
            first = self.session.client.peek() => News::Said(first),
            () = idle => News::Idle,
        };
        if let Some(listener) = listener {
            listener.take_back();
        }
        news
    }

    /// Tells the client what was heard for it, and the hub could not. One that does not read keeps this waiting; if it is to be
    /// ended then, it has read half a message perhaps, and there are no last words.
    async fn tell(&mut self, kept: &mut Kept, notifications: &[u8]) -> Option<Woken> {
        let requests = &self.session.entry.record().requests;
        let asked = async {
            loop {
                match requests.next().await {
                    Request::End => return None,
                    Request::Park(reply) => drop(reply.send(Ok(()))),
                    Request::Move(reply) => return Some(reply),
                }
            }
        };
        let told_bytes = Cell::new(0);
        let telling = async {
            let stream = &mut self.session.client.stream;
            while let Some(rest) = notifications.get(told_bytes.get()..).filter(|rest| !rest.is_empty()) {
                told_bytes.set(told_bytes.get() + stream.write(rest).await?);
            }
            stream.flush().await
        };
        let sent = tokio::select! {
            biased;
            sent = telling => sent.is_ok(),
            () = overrun(&kept.listener) => {
                tracing::info!(branch = %self.session.identity.branch, "a listener does not read its notifications: it is closed");
                false
            }
            asked = asked => match asked {
                None => false,
                Some(reply) => {
                    // Before all that has been heard since.
                    kept.for_client = notifications.get(told_bytes.get()..).unwrap_or_default().to_vec();
                    return Some(Woken::Moves(reply));
                }
            },
            () = self.shared.closed() => false,
        };
        if let Some(listener) = &kept.listener {
            listener.told();
        }
        (!sent).then_some(Woken::Gone)
    }

    /// The client has sent something.
    async fn hear(&mut self, kept: &mut Kept) -> Option<Woken> {
        if !self.shared.branches.answers_pings(&self.session.identity.branch) {
            return Some(Woken::Bytes(std::mem::take(&mut kept.begun)));
        }
        kept.begun.reserve_exact(PING_MAX_BYTES.saturating_sub(kept.begun.len()).max(1));
        match self.session.client.stream.read_buf(&mut kept.begun).await {
            Ok(count) if count > 0 => {}
            _ => return Some(Woken::Gone),
        }
        let mut answers = Vec::new();
        let verdict = self.answer(kept, &mut answers);
        if !answers.is_empty() && self.session.client.send(&answers).await.is_err() {
            return Some(Woken::Gone);
        }
        match verdict {
            Heard::Pings => {
                kept.begun = Vec::new();
                None
            }
            Heard::Unfinished => None,
            Heard::More if kept.begun.first() == Some(&tag::TERMINATE) => Some(Woken::Gone),
            Heard::More => Some(Woken::Bytes(std::mem::take(&mut kept.begun))),
        }
    }

    /// Takes the pings from the front of what has been sent.
    fn answer(&mut self, kept: &mut Kept, answers: &mut Vec<u8>) -> Heard {
        while !kept.begun.is_empty() {
            let (used, unnamed) = match answer(&kept.begun, |name| kept.ping_of(name), answers) {
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
            kept.begun.drain(..used);
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
