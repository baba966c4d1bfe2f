//! What is kept of a parked session.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nap_wire::extended::parse_parse;
use nap_wire::sql::{PingText, ping};
use serde::{Deserialize, Serialize};

use crate::hub::Listener;

/// What a client was last told by `ParameterStatus`, values in its own encoding.
pub(crate) type Reported = BTreeMap<String, Vec<u8>>;

/// What another backend is to be told, texts in the server's encoding.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct State {
    /// What was set in the session, custom settings too, by name.
    pub(crate) settings: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Settings that are known by their value only: to ask for the rest they are changed first.
    pub(crate) statement_timeout: Vec<u8>,
    pub(crate) client_encoding: Vec<u8>,
    pub(crate) server_encoding: Vec<u8>,
    /// As `current_setting('role')` has it: `none` or a name.
    pub(crate) role: Vec<u8>,
    /// Only if it is not who logged in.
    pub(crate) session_authorization: Option<Vec<u8>>,
    /// Prepared statements with names, by these.
    pub(crate) statements: BTreeMap<Vec<u8>, Statement>,
    /// The body of the unnamed statement's `Parse`, as the client sent it.
    pub(crate) unnamed: Option<Vec<u8>>,
}

/// A prepared statement.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Statement {
    pub(crate) text: Vec<u8>,
    pub(crate) origin: Origin,
}

/// How a statement was prepared.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Origin {
    /// By PREPARE: its text is the command.
    Sql,
    /// By `Parse`, with the types of its parameters.
    Protocol(Vec<u32>),
}

/// A parked session's.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) state: State,
    pub(crate) reported: Reported,
    /// `idle_session_timeout`, if it is on.
    pub(crate) idle_timeout: Option<Duration>,
    /// What it listens to, and who does so in its place.
    pub(crate) channels: Vec<Vec<u8>>,
    pub(crate) listener: Option<Listener>,
    /// The client has not been told this yet.
    pub(crate) for_client: Vec<u8>,
    /// The client has sent this, which may still become a ping.
    pub(crate) begun: Vec<u8>,
    /// Its part of all that is kept.
    pub(crate) _share: Share,
}

/// All that is kept of parked sessions: whoever may log in could fill the memory otherwise. A thousand sessions with
/// hundreds of prepared statements each have room.
const STOCK_MAX_BYTES: usize = 512 * 1024 * 1024;

/// What is kept of all parked sessions together.
#[derive(Debug, Default)]
pub(crate) struct Stock(AtomicUsize);

/// A part of it, until it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    stock: Arc<Stock>,
    bytes: usize,
}

impl Stock {
    /// Room for a state, if there is any.
    pub(crate) fn take(self: &Arc<Self>, state: &State, channels: &[Vec<u8>]) -> Option<Share> {
        // Here, and twice in the hub's roll.
        let channels: usize = channels.iter().map(|channel| 3 * channel.len()).sum();
        let share = Share { stock: self.clone(), bytes: state.bytes() + channels };
        let before = self.0.fetch_add(share.bytes, Ordering::Relaxed);
        (before + share.bytes <= STOCK_MAX_BYTES).then_some(share)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.stock.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl State {
    /// Its texts, together.
    fn bytes(&self) -> usize {
        let settings: usize = self.settings.iter().map(|(name, value)| name.len() + value.len()).sum();
        let statements: usize = self.statements.iter().map(|(name, statement)| name.len() + statement.text.len()).sum();
        settings + statements + self.unnamed.as_ref().map_or(0, Vec::len)
    }
}

impl Kept {
    /// Which ping a prepared statement is, if it is one; the unnamed one has an empty name.
    pub(crate) fn ping_of(&self, name: &[u8]) -> Option<PingText> {
        if name.is_empty() {
            let parse = parse_parse(self.state.unnamed.as_deref()?)?;
            return ping(parse.text).filter(|_| parse.typed_parameters == 0);
        }
        let statement = self.state.statements.get(name)?;
        ping(&statement.text).filter(|_| statement.origin == Origin::Protocol(Vec::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_all_is_bounded() {
        let stock = Arc::new(Stock::default());
        let mut state = State {
            settings: BTreeMap::new(),
            statement_timeout: Vec::new(),
            client_encoding: Vec::new(),
            server_encoding: Vec::new(),
            role: Vec::new(),
            session_authorization: None,
            statements: BTreeMap::new(),
            unnamed: None,
        };
        state.settings.insert(b"my.var".to_vec(), vec![0; STOCK_MAX_BYTES / 2]);
        let first = stock.take(&state, &[]);
        assert!(first.is_some());
        assert!(stock.take(&state, &[]).is_none());
        drop(first);
        assert!(stock.take(&state, &[]).is_some(), "what was refused takes no room");
    }
}
