//! nap-control
