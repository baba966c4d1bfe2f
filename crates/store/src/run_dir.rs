//! Short paths for sockets: the kernel takes 107 bytes, a home may lie deeper.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::create::{Owner, make_dir};
use crate::durable;
use crate::error::StoreError;
use crate::home::Home;

/// `sizeof(sun_path)` less the closing zero.
const SOCKET_PATH_MAX_BYTES: usize = if cfg!(target_os = "macos") { 103 } else { 107 };
/// What a server's socket adds to the run directory, at most.
const SERVER_SOCKET: &str = ".servers/01234567/.s.PGSQL.65535";

/// Whether a socket can be bound at this path.
pub(crate) fn fits(path: &Path) -> bool {
    path.as_os_str().as_bytes().len() <= SOCKET_PATH_MAX_BYTES
}

fn is_short(home: &Home) -> bool {
    fits(&home.run_link().join(SERVER_SOCKET))
}

/// The path by which sockets are named. Commands may have another environment than the daemon, so the link that the
/// daemon made decides.
pub(crate) fn resolve(home: &Home) -> PathBuf {
    let link = home.run_link();
    if is_short(home) {
        return link;
    }
    std::fs::read_link(&link).unwrap_or_else(|_| short_dir(home, owner_of(home).uid))
}

/// Makes the run directory (again: /tmp is emptied at boot) and, in a deep home, the link to it.
pub(crate) fn make(home: &Home) -> Result<(), StoreError> {
    let link = home.run_link();
    if is_short(home) {
        return make_dir(&link, 0o711);
    }
    let owner = Owner::current();
    // A link that still leads to a directory of ours is kept: servers that an earlier daemon left have sockets there.
    if let Ok(target) = std::fs::read_link(&link)
        && open_ours(&target, owner).is_ok()
    {
        return Ok(());
    }
    let target = short_dir(home, owner.uid);
    if let Err(e) = std::fs::create_dir(&target)
        && e.kind() != std::io::ErrorKind::AlreadyExists
    {
        return Err(StoreError::io("make", &target, e));
    }
    open_ours(&target, owner)?;
    durable::replace_symlink(&target, &link).map_err(|e| StoreError::io("link", &link, e))
}

/// Anybody may have put something at a name in /tmp: it must be a directory, no link, and belong to us.
fn open_ours(target: &Path, owner: Owner) -> Result<(), StoreError> {
    let not_ours = || StoreError::NotOurs(target.to_owned());
    let dir = open_dir(target).map_err(|_| not_ours())?;
    let stat = rustix::fs::fstat(&dir).map_err(|_| not_ours())?;
    if stat.st_uid != owner.uid {
        return Err(not_ours());
    }
    rustix::fs::fchmod(&dir, Mode::from_raw_mode(0o711)).map_err(|e| StoreError::io("change the mode of", target, e))
}

fn open_dir(path: &Path) -> rustix::io::Result<std::os::fd::OwnedFd> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

fn owner_of(home: &Home) -> Owner {
    std::fs::metadata(home.root()).map_or_else(|_| Owner::current(), |m| Owner { uid: m.uid(), gid: m.gid() })
}

/// `$XDG_RUNTIME_DIR/napgres-HASH` if that is the owner's, else `/tmp/napgres-UID-HASH`.
fn short_dir(home: &Home, uid: u32) -> PathBuf {
    let canonical = std::fs::canonicalize(home.root()).unwrap_or_else(|_| home.root().to_owned());
    let hash = fnv1a(canonical.as_os_str().as_bytes());
    let theirs =
        |dir: &PathBuf| dir.is_absolute() && std::fs::symlink_metadata(dir).is_ok_and(|m| m.is_dir() && m.uid() == uid);
    if let Some(runtime) = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(theirs) {
        let short = runtime.join(format!("napgres-{hash:08x}"));
        if fits(&short.join(SERVER_SOCKET)) {
            return short;
        }
    }
    PathBuf::from(format!("/tmp/napgres-{uid}-{hash:08x}"))
}

/// FNV-1a, 32 bits: the same in every build, unlike the standard library's hashers.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}
