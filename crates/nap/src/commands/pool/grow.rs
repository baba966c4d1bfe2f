//! `nap pool grow`

use clap::Args;
use nap_control::{Failure, FailureKind};
use nap_store::StoreError;
use nap_store::pool::{FileSystem, Usage, check_mounted, usage};

use super::image::Image;
use super::size::{Size, rounded};
use super::{existing, file_system, needs_root, told};
use crate::command_error::CommandError;
use crate::context::Context;
use crate::output::words;
use crate::pool_health::FILLS_UP_PERCENT;

/// Of the disk below, a pool that grows by itself leaves so much alone: others live there too.
const RESERVE_LEAST_BYTES: u64 = 1 << 30;

/// Make the pool larger, while everything runs
#[derive(Debug, Args)]
pub(super) struct Grow {
    /// To this size [default: half as much again, as far as the disk below can hold it]
    #[arg(long, value_name = "SIZE")]
    size: Option<Size>,
    /// Only if it is more than 80 % full: for a timer
    #[arg(long, conflicts_with = "size")]
    if_needed: bool,
}

impl Grow {
    pub(super) fn run(self, context: &Context) -> Result<(), CommandError> {
        needs_root(context, "grow")?;
        let home = &context.home;
        let record = existing(context)?;
        let image = Image::open(home)?;
        match check_mounted(home, &record) {
            // A timer need not complain each minute of what was unmounted on purpose.
            Err(StoreError::PoolNotMounted(_)) if self.if_needed => {
                return context.output.done("not needed: the pool is not mounted");
            }
            mounted => mounted.map_err(told)?,
        }
        let before = usage(home).map_err(told)?;
        if self.if_needed && before.full_percent() < FILLS_UP_PERCENT {
            return context.output.done(&format!("not needed: {} % are in use", before.full_percent()));
        }
        let size_bytes = match self.size {
            Some(size) => asked_for(context, &before, rounded(size.0))?,
            // Its owner is told by the daemon and by `nap doctor`, and not by a timer each minute.
            None if self.if_needed && half_as_much_again(&before).is_err() => {
                return context.output.done("the disk below the pool cannot hold a larger one");
            }
            None => half_as_much_again(&before)?,
        };
        grow(context, &image, record.filesystem, size_bytes)?;
        let after = usage(home).map_err(told)?;
        let json = serde_json::json!({ "size_bytes_before": before.size_bytes, "usage": after });
        context.output.result(&json, || {
            if context.output.is_quiet() {
                return String::new();
            }
            let (was, is) = (words::bytes(before.size_bytes), words::bytes(after.size_bytes));
            format!("the pool has grown from {was} to {is}; {} are free in it", words::bytes(after.free_bytes))
        })
    }
}

/// Each step can be repeated: the image, its device, what is in it.
fn grow(context: &Context, image: &Image, kind: FileSystem, size_bytes: u64) -> Result<(), Failure> {
    if image.size_bytes()? < size_bytes {
        image.lengthen(size_bytes)?;
    }
    image.tell_devices()?;
    file_system::grow(kind, &context.home.pool_dir())
}

/// What a user asks for may be more than the disk below has now; that is said.
fn asked_for(context: &Context, before: &Usage, size_bytes: u64) -> Result<u64, Failure> {
    if size_bytes < before.size_bytes {
        let message = format!("the pool has {} already, and cannot shrink", words::bytes(before.size_bytes));
        return Err(Failure::new(FailureKind::Usage, message)
            .hint("its image takes of the disk only what is in use: `nap pool status`"));
    }
    let lacks = Usage { size_bytes, ..*before }.lacks_below_bytes();
    if lacks > 0 {
        let lacks = words::bytes(lacks);
        context.output.remark(&format!("note: to be filled it needs {lacks} more than the disk below has free"));
    }
    Ok(size_bytes)
}

/// Never more than the disk below can hold, with a reserve.
fn half_as_much_again(before: &Usage) -> Result<u64, Failure> {
    let wanted = before.size_bytes.saturating_add(before.size_bytes / 2);
    let reserve = RESERVE_LEAST_BYTES.max(before.below_free_bytes / 20);
    let holds = before.image_bytes.saturating_add(before.below_free_bytes.saturating_sub(reserve));
    let size_bytes = rounded(wanted.min(holds));
    if size_bytes > before.size_bytes {
        return Ok(size_bytes);
    }
    let free = words::bytes(before.below_free_bytes);
    let why = format!("it has {free} free, of which {} stay free", words::bytes(reserve));
    Err(Failure::failed("the disk below the pool cannot hold a larger one")
        .because(why)
        .hint("free space there; `nap pool grow --size` goes beyond it, on your word"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_by_half_as_far_as_the_disk_below_can_hold_it() {
        let gb = |number: u64| number << 30;
        let usage = |size, image, below| Usage {
            size_bytes: gb(size),
            used_bytes: gb(size),
            free_bytes: 0,
            read_only: false,
            image_bytes: gb(image),
            below_free_bytes: gb(below),
        };
        assert_eq!(half_as_much_again(&usage(50, 45, 200)).unwrap(), gb(75));
        assert_eq!(half_as_much_again(&usage(50, 45, 20)).unwrap(), gb(45 + 19), "1 GB stays free");
        assert_eq!(half_as_much_again(&usage(100, 80, 40)).unwrap(), gb(80 + 38), "a twentieth stays free");
        assert!(half_as_much_again(&usage(50, 45, 6)).is_err(), "what there is has been promised");
        assert!(half_as_much_again(&usage(50, 50, 0)).is_err());
    }
}
