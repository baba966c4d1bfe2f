//! The commands' end of the socket: blocking, because a command needs no runtime.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::line::{REPLY_MAX_BYTES, REQUEST_MAX_BYTES};
use crate::report::Reply;
use crate::request::Request;

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody listens on the socket.
    #[error("the daemon is not up")]
    NotUp,
    /// The socket is not for whoever asks.
    #[error("no permission to use the daemon's control socket")]
    Denied(#[source] io::Error),
    /// It did not answer in time.
    #[error("the daemon did not answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// The daemon went away before it answered.
    #[error("the daemon ended before it answered")]
    Ended,
    /// Some other trouble with the socket.
    #[error("cannot talk to the daemon")]
    Io(#[from] io::Error),
    /// The request is longer than a daemon reads.
    #[error("the request is longer than {REQUEST_MAX_BYTES} bytes")]
    RequestTooLong,
    /// The reply is longer than can be.
    #[error("the daemon's reply is longer than {REPLY_MAX_BYTES} bytes")]
    ReplyTooLong,
    /// The reply is in another version's words.
    #[error("the daemon's reply makes no sense: is it another version?")]
    Garbled(#[from] serde_json::Error),
}

/// Asks the daemon at `socket`, and waits for its reply at most this long.
pub fn call(socket: &Path, request: &Request, timeout: Duration) -> Result<Reply, CallError> {
    let deadline = Instant::now() + timeout;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    if line.len() > REQUEST_MAX_BYTES {
        return Err(CallError::RequestTooLong);
    }
    let mut stream = UnixStream::connect(socket).map_err(not_connected)?;
    stream.set_write_timeout(Some(timeout))?;
    match stream.write_all(&line) {
        // A daemon that refuses us replies without reading: its reply says why.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        written => written.map_err(|error| in_time(error, timeout))?,
    }
    let reply = read_reply(stream, deadline, timeout)?;
    Ok(serde_json::from_slice(&reply)?)
}

/// The process that listens on `socket`, by its number here. What a daemon says of itself means nothing outside its own
/// PID namespace. None: it has no number here, or the system does not tell.
pub fn listener_pid(socket: &Path) -> Result<Option<u32>, CallError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let stream = runtime.block_on(tokio::net::UnixStream::connect(socket)).map_err(not_connected)?;
    let pid = stream.peer_cred()?.pid().and_then(|pid| u32::try_from(pid).ok());
    Ok(pid.filter(|pid| *pid != 0))
}

fn read_reply(stream: UnixStream, deadline: Instant, timeout: Duration) -> Result<Vec<u8>, CallError> {
    let mut reader = BufReader::new(stream);
    let mut reply = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(CallError::TimedOut(timeout));
        }
        reader.get_ref().set_read_timeout(Some(left))?;
        let chunk = match reader.fill_buf() {
            Ok(chunk) => chunk,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Err(CallError::Ended),
            Err(error) => return Err(in_time(error, timeout)),
        };
        if chunk.is_empty() {
            return Err(CallError::Ended);
        }
        let room = (REPLY_MAX_BYTES + 1).saturating_sub(reply.len()) as u64;
        let (taken, ended) = match chunk.iter().position(|byte| *byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (chunk.len(), false),
        };
        (&mut reader).take((taken as u64).min(room)).read_to_end(&mut reply)?;
        if reply.len() > REPLY_MAX_BYTES {
            return Err(CallError::ReplyTooLong);
        }
        if ended {
            return Ok(reply);
        }
    }
}

fn not_connected(error: io::Error) -> CallError {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory => CallError::NotUp,
        io::ErrorKind::PermissionDenied => CallError::Denied(error),
        _ => CallError::Io(error),
    }
}

fn in_time(error: io::Error, timeout: Duration) -> CallError {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => CallError::TimedOut(timeout),
        _ => CallError::Io(error),
    }
}
