//! nap-store
