//! Unpacks an archive as if its maker meant harm: nothing of it lands outside of its directory, no link leads out of it,
//! and it cannot fill the disk.

use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};

use flate2::read::GzDecoder;
use tar::{Archive, Entry, EntryType};

use super::error::InstallError;

/// A whole PostgreSQL has some 100 MB; debug symbols make it several times that.
const UNPACKED_MAX_BYTES: u64 = 2 << 30;
/// It has some 3,000 files.
const ENTRIES_MAX: usize = 100_000;
/// Its deepest file lies 7 directories down.
const DEPTH_MAX: usize = 64;

/// Unpacks what is below the archive's one top directory into `to`, which is new.
pub(super) fn unpack(archive: &Path, to: &Path) -> Result<(), InstallError> {
    fs::create_dir(to).map_err(InstallError::io("make", to))?;
    let file = File::open(archive).map_err(InstallError::io("open", archive))?;
    let decoded = GzDecoder::new(file).take(UNPACKED_MAX_BYTES);
    let mut archive = Archive::new(decoded);
    let mut tree = Tree { root: to, left: UNPACKED_MAX_BYTES, links: Vec::new() };
    for (number, entry) in archive.entries().map_err(unreadable)?.enumerate() {
        if number == ENTRIES_MAX {
            return Err(bad(format!("it has more than {ENTRIES_MAX} entries")));
        }
        tree.add(entry.map_err(unreadable)?)?;
    }
    // They come last, so that nothing is ever written through one.
    tree.make_links()?;
    set_mode(to, 0o755)
}

struct Tree<'a> {
    root: &'a Path,
    /// So many bytes may still come.
    left: u64,
    /// Where they are to be, and where they lead.
    links: Vec<(PathBuf, PathBuf)>,
}

impl Tree<'_> {
    fn add<R: Read>(&mut self, mut entry: Entry<'_, R>) -> Result<(), InstallError> {
        let named = entry.path().map_err(unreadable)?.into_owned();
        let kind = entry.header().entry_type();
        let Some(path) = self.inside(&named)? else { return Ok(()) };
        match kind {
            EntryType::Directory => make_dirs(self.root, &path),
            EntryType::Regular | EntryType::Continuous => {
                make_dirs(self.root, path.parent().unwrap_or(self.root))?;
                let is_program = entry.header().mode().map_err(unreadable)? & 0o111 != 0;
                self.write(&mut entry, &path)?;
                set_mode(&path, if is_program { 0o755 } else { 0o644 })
            }
            EntryType::Link | EntryType::Symlink => {
                let target = entry.link_name().map_err(unreadable)?.ok_or_else(|| bad("a link leads nowhere"))?;
                make_dirs(self.root, path.parent().unwrap_or(self.root))?;
                if kind == EntryType::Symlink {
                    self.links.push((path, target.into_owned()));
                    return Ok(());
                }
                let from = self.inside(&target)?.ok_or_else(|| bad("a link leads nowhere"))?;
                fs::hard_link(&from, &path).map_err(InstallError::io("link", &path))
            }
            // Comments of the archive as a whole.
            EntryType::XGlobalHeader => Ok(()),
            _ => Err(bad(format!("{} is neither a file nor a directory nor a link", named.display()))),
        }
    }

    /// The path in our tree, without the archive's top directory; none: it is that directory.
    fn inside(&self, named: &Path) -> Result<Option<PathBuf>, InstallError> {
        let mut names = Vec::new();
        for component in named.components() {
            match component {
                Component::Normal(name) => names.push(name),
                Component::CurDir => {}
                _ => return Err(bad(format!("{} leads out of it", named.display()))),
            }
        }
        if names.len() > DEPTH_MAX {
            return Err(bad(format!("a path in it is deeper than {DEPTH_MAX} directories")));
        }
        let below: PathBuf = names.into_iter().skip(1).collect();
        Ok(if below.as_os_str().is_empty() { None } else { Some(self.root.join(below)) })
    }

    fn write(&mut self, entry: &mut impl Read, path: &Path) -> Result<(), InstallError> {
        let mut file = File::create_new(path).map_err(InstallError::io("make", path))?;
        // One more than may come: then it is too much, and not just enough.
        let count = io::copy(&mut entry.take(self.left + 1), &mut file).map_err(|error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => InstallError::io("write", path)(error),
            _ => unreadable(error),
        })?;
        self.left = self.left.checked_sub(count).ok_or_else(|| bad("it is larger than any PostgreSQL"))?;
        Ok(())
    }

    fn make_links(&self) -> Result<(), InstallError> {
        for (path, target) in &self.links {
            symlink(target, path).map_err(InstallError::io("link", path))?;
        }
        let root = self.root.canonicalize().map_err(InstallError::io("find", self.root))?;
        for (path, target) in &self.links {
            // Through all links, as the system will follow them.
            if !path.canonicalize().is_ok_and(|end| end.starts_with(&root)) {
                return Err(bad(format!("a link leads to {}, which is not in it", target.display())));
            }
        }
        Ok(())
    }
}

/// Makes a directory and those above it, up to the root, with the mode that everybody can read.
fn make_dirs(root: &Path, dir: &Path) -> Result<(), InstallError> {
    if dir == root || dir.is_dir() {
        return Ok(());
    }
    make_dirs(root, dir.parent().unwrap_or(root))?;
    fs::create_dir(dir).map_err(InstallError::io("make", dir))?;
    set_mode(dir, 0o755)
}

fn set_mode(path: &Path, mode: u32) -> Result<(), InstallError> {
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(InstallError::io("change the mode of", path))
}

fn bad(why: impl Into<String>) -> InstallError {
    InstallError::BadArchive(why.into())
}

fn unreadable(error: io::Error) -> InstallError {
    bad(error.to_string())
}

#[cfg(test)]
#[path = "unpack_tests.rs"]
mod tests;
