//! Starts the daemon in the background and waits until it says that it is ready.
//!
//! The child is this same program. Its standard output is a pipe on which it writes one line of JSON: that it is
//! ready, or why it failed. Its standard error is a file without a name: a daemon that fails before it has a log can
//! still be heard, and one that outlives us never writes into a broken pipe.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nap_control::{Failure, FailureKind};
use nap_model::ids::Major;
use nap_store::{Home, rotate};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};

/// What a first start may take: initdb and its fsyncs on a slow disk, and the adoption of servers.
const READY_DEADLINE: Duration = Duration::from_secs(180);
/// The line is a failure with its causes, at most.
const LINE_MAX_BYTES: u64 = 64 * 1024;
/// How much of what a failed daemon said is shown.
const LAST_WORDS_MAX_BYTES: u64 = 8 * 1024;
const LAST_WORDS_MAX_LINES: usize = 20;

/// The line.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    /// `{"ready":true}`
    Ready { ready: bool },
    /// A failure.
    Failed(Failure),
}

/// Starts the daemon of this home, and returns when it is ready.
pub(crate) fn start(home: &Home, port: Option<u16>, pg: Option<Major>) -> Result<(), Failure> {
    let cannot = |error: io::Error| Failure::failed("cannot start the daemon").caused_by(&error);
    let words = nap_server::children::nameless_file().map_err(cannot)?;
    let mut command = Command::new(std::env::current_exe().map_err(cannot)?);
    command.arg("--home").arg(home.root()).args(["up", "--foreground", "--ready-on-stdout"]);
    command.args(port.map(|port| format!("--port={port}")));
    command.args(pg.map(|major| format!("--pg={major}")));
    // Its working directory would keep a file system from being unmounted.
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped());
    command.stderr(words.try_clone().map_err(cannot)?);
    let mut child = command.spawn().map_err(cannot)?;
    let pipe = child.stdout.take().map(OwnedFd::from).ok_or_else(|| Failure::failed("the daemon has no pipe"))?;
    match read_line(pipe, Instant::now() + READY_DEADLINE).map_err(cannot)? {
        Heard::Line(Line::Ready { ready: true }) => Ok(()),
        Heard::Line(Line::Failed(failure)) => Err(failure),
        Heard::Line(Line::Ready { ready: false }) | Heard::Nonsense => {
            Err(Failure::failed("the daemon said something that makes no sense").hint(WHERE_TO_LOOK))
        }
        Heard::Nothing => Err(ended(home, &mut child, &words)),
        Heard::Late => {
            let message = format!("the daemon was not ready within {} s", READY_DEADLINE.as_secs());
            Err(Failure::new(FailureKind::TimedOut, message).hint(format!("it goes on starting; {WHERE_TO_LOOK}")))
        }
    }
}

const WHERE_TO_LOOK: &str = "`nap logs --daemon` shows what it is doing";

/// What came through the pipe.
#[derive(Debug, PartialEq)]
enum Heard {
    Line(Line),
    Nonsense,
    Nothing,
    Late,
}

fn read_line(pipe: OwnedFd, deadline: Instant) -> io::Result<Heard> {
    let mut pipe = File::from(pipe);
    let mut line: Vec<u8> = Vec::new();
    while !line.contains(&b'\n') && (line.len() as u64) < LINE_MAX_BYTES {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&pipe, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return Ok(Heard::Late),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let mut chunk = [0; 4096];
        let count = pipe.read(&mut chunk)?;
        if count == 0 {
            return Ok(if line.is_empty() { Heard::Nothing } else { Heard::Nonsense });
        }
        line.extend_from_slice(chunk.get(..count).unwrap_or_default());
    }
    Ok(serde_json::from_slice(&line).map_or(Heard::Nonsense, Heard::Line))
}

/// It ended without a word on the pipe: its standard error or its log may have some.
fn ended(home: &Home, child: &mut Child, words: &File) -> Failure {
    let how = child.wait().map_or_else(|error| error.to_string(), |status: ExitStatus| status.to_string());
    let failure = Failure::failed(format!("the daemon ended before it was ready ({how})"));
    let said = last_words(words);
    let said = if said.trim().is_empty() {
        rotate::tail(&home.daemon_log(), LAST_WORDS_MAX_BYTES, LAST_WORDS_MAX_LINES).unwrap_or_default()
    } else {
        said
    };
    let failure = failure.hint(WHERE_TO_LOOK);
    if said.trim().is_empty() { failure } else { failure.because(format!("its last words:\n{}", said.trim_end())) }
}

fn last_words(words: &File) -> String {
    let length = words.metadata().map_or(0, |found| found.len());
    let from = length.saturating_sub(LAST_WORDS_MAX_BYTES);
    let mut bytes = vec![0; usize::try_from(length - from).unwrap_or(0)];
    let count = words.read_at(&mut bytes, from).unwrap_or(0);
    bytes.truncate(count);
    String::from_utf8_lossy(rotate::last_lines(&bytes, LAST_WORDS_MAX_LINES)).into_owned()
}

/// The child's end of it.
pub(crate) struct Ready(OwnedFd);

impl Ready {
    /// Leaves the terminal's session, so that Ctrl-C and a closed terminal do not reach the daemon, and takes the pipe
    /// off standard output, where a stray word would be taken for the line.
    pub(crate) fn detach() -> io::Result<Self> {
        // It fails only where we lead a session already, which is what we want.
        let _ = rustix::process::setsid();
        let pipe = io::stdout().as_fd().try_clone_to_owned()?;
        rustix::stdio::dup2_stdout(io::stderr().as_fd())?;
        Ok(Self(pipe))
    }

    /// The pipe for the daemon, which writes `{"ready":true}` and closes it. Ours stays open, so that its end means
    /// the end of the process.
    pub(crate) fn pipe(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }

    /// Says why there will be no daemon.
    pub(crate) fn failed(self, failure: &Failure) {
        let mut line = serde_json::to_vec(failure).unwrap_or_default();
        line.push(b'\n');
        // Whoever waited may be gone.
        let _ = File::from(self.0).write_all(&line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(text: &str) -> Heard {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        File::from(writer).write_all(text.as_bytes()).unwrap();
        read_line(reader, Instant::now() + Duration::from_secs(20)).unwrap()
    }

    #[test]
    fn the_line_is_ready_or_a_failure() {
        assert_eq!(heard("{\"ready\":true}\n"), Heard::Line(Line::Ready { ready: true }));
        let failure = Failure::failed("no").hint("yes");
        let line = serde_json::to_string(&failure).unwrap();
        assert_eq!(heard(&format!("{line}\n")), Heard::Line(Line::Failed(failure)));
        assert_eq!(heard(""), Heard::Nothing);
        assert_eq!(heard("{\"rea"), Heard::Nonsense);
        assert_eq!(heard("hello\n"), Heard::Nonsense);
        assert_eq!(heard(&"x".repeat(60_000)), Heard::Nonsense);
    }

    #[test]
    fn a_daemon_that_says_nothing_is_given_up_on() {
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        assert_eq!(read_line(reader, Instant::now()).unwrap(), Heard::Late);
    }

    #[test]
    fn the_last_words_are_bounded() {
        let mut file = tempfile::tempfile().unwrap();
        for number in 0..10_000 {
            writeln!(file, "line {number}").unwrap();
        }
        let words = last_words(&file);
        assert_eq!(words.lines().count(), LAST_WORDS_MAX_LINES);
        assert!(words.ends_with("line 9999\n"));
    }
}
