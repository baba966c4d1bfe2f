//! The bounds of both lines.

/// The longest request: names and settings; no request comes near it.
pub const REQUEST_MAX_BYTES: usize = 64 * 1024;
/// The longest reply: tens of thousands of branches, or all sessions that are shown.
pub const REPLY_MAX_BYTES: usize = 16 * 1024 * 1024;
