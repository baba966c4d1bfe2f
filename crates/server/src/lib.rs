//! nap-server
