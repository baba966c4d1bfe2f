//! One connection to a server: begun as the session's role, and followed until the server is ready for queries.

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use nap_wire::frame::parse_frame;
use nap_wire::messages::{parse_backend_key_data, parse_error_response, parse_parameter_status, tag};
use nap_wire::startup::CancelKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::branches::Awake;
use crate::local_stream::LocalStream;

/// What a server may say before it is ready for queries. It says about 500 bytes; notices of login triggers
/// (PostgreSQL 17) can make it more. Past that its words are passed on unread.
const GREETING_MAX_BYTES: usize = 256 * 1024;
/// Room for one read of them: mostly all that comes.
const GREETING_CHUNK_BYTES: usize = 1024;

/// A server that goes or comes: the client must never see this, only wait a little longer.
/// 57P03 cannot_connect_now; 57P01 admin_shutdown and 57P02 crash_shutdown, when they hit a backend that has not
/// said yet that it is ready.
const PASSING_SQLSTATES: [&str; 3] = ["57P03", "57P01", "57P02"];
/// too_many_connections: a session that returns was let in before, and waits for a place.
const NO_PLACE_SQLSTATE: &str = "53300";

/// A connection to a server.
pub(crate) struct Backend {
    pub(crate) stream: LocalStream,
    /// Where the server listens.
    pub(crate) socket: PathBuf,
    /// A superuser of the server.
    pub(crate) superuser: String,
    /// What cancels its work.
    pub(crate) key: Option<CancelKey>,
    /// What it has said so far, from its first byte: the client has seen none of it.
    pub(crate) greeting: Vec<u8>,
    /// It is ready for queries: otherwise it has refused.
    pub(crate) ready: bool,
    /// What it has reported of its settings when it began.
    pub(crate) reported: BTreeMap<String, Vec<u8>>,
    /// Keeps the server awake.
    pub(crate) _hold: Box<dyn Any + Send>,
}

impl Backend {
    /// The whole message by which it was refused, if it was.
    pub(crate) fn refusal(&self) -> Option<&[u8]> {
        let mut rest = self.greeting.as_slice();
        while let Ok(Some((frame, used))) = parse_frame(rest, self.greeting.len()) {
            if frame.tag == tag::ERROR_RESPONSE {
                return rest.get(..used);
            }
            rest = rest.get(used..)?;
        }
        None
    }
}

/// Why there is no backend yet, in words for the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotYet {
    #[error("the server cannot be reached: {0}")]
    Unreachable(#[from] io::Error),
    #[error("the server said: {0}")]
    Passing(String),
    #[error("the server closed the connection while it began")]
    Closed,
    #[error("the server did not answer in time")]
    Silent,
}

/// Connects, begins, and reads until the server is ready or has refused for good. `returns`: for a session that had a
/// backend before.
pub(crate) async fn begin(
    Awake { socket, superuser, hold }: Awake,
    startup_packet: &[u8],
    minor: u16,
    returns: bool,
) -> Result<Backend, NotYet> {
    let mut stream = LocalStream::connect(&socket).await?;
    // A postmaster that refuses at once may have closed already: its reason is still there to be read.
    let written = stream.write_all(startup_packet).await;
    let mut greeting = Greeting { minor, returns, ..Greeting::default() };
    loop {
        match greeting.follow()? {
            Progress::Over => break,
            Progress::More if greeting.bytes.len() >= GREETING_MAX_BYTES => break,
            Progress::More => {}
        }
        greeting.bytes.reserve(GREETING_CHUNK_BYTES);
        if stream.read_buf(&mut greeting.bytes).await? == 0 {
            written?;
            return Err(NotYet::Closed);
        }
    }
    let Greeting { bytes, key, ready, reported, .. } = greeting;
    Ok(Backend { stream, socket, superuser, key, greeting: bytes, ready, reported, _hold: hold })
}

enum Progress {
    More,
    Over,
}

/// The server's first words.
#[derive(Default)]
struct Greeting {
    bytes: Vec<u8>,
    followed: usize,
    minor: u16,
    returns: bool,
    key: Option<CancelKey>,
    ready: bool,
    reported: BTreeMap<String, Vec<u8>>,
}

impl Greeting {
    fn follow(&mut self) -> Result<Progress, NotYet> {
        loop {
            let rest = self.bytes.get(self.followed..).unwrap_or_default();
            let (frame, used) = match parse_frame(rest, GREETING_MAX_BYTES) {
                Ok(Some(found)) => found,
                Ok(None) => return Ok(Progress::More),
                // Not for us to judge: the client will.
                Err(_) => return Ok(Progress::Over),
            };
            match frame.tag {
                tag::READY_FOR_QUERY => {
                    self.ready = true;
                    return Ok(Progress::Over);
                }
                tag::PARAMETER_STATUS => {
                    if let Some((name, value)) = parse_parameter_status(frame.body) {
                        self.reported.insert(name.to_owned(), value.to_vec());
                    }
                }
                tag::BACKEND_KEY_DATA => self.key = parse_backend_key_data(frame.body, self.minor),
                tag::ERROR_RESPONSE => {
                    let error = parse_error_response(frame.body);
                    let no_place = self.returns && error.sqlstate == NO_PLACE_SQLSTATE;
                    if no_place || PASSING_SQLSTATES.contains(&error.sqlstate.as_str()) {
                        return Err(NotYet::Passing(error.message));
                    }
                    return Ok(Progress::Over);
                }
                _ => {}
            }
            self.followed += used;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nap_wire::messages::{ErrorFields, authentication_ok, backend_key_data, error_response, ready_for_query};

    fn follow(bytes: &[u8]) -> (Result<Progress, NotYet>, Option<CancelKey>) {
        let mut greeting = Greeting::default();
        let mut last = Ok(Progress::More);
        for byte in bytes {
            greeting.bytes.push(*byte);
            last = greeting.follow();
        }
        (last, greeting.key)
    }

    #[test]
    fn it_is_over_when_the_server_is_ready() {
        let key = CancelKey { pid: 42, secret: vec![1, 2, 3, 4] };
        let mut bytes = Vec::new();
        authentication_ok(&mut bytes);
        backend_key_data(&mut bytes, &key);
        assert!(matches!(follow(&bytes), (Ok(Progress::More), Some(_))));
        ready_for_query(&mut bytes, b'I');
        let (progress, found) = follow(&bytes);
        assert!(matches!(progress, Ok(Progress::Over)));
        assert_eq!(found, Some(key));
    }

    #[test]
    fn a_server_that_comes_or_goes_is_not_yet_there() {
        for (sqlstate, passing) in
            [("57P03", true), ("57P01", true), ("57P02", true), ("42501", false), ("53300", false)]
        {
            let mut bytes = Vec::new();
            authentication_ok(&mut bytes);
            error_response(&mut bytes, &ErrorFields::fatal(sqlstate, "no"));
            assert_eq!(follow(&bytes).0.is_err(), passing, "{sqlstate}");
        }
    }
}
