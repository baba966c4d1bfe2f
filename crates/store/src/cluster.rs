//! Clones a branch's cluster: its data directory, and the tablespaces beside it.

use std::path::Path;

use crate::clone::{
    CloneMethod, Cloned, How, Links, cannot_reflink, clone_as, clone_or_copy, empty_dir, empty_if_there,
};
use crate::error::StoreError;
use crate::fault;
use crate::history::make_dir;
use crate::home::{BranchDir, TABLESPACES};
use crate::skip;
use crate::store::entries;
use crate::tablespaces::{self, make_place};

/// Clones both in this way and no other, to an empty place.
pub(crate) fn clone_cluster(from: &BranchDir, to: &BranchDir, how: How<'_>) -> Result<Cloned, StoreError> {
    let mut cloned = clone_as(&from.data(), &to.data(), How { links: Links::Branch(&from.root), ..how })?;
    fault::point("data cloned");
    make_place(to)?;
    let place = from.tablespaces();
    match place.symlink_metadata() {
        // A branch of earlier days.
        Err(_) => return Ok(cloned),
        Ok(found) if found.is_symlink() => {
            let target = std::fs::read_link(&place).unwrap_or_default();
            return Err(StoreError::LeadsOutside { link: TABLESPACES.into(), target });
        }
        Ok(_) => {}
    }
    let how = How { links: Links::Tablespaces, leaves_out: is_left_out, brings: |_| true, ..how };
    add(&mut cloned, clone_as(&place, &to.tablespaces(), how)?);
    Ok(cloned)
}

/// Clones both by reflink if all files can be; else everything is copied, and the answer says so.
pub(crate) fn clone_or_copy_cluster(from: &BranchDir, to: &BranchDir, how: How<'_>) -> Result<Cloned, StoreError> {
    match clone_cluster(from, to, How { method: CloneMethod::Reflink, ..how }) {
        Err(StoreError::Io { source, path, .. }) if cannot_reflink(&source) => {
            tracing::info!(path = %path.display(), error = %source, "no reflink here: copying everything");
            empty_cluster(to)?;
            clone_cluster(from, to, How { method: CloneMethod::Copy, ..how })
        }
        cloned => cloned,
    }
}

/// Clones a data directory from elsewhere with its tablespaces, wherever they lie: each comes to the branch's own place, called by
/// its oid. Of what lies there only PostgreSQL's own directory of this major comes, which no other cluster has.
pub(crate) fn clone_from_elsewhere(
    from: &Path,
    to: &BranchDir,
    major: &str,
    how: How<'_>,
) -> Result<Cloned, StoreError> {
    let mut cloned = clone_or_copy(from, &to.data(), How { links: Links::DataWithoutTablespaces, ..how })?;
    fault::point("data cloned");
    tablespaces::take_out(to)?;
    for (oid, target) in tablespaces::far(from)? {
        let place = to.tablespaces().join(&oid);
        make_dir(&place)?;
        for name in entries(&target)?.into_iter().filter(|name| is_of(name, major)) {
            let how = How { links: Links::Tablespaces, brings: |_| false, ..how };
            make_dir(&place.join(&name))?;
            add(&mut cloned, clone_or_copy(&target.join(&name), &place.join(&name), how)?);
        }
        tablespaces::link_to(to, &oid)?;
    }
    Ok(cloned)
}

/// `PG_15_202209061`
fn is_of(name: &str, major: &str) -> bool {
    name.strip_prefix("PG_").and_then(|rest| rest.split_once('_')).is_some_and(|(of, _)| of == major)
}

fn add(cloned: &mut Cloned, more: Cloned) {
    cloned.files += more.files;
    cloned.bytes = cloned.bytes.zip(more.bytes).map(|(one, other)| one + other);
    cloned.duration += more.duration;
    // What was copied in part was copied.
    if more.method == CloneMethod::Copy {
        cloned.method = CloneMethod::Copy;
    }
}

/// What an earlier try has brought goes.
pub(crate) fn empty_cluster(dir: &BranchDir) -> Result<(), StoreError> {
    empty_dir(&dir.data())?;
    empty_if_there(&dir.tablespaces())
}

/// Of a tablespace, what a clone does not have: in PostgreSQL's own directory, for it does not name the others.
pub(crate) fn is_left_out(relative: &Path) -> bool {
    in_postgres_own(relative).is_some_and(skip::is_left_out)
}

/// Of that, the files of running queries.
pub(crate) fn is_temporary(relative: &Path) -> bool {
    in_postgres_own(relative).is_some_and(skip::is_temporary)
}

/// The rest of the path below a tablespace's directory of one version, `PG_…`.
fn in_postgres_own(relative: &Path) -> Option<&Path> {
    let is_own = |path: &&Path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"PG_"));
    relative.ancestors().find(is_own).and_then(|own| relative.strip_prefix(own).ok())
}
