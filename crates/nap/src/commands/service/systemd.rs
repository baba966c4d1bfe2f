//! systemd's units, as text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use nap_control::Failure;

use super::MARK;
use super::manager::Step;
use super::place::{Facts, line};
use crate::daemon::DRAIN_BEYOND;
use crate::libpq::default_socket_directory;

pub(super) const SERVICE: &str = "napgres.service";
pub(super) const SOCKET: &str = "napgres.socket";

/// What the daemon needs beyond the time it gives its servers.
const STOP_BEYOND_S: u64 = 15;

/// Whatever else the daemon and PostgreSQL need: nothing. What is not here: MemoryDenyWriteExecute= would forbid
/// PostgreSQL's JIT, and PrivateUsers= hides who a peer on a socket is.
const HARDENING: &str = "\
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service
UMask=0077
";

/// These take a mount namespace or capabilities, which a user's own manager may not have to give.
const SYSTEM_HARDENING: &str = "\
CapabilityBoundingSet=
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectSystem=strict
";

/// The line by which a unit says which home it is for.
pub(crate) fn home_line(home: &str) -> String {
    format!("# Home: {home}")
}

fn head(facts: &Facts) -> String {
    format!("# {MARK}\n{}\n", home_line(&facts.home))
}

/// The service.
pub(super) fn service(facts: &Facts, socket: bool) -> Result<String, Failure> {
    let program = line(&facts.program)?;
    let mut text = head(facts);
    text.push_str("\n[Unit]\nDescription=Napgres: Postgres that naps\n");
    if facts.system {
        text.push_str("After=network.target\n");
        text.push_str(&format!(
            "# If the home has a pool, it is there before and until after\nRequiresMountsFor={}\n",
            word(&facts.pool_dir)
        ));
    }
    if socket {
        text.push_str(&format!("Requires={SOCKET}\nAfter={SOCKET}\n"));
    }
    text.push_str(&format!(
        "\n[Service]\nType=notify\nExecStart={} --home {} up --foreground\nExecReload=/bin/kill -HUP $MAINPID\n",
        word(&program),
        argument(&facts.home)
    ));
    if facts.system {
        text.push_str(&format!("User={}\n", specifiers(&facts.settings.run_as)));
    }
    text.push_str(&supervision(facts));
    text.push_str("\n# What the daemon and its servers may do\n");
    text.push_str(HARDENING);
    if facts.system {
        text.push_str(SYSTEM_HARDENING);
        text.push_str(&file_systems(facts)?);
    }
    let target = if facts.system { "multi-user.target" } else { "default.target" };
    text.push_str(&format!("\n[Install]\nWantedBy={target}\n"));
    if socket {
        text.push_str(&format!("Also={SOCKET}\n"));
    }
    Ok(text)
}

fn supervision(facts: &Facts) -> String {
    let shutdown = facts.settings.shutdown_timeout.0.unwrap_or_default() + DRAIN_BEYOND;
    format!(
        "Restart=on-failure\n\
         RestartSec=1\n\
         WatchdogSec=180\n\
         # A first start makes a cluster; the daemon asks for more time while it does\n\
         TimeoutStartSec=180\n\
         # The daemon alone is told to stop, and shuts its servers down fast. If it is killed they go on, and the next\n\
         # daemon takes them over: so nothing but the daemon is killed\n\
         KillMode=process\n\
         TimeoutStopSec={}\n\
         # A server that the kernel ends for want of memory is the daemon's to look after\n\
         OOMPolicy=continue\n\
         # A restart of the service leaves the sessions here for the next daemon\n\
         FileDescriptorStoreMax=1\n\
         LimitNOFILE=65536\n\
         TasksMax=infinity\n",
        shutdown.as_secs() + STOP_BEYOND_S
    )
}

/// Where it may write, and what it need not see. Tablespaces elsewhere need a line of their own.
fn file_systems(facts: &Facts) -> Result<String, Failure> {
    let home = Path::new(&facts.home);
    let socket_dir = facts.settings.unix_socket_directory.clone();
    let socket_dir = socket_dir.or_else(|| default_socket_directory().map(PathBuf::from));
    let shares_tmp = [Some(home), Some(facts.run_dir.as_path()), socket_dir.as_deref()]
        .into_iter()
        .flatten()
        .any(|path| path.starts_with("/tmp") || path.starts_with("/var/tmp"));
    let hidden = |path: &Path| ["/home", "/root", "/run/user"].iter().any(|dir| path.starts_with(dir));
    let needed = [Some(home), Some(facts.program.as_path()), facts.settings.postgres_bin.as_deref()];
    let sees_homes = needed.into_iter().flatten().any(hidden);
    let mut text =
        String::from("# A tablespace outside of these: systemctl edit napgres, ReadWritePaths=/its/directory\n");
    text.push_str(&format!("ReadWritePaths={}\n", word(&facts.home)));
    if let Some(dir) = socket_dir.filter(|dir| !dir.starts_with("/tmp")) {
        text.push_str(&format!("ReadWritePaths={}\n", word(&format!("-{}", line(&dir)?))));
    }
    text.push_str(if shares_tmp {
        "# The home or a socket lies there\nReadWritePaths=/tmp\n"
    } else {
        "PrivateTmp=yes\n"
    });
    text.push_str(if sees_homes { "ProtectHome=read-only\n" } else { "ProtectHome=yes\n" });
    Ok(text)
}

/// The socket unit: the port of this home, and the socket where a bare psql looks.
pub(super) fn socket(facts: &Facts) -> Result<String, Failure> {
    let port = facts.settings.port;
    if port == 0 {
        return Err(Failure::failed("this home has no port yet, for systemd to listen on")
            .hint("`nap up` chooses one; or `nap config set port=5432`"));
    }
    let mut text = head(facts);
    text.push_str("\n[Unit]\nDescription=Napgres: where its clients connect\n\n[Socket]\n");
    for address in addresses(&facts.settings.listen_addresses)? {
        text.push_str(&format!("ListenStream={}\n", SocketAddr::new(address, port)));
    }
    let socket_dir = facts.settings.unix_socket_directory.clone();
    // libpq says /var/run, of which systemd warns at each start: it wants what that leads to.
    let real = |dir: &Path| dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let socket_dir = socket_dir.or_else(|| default_socket_directory().filter(|dir| may_write(dir)).map(real));
    if let Some(dir) = socket_dir {
        text.push_str(&format!("ListenStream={}\n", specifiers(&line(&dir.join(format!(".s.PGSQL.{port}")))?)));
    }
    text.push_str(
        "# A socket with the name branch-NAME, in a socket unit of its own with Service=napgres.service, is the door of\n\
         # the branch NAME\n\
         FileDescriptorName=nap\n\
         BindIPv6Only=ipv6-only\n\
         Backlog=1024\n\
         RemoveOnStop=yes\n\
         \n[Install]\nWantedBy=sockets.target\n",
    );
    Ok(text)
}

fn may_write(dir: &Path) -> bool {
    rustix::fs::access(dir, rustix::fs::Access::WRITE_OK).is_ok()
}

/// systemd resolves no names.
fn addresses(listen_addresses: &[String]) -> Result<Vec<IpAddr>, Failure> {
    let mut found = Vec::new();
    for address in listen_addresses {
        match address.as_str() {
            "localhost" => found.extend([IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]),
            address => found.push(address.parse().map_err(|_| {
                Failure::failed(format!("a socket unit cannot listen on the name {address}"))
                    .hint("write the address itself: `nap config set listen_addresses=...`")
            })?),
        }
    }
    found.dedup();
    // The whole unit would fail for an IPv6 address on a machine without IPv6.
    let there = |address: &IpAddr| address.is_ipv4() || TcpListener::bind((*address, 0)).is_ok();
    if found.iter().any(there) {
        found.retain(there);
    }
    Ok(found)
}

/// systemd's own variables, `%h` and their like, are not meant.
pub(crate) fn specifiers(text: &str) -> String {
    text.replace('%', "%%")
}

/// One word of a list.
pub(crate) fn word(text: &str) -> String {
    format!("\"{}\"", specifiers(text).replace('\\', "\\\\").replace('"', "\\\""))
}

/// One word of a command behind its first: there `$` means a variable.
pub(crate) fn argument(text: &str) -> String {
    word(&text.replace('$', "$$"))
}

fn systemctl(system: bool, words: &[&str], starts_daemon: bool) -> Step {
    let (own, more): (&[&str], _) = if system {
        (&["systemctl"], "`systemctl status napgres` and `journalctl -u napgres` say more")
    } else {
        (&["systemctl", "--user"], "`systemctl --user status napgres` and `journalctl --user -u napgres` say more")
    };
    Step::new(&[own, words].concat(), starts_daemon, more)
}

/// With a socket, the service starts when somebody connects.
fn unit_to_start(socket: bool) -> &'static str {
    if socket { SOCKET } else { SERVICE }
}

pub(super) fn enable(system: bool, socket: bool) -> Vec<Step> {
    let start = ["enable", "--now", unit_to_start(socket)];
    vec![systemctl(system, &["daemon-reload"], false), systemctl(system, &start, true)]
}

pub(super) fn is_active(system: bool, socket: bool) -> Step {
    systemctl(system, &["is-active", "--quiet", unit_to_start(socket)], false)
}

/// Before the files go, and after.
pub(super) fn disable(system: bool, ours: &[PathBuf]) -> (Vec<Step>, Vec<Step>) {
    let names = ours.iter().filter_map(|path| path.file_name()?.to_str());
    let words: Vec<&str> = ["disable", "--now"].into_iter().chain(names).collect();
    (vec![systemctl(system, &words, false)], vec![systemctl(system, &["daemon-reload"], false)])
}
