//! What branches hold, against what PostgreSQL's own tools make of the same log. `NAP_PROOF=200,100` says how many branches of
//! a busy parent, and how many of its past; without it there are a few.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use nap_model::lsn::Lsn;
use nap_testkit::{Output, TestHome, as_server_user, eventually, eventually_within, give_to_server_user, process};

use super::{Load, on_btrfs, tell, whole_transactions};

/// All that pgbench has written, in one word.
const FINGERPRINT: &str = "select md5(string_agg(part, '')) from (\
    select md5(string_agg(t::text, ' ' order by aid)) as part from pgbench_accounts t union all \
    select md5(string_agg(t::text, ' ' order by tid)) from pgbench_tellers t union all \
    select md5(string_agg(t::text, ' ' order by bid)) from pgbench_branches t union all \
    select md5(string_agg(t::text, ' ' order by t::text)) from pgbench_history t) as parts";

/// Every index against its table, every table against itself: how many faults.
const AMCHECK: &str = "create extension if not exists amcheck; \
    select count(bt_index_parent_check(oid, true)) * 0 from pg_class where relkind = 'i' and relam = 403; \
    select count(*) from pg_class c, verify_heapam(c.oid) where c.relkind in ('r', 't', 'm')";

fn how_many() -> (usize, usize) {
    let asked = std::env::var("NAP_PROOF").unwrap_or_else(|_| "4,4".into());
    let (busy, past) = asked.split_once(',').unwrap();
    (busy.parse().unwrap(), past.parse().unwrap())
}

/// A small generator: what it drew can be drawn again.
struct Drawn(u64);

impl Drawn {
    fn new() -> Self {
        let seed = std::env::var("NAP_PROOF_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| u64::from(Timestamp::now().subsec_nanosecond().unsigned_abs()) | 1);
        eprintln!("NAP_PROOF_SEED={seed}");
        Self(seed)
    }

    fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        low + self.0 % (high - low)
    }
}

/// Indexes, tables and pages are sound; the branch sleeps then.
fn is_sound(home: &TestHome, branch: &str) {
    let told = home.psql(&format!("postgres@{branch}"), AMCHECK);
    assert_eq!(told.ok(), "0\n0", "{branch}");
    home.sleep(branch);
    let mut checksums = as_server_user(home.install().program("pg_checksums"));
    Output::of(checksums.args(["--check", "-D"]).arg(home.data(branch))).ok();
}

/// A base backup and the log since, both by PostgreSQL's own programs, past Napgres.
struct Witness {
    directory: PathBuf,
    receiver: Child,
}

impl Witness {
    fn begin(home: &TestHome, directory: &Path) -> Self {
        let directory = directory.join("witness");
        std::fs::create_dir_all(directory.join("log")).unwrap();
        give_to_server_user(&directory);
        give_to_server_user(&directory.join("log"));
        let socket = home.private_socket_directory("main");
        let program = |name: &str| {
            let mut command = as_server_user(home.install().program(name));
            command.arg("-h").arg(&socket).args(["-p", "5432", "-U", "postgres", "--no-sync"]);
            command
        };
        let mut receiver = program("pg_receivewal");
        let receiver = receiver.arg("-D").arg(directory.join("log")).stderr(Stdio::null()).spawn().unwrap();
        Output::of(program("pg_basebackup").args(["-c", "fast", "-X", "stream", "-D"]).arg(directory.join("base")))
            .ok();
        Self { directory, receiver }
    }

    /// Has all segments up to the one that this name is of.
    fn has_all_to(&self, segment: &str) {
        eventually("the log is received", || self.directory.join("log").join(segment).exists().then_some(()));
    }

    /// What recovery to this target says that there is.
    fn recover(&self, home: &TestHome, target: &str) -> String {
        let data = self.directory.join("then");
        Output::of(Command::new("cp").args(["-a", "--reflink=auto"]).arg(self.directory.join("base")).arg(&data)).ok();
        std::fs::write(data.join("recovery.signal"), "").unwrap();
        let (log, hba) = (self.directory.join("log"), self.directory.join("hba"));
        std::fs::write(&hba, "local all all trust\n").unwrap();
        let mut postgres = as_server_user(home.install().program("postgres"));
        postgres.arg("-D").arg(&data).arg("-k").arg(&self.directory).args(["-p", "5432", "-F"]);
        for setting in [
            "listen_addresses=",
            &format!("hba_file={}", hba.display()),
            &format!("restore_command=cp {}/%f %p", log.display()),
            "recovery_target_action=promote",
            "recovery_target_inclusive=off",
            "autovacuum=off",
            target,
        ] {
            postgres.args(["-c", setting]);
        }
        let said = std::fs::File::create(self.directory.join("said")).unwrap();
        let mut server = postgres.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said).spawn().unwrap();
        let ask = |sql: &str| {
            let place = format!("host={} port=5432 user=postgres dbname=postgres", self.directory.display());
            home.psql_with(&place, sql)
        };
        eventually_within(Duration::from_secs(120), "it is recovered", || {
            let said = || std::fs::read_to_string(self.directory.join("said"));
            assert!(server.try_wait().unwrap().is_none(), "{target}: {:?}", said());
            (ask("select pg_is_in_recovery()").stdout.trim() == "f").then_some(())
        });
        let told = ask(FINGERPRINT).ok().to_owned();
        process::kill9(server.id() as i32);
        server.wait().unwrap();
        for pid in process::below(&data) {
            process::kill9(pid);
            process::wait_gone(pid);
        }
        std::fs::remove_dir_all(&data).unwrap();
        told
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        process::kill9(self.receiver.id() as i32);
        let _ = self.receiver.wait();
        for pid in process::below(&self.directory) {
            process::kill9(pid);
        }
    }
}

#[test]
fn branches_of_a_busy_parent_are_sound() {
    tell(on_btrfs(), |disk| {
        let (home, drawn) = (&disk.home, &mut Drawn::new());
        let mut load = Load::on(home, "postgres@main");
        for number in 0..how_many().0 {
            std::thread::sleep(Duration::from_millis(drawn.between(0, 200)));
            let before = whole_transactions(home, "main");
            let name = format!("b{number}");
            home.nap(&["branch", &name]).ok();
            let has = whole_transactions(home, &name);
            assert!(has >= before, "{name} has {has}, {before} were acknowledged before");
            is_sound(home, &name);
            home.nap(&["rm", &name]).ok();
        }
        assert!(load.goes_on(), "nobody noticed");
    });
}

#[test]
fn the_past_is_what_postgres_recovers() {
    tell(on_btrfs(), |disk| {
        let (home, drawn) = (&disk.home, &mut Drawn::new());
        let load = Load::on(home, "postgres@main");
        let lsn = || home.psql("postgres@main", "select pg_current_wal_lsn()").ok().parse::<Lsn>().unwrap().0;
        let witness = Witness::begin(home, &disk.disk.path());
        let (begun, first) = (Timestamp::now(), lsn());
        let count = how_many().1;
        std::thread::sleep(Duration::from_millis(1_500 + 200 * count as u64));
        let (ended, last) = (Timestamp::now(), lsn());
        drop(load);
        let segment = "select pg_walfile_name(pg_switch_wal()), pg_switch_wal() is null";
        witness.has_all_to(home.psql("postgres@main", segment).ok().split('|').next().unwrap());
        for number in 0..count {
            let (at, target) = if number % 2 == 0 {
                let at = Lsn(drawn.between(first, last)).to_string();
                (at.clone(), format!("recovery_target_lsn={at}"))
            } else {
                let (low, high) = (begun.as_microsecond(), ended.as_microsecond());
                let at = drawn.between(low.unsigned_abs(), high.unsigned_abs());
                let at = Timestamp::from_microsecond(i64::try_from(at).unwrap()).unwrap();
                (at.to_string(), format!("recovery_target_time={}", at.strftime("%Y-%m-%d %H:%M:%S%.6f+00")))
            };
            let name = format!("p{number}");
            home.nap(&["branch", &name, "--at", &at]).ok();
            let then = home.psql(&format!("postgres@{name}"), FINGERPRINT).ok().to_owned();
            // A time that nothing was committed at is the same inclusive or not.
            assert_eq!(then, witness.recover(home, &target), "at {at}");
            whole_transactions(home, &name);
            is_sound(home, &name);
            home.nap(&["rm", &name]).ok();
        }
    });
}
