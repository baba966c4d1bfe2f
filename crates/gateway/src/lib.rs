//! nap-gateway
