//! From attached to parked: ask, rehearse, and let the backend go.

use nap_model::pin::Pin;
use nap_wire::extended::terminate;
use tokio::io::AsyncWriteExt;

use super::hand_over::Handed;
use super::{Attached, Life};
use crate::branches::Branches;
use crate::client::ClientStream;
use crate::connection::Interrupted;
use crate::error::Ended;
use crate::parking::{Asked, Kept, NoAnswer, Subject, ask, rehearse};
use crate::route::Replication;
use crate::traffic::Unnamed;

/// What came of it.
pub(super) enum Left {
    Parked(Box<Kept>),
    /// It keeps its backend. The client is to be told this.
    Stays(Pin, Box<Attached>, Vec<u8>),
    /// Its backend is lost.
    Broken(Ended),
}

impl<B: Branches, S: ClientStream> Life<'_, B, S> {
    /// Nothing is under way. The client is not read meanwhile.
    pub(super) async fn leave(&mut self, attached: Attached) -> Left {
        let changes = self.traffic.changes();
        if let Some((pin, _)) = self.pinned.filter(|(pin, at)| *at == changes && holds_as_long_as_nothing_passes(*pin))
        {
            return Left::Stays(pin, Box::new(attached), Vec::new());
        }
        let left = match self.pin_of_traffic() {
            Some(pin) => Left::Stays(pin, Box::new(attached), Vec::new()),
            None => self.ask_and_rehearse(attached).await,
        };
        if let Left::Stays(pin, ..) = &left {
            self.pinned = Some((*pin, changes));
            self.session.entry.record().set_pin(Some(*pin));
        }
        left
    }

    /// What is known without asking.
    fn pin_of_traffic(&self) -> Option<Pin> {
        if self.session.identity.replication != Replication::No {
            Some(Pin::Replication)
        } else if self.session.entry.record().is_in_transaction() {
            Some(Pin::InTransaction)
        } else if self.traffic.backup() {
            Some(Pin::Backup)
        } else if self.traffic.too_much() || *self.traffic.unnamed() == Unnamed::TooLong {
            Some(Pin::TooMuch)
        } else {
            None
        }
    }

    async fn ask_and_rehearse(&mut self, mut attached: Attached) -> Left {
        let mut for_client = Vec::new();
        let identity = &self.session.identity;
        let reported: Vec<String> = attached.backend.reported.keys().cloned().collect();
        let unnamed = match self.traffic.unnamed() {
            Unnamed::Parsed(body) => Some(body.as_slice()),
            Unnamed::None | Unnamed::TooLong => None,
        };
        let subject = Subject {
            login: &identity.role,
            superuser: self.superuser,
            names: self.traffic.names().collect(),
            unnamed,
            reported: reported.iter().map(String::as_str).collect(),
        };
        let (cancels, key) = (&self.shared.cancels, self.key.as_ref());
        let cancel = async {
            if let Some(key) = key {
                cancels.cancel(key).await;
            }
        };
        let asked = ask(&mut attached.backend.stream, &subject, &mut for_client, cancel).await;
        let rehearsed = match &asked {
            Ok(asked) => {
                let packet = identity.startup_packet();
                let begin = (packet.as_slice(), identity.minor);
                rehearse(&self.shared.rehearsals, &attached.backend, begin, &subject, asked).await
            }
            Err(NoAnswer::Pinned(pin)) => Err(*pin),
            Err(NoAnswer::Broken) => return Left::Broken(Ended::refused(Interrupted::Ended)),
        };
        let parked = match (asked, rehearsed) {
            (Ok(asked), Ok(())) => {
                let share = self.shared.stock.take(&asked.state, &asked.channels);
                share.map(|share| (asked, share)).ok_or(Pin::TooMuch)
            }
            (_, Err(pin)) => Err(pin),
            (Err(_), Ok(())) => Err(Pin::NotAsked),
        };
        let (Asked { state, reported, idle_timeout, channels }, share) = match parked {
            Ok(parked) => parked,
            Err(pin) => return Left::Stays(pin, Box::new(attached), for_client),
        };
        let mut listener = None;
        if !channels.is_empty() {
            match self.hand_over(&mut attached, &channels, &mut for_client).await {
                Handed::Over(handed) => listener = Some(handed),
                Handed::Stays => return Left::Stays(Pin::NotAsked, Box::new(attached), for_client),
                Handed::Broken => return Left::Broken(Ended::refused(Interrupted::Deaf)),
            }
        }
        farewell(attached).await;
        self.pinned = None;
        Left::Parked(Box::new(Kept {
            state,
            reported,
            idle_timeout,
            channels,
            listener,
            for_client,
            begun: Vec::new(),
            _share: share,
        }))
    }
}

/// Pins that may end without the session's doing are asked for again.
fn holds_as_long_as_nothing_passes(pin: Pin) -> bool {
    !matches!(pin, Pin::NotRestored | Pin::NotAsked | Pin::Active)
}

/// As a client leaves.
async fn farewell(mut attached: Attached) {
    let mut words = Vec::new();
    terminate(&mut words);
    let _ = attached.backend.stream.write_all(&words).await;
}
