//! The hub's backend: what it is told, and what it says.

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use nap_model::ids::{BranchName, Major};
use nap_wire::extended;
use nap_wire::frame::parse_frame;
use nap_wire::messages::{self, ErrorFields, parse_error_response, parse_notification};
use nap_wire::startup::encode_startup;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, sleep, timeout_at};

use super::Fence;
use crate::backend::{Backend, NotYet, begin};
use crate::branches::Awake;

/// From connecting to listening.
const OPEN_WITHIN: Duration = Duration::from_secs(10);
/// The pause between tries, of a server that comes back from a crash for instance.
const PAUSE: Duration = Duration::from_millis(20);
/// A payload has less than 8,000 bytes; an error may quote a statement.
const MESSAGE_MAX_BYTES: usize = 1024 * 1024;
const CHUNK_BYTES: usize = 8 * 1024;
/// So many channels are named in each of its statements; `track_activity_query_size` cuts them at 1,024 bytes.
const SHOWN_MAX: usize = 16;

/// Where a server takes connections, and as whom.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) socket: PathBuf,
    pub(crate) superuser: String,
    pub(crate) major: Major,
}

impl Server {
    pub(crate) fn of_backend(backend: &Backend, major: Major) -> Self {
        Self { socket: backend.socket.clone(), superuser: backend.superuser.clone(), major }
    }

    pub(crate) fn of(awake: &Awake, major: Major) -> Self {
        Self { socket: awake.socket.clone(), superuser: awake.superuser.clone(), major }
    }
}

/// What the backend has said.
pub(crate) enum Event {
    Notification {
        /// The backend that notified.
        pid: i32,
        channel: Vec<u8>,
        payload: Vec<u8>,
        whole: Vec<u8>,
    },
    /// What was asked with this fence was refused.
    Refused(Option<Fence>, ErrorFields),
    Done,
}

/// A connection that listens.
pub(crate) struct Link {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    said: Vec<u8>,
    used: usize,
    to_say: Vec<u8>,
    /// What has been asked, in order, with the fence that each question notifies.
    asked: VecDeque<Option<Fence>>,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoLink {
    #[error("{0}")]
    NotYet(#[from] NotYet),
    #[error("{}", .0.message)]
    Refused(ErrorFields),
    #[error("{0}")]
    Broken(#[from] io::Error),
    #[error("no answer in time")]
    Late,
}

impl Link {
    /// Connects, and listens to these channels and to that of the fences.
    pub(crate) async fn open<'a>(
        branch: &BranchName,
        database: &str,
        server: &Server,
        fence_channel: &'a str,
        channels: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Self, NoLink> {
        let deadline = Instant::now() + OPEN_WITHIN;
        let packet = startup_packet(branch, database, server);
        let backend = loop {
            let awake =
                Awake { socket: server.socket.clone(), superuser: server.superuser.clone(), hold: Box::new(()) };
            match timeout_at(deadline, begin(awake, &packet, 0, true)).await.map_err(|_| NoLink::Late)? {
                Ok(backend) => break backend,
                Err(error) if Instant::now() + PAUSE >= deadline => return Err(error.into()),
                Err(_) => sleep(PAUSE).await,
            }
        };
        if !backend.ready {
            let words = backend.refusal().and_then(|words| parse_frame(words, words.len()).ok().flatten());
            let error = words.map(|(frame, _)| parse_error_response(frame.body));
            let nothing = || ErrorFields::fatal("08P01", "the server said nothing that could be read");
            return Err(NoLink::Refused(error.unwrap_or_else(nothing)));
        }
        let Backend { stream, reported, .. } = backend;
        let stream = UnixStream::from_std(stream.into_inner()?.into())?;
        let mut link = Self::of(stream);
        let mut text = Vec::new();
        push_listen(&mut text, channels.chain([fence_channel.as_bytes()]));
        // What notifications are said in; parked sessions have the same.
        text.extend_from_slice(b"SET client_encoding = ");
        push_quoted(&mut text, reported.get("server_encoding").map_or(b"UTF8", Vec::as_slice));
        link.ask(&text, None);
        match timeout_at(deadline, link.done()).await {
            Ok(done) => done.map(|()| link),
            Err(_) => Err(NoLink::Late),
        }
    }

    fn of(stream: UnixStream) -> Self {
        let (reader, writer) = stream.into_split();
        Self { reader, writer, said: Vec::new(), used: 0, to_say: Vec::new(), asked: VecDeque::new() }
    }

    /// One that another process has left.
    pub(super) fn resumed(stream: std::os::unix::net::UnixStream, said: Vec<u8>) -> io::Result<Self> {
        Ok(Self { said, ..Self::of(UnixStream::from_std(stream)?) })
    }

    /// Whether an answer is still to come.
    pub(super) fn is_asked(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Its socket, and what was read from it and is not a whole message yet, or was not looked at.
    pub(super) fn into_parts(mut self) -> Option<(OwnedFd, Vec<u8>)> {
        self.said.drain(..self.used.min(self.said.len()));
        let stream = self.reader.reunite(self.writer).ok()?.into_std().ok()?;
        Some((stream.into(), self.said))
    }

    /// Until the first question is answered.
    async fn done(&mut self) -> Result<(), NoLink> {
        let mut refused = None;
        while !self.asked.is_empty() {
            match self.next().await? {
                Event::Refused(_, error) => refused = Some(error),
                // It listens only when it is done.
                Event::Notification { .. } | Event::Done => {}
            }
        }
        refused.map_or(Ok(()), |error| Err(NoLink::Refused(error)))
    }

    /// Asks something, which is sent while `next` is awaited.
    fn ask(&mut self, text: &[u8], fence: Option<Fence>) {
        extended::query(&mut self.to_say, text);
        self.asked.push_back(fence);
    }

    /// Listens to more channels, and notifies a fence: in one transaction, so that what comes after the fence is heard.
    /// Some of those that it listens to already are named again, for who looks into pg_stat_activity.
    pub(crate) fn listen<'a>(
        &mut self,
        known: impl Iterator<Item = &'a [u8]>,
        channels: &'a [Vec<u8>],
        fence_channel: &str,
        fence: Fence,
    ) {
        let mut text = Vec::new();
        push_listen(&mut text, known.take(SHOWN_MAX).chain(channels.iter().map(Vec::as_slice)));
        text.extend_from_slice(b"NOTIFY ");
        push_quoted(&mut text, fence_channel.as_bytes());
        text.extend_from_slice(format!(", '{}'", fence.payload()).as_bytes());
        self.ask(&text, Some(fence));
    }

    /// Listens to these no more.
    pub(super) fn unlisten<'a>(&mut self, known: impl Iterator<Item = &'a [u8]>, channels: &[Vec<u8>]) {
        let mut text = Vec::new();
        push_listen(&mut text, known.take(SHOWN_MAX));
        for channel in channels {
            text.extend_from_slice(b"UNLISTEN ");
            push_quoted(&mut text, channel);
            text.extend_from_slice(b"; ");
        }
        self.ask(&text, None);
    }

    /// The next thing that it says. May be dropped at any time.
    pub(crate) async fn next(&mut self) -> io::Result<Event> {
        loop {
            if let Some(event) = self.event()? {
                return Ok(event);
            }
            self.said.drain(..std::mem::take(&mut self.used));
            self.said.reserve(CHUNK_BYTES);
            tokio::select! {
                count = self.reader.read_buf(&mut self.said) => if count? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                },
                count = write_some(&mut self.writer, &self.to_say) => {
                    self.to_say.drain(..count?);
                }
            }
        }
    }

    /// What has been read already.
    fn event(&mut self) -> io::Result<Option<Event>> {
        loop {
            let rest = self.said.get(self.used..).unwrap_or_default();
            let parsed = parse_frame(rest, MESSAGE_MAX_BYTES);
            let parsed = parsed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let Some((frame, bytes)) = parsed else { return Ok(None) };
            let event = match frame.tag {
                extended::tag::NOTIFICATION_RESPONSE => {
                    parse_notification(frame.body).map(|told| Event::Notification {
                        pid: told.pid,
                        channel: told.channel.to_vec(),
                        payload: told.payload.to_vec(),
                        whole: rest.get(..bytes).unwrap_or_default().to_vec(),
                    })
                }
                messages::tag::ERROR_RESPONSE => {
                    let fence = self.asked.front().copied().flatten();
                    Some(Event::Refused(fence, parse_error_response(frame.body)))
                }
                messages::tag::READY_FOR_QUERY => {
                    self.asked.pop_front();
                    Some(Event::Done)
                }
                _ => None,
            };
            self.used += bytes;
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    /// As a client leaves.
    pub(crate) async fn close(mut self) {
        let mut words = std::mem::take(&mut self.to_say);
        extended::terminate(&mut words);
        let _ = timeout_at(Instant::now() + OPEN_WITHIN, self.writer.write_all(&words)).await;
    }
}

async fn write_some(writer: &mut OwnedWriteHalf, bytes: &[u8]) -> io::Result<usize> {
    match bytes.is_empty() {
        true => pending().await,
        false => writer.write(bytes).await,
    }
}

/// What a role or a database sets for itself must not end the hub.
fn startup_packet(branch: &BranchName, database: &str, server: &Server) -> Vec<u8> {
    let mut options = format!(
        "-c nap.branch={branch} -c statement_timeout=0 -c lock_timeout=0 -c idle_session_timeout=0 -c role=none \
         -c session_preload_libraries= -c local_preload_libraries= -c default_transaction_read_only=off \
         -c default_transaction_deferrable=off -c default_transaction_isolation=read\\ committed"
    );
    if server.major >= Major(17) {
        options.push_str(" -c event_triggers=off -c transaction_timeout=0");
    }
    let parameters = [
        ("user", server.superuser.as_str()),
        ("database", database),
        ("application_name", "nap listener hub"),
        ("options", &options),
    ];
    encode_startup(0, &parameters)
}

fn push_listen<'a>(text: &mut Vec<u8>, channels: impl Iterator<Item = &'a [u8]>) {
    for channel in channels {
        text.extend_from_slice(b"LISTEN ");
        push_quoted(text, channel);
        text.extend_from_slice(b"; ");
    }
}

/// An identifier. In no server encoding can a quote be part of another character.
pub(crate) fn push_quoted(text: &mut Vec<u8>, name: &[u8]) {
    text.push(b'"');
    for byte in name {
        if *byte == b'"' {
            text.push(b'"');
        }
        text.push(*byte);
    }
    text.push(b'"');
}
