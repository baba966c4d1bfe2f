//! Copying between client and backend. One task does both directions, because what one direction brings is mostly
//! the answer to the other; no allocation, timer or lock is on the way of a message.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::estate::Moved;
use crate::sessions::{Record, Request};
use crate::traffic::Traffic;

/// What one read takes. PostgreSQL writes 8 kB at a time; more at once spares system calls when much is under way.
const SCRATCH_BYTES: usize = 64 * 1024;
/// How long a client that has closed its sending side may stop reading.
const STALLED_TIMEOUT: Duration = Duration::from_secs(60);

thread_local! {
    /// One for all connections of a worker, so that an idle connection has no buffer. What cannot be written on at
    /// once is kept by its direction.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice());
}

/// One direction of a connection.
#[derive(Default)]
struct Direction {
    /// Read, but not yet written on: empty unless the other side is slow.
    pending: Vec<u8>,
    /// So much of it has been written on.
    written: usize,
    /// The target has taken bytes that it may still hold back: TLS has a buffer of its own.
    unflushed: bool,
    /// The source has ended.
    ended: bool,
    /// The target takes nothing any more.
    broken: bool,
    /// What comes for a broken target is read and thrown away; otherwise the direction is done.
    drains: bool,
    /// All that came has been written on, and the end too; or there is nobody to write to.
    done: bool,
}

impl Direction {
    /// Copies until nothing is left to copy now. Ready when all is done.
    fn poll_copy<R, W>(
        &mut self,
        context: &mut Context<'_>,
        mut from: Pin<&mut R>,
        mut to: Pin<&mut W>,
        scratch: &mut [u8],
        mut see: impl FnMut(&[u8]),
    ) -> Poll<()>
    where
        R: AsyncRead,
        W: AsyncWrite,
    {
        while !self.done {
            ready!(self.poll_flush(context, to.as_mut()));
            if self.broken && !self.drains {
                self.done = true;
                break;
            }
            if self.ended {
                if !self.broken {
                    // A target that cannot be told is gone, and needs not be.
                    let _ = ready!(to.as_mut().poll_shutdown(context));
                }
                self.done = true;
                break;
            }
            let mut buffer = ReadBuf::new(scratch);
            match ready!(from.as_mut().poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {
                    see(buffer.filled());
                    self.write_on(context, to.as_mut(), buffer.filled());
                }
                Ok(()) | Err(_) => self.ended = true,
            }
        }
        Poll::Ready(())
    }

    fn write_on<W: AsyncWrite>(&mut self, context: &mut Context<'_>, to: Pin<&mut W>, bytes: &[u8]) {
        if self.broken {
            return;
        }
        self.unflushed = true;
        match to.poll_write(context, bytes) {
            Poll::Ready(Ok(count)) if count == bytes.len() => {}
            Poll::Ready(Ok(count)) => self.pending.extend_from_slice(bytes.get(count..).unwrap_or_default()),
            Poll::Ready(Err(_)) => self.broken = true,
            Poll::Pending => self.pending.extend_from_slice(bytes),
        }
    }

    fn poll_flush<W: AsyncWrite>(&mut self, context: &mut Context<'_>, mut to: Pin<&mut W>) -> Poll<()> {
        while let Some(rest) = self.pending.get(self.written..).filter(|rest| !rest.is_empty()) {
            match ready!(to.as_mut().poll_write(context, rest)) {
                Ok(count) if count > 0 => self.written += count,
                Ok(_) | Err(_) => {
                    self.broken = true;
                    break;
                }
            }
        }
        if !self.pending.is_empty() {
            self.pending = Vec::new();
            self.written = 0;
            self.unflushed = true;
        }
        if self.unflushed && !self.broken {
            self.broken = ready!(to.as_mut().poll_flush(context)).is_err();
            self.unflushed = false;
        }
        Poll::Ready(())
    }

    /// Whether somebody else can go on with what it holds back.
    fn goes_on(&self) -> bool {
        !self.ended && !self.broken && !self.done
    }

    /// What it holds back.
    fn into_rest(mut self) -> Vec<u8> {
        self.pending.drain(..self.written.min(self.pending.len()));
        self.pending
    }

    /// Whether it holds nothing back, and goes on.
    fn is_still(&self) -> bool {
        self.pending.is_empty() && !self.unflushed && !self.ended && !self.broken && !self.done
    }

    /// How much waits for a slow target: the same twice means that it has stalled.
    fn backlog(&self) -> usize {
        self.pending.len() - self.written
    }
}

/// A connection under way.
struct Forward<'a, C, B> {
    client: &'a mut C,
    backend: &'a mut B,
    to_backend: Direction,
    to_client: Direction,
    traffic: &'a mut Traffic,
    record: &'a Record,
    heeds: &'a dyn Fn(bool),
    /// Somebody waits for it to be at a boundary.
    moves: Option<oneshot::Sender<Moved>>,
}

/// What waits to be written when it begins.
#[derive(Default)]
pub(crate) struct Begun {
    /// The backend has said it, and the client has not seen it.
    pub(crate) to_client: Vec<u8>,
    /// The client has said it before there was a backend.
    pub(crate) to_backend: Vec<u8>,
    /// Another process had both, and followed them.
    pub(crate) followed: bool,
}

/// Why it ended.
pub(crate) enum Stopped {
    /// Either side has ended. The client may still be reading if it has not closed its own side.
    Over { client_listens: bool },
    /// Somebody asks for something. To park is asked only while nothing is under way, and both sockets stay as they are.
    Asked(Request),
    /// It is to be left to somebody else, with what could not be written on yet.
    Moves(oneshot::Sender<Moved>, Begun),
}

impl<C, B> Forward<'_, C, B>
where
    C: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    /// Ready when the backend has ended and the client has all it said, when the client takes nothing any more, or
    /// (`or_client_ended`) when the client has ended and the backend has all that it said.
    fn poll(&mut self, context: &mut Context<'_>, or_client_ended: bool) -> Poll<()> {
        SCRATCH.with(|scratch| {
            let Ok(mut scratch) = scratch.try_borrow_mut() else { return Poll::Ready(()) };
            let (client, backend) = (Pin::new(&mut *self.client), Pin::new(&mut *self.backend));
            let Self { traffic, record, heeds, .. } = self;
            let sent = self.to_backend.poll_copy(context, client, backend, &mut scratch, |bytes| {
                record.active();
                traffic.client_sent(bytes);
            });
            let (client, backend) = (Pin::new(&mut *self.client), Pin::new(&mut *self.backend));
            let answered = self.to_client.poll_copy(context, backend, client, &mut scratch, |bytes| {
                traffic.backend_sent(bytes, |ready| {
                    record.ready(ready.status, ready.worked);
                    if let Some(on) = ready.keep_awake {
                        heeds(on);
                    }
                });
            });
            if answered.is_ready() || (or_client_ended && sent.is_ready()) { Poll::Ready(()) } else { Poll::Pending }
        })
    }

    /// Whether nothing is under way, not even in a buffer of ours.
    fn is_still(&self) -> bool {
        self.traffic.is_quiet() && self.to_backend.is_still() && self.to_client.is_still()
    }

    /// Ready when `poll` is (true), or when it is to be left to somebody else and can be.
    fn poll_until_it_moves(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        if self.poll(context, true).is_ready() {
            return Poll::Ready(true);
        }
        let may = self.moves.is_some() && self.to_backend.goes_on() && self.to_client.goes_on();
        if may && self.traffic.is_at_boundaries() { Poll::Ready(false) } else { Poll::Pending }
    }

    /// Until either side has ended, or somebody asks for something that can be done now.
    async fn until_asked(&mut self) -> Option<Request> {
        let requests = &self.record.requests;
        loop {
            let request = tokio::select! {
                biased;
                over = poll_fn(|context| self.poll_until_it_moves(context)) => {
                    return self.moves.take().filter(|_| !over).map(Request::Move);
                }
                request = requests.next() => request,
            };
            match request {
                Request::Park(reply) if !self.is_still() => drop(reply.send(Err(nap_model::pin::Pin::Active))),
                Request::Move(reply) => self.moves = Some(reply),
                request => return Some(request),
            }
        }
    }
}

/// What moves a session's bytes, and all that does: whoever calls this does not know how. Another transport may take its
/// place, one that hands the client's socket to the backend for instance, as long as record and traffic are kept.
///
/// Forwards until either side has ended and the other has all it said, or the client is gone: the backend is then to
/// be dropped, so that it learns by its next write that nobody reads. Or until somebody asks for something.
///
/// `heeds` is told whenever the session has said whether its server is to stay awake.
pub(crate) async fn forward<C, B>(
    client: &mut C,
    backend: &mut B,
    begun: Begun,
    traffic: &mut Traffic,
    record: &Record,
    heeds: &dyn Fn(bool),
) -> Stopped
where
    C: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    if !begun.to_backend.is_empty() && !begun.followed {
        record.active();
        traffic.client_sent(&begun.to_backend);
    }
    // A client that still writes to a backend that has gone must get to the point where it reads the last words.
    let to_backend = Direction { pending: begun.to_backend, drains: true, ..Direction::default() };
    let to_client = Direction { pending: begun.to_client, ..Direction::default() };
    let mut forward = Forward { client, backend, to_backend, to_client, traffic, record, heeds, moves: None };
    match forward.until_asked().await {
        Some(Request::Move(reply)) => {
            let (to_client, to_backend) = (forward.to_client.into_rest(), forward.to_backend.into_rest());
            return Stopped::Moves(reply, Begun { to_client, to_backend, followed: true });
        }
        Some(request) => return Stopped::Asked(request),
        None => {}
    }
    if forward.to_backend.ended {
        // A server that dozes has not seen it go.
        record.alarm().ring();
    }
    // The client has closed its sending side, or all. The backend may work on, and its answers are still awaited by
    // a client that has closed only half; one that reads no more must not keep its place.
    let mut backlog = None;
    while !forward.to_client.done {
        let rest = poll_fn(|context| forward.poll(context, false));
        if timeout(STALLED_TIMEOUT, rest).await.is_ok() {
            break;
        }
        let stalled = forward.to_client.backlog();
        if stalled > 0 && backlog == Some(stalled) {
            break;
        }
        backlog = Some(stalled);
    }
    Stopped::Over { client_listens: !forward.to_backend.ended && !forward.to_client.broken }
}

/// Makes a worker's thread ready to forward: the buffer is allocated now rather than for the first client.
pub(crate) fn prepare_thread() {
    SCRATCH.with(|_| ());
}

#[cfg(test)]
mod tests;
