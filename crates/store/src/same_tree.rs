//! Whether a copy of a tree is the tree: names, kinds, owners, modes, links and every byte. Not groups: who copies his own
//! files cannot give them to a group that he is not in, and PostgreSQL's are open to none.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::error::StoreError;
use crate::store::entries;

const BUFFER_BYTES: usize = 1 << 20;

/// The first path, relative to both, at which the copy differs; none: they are the same. Times do not count.
pub fn difference(original: &Path, copy: &Path) -> Result<Option<PathBuf>, StoreError> {
    let mut left = vec![PathBuf::new()];
    while let Some(relative) = left.pop() {
        let (one, other) = (original.join(&relative), copy.join(&relative));
        let (found, found_copy) = match (look(&one)?, look(&other)) {
            (found, Ok(found_copy)) => (found, found_copy),
            (_, Err(_)) => return Ok(Some(relative)),
        };
        if !are_alike(&found, &found_copy) {
            return Ok(Some(relative));
        }
        if found.is_dir() {
            let names = entries(&one)?;
            if names != entries(&other)? {
                return Ok(Some(relative));
            }
            left.extend(names.into_iter().map(|name| relative.join(name)));
        } else if found.is_symlink() {
            let target = |path: &Path| std::fs::read_link(path).map_err(|e| StoreError::io("read", path, e));
            if target(&one)? != target(&other)? {
                return Ok(Some(relative));
            }
        } else if found.is_file() && !same_bytes(&one, &other)? {
            return Ok(Some(relative));
        }
    }
    Ok(None)
}

fn look(path: &Path) -> Result<Metadata, StoreError> {
    path.symlink_metadata().map_err(|e| StoreError::io("look at", path, e))
}

/// The mode holds the kind. Directories' lengths are their file systems' own.
fn are_alike(one: &Metadata, other: &Metadata) -> bool {
    (one.mode(), one.uid()) == (other.mode(), other.uid()) && (one.is_dir() || one.len() == other.len())
}

fn same_bytes(one: &Path, other: &Path) -> Result<bool, StoreError> {
    let (mut file, mut other_file) = (open(one)?, open(other)?);
    let (mut bytes, mut other_bytes) = (vec![0; BUFFER_BYTES], vec![0; BUFFER_BYTES]);
    loop {
        let count = fill(&mut file, &mut bytes).map_err(|e| StoreError::io("read", one, e))?;
        let other_count = fill(&mut other_file, &mut other_bytes).map_err(|e| StoreError::io("read", other, e))?;
        if bytes.get(..count) != other_bytes.get(..other_count) {
            return Ok(false);
        }
        if count == 0 {
            return Ok(true);
        }
    }
}

fn open(path: &Path) -> Result<File, StoreError> {
    // Nor may it wait for the other end of a pipe that has come into a file's place.
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    File::options()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .map_err(|e| StoreError::io("open", path, e))
}

fn fill(file: &mut File, bytes: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while let Some(rest) = bytes.get_mut(count..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(read) => count += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "files in a test need no durability")]
mod tests {
    use std::fs::{Permissions, write};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn tree(root: &Path) {
        std::fs::create_dir_all(root.join("base/1")).unwrap();
        write(root.join("base/1/1259"), vec![7; BUFFER_BYTES + 5]).unwrap();
        write(root.join("PG_VERSION"), "15\n").unwrap();
        symlink("base", root.join("link")).unwrap();
    }

    #[test]
    fn every_difference_is_found() {
        type Spoil = fn(&Path);
        let spoil: [(&str, Spoil); 7] = [
            ("", |_| {}),
            ("base/1/1259", |path| {
                let mut bytes = vec![7; BUFFER_BYTES + 5];
                bytes[BUFFER_BYTES + 2] = 8;
                write(path, bytes).unwrap();
            }),
            ("PG_VERSION", |path| write(path, "15\n\n").unwrap()),
            ("base/1/1259", |path| std::fs::remove_file(path).unwrap()),
            ("base/1/more", |path| write(path, "").unwrap()),
            ("base/1", |path| std::fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap()),
            ("link", |path| {
                std::fs::remove_file(path).unwrap();
                symlink("base/1", path).unwrap();
            }),
        ];
        for (at, spoil) in spoil {
            let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            tree(one.path());
            tree(other.path());
            spoil(&other.path().join(at));
            let found = difference(one.path(), other.path()).unwrap();
            assert_eq!(found.is_some(), !at.is_empty(), "{at}: {found:?}");
            assert!(found.is_none_or(|found| Path::new(at).starts_with(found)), "{at}");
        }
    }
}
