//! Places in the daemon's work where a test has it die, or wait until something else has happened. In a release build there
//! are none.
//!
//! A test names a directory in [`DIRECTORY`]. In it lie its orders, each a file that is named after a place: `PLACE.die`, with
//! the number of the visit at which to die, and `PLACE.hold`, which becomes `PLACE.held` and is waited for until that has gone.
//! While there is a file `visited`, each visit is a line of it: so a test learns what places a command comes to.

/// The variable with the directory.
pub const DIRECTORY: &str = "NAP_TEST_FAULTS";

#[cfg(debug_assertions)]
mod armed;

/// A place, for threads that may block.
#[inline(always)]
pub fn point(_place: &str) {
    #[cfg(debug_assertions)]
    armed::point(_place);
}

/// A place, for tasks.
#[inline(always)]
#[cfg_attr(not(debug_assertions), allow(clippy::unused_async, reason = "a test may have it wait"))]
pub async fn reached(_place: &str) {
    #[cfg(debug_assertions)]
    armed::reached(_place).await;
}
