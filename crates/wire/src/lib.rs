//! nap-wire
