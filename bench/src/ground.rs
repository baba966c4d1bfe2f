//! Where a bench with many branches works: on a file system that clones without copying. Root makes one of its own, XFS in
//! a sparse image; anybody else has what there is.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::account::run;

/// Sparse: only what is written takes room.
const IMAGE_BYTES: u64 = 24 << 30;

/// The directory to work in. What was mounted is unmounted and removed when this is dropped; nothing may use it then.
pub(crate) struct Ground {
    path: PathBuf,
    image: Option<PathBuf>,
}

impl Ground {
    pub(crate) fn prepare(base: &Path) -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            println!(
                "not root, so no file system of its own: branches cost what the one below {} does",
                base.display()
            );
            return Ok(Self { path: base.to_owned(), image: None });
        }
        let (path, image) = (base.join("xfs"), base.join("xfs.image"));
        File::create(&image)?.set_len(IMAGE_BYTES)?;
        run(Command::new("mkfs.xfs").args(["-q", "-m", "reflink=1"]).arg(&image))?;
        std::fs::create_dir(&path)?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&path))?;
        Ok(Self { path, image: Some(image) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let Some(image) = &self.image else { return };
        // `bench/run` tries once more, and removes what is left.
        match run(Command::new("umount").arg(&self.path)) {
            Ok(_) => drop(std::fs::remove_file(image)),
            Err(error) => eprintln!("{error:#}"),
        }
    }
}
