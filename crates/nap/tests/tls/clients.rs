//! Clients over TLS: verified, bound to the channel, direct, by the host's name, with certificates of their own.

use std::process::{Command, Stdio};

use nap_testkit::{Output, TestHome, eventually, pg_majors, process};
use rustix::process::Signal;

use crate::support::{Authority, tls_url};

fn up() -> TestHome {
    let home = TestHome::builder(env!("CARGO_BIN_EXE_nap")).setting("sleep_after", "\"10min\"").build();
    home.up();
    home
}

/// What the server itself does not know, because TLS ends before it: the client says it.
const CONNINFO: &str = "\\conninfo";

#[test]
fn the_url_to_verify_is_verified() {
    let home = up();
    let url = home.nap(&["url", "--verify", "main"]).ok().to_owned();
    assert!(url.contains("?sslmode=verify-full&sslrootcert="), "{url}");
    let said = home.psql_with(&url, CONNINFO);
    assert!(said.ok().contains("TLSv1.3"), "{said}");
    for host in ["127.0.0.1", "[::1]"] {
        home.psql_with(&url.replace("@localhost:", &format!("@{host}:")), "select 1").ok();
    }
    let elsewhere = url.replace("@localhost:", "@elsewhere.example:") + "&hostaddr=127.0.0.1";
    let refused = home.psql_with(&elsewhere, "select 1");
    assert!(refused.fails_with(2).contains("does not match host name \"elsewhere.example\""), "{refused}");
}

#[test]
fn another_root_verifies_nothing() {
    let home = up();
    let other = Authority::new("another root");
    let root = other.write(home.beside(), "other.crt");
    let refused =
        home.psql_with(&tls_url(&home, "main", &[("sslmode", "verify-ca"), ("sslrootcert", &root)]), "select 1");
    assert!(refused.fails_with(2).contains("certificate verify failed"), "{refused}");
}

#[test]
fn a_password_can_be_bound_to_the_channel() {
    let home = up();
    let bound = [("sslmode", "require"), ("channel_binding", "require")];
    home.psql_with(&tls_url(&home, "main", &bound), "select 1").ok();
    let plain = tls_url(&home, "main", &[("sslmode", "disable"), ("channel_binding", "require")]);
    let refused = home.psql_with(&plain, "select 1");
    assert!(refused.fails_with(2).contains("channel binding"), "{refused}");
    home.psql_with(&tls_url(&home, "main", &[("sslmode", "require"), ("channel_binding", "disable")]), "select 1").ok();
    let wrong = tls_url(&home, "main", &bound).replace(&home.password(), "wrong");
    let refused = home.psql_with(&wrong, "select 1");
    assert!(refused.fails_with(2).contains("password authentication failed"), "{refused}");
}

#[test]
fn the_hosts_name_names_the_branch() {
    let home = up();
    home.nap(&["branch", "dev"]).ok();
    let by_host = |host: &str, database: &str| {
        let root = home.path().join("tls/root.crt").display().to_string();
        let connection = format!(
            "host={host} hostaddr=127.0.0.1 port={} user={} password={} dbname={database} sslmode=verify-full sslrootcert={root}",
            home.port(),
            home.role(),
            home.password(),
        );
        home.psql_with(&connection, "show nap.branch")
    };
    assert_eq!(by_host("dev.localhost", "postgres").ok(), "dev");
    assert_eq!(by_host("main.localhost", "postgres").ok(), "main");
    assert_eq!(by_host("localhost", "postgres").ok(), "main", "the host itself names none");
    assert_eq!(by_host("dev.localhost", "postgres@dev").ok(), "dev");
    let refused = by_host("dev.localhost", "postgres@main");
    let words = "the host's name names branch \"dev\", but the database name names branch \"main\"";
    assert!(refused.fails_with(2).contains(words), "{refused}");
    let refused = by_host("nobody.localhost", "postgres");
    assert!(refused.fails_with(2).contains("branch \"nobody\" does not exist"), "{refused}");
    home.nap(&["config", "set", "sni_domains=[]"]).ok();
    let unverified = tls_url(&home, "main", &[("sslmode", "require")]).replace("@localhost", "@dev.localhost");
    let unverified = unverified.replace("%40main", "").replace("@main", "") + "&hostaddr=127.0.0.1";
    assert_eq!(home.psql_with(&unverified, "show nap.branch").ok(), "main", "no host's name names a branch any more");
}

#[test]
fn a_client_may_begin_with_tls_at_once() {
    let home = up();
    let newer = pg_majors().into_iter().find(|install| install.major >= 17);
    // Older clients cannot; what openssl says as such a client is tested for all in tls_handshakes.rs.
    let Some(newer) = newer else { return };
    let url = home.nap(&["url", "--verify", "main"]).ok().to_owned() + "&sslnegotiation=direct&channel_binding=require";
    let said = Output::of(Command::new(newer.program("psql")).args(["-XAt", "-d", &url, "-c", CONNINFO]));
    assert!(said.ok().contains("postgresql") && said.ok().contains("TLSv1.3"), "{said}");
}

#[test]
fn a_statement_over_tls_is_cancelled() {
    let home = up();
    let mut psql = home.program("psql");
    psql.args(["-XqAt", "-d", &tls_url(&home, "main", &[("sslmode", "require")]), "-c", "select pg_sleep(600)"]);
    let psql = psql.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("the statement runs", || {
        let running = home.psql("main", "select count(*) from pg_stat_activity where query = 'select pg_sleep(600)'");
        (running.ok() == "1").then_some(())
    });
    process::signal(psql.id().cast_signed(), Signal::INT);
    let output = psql.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("canceling statement due to user request"), "{said}");
}

#[test]
fn who_shows_a_certificate_is_known_by_it() {
    let home = up();
    let authority = Authority::new("staff");
    authority.write(&home.path(), "staff.crt");
    home.nap(&["config", "set", "ssl_ca_file=staff.crt"]).ok();
    home.psql("main", "create role alice login").ok();
    crate::support::write(&home.path(), "pg_hba.conf", "local all all peer\nhostssl all all all cert\n", 0o600);
    home.nap(&["config", "reload"]).ok();
    let as_alice = |authority: &Authority, name: &str| {
        let (certificate, key) = authority.issue(name, home.beside());
        let connection = format!(
            "host=localhost port={} user=alice dbname=postgres@main sslmode=require sslcert={certificate} sslkey={key}",
            home.port()
        );
        home.psql_with(&connection, "select current_user")
    };
    assert_eq!(as_alice(&authority, "alice").ok(), "alice");
    let wakes = home.put_to_sleep("main");
    let refused = as_alice(&authority, "bob");
    assert!(refused.fails_with(2).contains("certificate authentication failed for user \"alice\""), "{refused}");
    // The same name by somebody else's word: the handshake fails.
    let refused = as_alice(&Authority::new("strangers"), "alice");
    assert!(refused.fails_with(2).contains("unknown ca"), "{refused}");
    let without = format!("host=localhost port={} user=alice dbname=postgres@main sslmode=require", home.port());
    let refused = home.psql_with(&without, "select 1");
    assert!(refused.fails_with(2).contains("connection requires a valid client certificate"), "{refused}");
    home.still_sleeps("main", wakes);
}

#[test]
fn slow_a_hundred_megabytes_go_both_ways_unharmed() {
    let home = up();
    let url = tls_url(&home, "main", &[("sslmode", "require")]);
    let rows = "select i, repeat(md5(i::text), 32) from generate_series(1, 100000) i";
    let file = home.beside().join("rows");
    let copy = |connection: &str, sql: &str| {
        let mut psql = home.program("psql");
        psql.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-d", connection, "-c", sql]);
        psql
    };
    let out = copy(&url, &format!("copy ({rows}) to stdout")).stdout(std::fs::File::create(&file).unwrap()).status();
    assert!(out.unwrap().success());
    assert!(std::fs::metadata(&file).unwrap().len() > 100_000_000);
    home.psql("main", "create table received (i int, words text)").ok();
    let back = copy(&url, "copy received from stdin").stdin(std::fs::File::open(&file).unwrap()).status();
    assert!(back.unwrap().success());
    let different = format!("select count(*) from (({rows}) except all table received) lost");
    assert_eq!(home.psql("main", &format!("{different}; select count(*) from received")).ok(), "0\n100000");
}
