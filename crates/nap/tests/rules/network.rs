//! Two machines on one wire, made of namespaces: on one of them a test runs, with names of its own for addresses; from the
//! other come its clients. Both are gone with the process that made them, however it ends.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, TcpStream};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

use nap_testkit::{is_full_run, is_root};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::client::connect;
use crate::names::Names;

/// The first machine's addresses. The last one's network is on no wire, but has members beyond the first one.
pub const HERE: &[&str] = &["10.77.0.1", "fd77::1", "10.88.0.1"];
/// The other's: in the networks of the first, and in none of them.
pub const BEYOND: &[&str] = &[
    "10.77.0.2",
    "10.77.0.3",
    "10.77.0.4",
    "10.77.0.5",
    "10.77.0.6",
    "10.88.0.2",
    "10.99.0.5",
    "10.99.0.6",
    "fd77::2",
    "fd99::5",
];
/// /etc/hosts of the first. What else has a name, its name server says: see [`Names`].
const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost\n10.77.0.2 near.example.test near\n10.77.0.3 UPPER.Example.test\n\
                     10.99.0.5 far.example.org\nfd77::2 six.example.test\n";

/// In the process that runs on the first machine: one of the second's.
const NEIGHBOUR: &str = "NAP_TEST_NEIGHBOUR";

/// Runs the story on the first of two machines: this test, named `test`, is run again there. Needs root.
pub fn on_two_machines(test: &str, story: impl FnOnce()) {
    if std::env::var_os(NEIGHBOUR).is_some() {
        let _names = Names::serve();
        return story();
    }
    if !is_root() {
        println!("NOT run: only root can lay a network");
        return;
    }
    let Some((here, beyond)) = lay() else {
        assert!(!is_full_run(), "no network could be laid");
        println!("NOT run: no network could be laid");
        return;
    };
    let mut again = here.inside(&["--net", "--mount"]);
    again.arg(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]);
    let status = again.env(NEIGHBOUR, beyond.0.id().to_string()).status().unwrap();
    assert!(status.success(), "see above");
}

/// A process that keeps a machine. It ends when nobody holds the other end of its input.
struct Machine(Child);

impl Machine {
    /// `None`: this root may not.
    fn start(namespaces: &[&str], setup: &str) -> Option<Self> {
        let script = format!("set -e; {setup}ip link set lo up; echo ready; exec cat");
        let mut unshare = Command::new("unshare");
        unshare.args(namespaces).args(["sh", "-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut keeper = Self(unshare.spawn().ok()?);
        let mut line = String::new();
        BufReader::new(keeper.0.stdout.take()?).read_line(&mut line).ok()?;
        (line == "ready\n").then_some(keeper)
    }

    fn inside(&self, namespaces: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(namespaces).args(["--target", &self.0.id().to_string(), "--"]);
        command
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn lay() -> Option<(Machine, Machine)> {
    // Only to be mounted: a file stays for as long as something is mounted from it.
    let files = tempfile_directory();
    let mut setup = String::new();
    let switch = "passwd: files\ngroup: files\nhosts: files dns\n";
    let resolver = "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n";
    for (name, text) in [("hosts", HOSTS), ("resolv.conf", resolver), ("nsswitch.conf", switch)] {
        let file = files.path().join(name);
        std::fs::write(&file, text).unwrap();
        setup.push_str(&format!("mount --bind {} /etc/{name}; ", file.display()));
    }
    let here = Machine::start(&["--net", "--mount", "--propagation", "private"], &setup)?;
    let beyond = Machine::start(&["--net"], "")?;
    let run = |machine: &Machine, script: &str| {
        machine.inside(&["--net"]).args(["sh", "-ec", script]).status().is_ok_and(|status| status.success())
    };
    let wire = format!("ip link add wire type veth peer name wire netns {}", beyond.0.id());
    // IPv6 is there or not; what has none of it is compared without.
    let first = "ip addr add 10.77.0.1/24 dev wire; ip addr add 10.88.0.1/30 dev lo; ip link set wire up; \
                 ip route add 10.88.0.2 via 10.77.0.2 || ip route add 10.88.0.2 dev wire; ip route add 10.99.0.0/24 dev wire; \
                 ip addr add fd77::1/64 dev wire nodad && ip route add fd99::/64 dev wire || true";
    let mut second = String::from("ip link set wire up; ");
    for address in BEYOND {
        let (length, end) = if address.contains(':') { (64, " nodad || true") } else { (24, "") };
        second.push_str(&format!("ip addr add {address}/{length} dev wire{end}; "));
    }
    // The first one's network that is on no wire: what it asks from there is answered too.
    second.push_str("ip route add 10.88.0.1 dev wire");
    (run(&here, &wire) && run(&beyond, &second) && run(&here, first)).then_some((here, beyond))
}

fn tempfile_directory() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("nap-network-").tempdir_in("/tmp").unwrap()
}

/// A connection from an address of either machine to the first one.
pub fn tcp(from: IpAddr, port: u16) -> TcpStream {
    let to: IpAddr = HERE[usize::from(from.is_ipv6())].parse().unwrap();
    let is_beyond = BEYOND.contains(&from.to_string().as_str());
    // A socket stays in the network that its thread was in when it made it.
    let come = move || {
        if is_beyond {
            let namespace = File::open(format!("/proc/{}/ns/net", std::env::var(NEIGHBOUR).unwrap())).unwrap();
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        }
        connect(from, to, port)
    };
    std::thread::spawn(come).join().unwrap()
}
