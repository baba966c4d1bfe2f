//! How many clients the system's limit of open files suffices for. Without a descriptor left nobody could be let in or
//! told why, no server be started, and no command of `nap` be answered.

use nap_control::LoweredReport;
use nap_gateway::Limits;
use nap_model::settings::Settings;
use rustix::process::{Resource, getrlimit};
use tokio::sync::watch;

use super::branch_set::BranchSet;
use super::config::Config;

/// A client's socket, and its backend's.
const PER_SESSION: u64 = 2;
/// The door in its socket directory.
const PER_BRANCH: u64 = 1;
/// Its pidfd, where it says that it is ready, the daemon's own connection and one that settles; a copy of the pidfd while
/// it stops.
const PER_SERVER: u64 = 5;
/// Commands of `nap` (256 at most), connections that are refused (64), logs, listeners, runtimes, and files that are open
/// for a moment.
const FOR_THE_REST: u64 = 400;
/// However low the limit is: the owner must be able to log in.
const SESSIONS_MIN: u64 = 10;

/// What the limit of open files makes of `max_connections`.
struct Bounded {
    limits: Limits,
    lowered: Option<LoweredReport>,
}

fn bounded(settings: &Settings, branches: usize, open_files: Option<u64>) -> Bounded {
    let mut limits = Limits::from(settings);
    let Some(open_files) = open_files else { return Bounded { limits, lowered: None } };
    let kept = FOR_THE_REST + PER_SERVER * u64::from(settings.max_awake) + PER_BRANCH * branches as u64;
    let sessions = (open_files.saturating_sub(kept) / PER_SESSION).max(SESSIONS_MIN);
    let sessions = u32::try_from(sessions).unwrap_or(u32::MAX);
    let set = limits.max_connections;
    limits.max_connections = set.min(sessions);
    let lowered = (sessions < set).then_some(LoweredReport { set, to: sessions, open_files });
    Bounded { limits, lowered }
}

/// What holds, and what it was lowered from.
pub(super) struct Bounds {
    pub(super) limits: watch::Receiver<Limits>,
    pub(super) lowered: watch::Receiver<Option<LoweredReport>>,
}

/// The limits of the gateway, made anew when the settings or the number of branches change.
pub(super) fn follow(config: &Config, branches: &BranchSet) -> Bounds {
    let open_files = getrlimit(Resource::Nofile).current;
    let mut settings = config.derived(Clone::clone);
    let mut count = branches.count();
    let first = bounded(&settings.borrow_and_update(), *count.borrow_and_update(), open_files);
    say(None, first.lowered.as_ref());
    let (limits, limits_seen) = watch::channel(first.limits);
    let (lowered, lowered_seen) = watch::channel(first.lowered);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                changed = settings.changed() => if changed.is_err() { return },
                changed = count.changed() => if changed.is_err() { return },
                () = limits.closed() => return,
            }
            let now = bounded(&settings.borrow_and_update(), *count.borrow_and_update(), open_files);
            say(lowered.borrow().as_ref(), now.lowered.as_ref());
            limits.send_replace(now.limits);
            lowered.send_replace(now.lowered);
        }
    });
    Bounds { limits: limits_seen, lowered: lowered_seen }
}

/// Once, not at every branch that takes a little more away.
fn say(before: Option<&LoweredReport>, now: Option<&LoweredReport>) {
    let Some(now) = now.filter(|now| before.is_none_or(|before| before.set != now.set)) else { return };
    tracing::warn!(
        max_connections = now.set,
        lowered_to = now.to,
        open_files = now.open_files,
        "max_connections is lowered: the limit of open files suffices for no more"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(open_files: u64, branches: usize) -> Option<u32> {
        let bounded = bounded(&Settings::default(), branches, Some(open_files));
        let holds = bounded.limits.max_connections;
        assert_eq!(holds, bounded.lowered.as_ref().map_or(1_000, |lowered| lowered.to));
        bounded.lowered.map(|lowered| lowered.to)
    }

    #[test]
    fn each_client_takes_two_and_each_branch_one() {
        assert_eq!(to(1 << 20, 1_000), None);
        assert_eq!(to(4_096, 1), None);
        assert_eq!(to(1_024, 2), Some(186));
        assert_eq!(to(1_024, 102), Some(136));
        assert_eq!(to(1_024, 5_000), Some(10), "the owner can still log in");
        assert_eq!(bounded(&Settings::default(), 1, None).lowered, None, "no limit");
    }
}
