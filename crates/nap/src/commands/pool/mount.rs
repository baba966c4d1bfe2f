//! `nap pool mount`, `nap pool unmount`

use std::path::PathBuf;

use clap::Args;
use nap_control::{Failure, FailureKind};
use nap_store::pool::{FileSystem, PoolRecord, Progress, check_mounted, progress, usage};
use nap_store::{Home, StoreError};

use super::image::{Attached, Image, Place, detach};
use super::program::{program, run};
use super::{existing, file_system, needs_root, told};
use crate::command_error::CommandError;
use crate::context::Context;
use crate::mounts;
use crate::output::quote::shell;

/// Mount the pool of this home
///
/// It is harmless to repeat. A pool whose file system gave up, because the disk below was full say, is unmounted first:
/// the daemon must be down for that. Its own recovery brings it back.
#[derive(Debug, Args)]
pub(super) struct Mount {}

/// Unmount the pool of this home, whose daemon must be down
#[derive(Debug, Args)]
pub(super) struct Unmount {}

impl Mount {
    pub(super) fn run(self, context: &Context) -> Result<(), CommandError> {
        needs_root(context, "mount")?;
        let record = existing(context)?;
        let image = Image::open(&context.home)?;
        if mount_whole(&context.home, &record, &image)? {
            context.output.done("mounted")
        } else {
            context.output.done("it is mounted already")
        }
    }
}

/// Mounts the pool of this record; false: it was mounted, and well.
fn mount_whole(home: &Home, record: &PoolRecord, image: &Image) -> Result<bool, Failure> {
    match check_mounted(home, record) {
        Ok(()) if usage(home).map_err(told)?.read_only => unmount(home, image)?,
        Ok(()) => return Ok(false),
        Err(StoreError::PoolNotMounted(_)) => {}
        Err(StoreError::PoolFailed { .. }) => unmount(home, image)?,
        Err(error) => return Err(told(error)),
    }
    mount(home, &image.attach()?, record.filesystem)?;
    let is_ours = check_mounted(home, record).map_err(told);
    if is_ours.is_err() {
        let _ = unmount(home, image);
    }
    is_ours?;
    // If a `nap pool grow` was interrupted.
    file_system::grow(record.filesystem, &home.pool_dir())?;
    Ok(true)
}

/// Mounts what is in the image. Of the loop device nothing remains when it is unmounted.
pub(super) fn mount(home: &Home, device: &Attached, kind: FileSystem) -> Result<(), Failure> {
    let place = Place::make(home)?;
    file_system::mount(kind, device.device(), &place.path())
}

/// Unmounts it, and detaches what is in front of the image. Something else in its place is left alone.
pub(super) fn unmount(home: &Home, image: &Image) -> Result<(), Failure> {
    let devices = image.devices()?;
    let place = real_place(home);
    while let Some(mounted) = mounts::at(&place).pop() {
        if !devices.contains(&mounted.source) {
            let message = format!("{} is mounted at {}", mounted.source.display(), place.display());
            return Err(Failure::new(FailureKind::Conflict, message).because("it is not the pool of this home"));
        }
        run(program("umount").arg(&place)).map_err(|failure| {
            let home = shell(&home.root().to_string_lossy());
            failure.hint(format!("while anything uses it, it stays: `nap --home {home} down` first"))
        })?;
    }
    // One whose file system was mounted is gone by now.
    image.devices()?.iter().try_for_each(|device| detach(device))
}

/// As the kernel names it.
pub(super) fn real_place(home: &Home) -> PathBuf {
    let root = home.root().canonicalize().unwrap_or_else(|_| home.root().to_owned());
    Home::at(root).pool_dir()
}

impl Unmount {
    pub(super) fn run(self, context: &Context) -> Result<(), CommandError> {
        needs_root(context, "unmount")?;
        existing(context)?;
        // A daemon whose servers sleep would hold nothing in it.
        let is_begun = context.home.lock_file().exists();
        let _lock = if is_begun { Some(super::create::held(&context.home)?) } else { None };
        let image = Image::open(&context.home)?;
        unmount(&context.home, &image)?;
        context.output.done("unmounted")
    }
}

/// For who removes the home, or everything of it that runs.
pub(crate) fn unmount_for_uninstall(home: &Home) -> Result<(), Failure> {
    let has_image = home.pool_image().symlink_metadata().is_ok();
    let is_begun = !matches!(progress(home), Ok(Progress::None));
    if !has_image || !is_begun || !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    unmount(home, &Image::open(home)?)
}
