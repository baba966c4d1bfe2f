//! The socket directory of a server on files that are no branch yet. If nothing comes of them, it goes too.

use std::path::PathBuf;

use nap_store::durable;

/// Removed when it is dropped.
pub(super) struct SocketDir(Option<PathBuf>);

impl SocketDir {
    /// Whoever needs it makes it.
    pub(super) fn new(path: PathBuf) -> Self {
        Self(Some(path))
    }

    /// It is a branch's now.
    pub(super) fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for SocketDir {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            let _ = durable::remove_tree(&path);
        }
    }
}
