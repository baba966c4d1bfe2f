//! The daemon's end of the guardian: a process of its own that lets frozen servers go on if the daemon dies.
//!
//! Between them is a pair of sockets. The daemon says which data directory it is about to freeze, and freezes it only when
//! the guardian has heard; it says when the server goes on. When the daemon's end closes, however that came about, the
//! guardian lets every server go on that it was told of, and ends.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream as StdStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use crate::children::Children;

pub mod process;

/// A data directory is about to be frozen …
const FROZEN: u8 = b'+';
/// … or goes on.
const THAWED: u8 = b'-';
/// Follows the path: no path holds it.
const END: u8 = 0;

/// How long a guardian may take to begin and to answer. It is one small program on this machine.
const HEARS_WITHIN: Duration = Duration::from_secs(5);

/// The command that becomes a guardian: it is to call [`process::guard`], with the socket as its standard input.
pub type GuardianCommand = dyn Fn() -> Command + Send + Sync;

/// Why there is no guardian, and so nothing is frozen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoGuardian {
    /// It cannot be spawned.
    #[error("the guardian cannot be started: {0}")]
    NotStarted(#[from] io::Error),
    /// It ended, or does not answer.
    #[error("the guardian does not answer")]
    Silent,
}

/// The guardian of all servers, as it was last started.
pub(crate) struct Guardian {
    children: Children,
    command: Box<GuardianCommand>,
    /// What it hears by, and its pid.
    words: Mutex<Option<(mpsc::UnboundedSender<Word>, i32)>>,
    complained: AtomicBool,
}

/// What the guardian is told.
enum Word {
    Frozen { data: PathBuf, heard: oneshot::Sender<()> },
    Thawed(PathBuf),
}

/// The guardian knows of a server, for as long as this lives.
pub(crate) struct Ward {
    data: PathBuf,
    words: mpsc::UnboundedSender<Word>,
}

impl Ward {
    /// Returns when the guardian has died.
    pub(crate) async fn lost(&self) {
        self.words.closed().await;
    }

    /// Whether it has.
    pub(crate) fn is_lost(&self) -> bool {
        self.words.is_closed()
    }
}

impl Drop for Ward {
    fn drop(&mut self) {
        let _ = self.words.send(Word::Thawed(std::mem::take(&mut self.data)));
    }
}

impl Guardian {
    /// Nothing is started yet.
    pub(crate) fn new(children: Children, command: Box<GuardianCommand>) -> Self {
        Self { children, command, words: Mutex::default(), complained: AtomicBool::default() }
    }

    /// Tells it of a server that is about to be frozen, and returns when it has heard. It is started if need be.
    pub(crate) async fn watch_over(&self, data: &Path) -> Result<Ward, NoGuardian> {
        let ward = Ward { data: data.to_owned(), words: self.words()? };
        let (heard, hears) = oneshot::channel();
        let _ = ward.words.send(Word::Frozen { data: data.to_owned(), heard });
        match tokio::time::timeout(HEARS_WITHIN, hears).await {
            Ok(Ok(())) => {
                self.complained.store(false, Ordering::Relaxed);
                Ok(ward)
            }
            _ => {
                self.give_up();
                Err(NoGuardian::Silent)
            }
        }
    }

    /// One that hangs guards nobody: whoever has a ward of it sees its end, and the next is another one.
    fn give_up(&self) {
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(pid) = words.and_then(|(_, pid)| Pid::from_raw(pid)) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    /// Whether this is the first failure since it last worked: the same again and again would fill the log.
    pub(crate) fn is_new_complaint(&self) -> bool {
        !self.complained.swap(true, Ordering::Relaxed)
    }

    fn words(&self) -> io::Result<mpsc::UnboundedSender<Word>> {
        let mut words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        match words.as_ref().filter(|(words, _)| !words.is_closed()) {
            Some((words, _)) => Ok(words.clone()),
            None => Ok(words.insert(self.start()?).0.clone()),
        }
    }

    fn start(&self) -> io::Result<(mpsc::UnboundedSender<Word>, i32)> {
        let (ours, theirs) = StdStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut command = (self.command)();
        // A group of its own: what ends the daemon's must not end it too.
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let pid = self.children.spawn(&mut command)?.pid;
        let (words, heard) = mpsc::unbounded_channel();
        tokio::spawn(converse(UnixStream::from_std(ours)?, heard, pid));
        tracing::info!(pid, "the guardian of frozen servers has started");
        Ok((words, pid))
    }
}

/// Until the guardian has gone, which whoever has a ward then sees.
async fn converse(socket: UnixStream, mut words: mpsc::UnboundedReceiver<Word>, pid: i32) {
    let (mut reader, mut writer) = socket.into_split();
    let mut unheard: VecDeque<oneshot::Sender<()>> = VecDeque::new();
    let mut answers = [0; 64];
    loop {
        tokio::select! {
            word = words.recv() => {
                let Some(word) = word else { return };
                let (kind, data) = match word {
                    Word::Frozen { data, heard } => {
                        unheard.push_back(heard);
                        (FROZEN, data)
                    }
                    Word::Thawed(data) => (THAWED, data),
                };
                let message = [&[kind], data.as_os_str().as_bytes(), &[END]].concat();
                if writer.write_all(&message).await.is_err() {
                    break;
                }
            }
            read = reader.read(&mut answers) => match read {
                Ok(count) if count > 0 => {
                    for heard in unheard.drain(..count.min(unheard.len())) {
                        let _ = heard.send(());
                    }
                }
                _ => break,
            },
        }
    }
    tracing::warn!(pid, "the guardian of frozen servers has died");
}
