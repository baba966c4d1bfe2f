//! What a pool holds, and what it takes of the disk below: its image is sparse, so it may promise more than there is.

use std::os::unix::fs::MetadataExt as _;

use serde::Serialize;

use crate::error::StoreError;
use crate::home::Home;
use crate::space::space;

/// The unit in which files tell how much of the disk they take.
const BLOCK_BYTES: u64 = 512;

/// The room in a pool and below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// The length of its image.
    pub size_bytes: u64,
    /// What its file system holds.
    pub used_bytes: u64,
    /// What may still be written to it, if the disk below lets it.
    pub free_bytes: u64,
    /// It was mounted read-only, or has become so after an error.
    pub read_only: bool,
    /// What the image takes of the disk below.
    pub image_bytes: u64,
    /// What the disk below has left.
    pub below_free_bytes: u64,
}

impl Usage {
    /// How full it is, in percent.
    pub fn full_percent(&self) -> u64 {
        let all = self.used_bytes.saturating_add(self.free_bytes);
        self.used_bytes.saturating_mul(100).checked_div(all).unwrap_or(100)
    }

    /// What the disk below lacks for the pool to be filled.
    pub fn lacks_below_bytes(&self) -> u64 {
        self.size_bytes.saturating_sub(self.image_bytes).saturating_sub(self.below_free_bytes)
    }

    /// What can be written to it for certain.
    pub fn sure_bytes(&self) -> u64 {
        self.free_bytes.min(self.below_free_bytes)
    }
}

/// Looks at the pool of this home, which must be mounted.
pub fn usage(home: &Home) -> Result<Usage, StoreError> {
    let (dir, image) = (home.pool_dir(), home.pool_image());
    let inside = space(&dir).map_err(|e| StoreError::io("look at", &dir, e))?;
    let found = image.symlink_metadata().map_err(|e| StoreError::io("look at", &image, e))?;
    let below = space(home.root()).map_err(|e| StoreError::io("look at", home.root(), e))?;
    Ok(Usage {
        size_bytes: found.len(),
        used_bytes: inside.total_bytes.saturating_sub(inside.free_bytes),
        free_bytes: inside.free_bytes,
        read_only: inside.read_only,
        image_bytes: found.blocks().saturating_mul(BLOCK_BYTES),
        below_free_bytes: below.free_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_promised_must_be_there_below() {
        let usage = Usage {
            size_bytes: 100,
            used_bytes: 80,
            free_bytes: 20,
            read_only: false,
            image_bytes: 70,
            below_free_bytes: 25,
        };
        assert_eq!((usage.full_percent(), usage.lacks_below_bytes(), usage.sure_bytes()), (80, 5, 20));
        let empty = Usage { used_bytes: 0, free_bytes: 0, below_free_bytes: 7, ..usage };
        assert_eq!((empty.full_percent(), empty.lacks_below_bytes(), empty.sure_bytes()), (100, 23, 0));
    }
}
