//! `nap pool create`: everything is made beside the branches, and one rename moves them.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use nap_control::{Failure, FailureKind};
use nap_server::procfs::postgres_processes_in;
use nap_store::pool::{self, PoolRecord, Progress};
use nap_store::{BranchDir, Home, HomeLock, LockError, Owner, durable, makes_own_tablespace, probe_reflink};
use nix::unistd::User;
use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::file_system::Kind;
use super::image::{Image, detach};
use super::mount::{mount, real_place, unmount};
use super::size::{SIZE_LEAST_BYTES, Size, rounded};
use super::{file_system, needs_root, relocate, told, units};
use crate::branch_names::directories;
use crate::command_error::{CommandError, failure_of};
use crate::context::Context;
use crate::daemon::privileges;
use crate::held::hold;
use crate::output::quote::shell;
use crate::output::words;

/// What the disk below keeps beside a copy of all branches.
const BESIDE_BYTES: u64 = 256 << 20;
/// Programs of an earlier try that was killed may hold its mount for a moment.
const TRIES: u32 = 50;
const TRY_PAUSE: Duration = Duration::from_millis(100);

/// Make a pool for this home and move its branches into it
///
/// The daemon must be down. The branches are copied, compared and then moved by one rename: whatever happens, the home is
/// whole before or after it. It needs root.
#[derive(Debug, Args)]
pub(super) struct Create {
    /// How large it may become: 50G. Its image is sparse and takes of the disk below what is written to it
    #[arg(long, value_name = "SIZE")]
    size: Size,
    /// What is in the image
    #[arg(long, value_enum, default_value = "btrfs")]
    filesystem: Kind,
    /// The directory of the systemd units, in place of systemd's own; nothing is enabled
    #[arg(long, hide = true, value_name = "DIRECTORY")]
    units: Option<std::path::PathBuf>,
}

impl Create {
    pub(super) fn run(self, context: &Context) -> Result<(), CommandError> {
        needs_root(context, &format!("create --size {}", words::bytes(self.size.0).replace(' ', "")))?;
        let home = &context.home;
        let owner = owner(home)?;
        let _lock = lock(home, owner)?;
        refuse_servers(&home.again())?;
        match pool::progress(home).map_err(told)? {
            Progress::None => {}
            Progress::HalfMade => sweep(home)?,
            Progress::Whole(record) => return self.finish_earlier(context, owner, &record),
        }
        refuse_recoveries(home)?;
        let size_bytes = rounded(self.size.0);
        self.check_room(context, size_bytes)?;
        let branches = directories(home).len();
        self.make(home, owner, size_bytes).inspect_err(|_| {
            // What cannot be swept now is by the next try.
            if matches!(pool::progress(home), Ok(Progress::HalfMade)) {
                let _ = sweep(home);
            }
        })?;
        let home = &home.again();
        let at_boot = units::install(home, self.units.as_deref())
            .map_err(|failure| failure.because("the pool itself is made and mounted, but will not be at boot"))?;
        report(context, home, size_bytes, branches, &at_boot)
    }

    fn check_room(&self, context: &Context, size_bytes: u64) -> Result<(), Failure> {
        let home = &context.home;
        if probe_reflink(home.root()) {
            let message = format!("the file system of {} can clone already", home.root().display());
            return Err(Failure::new(FailureKind::Conflict, message).because("a pool would only make it slower"));
        }
        let moved = relocate::bytes(home)?;
        let below = nap_store::space::space(home.root())
            .map_err(|error| Failure::failed("cannot see how much room there is").caused_by(&error))?;
        let with_reserve = |bytes: u64| bytes.saturating_add(bytes / 4).saturating_add(BESIDE_BYTES);
        if size_bytes < with_reserve(moved).max(SIZE_LEAST_BYTES) {
            let message = format!("the branches take {}, too much for a pool of this size", words::bytes(moved));
            return Err(Failure::new(FailureKind::Usage, message)
                .hint(format!("--size {}M at least", with_reserve(moved).div_ceil(1 << 20))));
        }
        if below.free_bytes < with_reserve(moved) {
            let message = format!("{} has too little room for a copy of its branches", home.root().display());
            let why = format!("they take {}, and {} are free", words::bytes(moved), words::bytes(below.free_bytes));
            return Err(Failure::failed(message).because(why).hint("free space there; the copy replaces them"));
        }
        if below.free_bytes < size_bytes {
            context.output.remark(&format!(
                "note: the disk below has {} free, less than the {} of the pool. What is written counts, but when that disk is full, \
                 writes in the pool fail: `nap pool status` shows both",
                words::bytes(below.free_bytes),
                words::bytes(size_bytes)
            ));
        }
        Ok(())
    }

    /// There is a pool. A try that was interrupted after the move may have left the originals, or no units.
    fn finish_earlier(&self, context: &Context, owner: Owner, record: &PoolRecord) -> Result<(), CommandError> {
        let home = &context.home;
        pool::check_mounted(home, record).map_err(told)?;
        let removed = relocate::remove_originals(home, owner)?;
        if removed {
            context.output.remark("removed what was left of the move into the pool");
        }
        if removed || units::are_missing(home) {
            let at_boot = units::install(home, self.units.as_deref())?;
            let size_bytes = pool::usage(home).map_err(told)?.size_bytes;
            return report(context, home, size_bytes, directories(home).len(), &at_boot);
        }
        let message = format!("the home {} has a pool already", home.root().display());
        let hint = "`nap pool status` shows it, `nap pool grow` makes it larger";
        Err(Failure::new(FailureKind::Conflict, message).hint(hint).into())
    }

    fn make(&self, home: &Home, owner: Owner, size_bytes: u64) -> Result<(), Failure> {
        let kind = self.filesystem.into();
        let record = PoolRecord { id: new_id()?, filesystem: kind, created: jiff::Timestamp::now() };
        pool::begin(home, &record).map_err(told)?;
        let image = Image::make(home, size_bytes)?;
        let device = image.attach()?;
        file_system::make(kind, device.device())?;
        mount(home, &device, kind)?;
        drop(device);
        let dir = home.pool_dir();
        let cannot = |error: std::io::Error| Failure::failed(format!("cannot use {}", dir.display())).caused_by(&error);
        give(home, owner).map_err(cannot)?;
        relocate::copy(home, owner, kind)?;
        durable::fsync_tree(&dir).map_err(cannot)?;
        relocate::verify(home)?;
        pool::mark(home, &record).map_err(told)?;
        durable::fsync_tree(&dir).map_err(cannot)?;
        pool::commit(home).map_err(told)?;
        relocate::remove_originals(home, owner).map(drop)
    }
}

/// What is mounted becomes the owner's.
fn give(home: &Home, owner: Owner) -> std::io::Result<()> {
    let dir = open_without_links(&real_place(home), OFlags::DIRECTORY)?;
    rustix::fs::fchmod(&dir, Mode::from_raw_mode(0o711))?;
    std::os::unix::fs::fchown(&dir, Some(owner.uid), Some(owner.gid))
}

/// Whoever owns the home could put a link in the place of any part of a path in it.
fn open_without_links(path: &Path, flags: OFlags) -> std::io::Result<std::os::fd::OwnedFd> {
    let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(rustix::fs::openat2(rustix::fs::CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)?)
}

fn new_id() -> Result<String, Failure> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| Failure::failed("cannot draw an id").caused_by(&error))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Whose home it is. One that is not there yet is made for whom the daemon will run as.
fn owner(home: &Home) -> Result<Owner, Failure> {
    let found = std::fs::metadata(home.root()).ok();
    if let Some(found) = found.filter(|found| found.uid() != 0) {
        return Ok(Owner { uid: found.uid(), gid: found.gid() });
    }
    let behind_sudo = std::env::var("SUDO_USER").ok().and_then(|name| User::from_name(&name).ok().flatten());
    let behind_sudo = behind_sudo.filter(|user| !user.uid.is_root());
    if let Some(user) = behind_sudo {
        if home.root().starts_with(&user.dir) {
            return make(home, Owner { uid: user.uid.as_raw(), gid: user.gid.as_raw() });
        }
        let own = user.dir.join(".local/share/napgres");
        if own.join("format").exists() {
            let message = format!("there is no home at {}, which is root's", home.root().display());
            return Err(CommandError::usage(message)
                .hint(format!("name yours: sudo nap --home {} pool create", shell(&own.to_string_lossy()))));
        }
    }
    let run_as = nap_store::config::load(home).map_err(told)?.run_as;
    let owner = privileges::owner(home.root(), &run_as).map_err(|error| failure_of(&error))?;
    make(home, owner.unwrap_or_else(Owner::current))
}

fn make(home: &Home, owner: Owner) -> Result<Owner, Failure> {
    nap_store::create::give_home(home, owner).map_err(told)?;
    Ok(owner)
}

/// Nobody is at work in the home, and nobody begins.
fn lock(home: &Home, owner: Owner) -> Result<HomeLock, Failure> {
    if !home.root().exists() {
        let message = format!("there is no home at {}", home.root().display());
        return Err(Failure::new(FailureKind::NotFound, message)
            .hint("name yours: sudo nap --home HOME pool create; `nap up` makes one"));
    }
    if !nap_store::create::may_be_home(home).map_err(told)? {
        let message = format!("{} is not a home of Napgres: it holds no file `format`", home.root().display());
        return Err(Failure::new(FailureKind::Conflict, message).hint("name the home that you mean: --home"));
    }
    // Root makes a file here, and gives it away: in no other directory than the owner's, wherever its path leads by now.
    let cannot =
        |error: std::io::Error| Failure::failed(format!("cannot lock {}", home.root().display())).caused_by(&error);
    let dir = hold(&home.root().canonicalize().map_err(cannot)?).map_err(cannot)?;
    if std::fs::metadata(&dir.path).map_err(cannot)?.uid() != owner.uid {
        let message = format!("{} belongs to somebody else by now", home.root().display());
        return Err(Failure::new(FailureKind::Conflict, message));
    }
    let lock = HomeLock::acquire(&Home::at(dir.path.clone())).map_err(|error| not_held(home, error))?;
    let given = lock.duplicate().and_then(|file| std::os::unix::fs::fchown(file, Some(owner.uid), Some(owner.gid)));
    given.map_err(cannot)?;
    Ok(lock)
}

/// The home's lock, which no daemon may have.
pub(super) fn held(home: &Home) -> Result<HomeLock, Failure> {
    HomeLock::acquire(home).map_err(|error| not_held(home, error))
}

fn not_held(home: &Home, error: LockError) -> Failure {
    match error {
        LockError::Held { pid, .. } => {
            let error = LockError::Held { home: home.root().to_owned(), pid };
            Failure::from_error(FailureKind::Conflict, &error).hint(format!(
                "the pool must be in nobody's use: `nap --home {} down` first",
                shell(&home.root().to_string_lossy())
            ))
        }
        LockError::Store(error) => told(error),
    }
}

/// A daemon that was killed leaves its servers running.
fn refuse_servers(home: &Home) -> Result<(), Failure> {
    let runs = |name: &String| !postgres_processes_in(&home.branches_dir().join(name).join("data")).is_empty();
    match directories(home).into_iter().find(runs) {
        None => Ok(()),
        Some(branch) => {
            let message = format!("a server of branch \"{branch}\" still runs, without a daemon");
            Err(Failure::new(FailureKind::Conflict, message).hint("`nap up` takes it over, and `nap down` ends it"))
        }
    }
}

/// A server that crashed after it had made a tablespace makes it again, by the path that it had.
fn refuse_recoveries(home: &Home) -> Result<(), Failure> {
    let recovers = |name: &String| makes_own_tablespace(&BranchDir { root: home.branches_dir().join(name) });
    match directories(home).into_iter().find(recovers) {
        None => Ok(()),
        Some(branch) => {
            let message =
                format!("branch \"{branch}\" crashed after it had made a tablespace, and has not recovered yet");
            let hint = format!("`nap up`, `nap wake {branch}` and `nap down`, and it is recovered");
            Err(Failure::new(FailureKind::Conflict, message).hint(hint))
        }
    }
}

/// Removes what a try that was interrupted has left. The branches are where they were.
fn sweep(home: &Home) -> Result<(), Failure> {
    if home.pool_image().symlink_metadata().is_ok() {
        let image = Image::open(home)?;
        let mut tries = TRIES;
        loop {
            match unmount(home, &image) {
                Ok(()) => break,
                Err(failure) if tries == 0 => return Err(failure),
                Err(_) => tries -= 1,
            }
            std::thread::sleep(TRY_PAUSE);
        }
        for device in image.devices()? {
            detach(&device)?;
        }
    }
    for path in [home.pool_image(), home.pool_dir(), home.pool_draft()] {
        let removed = if path == home.pool_dir() { remove_empty(&path) } else { durable::remove_tree(&path) };
        removed.map_err(|error| Failure::failed(format!("cannot remove {}", path.display())).caused_by(&error))?;
    }
    Ok(())
}

/// Nothing but an empty directory: whatever is mounted there after all must not be deleted.
fn remove_empty(dir: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn report(
    context: &Context,
    home: &Home,
    size_bytes: u64,
    branches: usize,
    at_boot: &units::AtBoot,
) -> Result<(), CommandError> {
    if context.output.is_quiet() {
        return Ok(());
    }
    let json = serde_json::json!({
        "image": home.pool_image(), "mount_point": home.pool_dir(), "size_bytes": size_bytes,
        "branches": branches, "wrote": at_boot.wrote, "to_do": at_boot.to_do,
    });
    context.output.result(&json, || {
        let moved = match branches {
            0 => String::new(),
            branches => format!(", with {}", words::count(branches as u64, "branch", "branches")),
        };
        let mut text = format!("a pool of {} at {}{moved}\n", words::bytes(size_bytes), home.pool_dir().display());
        at_boot.wrote.iter().for_each(|path| text.push_str(&format!("wrote {}\n", path.display())));
        at_boot.to_do.iter().for_each(|line| text.push_str(&format!("{line}\n")));
        text
    })
}
