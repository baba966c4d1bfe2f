//! Parking: a session's state is asked for, rehearsed on another backend, and kept while it has none.
//!
//! Everything is asked between transactions, with named statements and in a transaction that is rolled back, so that
//! nothing of the session changes. What cannot be asked, or does not come back when it is replayed, is a pin.

mod ask;
mod channels;
mod libraries;
mod questions;
mod rehearse;
mod replay;
mod state;
mod talk;

pub(crate) use ask::{ASK_WITHIN, Asked, NoAnswer, Subject, ask};
pub(crate) use channels::{Ear, Keep};
pub(crate) use rehearse::{Rehearsals, rehearse};
pub(crate) use replay::{NotRestored, replay};
pub(crate) use state::{Kept, Reported, State, Stock};
