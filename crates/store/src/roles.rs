//! The cache of a sleeping branch's roles and databases. It can always be made again, so a bad one is no error.

use std::io;

use nap_model::access::AccessSnapshot;

use crate::durable;
use crate::error::StoreError;
use crate::home::BranchDir;

/// Room for some hundred thousand roles.
const ROLES_MAX_BYTES: u64 = 64 << 20;

/// Writes the cache, readable by the owner only: it holds password verifiers.
pub fn save_access(dir: &BranchDir, access: &AccessSnapshot) -> Result<(), StoreError> {
    let path = dir.roles();
    let bytes = serde_json::to_vec(access).map_err(|e| StoreError::io("write", &path, io::Error::other(e)))?;
    durable::write_atomic(&path, &bytes, 0o600).map_err(|e| StoreError::io("write", &path, e))
}

/// Reads the cache. `None`: there is none, or none that can be used, and the log says why.
pub fn load_access(dir: &BranchDir) -> Option<AccessSnapshot> {
    let path = dir.roles();
    let read = durable::read_bounded(&path, ROLES_MAX_BYTES)
        .and_then(|bytes| serde_json::from_slice(&bytes).map_err(io::Error::from));
    match read {
        Ok(access) => Some(access),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            tracing::debug!(path = %path.display(), "no cached roles");
            None
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "cached roles cannot be used");
            None
        }
    }
}
