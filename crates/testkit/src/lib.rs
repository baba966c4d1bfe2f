//! nap-testkit
