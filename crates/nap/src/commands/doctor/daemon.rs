//! The daemon and its port.

use std::net::{Ipv4Addr, TcpListener};

use super::{Finding, Patient};
use crate::lock_holder::lock_holder;
use crate::output::words;
use crate::port_holder::holder;

pub(super) fn up(patient: &Patient<'_>) -> Vec<Finding> {
    const NAME: &str = "daemon";
    let own = env!("CARGO_PKG_VERSION");
    vec![match &patient.status {
        Some(status) if status.version != own => {
            let what = format!("it is of version {}, this command of version {own}", status.version);
            Finding::warn(NAME, what, "`nap down`, then `nap up`")
        }
        Some(status) => Finding::ok(NAME, format!("up for {} (PID {})", words::duration(status.uptime_ms), status.pid)),
        None => match lock_holder(&patient.context.home) {
            Some(pid) => {
                let cure = format!("`nap logs --daemon` may say why; `kill {pid}` ends it, and servers are shut down");
                Finding::fail(NAME, format!("it holds the home's lock (PID {pid}) but does not answer"), cure)
            }
            None => Finding::warn(NAME, "not up", "`nap up` starts it"),
        },
    }]
}

pub(super) fn port(patient: &Patient<'_>) -> Vec<Finding> {
    const NAME: &str = "port";
    let port = patient.settings.port;
    if let Some(status) = &patient.status {
        let addresses = status.listen_addresses.join(", ");
        return vec![Finding::ok(NAME, format!("{} on {addresses}", status.port))];
    }
    if port == 0 {
        return vec![Finding::ok(NAME, "none yet: the first `nap up` chooses a free one")];
    }
    vec![match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Finding::ok(NAME, format!("{port} is free")),
        Err(error) => {
            let by = holder(port).map_or_else(|| format!("({error})"), |holder| format!("by {holder}"));
            let cure = "stop that process, or choose another port: `nap up --port N`";
            Finding::fail(NAME, format!("{port} is taken {by}"), cure)
        }
    }]
}
