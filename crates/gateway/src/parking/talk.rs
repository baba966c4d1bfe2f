//! Talking to a backend in a session's stead: pipelines out, what they come to back.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::OnceLock;

use nap_wire::extended::{self, parse_data_row};
use nap_wire::frame::{Frame, parse_frame};
use nap_wire::messages::{ErrorFields, parse_error_response, parse_parameter_status, tag};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::state::Reported;
use crate::local_stream::LocalStream;

/// All that is kept of a backend's answers: settings and statements. More is a pin.
pub(super) const ANSWERS_MAX_BYTES: usize = 4 * 1024 * 1024;
/// A row with the longest text there can be.
const MESSAGE_MAX_BYTES: usize = 0x3fff_ffff;
const CHUNK_BYTES: usize = 4096;

/// The rows of one statement.
pub(super) type Rows = Vec<Vec<Option<Vec<u8>>>>;

/// What a pipeline up to its `Sync` came to.
#[derive(Default)]
pub(super) struct Outcome {
    /// What each `Execute` returned.
    pub(super) results: Vec<Rows>,
    /// The first error: what followed it was not done.
    pub(super) error: Option<ErrorFields>,
    /// `I`, `T` or `E`.
    pub(super) status: u8,
    /// Rows are missing: there were too many.
    pub(super) cut: bool,
}

/// What came besides the answers.
#[derive(Default)]
pub(super) struct Aside {
    /// Notices and notifications, whole.
    pub(super) messages: Vec<u8>,
    /// `ParameterStatus`.
    pub(super) reported: Reported,
    /// The beginning of a message that has not been read to its end.
    pub(super) unread: Vec<u8>,
}

/// Sends pipelines with `syncs` ends, and reads what they come to, and what comes after them up to the end of a message.
pub(super) async fn talk(
    stream: &mut LocalStream,
    pipelines: &[u8],
    syncs: usize,
    aside: &mut Aside,
) -> io::Result<Vec<Outcome>> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    // At the same time: a backend whose answers nobody reads takes no more questions.
    let (written, read) = tokio::join!(writer.write_all(pipelines), async {
        let mut outcomes = Vec::with_capacity(syncs);
        let mut buffer = std::mem::take(&mut aside.unread);
        let (mut current, mut total_bytes) = (Outcome::default(), 0);
        // A notification may follow, of which only a part has been read.
        while outcomes.len() < syncs || !buffer.is_empty() {
            buffer.reserve(CHUNK_BYTES);
            let count = reader.read_buf(&mut buffer).await?;
            total_bytes += count;
            if count == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            current.cut |= total_bytes > ANSWERS_MAX_BYTES;
            let mut used = 0;
            while let Some((frame, frame_bytes)) =
                parse_frame(buffer.get(used..).unwrap_or_default(), MESSAGE_MAX_BYTES)
                    .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?
            {
                let whole = buffer.get(used..used + frame_bytes).unwrap_or_default();
                if current.take(frame, whole, aside) {
                    outcomes.push(std::mem::take(&mut current));
                }
                used += frame_bytes;
            }
            buffer.drain(..used);
        }
        Ok(outcomes)
    });
    // A backend that has ended may have said why.
    let outcomes = read?;
    written?;
    Ok(outcomes)
}

impl Outcome {
    /// Whether it is whole now.
    fn take(&mut self, frame: Frame<'_>, whole: &[u8], aside: &mut Aside) -> bool {
        match frame.tag {
            extended::tag::BIND_COMPLETE => self.results.push(Rows::new()),
            extended::tag::DATA_ROW if !self.cut => {
                let row = parse_data_row(frame.body).unwrap_or_default();
                let row = row.into_iter().map(|column| column.map(<[u8]>::to_vec)).collect();
                if let Some(rows) = self.results.last_mut() {
                    rows.push(row);
                }
            }
            tag::ERROR_RESPONSE if self.error.is_none() => self.error = Some(parse_error_response(frame.body)),
            tag::READY_FOR_QUERY => {
                self.status = frame.body.first().copied().unwrap_or_default();
                return true;
            }
            tag::PARAMETER_STATUS => {
                if let Some((name, value)) = parse_parameter_status(frame.body) {
                    aside.reported.insert(name.to_owned(), value.to_vec());
                }
            }
            tag::NOTICE_RESPONSE | extended::tag::NOTIFICATION_RESPONSE => aside.messages.extend_from_slice(whole),
            _ => {}
        }
        false
    }
}

/// A text as an element of an array's literal.
fn push_element(literal: &mut Vec<u8>, text: &[u8]) {
    literal.push(b'"');
    for byte in text {
        if matches!(byte, b'"' | b'\\') {
            literal.push(b'\\');
        }
        literal.push(*byte);
    }
    literal.push(b'"');
}

/// An array's literal. In no server encoding can a quote or a backslash be part of another character.
pub(super) fn array<'a>(texts: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut literal = vec![b'{'];
    for (at, text) in texts.into_iter().enumerate() {
        if at > 0 {
            literal.push(b',');
        }
        push_element(&mut literal, text);
    }
    literal.push(b'}');
    literal
}

/// Pipelines under construction. Statements are named `_nap_…_1` and so on: the unnamed one is the session's.
#[derive(Default)]
pub(super) struct Pipelines {
    pub(super) bytes: Vec<u8>,
    pub(super) syncs: usize,
    names: usize,
}

impl Pipelines {
    /// Pipelines that follow others: what an error may have left of those is closed first, it was closed only if all
    /// went well.
    pub(super) fn after(others: &Pipelines) -> Self {
        let mut pipelines = Self { names: others.names, ..Self::default() };
        for number in 1..=others.names {
            extended::close_statement(&mut pipelines.bytes, format!("{}{number}", our_prefix()).as_bytes());
        }
        pipelines
    }

    /// Does one statement, and forgets it.
    pub(super) fn run(&mut self, text: &str, parameters: &[&[u8]]) {
        self.run_bytes(text.as_bytes(), parameters);
    }

    /// The same with a text in the server's encoding.
    pub(super) fn run_bytes(&mut self, text: &[u8], parameters: &[&[u8]]) {
        self.names += 1;
        let name = format!("{}{}", our_prefix(), self.names);
        extended::parse(&mut self.bytes, name.as_bytes(), text, &[]);
        extended::bind(&mut self.bytes, name.as_bytes(), parameters);
        extended::execute(&mut self.bytes);
        extended::close_statement(&mut self.bytes, name.as_bytes());
    }

    /// Ends a pipeline.
    pub(super) fn sync(&mut self) {
        extended::sync(&mut self.bytes);
        self.syncs += 1;
    }
}

/// How the names of our own statements begin: as none of a client's does.
pub(super) fn our_prefix() -> &'static str {
    static PREFIX: OnceLock<String> = OnceLock::new();
    PREFIX.get_or_init(|| format!("_nap_{:016x}_", RandomState::new().hash_one("a statement")))
}
