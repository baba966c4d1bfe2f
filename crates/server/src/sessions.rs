//! What a server's owner asks of the clients' side, without knowing it.

use std::future::Future;
use std::pin::Pin;

use nap_model::guard::Holding;
use tokio::time::Instant;

/// What the sessions of a server do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quiet {
    /// Sessions that have a backend.
    pub attached: u32,
    /// Of them, those that are not idle, and those that are idle and known to be pinned.
    pub holding: Holding,
    /// When the last of them became idle; none: one is not, or there is none.
    pub since: Option<Instant>,
}

/// Parking under way.
pub type Parking = Pin<Box<dyn Future<Output = Holding> + Send>>;

/// The last notifications coming in.
pub type Silence = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Ends when a session next does something.
pub type Alarm = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The sessions of one server. Each that has a backend holds a lease.
pub trait Sessions: Send + Sync + 'static {
    /// What they do now.
    fn quiet(&self) -> Quiet;
    /// Takes the backends of idle ones, as far as nothing is lost by it, and tells which sessions keep theirs. Without
    /// `all` nobody's is taken in vain: if one keeps its own, perhaps none is.
    fn park(&self, all: bool) -> Parking;
    /// Ends those that have a backend, as a shutdown of their server does.
    fn end_attached(&self);
    /// How many backends of the clients' side serve no session that is attached: they listen for parked ones, and hold
    /// no lease.
    fn listening(&self) -> u32;
    /// Lets those go, when what is on the way to them has come in. Called when nobody is left who could notify.
    fn fall_silent(&self) -> Silence;
    /// Listens for the first session that does something, from now on and until it is dropped. What one does that is not
    /// active in a later `quiet` ends it.
    fn alarm(&self) -> Alarm;
}
