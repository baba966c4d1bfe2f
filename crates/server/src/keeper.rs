//! What a server needs kept on disk, without knowing where.

use std::io;

use nap_model::access::AccessSnapshot;

/// Keeps a sleeping server's roles, its log within bounds, and its past. The calls block, briefly.
pub trait Keeper: Send + Sync + 'static {
    /// The roles as they were kept, if they were.
    fn load_access(&self) -> Option<AccessSnapshot>;
    /// Keeps the roles, durably.
    fn save_access(&self, snapshot: &AccessSnapshot) -> io::Result<()>;
    /// Called before a server starts to write.
    fn before_start(&self);
}
