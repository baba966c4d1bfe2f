//! The daemon goes on as another program: the same process, with the home's lock, the sockets that listen and all sessions.
//! What cannot be told in bytes, the sockets, waits for the next program in a socket pair that becomes its standard input.
//! When systemd restarts the service, it is the next daemon, and the socket pair waits with systemd.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use nap_gateway::{ESTATE_FORMAT, Estate};
use nap_store::{Home, HomeLock};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

use super::inherited::Inherited;

/// The kernel takes no more at once (SCM_MAX_FD).
const AT_ONCE: usize = 253;
/// More descriptors than this are not ours.
const DESCRIPTORS_MAX: usize = 1_000_000;

/// What the program before us has left.
pub(super) struct Succession {
    pub(super) lock: HomeLock,
    pub(super) estate: Estate,
}

/// What of a daemon its gateway knows nothing of.
pub(super) struct Belongings {
    pub(super) lock: Arc<HomeLock>,
    /// Second descriptors of the inherited sockets, by name.
    pub(super) kept: Vec<(String, OwnedFd)>,
}

impl Belongings {
    /// systemd has these itself, and may close them and bind their addresses anew meanwhile: nobody else may listen there.
    pub(super) fn leave_kept_out(&self, estate: &mut Estate) {
        let identity = |socket: &OwnedFd| rustix::fs::fstat(socket).map(|found| (found.st_dev, found.st_ino)).ok();
        let kept: Vec<_> = self.kept.iter().map(|(_, socket)| identity(socket)).collect();
        for listener in estate.take_listeners() {
            if !kept.contains(&identity(&listener)) {
                estate.add_listener(listener);
            }
        }
    }
}

/// What stands beside the descriptors of the gateway's.
#[derive(Serialize, Deserialize)]
struct Label {
    format: u32,
    /// The names of the inherited sockets.
    kept: Vec<String>,
}

/// Puts everything into a socket, for whoever is given that.
pub(super) fn pack(lock: &HomeLock, kept: &[(String, OwnedFd)], estate: &Estate) -> io::Result<UnixStream> {
    let (bytes, sockets) = estate.write()?;
    let inventory = readable(&bytes)?;
    let names = kept.iter().map(|(name, _)| name.clone()).collect();
    let label = readable(&serde_json::to_vec(&Label { format: ESTATE_FORMAT, kept: names })?)?;
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let lock = lock.duplicate()?;
    let kept = kept.iter().map(|(_, socket)| socket.as_fd());
    let all: Vec<BorrowedFd<'_>> =
        [label.as_fd(), lock.as_fd(), inventory.as_fd()].into_iter().chain(kept).chain(sockets).collect();
    for some in all.chunks(AT_ONCE) {
        send(&ours, some)?;
    }
    Ok(theirs)
}

/// Goes on as `program`, which is given what was packed. Returns only if that fails: then everything is as before.
pub(super) fn go_on_as(
    program: &Path,
    home: &Home,
    foreground: bool,
    packed: UnixStream,
) -> io::Result<std::convert::Infallible> {
    let words = [program.as_os_str(), OsStr::new("--home"), home.root().as_os_str()];
    let words = words.into_iter().chain(["up", "--take-over"].map(OsStr::new));
    let words = words.chain(foreground.then_some(OsStr::new("--foreground")));
    let words = words.map(|word| CString::new(word.as_bytes())).collect::<Result<Vec<CString>, _>>()?;
    let path = CString::new(program.as_os_str().as_bytes())?;
    rustix::stdio::dup2_stdin(&packed)?;
    drop(packed);
    // Not by `Command`, which changes more of this process before it fails.
    let Err(error) = nix::unistd::execv(&path, &words);
    // Who reads no end of a connection there would keep it open.
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Err(error.into())
}

fn readable(bytes: &[u8]) -> io::Result<File> {
    let mut file = nap_server::children::nameless_file()?;
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

fn send(to: &UnixStream, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("too many descriptors at once"));
    }
    sendmsg(to, &[IoSlice::new(b".")], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Takes what was left on standard input, which is /dev/null from then on; and beside it the sockets that a service manager
/// keeps for whoever is the daemon.
pub(super) fn take_over() -> anyhow::Result<(Succession, Inherited)> {
    let packed = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    let (succession, kept) = unpack(&packed)?;
    Ok((succession, Inherited::handed_on(kept)?))
}

/// What `pack` gave: with the inherited sockets, by name.
pub(super) fn unpack(packed: &UnixStream) -> anyhow::Result<(Succession, Vec<(String, OwnedFd)>)> {
    let mut descriptors = Vec::new();
    while receive(packed, &mut descriptors)? > 0 {
        anyhow::ensure!(descriptors.len() < DESCRIPTORS_MAX, "too much was left");
    }
    let mut descriptors = descriptors.into_iter();
    let (Some(label), Some(lock), Some(inventory)) = (descriptors.next(), descriptors.next(), descriptors.next())
    else {
        anyhow::bail!("nothing was left: `nap up --replace` is for people");
    };
    let label: Label = serde_json::from_reader(File::from(label)).context("what the daemon before says of it")?;
    anyhow::ensure!(label.format == ESTATE_FORMAT, "the two versions are too far apart to hand sessions over");
    let kept: Vec<OwnedFd> = descriptors.by_ref().take(label.kept.len()).collect();
    anyhow::ensure!(kept.len() == label.kept.len(), "an inherited socket is missing");
    let mut bytes = Vec::new();
    File::from(inventory).read_to_end(&mut bytes)?;
    let estate = Estate::read(&bytes, descriptors).context("what the daemon before has left")?;
    Ok((Succession { lock: HomeLock::inherited(lock), estate }, label.kept.into_iter().zip(kept).collect()))
}

/// How many bytes came; the descriptors that came with them are appended.
fn receive(from: &UnixStream, descriptors: &mut Vec<OwnedFd>) -> io::Result<usize> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let received = recvmsg(from, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::other("more descriptors were left than this process may have open"));
    }
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(given) = message {
            descriptors.extend(given);
        }
    }
    Ok(received.bytes)
}
