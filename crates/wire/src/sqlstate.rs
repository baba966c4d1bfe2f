//! The SQLSTATEs that the protocol's own errors carry (PostgreSQL's `errcodes.txt`).

/// `protocol_violation`: what came is not the protocol.
pub const PROTOCOL_VIOLATION: &str = "08P01";
/// `feature_not_supported`: a protocol version or a SCRAM extension that is not spoken.
pub const FEATURE_NOT_SUPPORTED: &str = "0A000";
/// `character_not_in_repertoire`: text that is not UTF-8.
pub const CHARACTER_NOT_IN_REPERTOIRE: &str = "22021";
/// `invalid_authorization_specification`: no user, or a failed channel binding.
pub const INVALID_AUTHORIZATION_SPECIFICATION: &str = "28000";
/// `invalid_password`: the proof of the password is wrong.
pub const INVALID_PASSWORD: &str = "28P01";
/// `program_limit_exceeded`: more than this program is built to take.
pub const PROGRAM_LIMIT_EXCEEDED: &str = "54000";
