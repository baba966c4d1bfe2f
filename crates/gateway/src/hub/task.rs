//! The task of one hub, which owns its backend and its roll.

use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{mpsc, oneshot};

use super::link::{Event, Link, Server};
use super::roll::{Roll, Sink};
use super::{Fence, Hub, Hubs, Key};
use crate::repeats::may_log;

/// What a hub is asked.
pub(super) enum Command {
    /// Listen in a session's place from the fence on that is the answer.
    Join { id: u64, channels: Vec<Vec<u8>>, server: Server, sink: Sink, reply: oneshot::Sender<Fence> },
    /// Until the fence that is the answer.
    Leave { id: u64, reply: oneshot::Sender<Fence> },
    /// The session has gone.
    Forget { id: u64 },
    /// Listen in the place of a session that was listened for before.
    Inherit { id: u64, channels: Vec<Vec<u8>>, sink: Sink },
    /// Go on with this backend, which has said this.
    TakeUp { stream: UnixStream, said: Vec<u8> },
    /// End, and leave the backend to somebody else, if nothing is under way.
    LeaveAll { reply: oneshot::Sender<TaskLeft> },
    /// Answer when all channels are listened to.
    Listen { server: Server, reply: oneshot::Sender<()> },
    /// Answer when all that was on the way has been heard, and the backend is let go.
    FallSilent { reply: oneshot::Sender<()> },
}

/// What a hub leaves.
pub(super) struct TaskLeft {
    /// Its backend, if it had one, and what that has said.
    pub(super) link: Option<(OwnedFd, Vec<u8>)>,
    /// Those it listened for to the end.
    pub(super) listened_for: Vec<u64>,
}

pub(super) struct Task {
    hubs: Arc<Hubs>,
    key: Key,
    commands: mpsc::UnboundedReceiver<Command>,
    connected: Arc<AtomicBool>,
    link: Option<Link>,
    roll: Roll,
    /// Who is to be given the next fence: one serves all who ask at once, as each is a commit, and wakes all who listen.
    asked: Vec<(u64, oneshot::Sender<Fence>)>,
    /// Channels that the next question adds.
    new: Vec<Vec<u8>>,
    /// It falls silent at this fence, which has perhaps not been asked for yet; unless somebody comes.
    silence: Option<(Option<Fence>, oneshot::Sender<()>)>,
    /// Everything has been left to somebody else.
    left: bool,
}

impl Task {
    /// On the caller's thread.
    pub(super) fn start(hubs: Arc<Hubs>, key: Key) -> Hub {
        let (sender, commands) = mpsc::unbounded_channel();
        let connected = Arc::new(AtomicBool::new(false));
        let hub = Hub { commands: sender, connected: connected.clone() };
        let (link, roll, asked, new) = (None, Roll::default(), Vec::new(), Vec::new());
        let task = Self { hubs, key, commands, connected, link, roll, asked, new, silence: None, left: false };
        tokio::task::spawn_local(task.run());
        hub
    }

    async fn run(mut self) {
        loop {
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.on_commands(command).await,
                    None => return,
                },
                event = next(&mut self.link) => match event {
                    Ok(event) => self.on_event(event).await,
                    Err(error) => self.lose(&error.to_string()),
                },
            }
            if self.left {
                return;
            }
            if self.roll.is_empty() {
                // Its backend would stand in the way of DROP DATABASE, for nobody.
                self.let_go().await;
                if self.hubs.retire(&self.key, &self.commands) {
                    return;
                }
            }
        }
    }

    /// Everything that has been asked so far.
    async fn on_commands(&mut self, first: Command) {
        self.on_command(first).await;
        while let Ok(command) = self.commands.try_recv() {
            self.on_command(command).await;
        }
        self.notify_a_fence();
    }

    async fn on_command(&mut self, command: Command) {
        match command {
            // Who cannot be taken on goes on listening by itself.
            Command::Join { channels, .. } if !self.roll.has_room(channels.len()) => {}
            Command::Join { id, channels, server, sink, reply } => {
                self.silence = None;
                self.roll.join(id, channels.clone(), sink);
                self.listen(&server).await;
                self.new.extend(channels);
                self.asked.push((id, reply));
            }
            Command::Leave { id, reply } => {
                self.silence = None;
                self.roll.leave(id);
                self.asked.push((id, reply));
            }
            Command::Forget { id } => {
                let unheard = self.roll.forget(id);
                self.unlisten(&unheard);
            }
            Command::Listen { server, reply } => {
                self.silence = None;
                self.listen(&server).await;
                let _ = reply.send(());
            }
            Command::Inherit { id, channels, sink } => self.roll.inherit(id, channels, sink),
            Command::TakeUp { stream, said } => match Link::resumed(stream, said) {
                Ok(link) => {
                    self.link = Some(link);
                    self.connected.store(true, Ordering::Relaxed);
                }
                Err(error) => self.lose(&error.to_string()),
            },
            // Otherwise who asked sees that, and asks again.
            Command::LeaveAll { reply } => {
                if !self.is_busy() {
                    self.left = true;
                    self.hubs.lock().remove(&self.key);
                    let had_link = self.link.is_some();
                    let link = self.link.take().and_then(Link::into_parts);
                    // Without its backend something may be lost.
                    let listened_for = if had_link && link.is_none() { Vec::new() } else { self.roll.ids() };
                    let _ = reply.send(TaskLeft { link, listened_for });
                }
            }
            Command::FallSilent { reply } => {
                self.silence = self.link.is_some().then_some((None, reply));
            }
        }
    }

    /// Whether somebody waits for a fence.
    fn is_busy(&self) -> bool {
        let asks = !self.asked.is_empty() || !self.new.is_empty() || self.silence.is_some();
        asks || self.roll.is_waiting() || self.link.as_ref().is_some_and(Link::is_asked)
    }

    fn notify_a_fence(&mut self) {
        let (asked, mut new) = (std::mem::take(&mut self.asked), std::mem::take(&mut self.new));
        // One who joined may have gone already.
        new.retain(|channel| self.roll.has(channel));
        let silent = self.silence.as_ref().is_some_and(|(fence, _)| fence.is_none());
        // Without a backend there is no fence: whoever asked sees that.
        let Some(link) = self.link.as_mut().filter(|_| silent || !asked.is_empty()) else { return };
        let fence = self.hubs.fence();
        for (id, reply) in asked {
            if self.roll.expect(id, fence) {
                let _ = reply.send(fence);
            }
        }
        if let Some((at @ None, _)) = &mut self.silence {
            *at = Some(fence);
        }
        link.listen(self.roll.channels(), &new, self.hubs.fence_channel(), fence);
    }

    async fn on_event(&mut self, event: Event) {
        match event {
            Event::Notification { channel, payload, .. } if channel == self.hubs.fence_channel().as_bytes() => {
                let Some(passed) = Fence::of(&payload) else { return };
                let unheard = self.roll.fence(passed);
                self.unlisten(&unheard);
                if let Some((_, reply)) = self.silence.take_if(|(fence, _)| *fence == Some(passed)) {
                    self.let_go().await;
                    let _ = reply.send(());
                }
            }
            Event::Notification { channel, whole, .. } => {
                let unheard = self.roll.notify(&channel, &whole).await;
                self.unlisten(&unheard);
            }
            // PostgreSQL's queue is full, for instance: whoever waits for the fence cannot be told more than that.
            Event::Refused(fence, error) => {
                let (branch, database) = &self.key;
                tracing::warn!(%branch, database, error = error.message, "the listener hub was refused");
                if let Some(fence) = fence {
                    self.silence.take_if(|(silence, _)| *silence == Some(fence));
                    let unheard = self.roll.refuse(fence);
                    self.unlisten(&unheard);
                }
            }
            Event::Done => {}
        }
    }

    /// Makes sure that it has a backend, which listens to all channels. Those who listened while it had none, because
    /// the server slept, have missed nothing.
    async fn listen(&mut self, server: &Server) {
        if self.link.is_some() || self.roll.is_empty() {
            return;
        }
        let (branch, database) = &self.key;
        match Link::open(branch, database, server, self.hubs.fence_channel(), self.roll.channels()).await {
            Ok(link) => {
                tracing::debug!(%branch, database, "the listener hub listens");
                self.link = Some(link);
                self.connected.store(true, Ordering::Relaxed);
            }
            Err(error) => self.lose(&error.to_string()),
        }
    }

    fn unlisten(&mut self, channels: &[Vec<u8>]) {
        if let Some(link) = self.link.as_mut().filter(|_| !channels.is_empty() && !self.roll.is_empty()) {
            link.unlisten(self.roll.channels(), channels);
        }
    }

    async fn let_go(&mut self) {
        self.connected.store(false, Ordering::Relaxed);
        self.silence = None;
        if let Some(link) = self.link.take() {
            link.close().await;
        }
    }

    /// Something may have been lost: whoever listened is closed, and will connect again.
    fn lose(&mut self, why: &str) {
        if !self.roll.is_empty() && may_log("listener hub lost") {
            let (branch, database) = &self.key;
            tracing::warn!(%branch, database, why, "the listener hub has lost its backend: its sessions are closed");
        }
        self.connected.store(false, Ordering::Relaxed);
        self.link = None;
        self.silence = None;
        self.roll = Roll::default();
    }
}

async fn next(link: &mut Option<Link>) -> io::Result<Event> {
    match link {
        Some(link) => link.next().await,
        None => pending().await,
    }
}
