//! Rules and connections by chance, decided by a PostgreSQL and by Napgres. Both read the same files and are asked the
//! same; both must answer the same.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nap_testkit::{Bare, Chaos, Raw, TestHome, eventually, give_to_server_user, is_root};

use crate::client::{Knock, Origin, Place};
use crate::draw::{BESIDE, BESIDE_DIRECTORIES, Draw};
use crate::tls::{CERTIFICATES, Certificates};

const FILES: u64 = 120;
const KNOCKS_PER_FILE: u64 = 30;

/// What both have. Everybody who may log in may replicate too, so that rules decide and nothing else.
const WORLD: &[&str] = &[
    "create role staff",
    "create role people",
    "create role nobodys",
    "create role alice login replication in role staff",
    "create role bob login replication",
    "create role boss superuser login replication",
    "create role \"Odd Name\" login replication",
    "create role \"all\" login replication",
    "create role \"+staff\" login replication",
    "grant people to staff",
    "create database shop",
    "create database alice",
    "create database staff",
    "create database \"all\"",
    "create database \"replication\"",
    "create database \"Odd Name\"",
];

/// A PostgreSQL and a home, with the same roles, databases and certificates.
pub struct Both {
    bare: Bare,
    home: TestHome,
    /// A session of PostgreSQL's superuser that stays open, whatever the rules say.
    inside: Raw<UnixStream>,
    pub modern: bool,
    reloads: u64,
}

impl Both {
    /// They listen on these addresses.
    pub fn start(addresses: &[&str]) -> Self {
        let install = nap_testkit::pg_majors().into_iter().next().unwrap();
        let listen = format!("listen_addresses={}", addresses.join(","));
        let bare = Bare::start(&install, &[&listen, "wal_level=logical", "max_wal_senders=50"]);
        let home = TestHome::builder(env!("CARGO_BIN_EXE_nap"))
            .setting("sleep_after", "\"10min\"")
            .setting("listen_addresses", &format!("{addresses:?}"))
            .setting("ssl_ca_file", "\"../clients.pem\"")
            .setting("ssl_cert_file", "\"../server.crt\"")
            .setting("ssl_key_file", "\"../server.key\"")
            .build();
        let Certificates { root, server, .. } = &*CERTIFICATES;
        for (name, text) in [("clients.pem", root), ("server.crt", &server.certificate), ("server.key", &server.key)] {
            put(&bare.data(name), text);
            put(&home.beside().join(name), text);
        }
        bare.psql("alter system set ssl = on").ok();
        bare.psql("alter system set ssl_ca_file = 'clients.pem'").ok();
        home.up();
        // The home has a first role, named after whoever runs this.
        if home.role() != "postgres" {
            bare.psql(&format!("create role \"{}\" superuser login replication", home.role())).ok();
        }
        for sql in WORLD {
            bare.psql(sql).ok();
            home.psql("postgres@main", sql).ok();
        }
        for directory in [bare.data(""), home.path()] {
            for name in BESIDE_DIRECTORIES {
                std::fs::create_dir(directory.join(name)).unwrap();
                give_to_server_user(&directory.join(name));
            }
            for (name, text) in BESIDE {
                put(&directory.join(name), text);
            }
        }
        let mut inside =
            Raw::unix(bare.directory(), bare.port()).start(&[("user", "postgres"), ("database", "postgres")]);
        inside.ready().unwrap();
        Self { bare, home, inside, modern: install.major >= 16, reloads: 0 }
    }

    pub fn write(&self, hba: &str, ident: &str) {
        for directory in [self.bare.data(""), self.home.path()] {
            put(&directory.join("pg_hba.conf"), hba);
            put(&directory.join("pg_ident.conf"), ident);
        }
    }

    /// What PostgreSQL finds wrong with the files as they are; nothing: they can be used.
    pub fn their_errors(&mut self) -> String {
        // A rule that can never match is no error to it: it says so in the same place.
        let rules = "select string_agg(error, '; ') from pg_hba_file_rules where error not like '%cannot match%'";
        let maps = "select string_agg(error, '; ') from pg_ident_file_mappings";
        let sql = format!("select concat_ws('; ', ({rules}), ({maps}))");
        self.inside.ask(if self.modern { &sql } else { rules }).unwrap()
    }

    /// What Napgres finds wrong with them; nothing: they are in force now.
    pub fn our_errors(&self) -> String {
        let reloaded = self.home.nap(&["config", "reload"]);
        if reloaded.succeeded() { String::new() } else { reloaded.fails_with(1).to_owned() }
    }

    /// The first line of files to be loaded next: by it we see that PostgreSQL has loaded them.
    pub fn mark(&mut self) -> String {
        self.reloads += 1;
        format!("local mark{} all reject", self.reloads)
    }

    /// Has PostgreSQL read the files.
    pub fn reload(&self) {
        let pid = std::fs::read_to_string(self.bare.data("postmaster.pid")).unwrap();
        nap_testkit::process::signal(pid.lines().next().unwrap().parse().unwrap(), rustix::process::Signal::HUP);
        let mark = Knock {
            from: Origin::User(rustix::process::geteuid().as_raw()),
            role: "alice".into(),
            database: format!("mark{}", self.reloads),
            replication: None,
        };
        eventually("PostgreSQL has read its rules", || {
            mark.at(&self.theirs()).contains("pg_hba.conf rejects connection").then_some(())
        });
    }

    pub fn theirs(&self) -> Place {
        Place { directory: self.bare.directory().to_owned(), port: self.bare.port() }
    }

    pub fn ours(&self) -> Place {
        Place { directory: self.home.socket_directory(), port: self.home.port() }
    }
}

fn put(path: &Path, text: &str) {
    let is_new = !path.exists();
    std::fs::write(path, text).unwrap();
    if !is_new {
        return;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    give_to_server_user(path);
}

/// Users of this system that we can be. All have names: without one PostgreSQL's `peer` fails, and ours takes the number.
fn users() -> Vec<u32> {
    if is_root() { vec![0, 1, 2, 65_534] } else { vec![rustix::process::geteuid().as_raw()] }
}

#[test]
fn slow_rules_and_connections_by_chance_are_decided_alike() {
    let mut both = Both::start(&["127.0.0.1", "::1"]);
    let mut chaos = Chaos::seed();
    let (users, modern) = (users(), both.modern);
    let ipv6 = std::net::TcpListener::bind("[::1]:0").is_ok();
    let (mut decided, mut kinds) = (0, std::collections::BTreeMap::<String, u32>::new());
    let (theirs, ours) = (both.theirs(), both.ours());
    for _ in 0..FILES {
        let mark = both.mark();
        let mut draw = Draw { chaos: &mut chaos, modern, ipv6, users: &users };
        let hosts = draw.chaos.once_in(5);
        let (wrong, wrong_map) = (draw.chaos.once_in(4), draw.chaos.once_in(6) && modern);
        let (hba, ident) = (draw.rules(&mark, hosts, wrong), draw.maps(wrong_map));
        both.write(&hba, &ident);
        let (their_errors, our_errors) = (both.their_errors(), both.our_errors());
        assert_eq!(
            their_errors.is_empty(),
            our_errors.is_empty(),
            "PostgreSQL finds {their_errors:?}, Napgres {our_errors:?} in\n{hba}\n-- maps\n{ident}"
        );
        if !their_errors.is_empty() {
            *kinds.entry("refused file".to_owned()).or_default() += 1;
            assert!(our_errors.contains(".conf"), "told with its file: {our_errors}");
            continue;
        }
        both.reload();
        for _ in 0..KNOCKS_PER_FILE {
            let knock = draw.knock(hosts);
            let (their, our) = (knock.at(&theirs), knock.at(&ours));
            assert_eq!(our, their, "{knock:?} by\n{hba}\n-- maps\n{ident}");
            decided += 1;
            *kinds.entry(our.split('"').next().unwrap().to_owned()).or_default() += 1;
        }
    }
    println!("{decided} decisions: {kinds:#?}");
    for kind in ["in", "SASL", "28000: no pg_hba.conf entry for host ", "28000: Peer authentication failed for user "] {
        assert!(kinds.get(kind).is_some_and(|count| *count >= 10), "{kind}: too few to mean anything: {kinds:#?}");
    }
}
