//! What PostgreSQL needs of the machine: memory to share, descriptors, processes, a clock that goes forward.

use std::path::Path;

use nap_store::space::space;
use rustix::fs::{Access, access};
use rustix::process::{Resource, getrlimit};

use super::{Finding, Patient};
use crate::output::words;

/// Where POSIX shared memory lives on Linux; other systems have no such directory.
const SHARED_MEMORY: &str = "/dev/shm";
/// A parallel query takes some megabytes.
const SHARED_LEAST_BYTES: u64 = 16 << 20;
/// Containers get 64 MB unless told otherwise, and parallel hash joins ask for more.
const SHARED_ENOUGH_BYTES: u64 = 128 << 20;

pub(super) fn shared_memory(_: &Patient<'_>) -> Vec<Finding> {
    if !cfg!(target_os = "linux") {
        return Vec::new();
    }
    let path = Path::new(SHARED_MEMORY);
    let cure = "mount -o remount,size=1g /dev/shm; for a container: --shm-size=1g";
    let Ok(found) =
        space(path).map_err(drop).and_then(|found| access(path, Access::WRITE_OK).map(|()| found).map_err(drop))
    else {
        return vec![Finding::fail(
            format!("{SHARED_MEMORY} cannot be written"),
            "mount -t tmpfs -o mode=1777 shm /dev/shm",
        )];
    };
    let what =
        format!("{} free of {} in {SHARED_MEMORY}", words::bytes(found.free_bytes), words::bytes(found.total_bytes));
    vec![if found.free_bytes < SHARED_LEAST_BYTES {
        Finding::fail(what, cure)
    } else if found.total_bytes < SHARED_ENOUGH_BYTES {
        Finding::warn(format!("{what}: large parallel queries fail"), cure)
    } else {
        Finding::ok(what)
    }]
}

/// A server of its own needs so many at least.
const FILES_LEAST: u64 = 256;
/// Five processes a server, one for each session.
const PROCESSES_ENOUGH: u64 = 500;

/// The limits of the daemon, if it is up, else our own, which it would inherit.
pub(super) fn limits(patient: &Patient<'_>) -> Vec<Finding> {
    let limits =
        patient.status.as_ref().map_or_else(own_limits, |status| limits_of(status.pid).unwrap_or_else(own_limits));
    let mut found = Vec::new();
    // Each session takes two descriptors, and the daemon raises its soft limit to the hard one.
    let wanted = 2 * u64::from(patient.settings.max_connections) + FILES_LEAST;
    let files = limits.files.unwrap_or(u64::MAX);
    let cure = "raise it: ulimit -Hn, /etc/security/limits.conf, or LimitNOFILE= of the service";
    if files < FILES_LEAST {
        found.push(Finding::fail(format!("only {files} open files are allowed"), cure));
    } else if files < wanted {
        let what =
            format!("{files} open files are allowed: too few for {} connections", patient.settings.max_connections);
        found.push(Finding::warn(what, cure));
    }
    let processes = limits.processes.unwrap_or(u64::MAX);
    if processes < PROCESSES_ENOUGH {
        let cure = "raise it: ulimit -u, /etc/security/limits.conf, or TasksMax= of the service";
        found.push(Finding::warn(format!("only {processes} processes are allowed"), cure));
    }
    if found.is_empty() {
        found.push(Finding::ok("enough files and processes are allowed"));
    }
    found
}

/// Files by the hard limit, processes by the soft one. None: no limit.
struct Limits {
    files: Option<u64>,
    processes: Option<u64>,
}

fn own_limits() -> Limits {
    Limits { files: getrlimit(Resource::Nofile).maximum, processes: getrlimit(Resource::Nproc).current }
}

fn limits_of(pid: u32) -> Option<Limits> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    Some(Limits { files: limit(&text, "Max open files", 1), processes: limit(&text, "Max processes", 0) })
}

/// Column 0 is the soft limit, 1 the hard one; `unlimited` is none.
fn limit(text: &str, name: &str, column: usize) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().nth(column)?.parse().ok()
}

/// Each server takes one System V segment; what was killed may have left its own.
pub(super) fn ipc(_: &Patient<'_>) -> Vec<Finding> {
    let most: Option<u64> =
        std::fs::read_to_string("/proc/sys/kernel/shmmni").ok().and_then(|text| text.trim().parse().ok());
    let (Some(most), Ok(table)) = (most, std::fs::read_to_string("/proc/sysvipc/shm")) else { return Vec::new() };
    let used = table.lines().skip(1).count() as u64;
    let what = format!("{used} of {most} shared memory segments are in use");
    vec![if used >= most {
        Finding::fail(
            what,
            "`ipcs -m` shows them, `ipcrm -m ID` removes one that nobody is attached to; or sysctl -w kernel.shmmni=4096",
        )
    } else {
        Finding::ok(what)
    }]
}

/// A clock that is a little off is no fault.
const FUTURE_LEAST_S: i64 = 300;

/// VALID UNTIL, statistics and point-in-time recovery go by the wall clock.
pub(super) fn clock(patient: &Patient<'_>) -> Vec<Finding> {
    use std::os::unix::fs::MetadataExt as _;
    let home = &patient.context.home;
    let written = [home.format_file(), home.nap_toml(), home.lock_file(), home.daemon_log()];
    let last = written.iter().filter_map(|path| std::fs::metadata(path).ok()).map(|found| found.mtime()).max();
    let Some(last) = last else { return Vec::new() };
    let ahead = last.saturating_sub(jiff::Timestamp::now().as_second());
    vec![if ahead > FUTURE_LEAST_S {
        let span = words::duration(ahead.unsigned_abs().saturating_mul(1000));
        let what = format!("it is {span} behind the newest file of the home");
        Finding::warn(what, "set the clock, for instance `timedatectl set-ntp true`")
    } else {
        Finding::ok("no file of the home is from the future")
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_the_kernel_writes_them() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max processes             63462                unlimited            processes \n\
                    Max open files            1024                 524288               files     \n";
        assert_eq!((limit(text, "Max open files", 1), limit(text, "Max processes", 0)), (Some(524_288), Some(63_462)));
        assert_eq!(limit(text, "Max processes", 1), None, "unlimited");
    }
}
