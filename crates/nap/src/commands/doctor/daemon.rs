//! The daemon and its port.

use std::net::{Ipv4Addr, TcpListener};

use nap_model::ids::BranchName;
use nap_server::procfs::postgres_processes_in;

use super::branches::names;
use super::{Finding, Patient};
use crate::lock_holder::lock_holder;
use crate::output::words;
use crate::port_holder::holder;

pub(super) fn up(patient: &Patient<'_>) -> Vec<Finding> {
    vec![match &patient.status {
        Some(status) => Finding::ok(format!("up for {} (PID {})", words::duration(status.uptime_ms), status.pid)),
        None => match lock_holder(&patient.context.home) {
            Some(pid) => {
                let cure = format!("`nap logs --daemon` may say why; `kill {pid}` ends it, and servers are shut down");
                Finding::fail(format!("it holds the home's lock (PID {pid}) but does not answer"), cure)
            }
            None => Finding::warn("not up", "`nap up` starts it"),
        },
    }]
}

/// A daemon goes on with the program that it was started with.
pub(super) fn version(patient: &Patient<'_>) -> Vec<Finding> {
    let Some(status) = &patient.status else { return Vec::new() };
    let own = env!("CARGO_PKG_VERSION");
    let cure = "`nap down`, then `nap up`";
    vec![if status.version != own {
        Finding::warn(format!("the daemon is of version {}, this command of version {own}", status.version), cure)
    } else if runs_what_was_replaced(status.pid) {
        Finding::warn("the daemon runs a program that has been replaced since", cure)
    } else {
        Finding::ok(own)
    }]
}

fn runs_what_was_replaced(pid: u32) -> bool {
    std::fs::read_link(format!("/proc/{pid}/exe"))
        .is_ok_and(|exe| exe.as_os_str().as_encoded_bytes().ends_with(b" (deleted)"))
}

/// Servers outlive a daemon that was killed.
pub(super) fn orphans(patient: &Patient<'_>) -> Vec<Finding> {
    let home = &patient.context.home;
    if patient.status.is_some() || lock_holder(home).is_some() {
        return Vec::new();
    }
    let runs = |name: &BranchName| !postgres_processes_in(&home.branch(name).data()).is_empty();
    let running: Vec<String> = names(patient).into_iter().filter(runs).map(String::from).collect();
    if running.is_empty() {
        return vec![Finding::ok("no server runs without a daemon")];
    }
    let what = format!("servers run and no daemon looks after them: {}", running.join(", "));
    vec![Finding::warn(what, "`nap up` takes them over")]
}

pub(super) fn port(patient: &Patient<'_>) -> Vec<Finding> {
    let port = patient.settings.port;
    if let Some(status) = &patient.status {
        let addresses = status.listen_addresses.join(", ");
        return vec![Finding::ok(format!("{} on {addresses}", status.port))];
    }
    if port == 0 {
        return vec![Finding::ok("none yet: the first `nap up` chooses a free one")];
    }
    vec![match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Finding::ok(format!("{port} is free")),
        Err(error) => {
            let by = holder(port).map_or_else(|| format!("({error})"), |holder| format!("by {holder}"));
            let cure = "stop that process, or choose another port: `nap up --port N`";
            Finding::fail(format!("{port} is taken {by}"), cure)
        }
    }]
}
