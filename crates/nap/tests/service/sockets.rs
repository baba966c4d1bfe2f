//! Sockets that are kept: by systemd's own tool, and over the lives of several daemons.

use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use nap_testkit::process::{self, Signal};
use nap_testkit::{PortPair, TestHome, eventually, give_to_server_user};

use crate::home;
use crate::manager::{Manager, ends_with};

/// The branch that a connection to this port of TCP comes to.
fn branch_by(home: &TestHome, port: u16) -> String {
    let (role, password) = (home.role(), home.password());
    let connection = format!("host=127.0.0.1 port={port} user='{role}' password='{password}' dbname=postgres");
    home.psql_with(&connection, "show nap.branch").ok().to_owned()
}

/// Connects once, as whoever asks for the first time does.
pub(crate) fn knock(port: u16) {
    drop(std::net::TcpStream::connect(("127.0.0.1", port)).unwrap());
}

#[test]
fn systemd_hands_its_sockets_over() {
    if !std::path::Path::new("/usr/bin/systemd-socket-activate").exists() {
        assert!(!nap_testkit::is_full_run(), "systemd-socket-activate is missing");
        return;
    }
    let home = home();
    home.up();
    home.nap(&["branch", "feature"]).ok();
    home.nap(&["down"]).ok();
    let (shared, named) = (PortPair::free(), PortPair::free());
    let directory = home.beside().join("kept");
    std::fs::create_dir(&directory).unwrap();
    let socket = directory.join(format!(".s.PGSQL.{}", shared.port));
    let nap = home.nap_command(&["up", "--foreground"]);
    let mut activate = Command::new("systemd-socket-activate");
    activate.args(["--fdname", "nap:branch-feature:nap"]);
    activate.arg("-l").arg(format!("127.0.0.1:{}", shared.port)).arg("-l").arg(format!("127.0.0.1:{}", named.port));
    activate.arg("-l").arg(&socket).arg(nap.get_program()).args(nap.get_args());
    let mut daemon = activate.current_dir("/").stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("it listens", || socket.exists().then_some(()));
    knock(shared.port);
    eventually("it is up", || home.nap(&["status"]).succeeded().then_some(()));
    let pid = daemon.id() as i32;
    assert_eq!(home.daemon_pid(), pid, "the same process");

    home.sleep("main");
    assert_eq!(branch_by(&home, shared.port), "main", "woken by an inherited port");
    assert_eq!(branch_by(&home, named.port), "feature", "a socket's name is the name of a door");
    let through = home
        .psql_with(&format!("host={} port={} dbname=postgres", directory.display(), shared.port), "show nap.branch");
    assert_eq!(through.ok(), "main", "by the Unix socket, as a peer");
    let status = home.nap(&["status", "--json"]).json();
    assert_eq!(status["port"], shared.port, "the port is the inherited one's");
    let toml = std::fs::read_to_string(home.path().join("nap.toml")).unwrap();
    assert!(toml.contains(&format!("port = {}", shared.port)), "{toml}");
    let server = home.server_pid("main").unwrap();
    let environment = std::fs::read_to_string(format!("/proc/{server}/environ")).unwrap();
    assert!(!environment.contains("LISTEN_"), "{environment}");

    let taken = home.nap(&["set", "main", &format!("port={}", named.port)]);
    assert!(taken.fails_with(1).contains("that of branch \"feature\""), "{taken}");
    process::signal(pid, Signal::TERM);
    assert!(daemon.wait().unwrap().success());
    assert!(socket.exists(), "its file is not ours to remove");
}

#[test]
fn between_two_daemons_nobody_is_refused() {
    let home = home();
    let manager = Manager::new(&home).keep_the_port();
    let service = manager.start(&[]);
    let url = home.url("postgres@main");
    home.psql_with(&url, "create table kept (n int)").ok();
    service.stop();
    for killed in [false, true] {
        let clients: Vec<_> = (0..10)
            .map(|_| {
                let mut client = home.program("psql");
                client.args(["-XAtc", "insert into kept values (1) returning n"]).arg(&url);
                client.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        eventually("all have knocked", || (waiting(home.port()) >= clients.len()).then_some(()));
        let service = manager.start(&[]);
        for client in clients {
            let output = client.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        if killed { service.kill() } else { service.stop() }
    }
    let service = manager.start(&[]);
    assert_eq!(home.psql_with(&url, "select count(*) from kept").ok(), "20");
    service.stop();
}

#[tokio::test]
async fn another_program_takes_them_over_with_the_sessions() {
    let home = home();
    home.up();
    home.nap(&["branch", "feature"]).ok();
    home.nap(&["down"]).ok();
    let named = TcpListener::bind("127.0.0.1:0").unwrap();
    let named_port = named.local_addr().unwrap().port();
    let socket = home.beside().join("kept.sock");
    let manager = Manager::new(&home).keep_the_port().keep("branch-feature", named);
    let manager = manager.keep("db", UnixListener::bind(&socket).unwrap());
    let service = manager.start(&[]);
    let session = home.connect("postgres@main").await;
    session.batch_execute("create temp table kept (n int)").await.unwrap();
    for time in 1..=3 {
        home.nap(&["up", "--replace"]).ok();
        manager.hears_of("READY=1");
        assert_eq!(home.daemon_pid(), service.pid(), "the same process");
        session.batch_execute("insert into kept values (1)").await.unwrap();
        let kept: i64 = session.query_one("select count(*) from kept", &[]).await.unwrap().get(0);
        assert_eq!(kept, time, "the session is the same");
        assert_eq!(branch_by(&home, home.port()), "main");
        assert_eq!(branch_by(&home, named_port), "feature", "it still is the door of its branch");
        assert_eq!(home.nap(&["status", "--json"]).json()["port"], home.port());
    }
    drop(session);
    service.stop();
    assert!(socket.exists(), "its file is not ours to remove");
    let service = manager.start(&[]);
    assert_eq!(branch_by(&home, named_port), "feature", "the manager has kept them all the time");
    service.stop();
}

/// Connections to this port that the kernel has taken, and nobody has accepted yet.
fn waiting(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let is_ours = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields[1].ends_with(&format!(":{port:04X}")) && fields[3] == "0A"
    };
    let line = table.lines().skip(1).find(is_ours).unwrap();
    // For a listening socket the receive queue holds them.
    let queues = line.split_whitespace().nth(4).unwrap();
    usize::from_str_radix(queues.split_once(':').unwrap().1, 16).unwrap()
}

#[test]
fn what_is_of_no_use_is_refused_by_name() {
    let home = home();
    let refused = |manager: Manager<'_>, arguments: &[&str], code: i32| {
        ends_with(manager.run(arguments, &[]), code);
        let log = manager.log();
        std::fs::remove_file(home.beside().join("notify")).unwrap();
        std::fs::remove_file(home.beside().join("daemon.log")).unwrap();
        log
    };
    let up = ["up", "--foreground"];
    let said = refused(Manager::new(&home).keep("mail", UdpSocket::bind("127.0.0.1:0").unwrap()), &up, 1);
    assert!(
        said.contains("\"mail\" (descriptor 3)") && said.contains("neither a TCP nor a Unix stream socket"),
        "{said}"
    );
    let idle = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let said = refused(Manager::new(&home).keep("idle", idle), &up, 1);
    assert!(said.contains("it does not listen"), "{said}");
    let said = refused(Manager::new(&home).keep("branch-No Such", TcpListener::bind("127.0.0.1:0").unwrap()), &up, 1);
    assert!(said.contains("branch-No Such") && said.contains("hint:"), "{said}");
    let said = refused(Manager::new(&home).keep_the_port(), &["up", "--foreground", "--port", "4"], 1);
    assert!(said.contains(&format!("the inherited socket is on port {}, not 4", home.port())), "{said}");
    let said = refused(Manager::new(&home).keep_the_port(), &["up"], 2);
    assert!(said.contains("in the foreground only"), "{said}");
    assert!(!home.path().join("branches/main").exists(), "nothing was made");
}

#[test]
fn beyond_loopback_they_need_what_listen_addresses_needs() {
    let home = TestHome::builder(env!("CARGO_BIN_EXE_nap")).setting("ssl", "\"off\"").build();
    let everywhere = TcpListener::bind(("0.0.0.0", home.port())).unwrap();
    let manager = Manager::new(&home).keep("nap", everywhere);
    ends_with(manager.run(&["up", "--foreground"], &[]), 1);
    assert!(manager.log().contains("0.0.0.0"), "{}", manager.log());
}

#[test]
fn what_was_meant_for_another_process_is_left_alone() {
    let home = home();
    let manager = Manager::new(&home).keep_the_port();
    let mut bash = home.nap_command(&[]);
    let nap = bash.get_program().to_owned();
    bash = Command::new("bash");
    // bash's own number, and then not exec: nap is another process.
    bash.args(["-c", "export LISTEN_PID=$$ LISTEN_FDS=1; \"$@\"; exit $?", "bash"]).arg(nap);
    let said =
        nap_testkit::Output::of(bash.arg("--home").arg(home.path()).args(["up", "--foreground"]).current_dir("/"));
    assert!(said.fails_with(1).contains("is taken"), "it binds the port itself, which the manager has: {said}");
    drop(manager);
}

#[test]
fn a_unix_socket_alone_leaves_the_port_to_us() {
    let home = home();
    let directory = home.beside().join("kept");
    std::fs::create_dir(&directory).unwrap();
    give_to_server_user(&directory);
    let listener = UnixListener::bind(directory.join("door")).unwrap();
    let manager = Manager::new(&home).keep("branch-main", listener);
    let service = manager.start(&[]);
    assert_eq!(branch_by(&home, home.port()), "main");
    assert!(home.socket_directory().join(format!(".s.PGSQL.{}", home.port())).exists());
    service.stop();
    assert!(directory.join("door").exists());
}
