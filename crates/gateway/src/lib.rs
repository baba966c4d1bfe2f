//! Client sockets: accept, startup, route, authenticate, wake, attach, forward, cancel.
//!
//! The gateway knows PostgreSQL's protocol and Napgres' nouns. It asks for "this branch, awake" through [`Branches`]
//! and never learns how branches are stored or servers are run. Everything a client can do before it has
//! authenticated is bounded in bytes and in time, and wakes nothing.

mod alarm;
mod attach;
mod authenticate;
mod backend;
mod branches;
mod cancel;
mod client;
mod connection;
mod control;
mod error;
mod estate;
mod first_packet;
mod forward;
mod gateway;
mod hub;
mod life;
mod limits;
mod listen;
mod local_stream;
pub mod options;
mod parking;
mod repeats;
pub mod route;
mod session;
mod sessions;
mod tls;
mod traffic;
mod transport;
mod worker;

pub use authenticate::Peers;
pub use branches::{Awake, BranchFacts, Branches, Opened, Order, Refusal};
pub use estate::{BadEstate, ESTATE_FORMAT, Estate};
pub use gateway::{Door, Gateway};
pub use limits::Limits;
pub use listen::{ListenError, bind_tcp, bind_unix, offer, offered_unix, withdraw};
pub use sessions::{Quiet, SessionInfo, SessionState};
pub use tls::{KeyFileFault, Tls, TlsError, TlsOptions};
