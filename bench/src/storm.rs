//! Many clients at once where everything sleeps: two hundred to one branch, and one each to fifty branches. The same work
//! done without `nap`: the same clients to servers that are spawned for them, each as soon as its server is ready.

use std::cell::Cell;
use std::os::unix::net::UnixDatagram;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::FutureExt as _;
use rustix::process::Signal;

use crate::Common;
use crate::account::Account;
use crate::client::Target;
use crate::cluster::Cluster;
use crate::contestants::{Bare, Contestant};
use crate::crowd::{self, Connected, Outcome, first_rows};
use crate::ground::{Ground, XFS};
use crate::home::Home;
use crate::machine;
use crate::race::{median_ms, race};
use crate::report::{Figure, Results, table, targets, write_section};

const CLIENTS: usize = 200;
/// More than the clients, and what else connects.
const MAX_CONNECTIONS: usize = 250;
/// As many as may be awake by default.
const BRANCHES: usize = 50;

const ROUNDS: usize = 21;
const QUICK_ROUNDS: usize = 7;

const ONE_BARE: &str = "bare postgres, 200 clients";
const ONE_NAP: &str = "nap, 200 clients to one branch";
const MANY_BARE: &str = "50 bare postgres, one client each";
const MANY_NAP: &str = "nap, one client to each of 50 branches";

pub(crate) fn run(common: &Common) -> Result<()> {
    let rounds = common.rounds.unwrap_or(if common.quick { QUICK_ROUNDS } else { ROUNDS });
    let account = Account::of_servers()?;
    let ground = Ground::prepare(&common.base, XFS)?;
    let home = Home::up(&common.nap, ground.path(), account)?;
    allow_connections(&home)?;
    let running = Cluster::running(account, &home.data(), home.wake()?)?;
    home.sleep()?;
    let branches: Vec<String> = (1..=BRANCHES).map(|number| format!("b{number}")).collect();
    for branch in &branches {
        home.nap(&["branch", branch])?;
    }
    let bare = |number: usize| -> Result<Bare> {
        let cluster = running.clone_to(&ground.path().join(format!("bare{number}")))?;
        Ok(Bare { cluster: cluster.with_peer()? })
    };

    let failures = Cell::new(0);
    let main = vec!["main".to_owned()];
    let mut one: Vec<Box<dyn Contestant + '_>> = vec![
        Box::new(BareStorm { name: ONE_BARE, servers: vec![bare(0)?], clients: CLIENTS, failures: &failures }),
        Box::new(NapStorm { name: ONE_NAP, home: &home, branches: main, clients: CLIENTS, failures: &failures }),
    ];
    let one = race(&mut one, rounds)?;
    let servers = (1..=BRANCHES).map(bare).collect::<Result<_>>()?;
    let mut many: Vec<Box<dyn Contestant + '_>> = vec![
        Box::new(BareStorm { name: MANY_BARE, servers, clients: 1, failures: &failures }),
        Box::new(NapStorm { name: MANY_NAP, home: &home, branches, clients: 1, failures: &failures }),
    ];
    let many = race(&mut many, rounds)?;

    let figures = vec![
        Figure::new("failures", failures.get() as f64).at_most(0.0),
        Figure::new("one_branch_vs_bare", median_ms(&one, ONE_NAP)? / median_ms(&one, ONE_BARE)?).at_most(1.2),
        Figure::new("many_branches_vs_bare", median_ms(&many, MANY_NAP)? / median_ms(&many, MANY_BARE)?).at_most(1.2),
    ];
    let section = format!(
        "{}; medians of {rounds} rounds in turn, warm cache.\n\n{}\n{}\n{}",
        machine::line(&running),
        table("all asleep → the last of 200 first rows", &one),
        table("all asleep → the last of 50 first rows", &many),
        targets(&figures)
    );
    println!("{section}");
    if let Some(file) = &common.write {
        write_section(file, "storm", &section)?;
    }
    println!("{}", serde_json::to_string(&Results { bench: "storm", results: figures })?);
    Ok(())
}

/// Before anything is branched from it.
fn allow_connections(home: &Home) -> Result<()> {
    use std::io::Write as _;
    home.sleep()?;
    let mut file = std::fs::File::options().append(true).open(home.data().join("postgresql.conf"))?;
    Ok(writeln!(file, "max_connections = {MAX_CONNECTIONS}")?)
}

/// Clients of sleeping branches.
struct NapStorm<'a> {
    name: &'static str,
    home: &'a Home,
    branches: Vec<String>,
    /// To each branch.
    clients: usize,
    failures: &'a Cell<usize>,
}

impl NapStorm<'_> {
    fn sleep(&self) -> Result<()> {
        std::thread::scope(|scope| {
            let sleeps: Vec<_> =
                self.branches.iter().map(|branch| scope.spawn(|| self.home.sleep_of(branch))).collect();
            sleeps.into_iter().try_for_each(|sleep| sleep.join().map_err(|_| anyhow::anyhow!("a panic"))?)
        })
    }
}

impl Contestant for NapStorm<'_> {
    fn name(&self) -> &str {
        self.name
    }

    fn round(&mut self) -> Result<Duration> {
        let targets: Vec<Target> = self.branches.iter().map(|branch| self.home.by_unix_socket_to(branch)).collect();
        let started = Instant::now();
        let each = targets.iter().flat_map(|target| std::iter::repeat_n(target, self.clients));
        let outcome = first_rows(started, || each.map(crowd::first_row).collect())?;
        self.sleep()?;
        count(outcome, self.name, self.failures)
    }
}

/// Servers that are spawned, and clients that connect to each as soon as it is ready.
struct BareStorm<'a> {
    name: &'static str,
    servers: Vec<Bare>,
    clients: usize,
    failures: &'a Cell<usize>,
}

impl Contestant for BareStorm<'_> {
    fn name(&self) -> &str {
        self.name
    }

    fn round(&mut self) -> Result<Duration> {
        let prepared = self.servers.iter().map(Bare::prepared).collect::<Result<Vec<_>>>()?;
        let mut running: Vec<Child> = Vec::new();
        let mut clients = Vec::new();
        let started = Instant::now();
        for (server, (mut command, notified)) in self.servers.iter().zip(prepared) {
            running.push(command.spawn()?);
            clients.push((&server.cluster, notified));
        }
        let outcome = first_rows(started, || {
            let clients = clients.into_iter();
            clients.flat_map(|(cluster, notified)| when_ready(cluster, notified, self.clients)).collect()
        });
        for server in &mut running {
            rustix::process::kill_process(rustix::process::Pid::from_child(server), Signal::INT).ok();
        }
        for server in &mut running {
            server.wait()?;
        }
        count(outcome?, self.name, self.failures)
    }
}

/// This many clients of a server, who wait for it.
fn when_ready(
    cluster: &Cluster,
    notified: Option<UnixDatagram>,
    clients: usize,
) -> impl Iterator<Item = impl Future<Output = Result<Connected>>> {
    let ready = ready(cluster, notified).shared();
    std::iter::repeat_n(ready, clients).map(move |ready| async move {
        ready.await;
        crowd::first_row(&cluster.target(cluster.socket())).await
    })
}

/// As the bare contestant of `bench wake` waits: until the server says so, or its `postmaster.pid` does.
async fn ready(cluster: &Cluster, notified: Option<UnixDatagram>) {
    let Some(socket) = notified.and_then(|socket| listening(socket).ok()) else {
        while !cluster.says_ready() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        return;
    };
    let mut said = [0; 512];
    while let Ok(length) = socket.recv(&mut said).await {
        if said.get(..length).is_some_and(|said| said.starts_with(b"READY=1")) {
            return;
        }
    }
}

fn listening(socket: UnixDatagram) -> std::io::Result<tokio::net::UnixDatagram> {
    socket.set_nonblocking(true)?;
    tokio::net::UnixDatagram::from_std(socket)
}

fn count(outcome: Outcome, name: &str, failures: &Cell<usize>) -> Result<Duration> {
    for failure in &outcome.failures {
        eprintln!("{name}: {failure}");
    }
    failures.set(failures.get() + outcome.failures.len());
    Ok(outcome.taken)
}
