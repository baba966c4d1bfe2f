//! Random sessions, run twice: directly on a server, and through `nap` with parks forced at random moments between
//! messages. What the client hears is the same, byte for byte.
//!
//! NAP_TEST_CASES says how many, NAP_TEST_SEED where to begin: a failure names its seed.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::*;

const CASES: u64 = 1_000;
const STEPS_MAX: usize = 14;

/// What the client sends in one go, with so many ends; then it reads up to the last one.
#[derive(Debug, Clone)]
enum Step {
    Say(Vec<u8>, usize),
    /// COPY FROM STDIN: the data once the server asks for it.
    CopyIn(&'static [u8]),
    Park,
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    [&[tag][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat()
}

fn simple(sql: &str) -> Step {
    Step::Say(message(b'Q', format!("{sql}\0").as_bytes()), 1)
}

const SETTINGS: &[(&str, &[&str])] = &[
    ("application_name", &["'x'", "'it''s'", "''"]),
    ("DateStyle", &["'German'", "'SQL, DMY'", "DEFAULT"]),
    ("IntervalStyle", &["'iso_8601'", "'sql_standard'"]),
    ("TimeZone", &["'Asia/Tokyo'", "'UTC'", "INTERVAL '-08:30' HOUR TO MINUTE"]),
    ("search_path", &["'alpha'", "alpha, \"odd \"\"name\"", "'$user', public", "''"]),
    ("work_mem", &["'7MB'", "64", "DEFAULT"]),
    ("extra_float_digits", &["0", "3"]),
    ("bytea_output", &["'escape'", "'hex'"]),
    ("statement_timeout", &["'1h'", "0", "DEFAULT"]),
    ("lock_timeout", &["'1h'"]),
    ("default_transaction_isolation", &["'serializable'", "'repeatable read'"]),
    ("default_transaction_read_only", &["on", "off"]),
    ("default_transaction_deferrable", &["on"]),
    ("standard_conforming_strings", &["off", "on"]),
    ("client_encoding", &["'LATIN1'", "'UTF8'", "'WIN1252'"]),
    ("client_min_messages", &["'error'", "'notice'"]),
    ("quote_all_identifiers", &["on"]),
    ("row_security", &["off"]),
    ("random_page_cost", &["1.5"]),
    ("session_replication_role", &["'replica'"]),
    ("my.var", &["'a'", "'quote \" back \\ brace {,}'", "''", "DEFAULT"]),
    ("my.deep.name", &["'1'", "'NULL'"]),
    ("other.var", &["'æ'", "1.5"]),
];

const PROBES: &[&str] = &[
    "SELECT session_user, current_user",
    "SELECT current_setting('my.var', true), current_setting('my.deep.name', true), current_setting('other.var', true)",
    "SELECT current_setting('hidden.one', true), current_setting('hidden.two', true)",
    "SELECT name, setting, reset_val FROM pg_settings WHERE source = 'session' AND name NOT IN ('client_encoding', 'statement_timeout', 'transaction_read_only', 'transaction_isolation', 'transaction_deferrable') ORDER BY name",
    "SHOW client_encoding",
    "SHOW statement_timeout",
    "SHOW search_path",
    "SHOW role",
    "SHOW session_authorization",
    "SHOW is_superuser",
    "SELECT name, statement, parameter_types, from_sql FROM pg_prepared_statements ORDER BY name COLLATE \"C\"",
    "SELECT c FROM pg_listening_channels() AS c ORDER BY c COLLATE \"C\"",
    "SELECT name, statement, is_holdable FROM pg_cursors ORDER BY name COLLATE \"C\"",
    "SELECT '2026-03-01 12:00+00'::timestamptz, '1 day 2 hours'::interval, 0.1::float8, '\\x00ff'::bytea",
    "SELECT 'é', length('é'), E'a\\\\b', 'c\\d'",
    "SELECT * FROM t ORDER BY i LIMIT 3",
    "SHOW transaction_isolation",
    "SELECT 1/0",
    "SELECT no_such_column",
    "SELEC",
    "",
    "SELECT 1",
    "select 1; -- ping",
];

const COMMANDS: &[&str] = &[
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT a",
    "ROLLBACK TO a",
    "START TRANSACTION READ ONLY",
    "SET ROLE alpha",
    "SET ROLE beta",
    "SET LOCAL ROLE alpha",
    "RESET ROLE",
    "SET SESSION AUTHORIZATION alpha",
    "RESET SESSION AUTHORIZATION",
    "RESET ALL",
    "DISCARD ALL",
    "DISCARD TEMP",
    "DISCARD PLANS",
    "RESET my.var",
    "SELECT remember('hidden.one', 'x')",
    "SELECT remember_two('y', true)",
    "SELECT set_config('my.var', 'from set_config', false)",
    "SET LOCAL my.var = 'local'",
    "SET LOCAL other.var = 'local'; SELECT 2",
    "BEGIN; SET LOCAL my.var = 'left'; COMMIT",
    "BEGIN; SET my.var = 'undone'; ROLLBACK",
    "PREPARE a AS SELECT 1 AS one",
    "PREPARE b(int, text) AS SELECT $1 + 1, $2 || ';'",
    "PREPARE c AS SELECT count(*) FROM t",
    "SELECT 2; PREPARE d AS SELECT 4",
    "PREPARE e AS SELECT 'x;y', $$;$$ /* ; */; ",
    "EXECUTE a",
    "EXECUTE b(41, 'z')",
    "EXECUTE c",
    "EXECUTE d",
    "EXECUTE e",
    "DEALLOCATE a",
    "DEALLOCATE ALL",
    "CREATE TEMP TABLE tt (i int)",
    "INSERT INTO tt VALUES (1)",
    "DROP TABLE tt",
    "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 3'",
    "SELECT pg_temp.f()",
    "BEGIN; DECLARE c1 CURSOR FOR SELECT generate_series(1, 9)",
    "DECLARE c2 CURSOR WITH HOLD FOR SELECT generate_series(1, 9)",
    "FETCH 2 FROM c1",
    "FETCH 2 FROM c2",
    "CLOSE c2",
    "CLOSE ALL",
    "SELECT pg_advisory_lock(7)",
    "SELECT pg_advisory_unlock(7)",
    "SELECT pg_advisory_unlock_all()",
    "LISTEN x",
    "LISTEN \"Y\"",
    "UNLISTEN x",
    "UNLISTEN *",
    "NOTIFY x, 'hello'",
    "NOTIFY \"Y\"",
    "COPY t TO STDOUT",
    "COPY (SELECT 1, 'é') TO STDOUT (FORMAT binary)",
    "DO $$ BEGIN RAISE NOTICE 'noted'; END $$",
    "SELECT 2; SELECT 1/0; SELECT 3",
    "LOAD 'plpgsql'",
];

/// A pipeline of the extended protocol.
fn pipeline(random: &mut StdRng) -> Step {
    const TEXTS: &[&str] = &[
        "SELECT 1",
        "SELECT $1::int + 1",
        "SELECT $1 || 'x'",
        "SELECT count(*) FROM t WHERE i > $1",
        "SELECT set_config('my.var', $1, false)",
        "SELECT 1/0",
        "SELEC",
        "BEGIN",
        "COMMIT",
        "PREPARE p AS SELECT 5",
        "",
    ];
    const NAMES: &[&str] = &["", "", "s1", "s2", "Ü"];
    let (mut bytes, mut ends) = (Vec::new(), 0);
    for _ in 0..random.random_range(1..4) {
        for _ in 0..random.random_range(1..5) {
            let name = NAMES.choose(random).unwrap().as_bytes();
            let part = match random.random_range(0..7) {
                0 | 1 => {
                    let text = TEXTS.choose(random).unwrap().as_bytes();
                    let types: &[u8] =
                        if text.contains(&b'$') && random.random_bool(0.3) { b"\0\x01\0\0\0\x19" } else { b"\0\0" };
                    message(b'P', &[name, b"\0", text, b"\0", types].concat())
                }
                2 => message(b'B', &[b"\0", name, b"\0\0\0\0\0\0\0"].concat()),
                3 => message(b'B', &[b"\0", name, b"\0\0\0\0\x01\0\0\0\x0242\0\0"].concat()),
                4 => message(b'D', &[b"S", name, b"\0"].concat()),
                5 => message(b'E', b"\0\0\0\0\0"),
                _ => message(b'C', &[b"S", name, b"\0"].concat()),
            };
            bytes.extend(part);
        }
        bytes.extend(message(b'S', b""));
        ends += 1;
    }
    Step::Say(bytes, ends)
}

fn step(random: &mut StdRng) -> Step {
    match random.random_range(0..20) {
        0..4 => Step::Park,
        4..7 => {
            let (name, values) = SETTINGS.choose(random).unwrap();
            let local = if random.random_bool(0.15) { "LOCAL " } else { "" };
            simple(
                &format!(
                    "SET {local}{name} {} {}",
                    if *name == "TimeZone" { "TO" } else { "=" },
                    values.choose(random).unwrap()
                )
                .replace("TimeZone TO INTERVAL", "TIME ZONE INTERVAL"),
            )
        }
        7..11 => simple(PROBES.choose(random).unwrap()),
        11..16 => simple(COMMANDS.choose(random).unwrap()),
        16..19 => pipeline(random),
        _ => Step::CopyIn([b"5\n".as_slice(), b"x\n", b""].choose(random).unwrap()),
    }
}

struct Talker<'a> {
    session: Raw<UnixStream>,
    /// The home whose branch main is parked, if it is the one that runs through `nap`.
    parks: Option<&'a TestHome>,
}

impl Talker<'_> {
    /// Up to so many ends; `None` if it has ended itself.
    fn hear(&mut self, ends: usize) -> Option<Vec<(u8, Vec<u8>)>> {
        let mut heard = Vec::new();
        let mut seen = 0;
        while seen < ends {
            let (tag, mut body) = self.session.message().ok()?;
            match tag {
                // A notification names the backend that sent it.
                b'A' => drop(body.drain(..4)),
                b'Z' | b'G' => seen += 1,
                _ => {}
            }
            heard.push((tag, body));
        }
        Some(heard)
    }

    fn take(&mut self, step: &Step) -> Option<Vec<(u8, Vec<u8>)>> {
        match step {
            Step::Say(bytes, ends) => {
                self.session.send(bytes);
                self.hear(*ends)
            }
            Step::CopyIn(data) => {
                self.session.send(&message(b'Q', b"COPY t FROM STDIN\0"));
                let mut heard = self.hear(1)?;
                if heard.last().is_some_and(|(tag, _)| *tag == b'G') {
                    self.session.send(&[message(b'd', data), message(b'c', b"")].concat());
                    heard.extend(self.hear(1)?);
                }
                Some(heard)
            }
            Step::Park => {
                if let Some(home) = self.parks {
                    park_now(home);
                }
                Some(Vec::new())
            }
        }
    }
}

/// As `nap sessions --park` does, without a process for it.
fn park_now(home: &TestHome) -> usize {
    let mut control = UnixStream::connect(home.path().join("control.sock")).unwrap();
    control.write_all(b"{\"request\":\"park-sessions\",\"branch\":\"main\"}\n").unwrap();
    let mut reply = String::new();
    BufReader::new(control).read_line(&mut reply).unwrap();
    assert!(reply.contains("sessions"), "{reply}");
    reply.matches("\"parked\"").count()
}

/// The directory of the socket that the server of a branch has for itself.
fn server_socket(home: &TestHome, branch: &str) -> PathBuf {
    let pid_file =
        std::fs::read_to_string(home.path().join("branches").join(branch).join("data/postmaster.pid")).unwrap();
    PathBuf::from(pid_file.lines().nth(4).unwrap())
}

fn begin(directory: &std::path::Path, port: u16, role: &str, database: &str) -> Raw<UnixStream> {
    let parameters = [("user", role), ("database", database), ("client_encoding", "UTF8")];
    let mut session = Raw::unix(directory, port).start(&parameters);
    session.ready().unwrap();
    session
}

const FIXTURES: &str = "
    CREATE ROLE alpha; CREATE ROLE beta;
    CREATE SCHEMA alpha AUTHORIZATION alpha;
    CREATE TABLE t (i int); INSERT INTO t VALUES (1), (2); GRANT ALL ON t TO alpha;
    CREATE TABLE alpha.t (i int); GRANT ALL ON alpha.t TO beta; GRANT USAGE ON SCHEMA alpha TO beta;
    CREATE FUNCTION remember(n text, v text) RETURNS text LANGUAGE sql AS $$ SELECT set_config(n, v, false) $$;
    CREATE FUNCTION remember_two(v text, b boolean) RETURNS text LANGUAGE plpgsql
        AS $$ BEGIN PERFORM set_config('hidden.two', v, false); RETURN v; END $$;";

#[test]
fn random_sessions_hear_what_direct_ones_hear() {
    let home = TestHome::builder(env!("CARGO_BIN_EXE_nap")).setting("sleep_after", "\"never\"").build();
    home.up();
    home.psql("postgres@main", FIXTURES).ok();
    home.nap(&["sleep"]).ok();
    home.nap(&["branch", "twin"]).ok();
    home.nap(&["wake", "twin"]).ok();
    let number = |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (first, cases) = (number("NAP_TEST_SEED", 1), number("NAP_TEST_CASES", CASES));
    let (role, direct_socket) = (home.role(), server_socket(&home, "twin"));
    let (mut parked, mut crashes) = (0, 0);
    for seed in first..first + cases {
        let random = &mut StdRng::seed_from_u64(seed);
        let steps: Vec<Step> = (0..random.random_range(3..=STEPS_MAX)).map(|_| step(random)).collect();
        let direct = begin(&direct_socket, 5432, &role, "postgres");
        let mut direct = Talker { session: direct, parks: None };
        let through = begin(&home.socket_directory(), home.port(), &role, "postgres@main");
        let mut through = Talker { session: through, parks: Some(&home) };
        for (at, step) in steps.iter().enumerate() {
            let (expected, heard) = (direct.take(step), through.take(step));
            let Some(expected) = expected else {
                // PostgreSQL itself: 18 falls over some pipelines. It recovers, and all its sessions begin anew.
                assert_eq!(heard, None, "NAP_TEST_SEED={seed}, step {at} of {:#?}", shown_steps(&steps));
                crashes += 1;
                eventually("PostgreSQL has recovered", || home.psql("twin", "SELECT 2").succeeded().then_some(()));
                break;
            };
            let heard = heard
                .unwrap_or_else(|| panic!("closed: NAP_TEST_SEED={seed}, step {at} of {:#?}", shown_steps(&steps)));
            let shown = |heard: &[(u8, Vec<u8>)]| -> Vec<String> {
                heard
                    .iter()
                    .map(|(tag, body)| format!("{} {:?}", *tag as char, String::from_utf8_lossy(body)))
                    .collect()
            };
            let (expected, heard) = (shown(&expected), shown(&heard));
            assert_eq!(heard, expected, "NAP_TEST_SEED={seed}, step {at} of {:#?}", shown_steps(&steps));
        }
        parked += park_now(&home);
        for talker in [&mut direct, &mut through] {
            talker.session.leave();
            while talker.session.message().is_ok() {}
        }
    }
    assert!(crashes * 50 <= cases, "PostgreSQL fell over {crashes} of {cases} sessions");
    // Most sessions end without a pin: if none is parked this test shows nothing.
    assert!(parked as u64 * 4 > cases, "only {parked} of {cases} sessions were parked at their end");
}

fn shown_steps(steps: &[Step]) -> Vec<String> {
    steps
        .iter()
        .map(|step| match step {
            Step::Say(bytes, _) => String::from_utf8_lossy(bytes).replace('\0', "·"),
            other => format!("{other:?}"),
        })
        .collect()
}
