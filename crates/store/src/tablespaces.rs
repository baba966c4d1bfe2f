//! Tablespaces inside a branch: directories in its `tablespaces/`, which are cloned, kept and removed with its data.
//!
//! At rest the links to them, in `pg_tblspc`, say where that is from where they lie (`../../tablespaces/fast`): whatever the
//! branch's directory is called and wherever it comes to lie, they lead to nobody else's. PostgreSQL's own tools want whole
//! paths (pg_basebackup refuses any other, pg_dumpall would write them into its script): a server has them as long as it
//! runs, and no directory is moved with them.

use std::fs;
use std::path::{Component, Path, PathBuf};

use nap_model::ids::BranchName;

use crate::clone::stays_inside;
use crate::durable;
use crate::error::StoreError;
use crate::fault;
use crate::history::make_dir;
use crate::home::{BranchDir, TABLESPACES};
use crate::store::{Store, entries};

/// Where a data directory has its links to tablespaces.
pub(crate) const LINKS: &str = "pg_tblspc";
/// A branch's own place for them, from there.
const FROM_LINKS: &str = "../../tablespaces";
/// The same of a data directory that went away with them.
const TAKEN_IN: &str = "../tablespaces";

/// The place for tablespaces of a branch that was made before there was one.
pub fn make_place(dir: &BranchDir) -> Result<(), StoreError> {
    make_dir(&dir.tablespaces())
}

/// For a server that is to start: its links are whole paths.
pub fn make_absolute(dir: &BranchDir) -> Result<(), StoreError> {
    let place = dir.tablespaces();
    lead(dir, |inside| joined(&place, inside)).map(drop)
}

/// For a directory that is to be moved, durably: its links lead from where they lie.
pub(crate) fn make_relative(dir: &BranchDir) -> Result<(), StoreError> {
    if lead(dir, relative_to)? > 0 {
        let links = dir.data().join(LINKS);
        durable::fsync_dir(&links).map_err(|e| StoreError::io("fsync", &links, e))?;
        fault::point("relinked");
    }
    Ok(())
}

/// The links to a branch's own tablespaces that are whole paths, with what is to be in their place before it is moved.
pub fn absolute_links(dir: &BranchDir) -> Result<Vec<(PathBuf, PathBuf)>, StoreError> {
    let own = own_links(dir)?.into_iter().filter(|link| link.target.is_absolute());
    Ok(own.map(|link| (link.path, relative_to(&link.inside))).collect())
}

/// For a data directory that goes away from its branch: its tablespaces lie in it, under a name that nothing there has.
pub(crate) fn take_in(dir: &BranchDir) -> Result<(), StoreError> {
    let place = dir.tablespaces();
    if !place.is_dir() || entries(&place)?.is_empty() {
        return Ok(());
    }
    let own = own_links(dir)?;
    let mut name = TABLESPACES.to_owned();
    while dir.data().join(&name).symlink_metadata().is_ok() {
        name.push('_');
    }
    let taken_in = dir.data().join(&name);
    durable::rename_new(&place, &taken_in).map_err(|e| StoreError::io("move", &place, e))?;
    let taken_in = Path::new("..").join(name);
    own.iter().try_for_each(|link| replace(dir, link, &joined(&taken_in, &link.inside)))
}

/// The reverse, for one that has come.
pub(crate) fn take_out(dir: &BranchDir) -> Result<(), StoreError> {
    let (from, to) = (dir.data().join(TABLESPACES), dir.tablespaces());
    let has_come = |link: Link| {
        let inside = link.target.strip_prefix(TAKEN_IN).ok()?.to_owned();
        Some(Link { inside, ..link })
    };
    let come: Vec<Link> = links(&dir.data())?.into_iter().filter_map(has_come).collect();
    if come.is_empty() || !from.symlink_metadata().is_ok_and(|found| found.is_dir()) {
        return Ok(());
    }
    durable::remove_tree(&to).map_err(|e| StoreError::io("remove", &to, e))?;
    durable::rename_new(&from, &to).map_err(|e| StoreError::io("move", &from, e))?;
    come.iter().try_for_each(|link| replace(dir, link, &relative_to(&link.inside)))
}

/// The tablespaces of a data directory from elsewhere that lie outside of it: their oids, and where.
pub(crate) fn far(data: &Path) -> Result<Vec<(String, PathBuf)>, StoreError> {
    let far = links(data)?.into_iter().filter(|link| !lies_in_data(&link.target));
    let with_oid = |link: Link| Some((link.path.file_name()?.to_str()?.to_owned(), data.join(LINKS).join(link.target)));
    Ok(far.filter_map(with_oid).collect())
}

/// Whether a link to a tablespace leads there from where it lies and never out of the data directory.
pub(crate) fn lies_in_data(target: &Path) -> bool {
    stays_inside(&Path::new(LINKS).join(target))
}

/// Makes the link to a tablespace that has come to the branch's own place under its oid.
pub(crate) fn link_to(dir: &BranchDir, oid: &str) -> Result<(), StoreError> {
    let link = dir.data().join(LINKS).join(oid);
    std::os::unix::fs::symlink(relative_to(Path::new(oid)), &link).map_err(|e| StoreError::io("make", &link, e))
}

/// What a clone has in place of this link in the `pg_tblspc` of the branch in `root`; `None`: it leads elsewhere.
pub(crate) fn link_in_clone(root: &Path, target: &Path) -> Option<PathBuf> {
    inside(root, target).map(|inside| relative_to(&inside))
}

/// Where in the branch's place for tablespaces a link leads.
pub(crate) fn inside(root: &Path, target: &Path) -> Option<PathBuf> {
    let inside = match target.strip_prefix(FROM_LINKS) {
        Ok(inside) => inside.to_owned(),
        Err(_) if target.is_absolute() => below(root, target)?,
        Err(_) => return None,
    };
    inside.components().all(|part| matches!(part, Component::Normal(_))).then_some(inside)
}

/// As it was written, or where it really is: whoever made the tablespace may have named the home by another path.
fn below(root: &Path, target: &Path) -> Option<PathBuf> {
    let place = root.join(TABLESPACES);
    if let Ok(inside) = target.strip_prefix(&place) {
        return Some(inside.to_owned());
    }
    let real = fs::canonicalize(root).ok()?.join(TABLESPACES);
    let found = fs::canonicalize(target);
    [target, found.as_deref().unwrap_or(target)]
        .into_iter()
        .find_map(|target| target.strip_prefix(&real).ok())
        .map(Path::to_owned)
}

fn relative_to(inside: &Path) -> PathBuf {
    joined(Path::new(FROM_LINKS), inside)
}

/// Without a `/` at its end where there is nothing to join.
fn joined(place: &Path, inside: &Path) -> PathBuf {
    if inside.as_os_str().is_empty() { place.to_owned() } else { place.join(inside) }
}

impl Store {
    /// Refuses to take a directory away in which another branch has a tablespace: whoever made that mistook one path for another.
    pub(crate) fn refuse_guests(&self, host: &BranchName) -> Result<(), StoreError> {
        let host_dir = self.home().branch(host);
        for name in entries(&self.home().branches_dir())?.into_iter().filter(|name| name != host.as_str()) {
            let guest = BranchDir { root: self.home().branches_dir().join(&name) };
            // What cannot be read is no reason against it.
            let found = links(&guest.data()).unwrap_or_default();
            if let Some(link) = found.into_iter().find(|link| is_below(&host_dir, &link.target)) {
                return Err(StoreError::HasGuest { host: host.clone(), guest: name, place: link.target });
            }
        }
        Ok(())
    }
}

fn is_below(host: &BranchDir, target: &Path) -> bool {
    target.is_absolute() && inside(&host.root, target).is_some()
}

/// A link to a tablespace, and where that lies in its place.
struct Link {
    path: PathBuf,
    target: PathBuf,
    inside: PathBuf,
}

/// All there are, wherever they lead.
fn links(data: &Path) -> Result<Vec<Link>, StoreError> {
    let links = data.join(LINKS);
    if !links.is_dir() {
        return Ok(Vec::new());
    }
    let paths = entries(&links)?.into_iter().map(|name| links.join(name));
    // One of `allow_in_place_tablespaces` is a directory.
    let link = |path: PathBuf| Some(Link { target: fs::read_link(&path).ok()?, path, inside: PathBuf::new() });
    Ok(paths.filter_map(link).collect())
}

/// Those to the branch's own.
fn own_links(dir: &BranchDir) -> Result<Vec<Link>, StoreError> {
    let own = links(&dir.data())?.into_iter().filter_map(|link| {
        let inside = inside(&dir.root, &link.target).or_else(|| was_moved(dir, &link.target))?;
        Some(Link { inside, ..link })
    });
    Ok(own.collect())
}

fn replace(dir: &BranchDir, link: &Link, target: &Path) -> Result<(), StoreError> {
    durable::replace_symlink_by_way_of(&dir.root, target, &link.path)
        .map_err(|e| StoreError::io("replace", &link.path, e))?;
    fault::point("link replaced");
    Ok(())
}

/// The home was moved by hand while a link was a whole path: it leads nowhere now, and what it led to came along.
fn was_moved(dir: &BranchDir, target: &Path) -> Option<PathBuf> {
    if !target.is_absolute() || target.symlink_metadata().is_ok() {
        return None;
    }
    let parts: Vec<Component<'_>> = target.components().collect();
    let at = parts.windows(3).position(|three| {
        let [branches, _, place] = three else { return false };
        branches.as_os_str() == "branches" && place.as_os_str() == TABLESPACES
    })?;
    let inside: PathBuf = parts.get(at + 3..)?.iter().collect();
    let is_here = !inside.as_os_str().is_empty() && dir.tablespaces().join(&inside).is_dir();
    is_here.then_some(inside)
}

/// Makes each link to a tablespace of its own what it should be; one at a time, for both are right where it is now. How many
/// there are.
fn lead(dir: &BranchDir, to: impl Fn(&Path) -> PathBuf) -> Result<usize, StoreError> {
    let own = own_links(dir)?;
    for link in &own {
        let wanted = to(&link.inside);
        if wanted.as_os_str() != link.target.as_os_str() {
            replace(dir, link, &wanted)?;
        }
    }
    Ok(own.len())
}
