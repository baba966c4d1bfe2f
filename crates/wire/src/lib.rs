//! PostgreSQL's protocol as bytes: startup packets, message boundaries, the messages of a login, SCRAM.
//!
//! This room knows no socket, no clock and no randomness of its own: nonces and salts are passed in. Parsers take
//! bytes and answer `Result<Option<(T, usize)>>`: `None` asks for more bytes, the number says how many were used.
//! Whatever comes from outside is bounded by an argument or by a named constant that says where it comes from.
//! Nothing here imports another room.

mod cursor;
pub mod extended;
pub mod frame;
pub mod messages;
pub mod ping;
pub mod scram;
pub mod sql;
pub mod sqlstate;
pub mod startup;
