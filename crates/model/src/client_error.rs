//! What a client may see of an error. Leaves keep their typed errors; those that can reach a client also say
//! how PostgreSQL would put it.

use std::borrow::Cow;

/// An error that may be shown to a client as a PostgreSQL error. `Display` is the primary message.
pub trait ClientError: std::error::Error {
    /// The five characters of PostgreSQL's appendix A.
    fn sqlstate(&self) -> &'static str;
    /// What to do about it, as one sentence.
    fn hint(&self) -> Option<Cow<'static, str>> {
        None
    }
    /// More of what happened, such as the end of a server's log.
    fn detail(&self) -> Option<String> {
        None
    }
}

/// The SQLSTATEs that Napgres itself sends, by PostgreSQL's names for them.
pub mod sqlstate {
    /// protocol_violation
    pub const PROTOCOL_VIOLATION: &str = "08P01";
    /// feature_not_supported
    pub const FEATURE_NOT_SUPPORTED: &str = "0A000";
    /// invalid_parameter_value
    pub const INVALID_PARAMETER_VALUE: &str = "22023";
    /// invalid_authorization_specification
    pub const INVALID_AUTHORIZATION_SPECIFICATION: &str = "28000";
    /// invalid_password
    pub const INVALID_PASSWORD: &str = "28P01";
    /// invalid_catalog_name: no such database (or branch)
    pub const INVALID_CATALOG_NAME: &str = "3D000";
    /// too_many_connections
    pub const TOO_MANY_CONNECTIONS: &str = "53300";
    /// object_in_use
    pub const OBJECT_IN_USE: &str = "55006";
    /// object_not_in_prerequisite_state
    pub const OBJECT_NOT_IN_PREREQUISITE_STATE: &str = "55000";
    /// admin_shutdown
    pub const ADMIN_SHUTDOWN: &str = "57P01";
    /// system_error: something outside PostgreSQL failed
    pub const SYSTEM_ERROR: &str = "58000";
}
