//! A restart by systemd: what the daemon leaves waits in the service's store of descriptors (FDSTORE=1,
//! sd_pid_notify_with_fds(3)) for the daemon that is started next.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use nap_server::children::Children;
use sd_notify::NotifyState;
use tokio::time::{Instant, sleep, timeout};

use super::succession::{Succession, unpack};

/// By which it comes back, among the sockets that are inherited.
pub(super) const STORED_NAME: &str = "napgres-sessions";

/// systemd answers in milliseconds; what does not is taken for an ordinary stop.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// What was sent to it shows in its answers.
const STORED_WITHIN: Duration = Duration::from_secs(5);
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// The manager whose service we are.
pub(super) struct Systemd {
    children: Children,
    unit: String,
    /// A user's own manager, and where it is.
    runtime_dir: Option<String>,
}

impl Systemd {
    /// Set if what ends us is a restart of our unit, and sessions can be left there. It has to be asked: the signal is the same.
    pub(super) async fn that_restarts_us(children: &Children) -> Option<Self> {
        let socket = std::env::var("NOTIFY_SOCKET").ok()?;
        let unit = our_unit(&std::fs::read_to_string("/proc/self/cgroup").ok()?)?;
        let is_user = !socket.starts_with("/run/systemd/");
        let runtime_dir = if is_user { Some(std::env::var("XDG_RUNTIME_DIR").ok()?) } else { None };
        let systemd = Self { children: children.clone(), unit, runtime_dir };
        let jobs = systemd.ask(&["list-jobs", "--no-legend", "--plain"]).await?;
        let room = systemd.property("FileDescriptorStoreMax").await?;
        (is_restarted(&jobs, &systemd.unit) && room != "0").then_some(systemd)
    }

    /// Leaves this in the store, and looks that it is there.
    pub(super) async fn store(&self, packed: &UnixStream) -> io::Result<()> {
        let before = self.stored().await?;
        // Without FDPOLL=0 it would be thrown away at once: nobody has the other end any more.
        let message = [NotifyState::FdStore, NotifyState::FdName(STORED_NAME), NotifyState::Custom("FDPOLL=0")];
        sd_notify::notify_with_fds(&message, &[packed.as_fd()])?;
        let late = Instant::now() + STORED_WITHIN;
        while Instant::now() < late {
            if self.stored().await.is_ok_and(|stored| stored > before) {
                return Ok(());
            }
            sleep(LOOK_PAUSE).await;
        }
        forget_stored();
        Err(io::Error::other("systemd did not take them"))
    }

    /// How many descriptors are there.
    async fn stored(&self) -> io::Result<u32> {
        let count = self.property("NFileDescriptorStore").await;
        count.and_then(|count| count.parse().ok()).ok_or_else(|| io::Error::other("systemd does not say what it keeps"))
    }

    async fn property(&self, name: &str) -> Option<String> {
        Some(self.ask(&["show", "--value", "--property", name, &self.unit]).await?.trim().to_owned())
    }

    async fn ask(&self, words: &[&str]) -> Option<String> {
        let mut command = Command::new("systemctl");
        if let Some(dir) = &self.runtime_dir {
            command.arg("--user").env("XDG_RUNTIME_DIR", dir);
        }
        command.args(words);
        let children = self.children.clone();
        let asking = tokio::task::spawn_blocking(move || children.output(&mut command));
        let output = timeout(ANSWER_WITHIN, asking).await.ok()?.ok()?.ok()?;
        output.status.success().then_some(output.text)
    }
}

/// The unit whose process has these control groups.
fn our_unit(cgroups: &str) -> Option<String> {
    let names = cgroups.lines().filter_map(|line| line.rsplit('/').next());
    names.filter(|name| name.ends_with(".service")).map(str::to_owned).next()
}

/// `NUMBER UNIT TYPE STATE` in each line.
fn is_restarted(jobs: &str, unit: &str) -> bool {
    jobs.lines().any(|line| {
        let mut words = line.split_whitespace().skip(1);
        words.next() == Some(unit) && words.next() == Some("restart")
    })
}

/// What the daemon before has left there, which is ours from now on.
pub(super) fn take_stored(packed: &UnixStream) -> anyhow::Result<Succession> {
    forget_stored();
    // Inherited sockets are had from systemd anew, as its units are by now.
    let (succession, _) = unpack(packed)?;
    Ok(succession)
}

/// Else it would be handed to each later daemon, too.
fn forget_stored() {
    if let Err(error) = sd_notify::notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(STORED_NAME)]) {
        tracing::debug!(%error, "systemd does not listen");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_the_innermost_service() {
        let cgroups =
            "4:memory:/process\n1:name=systemd:/user.slice/user@1000.service/app.slice/napgres.service\n0::/\n";
        assert_eq!(our_unit(cgroups).as_deref(), Some("napgres.service"));
        assert_eq!(our_unit("0::/system.slice/napgres.service\n").as_deref(), Some("napgres.service"));
        assert_eq!(our_unit("0::/user.slice/session-1.scope\n"), None);
    }

    #[test]
    fn a_stop_is_no_restart() {
        let jobs = "  31 napgres.service      restart running\n32 other.service restart waiting\n33 third.service stop running\n";
        assert!(is_restarted(jobs, "napgres.service"));
        assert!(!is_restarted(jobs, "third.service"));
        assert!(!is_restarted("No jobs running.\n", "napgres.service"));
    }
}
