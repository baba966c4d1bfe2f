//! Moving a session's channels between its backend and the hub.
//!
//! Both listen to the channel of the fences, and so hear the same fence at the same place among all notifications.

use std::io;

use nap_wire::extended;
use nap_wire::frame::parse_frame;
use nap_wire::messages::{parse_notification, tag};
use tokio::io::AsyncReadExt;

use super::ask::{NoAnswer, clean_up};
use super::questions as q;
use super::talk::{Aside, Pipelines, talk};
use crate::hub::{Fence, push_quoted};
use crate::local_stream::LocalStream;

/// What a backend may say while a fence is awaited, in one message: a notice has no bound of its own.
const MESSAGE_MAX_BYTES: usize = 0x3fff_ffff;
const CHUNK_BYTES: usize = 4096;
/// So much may come before a fence: notifications of a transaction that sends a great many.
const HEARD_MAX_BYTES: usize = 64 * 1024 * 1024;

/// Which notifications are the session's: those that its backend heard before the fence, or after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    Before,
    After,
}

/// A backend that hears fences.
pub(crate) struct Ear<'a> {
    stream: &'a mut LocalStream,
    fence_channel: &'a str,
    aside: Aside,
}

impl<'a> Ear<'a> {
    pub(crate) fn new(stream: &'a mut LocalStream, fence_channel: &'a str) -> Self {
        Self { stream, fence_channel, aside: Aside::default() }
    }

    /// Listens to these channels and to that of the fences. What was heard until then is kept, whatever comes of it.
    pub(crate) async fn listen(&mut self, channels: &[Vec<u8>]) -> Result<(), NoAnswer> {
        let channels = channels.iter().map(Vec::as_slice).chain([self.fence_channel.as_bytes()]);
        let statements: Vec<_> = channels.map(|channel| statement("LISTEN ", channel)).collect();
        self.run(statements.into_iter()).await
    }

    /// Does statements in a transaction of their own, whatever the session has set.
    async fn run(&mut self, statements: impl Iterator<Item = Vec<u8>>) -> Result<(), NoAnswer> {
        let mut pipelines = Pipelines::default();
        pipelines.run(q::BEGIN, &[]);
        pipelines.run(q::WITHOUT_TIMEOUT, &[]);
        statements.for_each(|statement| pipelines.run_bytes(&statement, &[]));
        pipelines.run(q::COMMIT, &[]);
        pipelines.sync();
        let outcomes = talk(self.stream, &pipelines.bytes, pipelines.syncs, &mut self.aside).await?;
        match outcomes.first().and_then(|outcome| outcome.error.as_ref()) {
            None => Ok(()),
            Some(error) => {
                tracing::debug!(error = error.message, "a session's channels could not be moved");
                clean_up(self.stream, &pipelines, &outcomes, &mut self.aside).await?;
                Err(NoAnswer::Pinned(nap_model::pin::Pin::NotAsked))
            }
        }
    }

    /// Forgets the notifications that have been heard so far.
    pub(crate) fn forget(&mut self) {
        self.aside.messages.clear();
    }

    /// Reads until the fence has passed; if what comes after it is the session's, to the end of a message. May be dropped at
    /// any time.
    pub(crate) async fn until(&mut self, fence: Fence, keep: Keep) -> io::Result<()> {
        let fence = fence.payload();
        let mut passed = false;
        loop {
            self.take(fence.as_bytes(), keep, &mut passed)?;
            // What comes after it is somebody else's, and this backend is to be let go.
            if passed && (keep == Keep::Before || self.aside.unread.is_empty()) {
                return Ok(());
            }
            if self.aside.messages.len() > HEARD_MAX_BYTES {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            self.aside.unread.reserve(CHUNK_BYTES);
            if self.stream.read_buf(&mut self.aside.unread).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Takes what has been read.
    fn take(&mut self, fence: &[u8], keep: Keep, passed: &mut bool) -> io::Result<()> {
        let Aside { messages, unread, .. } = &mut self.aside;
        let mut used = 0;
        let mut rest = unread.as_slice();
        while let Some((frame, bytes)) =
            parse_frame(rest, MESSAGE_MAX_BYTES).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?
        {
            let notification =
                (frame.tag == extended::tag::NOTIFICATION_RESPONSE).then(|| parse_notification(frame.body)).flatten();
            let wanted = match notification {
                Some(told) if told.channel == self.fence_channel.as_bytes() => {
                    *passed |= told.payload == fence;
                    false
                }
                Some(_) => *passed == (keep == Keep::After),
                None if frame.tag == tag::ERROR_RESPONSE => return Err(io::ErrorKind::ConnectionAborted.into()),
                None => true,
            };
            if wanted {
                messages.extend_from_slice(rest.get(..bytes).unwrap_or_default());
            }
            rest = rest.get(bytes..).unwrap_or_default();
            used += bytes;
        }
        unread.drain(..used);
        Ok(())
    }

    /// Hears no more fences. Gives back what the client is to be told. An error: it would go on hearing them.
    pub(crate) async fn close(mut self) -> Result<Vec<u8>, NoAnswer> {
        let unlisten = statement("UNLISTEN ", self.fence_channel.as_bytes());
        self.run(std::iter::once(unlisten)).await.map_err(|_| NoAnswer::Broken)?;
        Ok(self.heard())
    }

    /// What the client is to be told: fences are not among it.
    pub(crate) fn heard(self) -> Vec<u8> {
        let messages = self.aside.messages;
        let mut heard = Vec::with_capacity(messages.len());
        let mut rest = messages.as_slice();
        while let Ok(Some((frame, bytes))) = parse_frame(rest, messages.len()) {
            let is_fence = frame.tag == extended::tag::NOTIFICATION_RESPONSE
                && parse_notification(frame.body).is_some_and(|told| told.channel == self.fence_channel.as_bytes());
            if !is_fence {
                heard.extend_from_slice(rest.get(..bytes).unwrap_or_default());
            }
            rest = rest.get(bytes..).unwrap_or_default();
        }
        heard
    }
}

fn statement(word: &str, channel: &[u8]) -> Vec<u8> {
    let mut text = word.as_bytes().to_vec();
    push_quoted(&mut text, channel);
    text
}
