//! A home under siege: `main` sleeps, `feat` is used by honest clients, and in the end it is counted what it cost them.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nap_testkit::{DEADLINE, Raw, TestHome, connect, eventually};
use rustix::net::{AddressFamily, SocketType};

/// What the slowest honest login and query may take, on a machine whose cores the attackers share: what clients mostly
/// give a connection.
const HONEST_MAX: Duration = Duration::from_secs(10);

/// What the daemon may grow by at most, however many come one after the other and whatever they say. Measured in a debug
/// build on two busy cores: 60 to 620 kB, honest clients included. Three times that, for what another allocator keeps.
const FLAT_MAX_KB: u64 = 2_000;
/// What each connection that is held beside others may add. Measured: 6.7 kB each with 400 and with 1,000 half-open ones,
/// 12 kB with 99 of which a third is in a TLS handshake and what all share counts too.
const CONNECTION_MAX_KB: u64 = 10;

/// `SSLRequest`.
pub(crate) const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

pub(crate) struct Siege {
    pub(crate) home: TestHome,
    daemon: i32,
    wakes: u64,
    resident_before_kb: u64,
    honest: Honest,
}

/// A home with a second branch, where every address of loopback may log in.
pub(crate) fn home(settings: &[(&str, &str)]) -> TestHome {
    let mut builder = TestHome::builder(env!("CARGO_BIN_EXE_nap")).setting("sleep_after", "\"10min\"");
    for (name, value) in settings {
        builder = builder.setting(name, value);
    }
    let home = builder.build();
    home.up();
    let rules = home.path().join("pg_hba.conf");
    let written = std::fs::read_to_string(&rules).unwrap();
    std::fs::write(&rules, format!("host all all 127.0.0.0/8 scram-sha-256\n{written}")).unwrap();
    home.nap(&["config", "reload"]).ok();
    home.nap(&["branch", "feat"]).ok();
    home
}

impl Siege {
    /// With these settings beside those of every home here.
    pub(crate) fn begin(settings: &[(&str, &str)]) -> Self {
        let home = home(settings);
        let honest = Honest::start(&home);
        let wakes = home.put_to_sleep("main");
        let daemon = home.daemon_pid();
        forget_peak(daemon);
        Self { resident_before_kb: memory_kb(daemon, "VmRSS"), home, daemon, wakes, honest }
    }

    pub(crate) fn port(&self) -> u16 {
        self.home.port()
    }

    /// What the daemon has grown by at its largest, however short that was: the kernel keeps the mark.
    pub(crate) fn peak_kb(&self) -> u64 {
        memory_kb(self.daemon, "VmHWM").saturating_sub(self.resident_before_kb)
    }

    /// Waits until the daemon has taken all that TCP clients have sent to it.
    pub(crate) fn all_is_read(&self) {
        let local = format!("0100007F:{:04X}", self.port());
        eventually("the daemon has read all", || {
            let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
            let mut rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
            // What it has sent may lie with them unread.
            let is_read = |row: Vec<&str>| match row[4].split_once(':').unwrap() {
                (_, received) if row[1] == local && row[3] == "01" => received == "00000000",
                (to_send, _) if row[2] == local && row[3] == "01" => to_send == "00000000",
                _ => true,
            };
            rows.all(is_read).then_some(())
        });
    }

    /// CPU time that the daemon has used so far.
    pub(crate) fn daemon_cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.daemon)).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        // In clock ticks, a hundredth of a second on Linux.
        Duration::from_millis((fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()) * 10)
    }

    /// How long the daemon's logs are together.
    pub(crate) fn log_bytes(&self) -> u64 {
        let files = std::fs::read_dir(self.home.path().join("log")).unwrap();
        files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
    }

    /// The siege is over: nothing was woken, at no time was the daemon larger than so many
    /// connections at once may make it, others were served.
    #[track_caller]
    pub(crate) fn end(self, held_at_once: u64) {
        let (peak, peak_max_kb) = (self.peak_kb(), FLAT_MAX_KB + held_at_once * CONNECTION_MAX_KB);
        let (logins, worst) = self.honest.stop();
        eprintln!("grown by {peak} kB at most; {logins} honest logins, the slowest in {worst:?}");
        assert!(peak <= peak_max_kb, "the daemon has grown by {peak} kB, more than {peak_max_kb}");
        assert!(worst <= HONEST_MAX, "an honest client took {worst:?}");
        self.home.still_sleeps("main", self.wakes);
    }
}

/// From here on the kernel's mark of the most that was resident (`VmHWM`) begins anew.
fn forget_peak(pid: i32) {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
}

/// A line of /proc/PID/status.
fn memory_kb(pid: i32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Two clients that log in and ask, again and again: one over TCP with a password, the home's owner on a Unix socket.
struct Honest {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Vec<Duration>>>,
}

impl Honest {
    fn start(home: &TestHome) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let repeat = |mut once: Box<dyn FnMut() + Send>| {
            once();
            let stop = stop.clone();
            std::thread::spawn(move || {
                let mut times = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let started = Instant::now();
                    once();
                    times.push(started.elapsed());
                    std::thread::sleep(Duration::from_millis(20));
                }
                times
            })
        };
        let config = home.config("postgres@feat");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let over_tcp = Box::new(move || {
            runtime.block_on(async {
                let client = connect(&config).await.expect("an honest login over TCP");
                client.simple_query("select 1").await.expect("an honest query");
            });
        });
        let (directory, port) = (home.socket_directory(), home.port());
        let by_socket = Box::new(move || {
            let mut client = Raw::unix(&directory, port).start(&[("user", "postgres"), ("database", "postgres@feat")]);
            client.ready().expect("the owner gets in");
            assert_eq!(client.ask("select 1").expect("an honest query"), "1");
        });
        let clients = vec![repeat(over_tcp), repeat(by_socket)];
        Self { stop, clients }
    }

    /// How many logins there were, and the longest.
    fn stop(self) -> (usize, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        let times: Vec<Vec<Duration>> = self.clients.into_iter().map(|client| client.join().unwrap()).collect();
        assert!(times.iter().all(|times| !times.is_empty()), "each was served at least once");
        (times.iter().map(Vec::len).sum(), times.into_iter().flatten().max().unwrap())
    }
}

/// A TCP connection from this address of loopback: there are 28,000 ports for each.
pub(crate) fn tcp_from(source: Ipv4Addr, port: u16) -> io::Result<TcpStream> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    rustix::net::sockopt::set_ip_freebind(&socket, true)?;
    rustix::net::bind(&socket, &SocketAddrV4::new(source, 0))?;
    rustix::net::connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE))?;
    Ok(stream)
}

/// Closes with a reset instead of a goodbye.
pub(crate) fn reset(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
}

/// Either kind of socket.
pub(crate) trait Wire: Read + Write {
    fn says_no_more(&self);
}

impl Wire for TcpStream {
    fn says_no_more(&self) {
        let _ = self.shutdown(std::net::Shutdown::Write);
    }
}

impl Wire for UnixStream {
    fn says_no_more(&self) {
        let _ = self.shutdown(std::net::Shutdown::Write);
    }
}

/// A startup packet of protocol 3.`minor` with this after the version.
pub(crate) fn packet(minor: u16, body: &[u8]) -> Vec<u8> {
    let version = 196_608 + u32::from(minor);
    let length = body.len() as u32 + 8;
    [&length.to_be_bytes()[..], &version.to_be_bytes(), body].concat()
}

/// A whole startup packet for a role and a database.
pub(crate) fn startup(user: &str, database: &str) -> Vec<u8> {
    packet(0, format!("user\0{user}\0database\0{database}\0\0").as_bytes())
}
