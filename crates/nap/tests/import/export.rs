//! Branches that go to a place outside.

use std::path::{Path, PathBuf};

use nap_testkit::{Output, PortPair, TestHome, as_server_user, give_to_server_user};

use super::{as_role, home, psql_at, start, stop};

/// A directory that the daemon may write to.
fn outside(home: &TestHome) -> PathBuf {
    let path = home.beside().join("out");
    std::fs::create_dir(&path).unwrap();
    give_to_server_user(&path);
    path
}

/// What a stock server on it answers.
fn ask(home: &TestHome, data: &Path, sql: &str) -> String {
    let port = PortPair::free();
    start(home.install(), data, home.beside(), port.port).ok();
    let told = psql_at(home.install(), home.beside(), port.port, "postgres", sql);
    stop(home.install(), data, "fast").ok();
    told.ok().to_owned()
}

fn trust(data: &Path) {
    let path = data.join("pg_hba.conf");
    std::fs::write(&path, "local all all trust\n").unwrap();
}

#[test]
fn a_branch_becomes_a_data_directory_that_postgres_starts_on() {
    let home = home();
    let out = outside(&home);
    home.psql("postgres@main", "create table t as select 42 as n").ok();
    home.psql("postgres@main", "alter system set work_mem = '7MB'").ok();
    home.psql("postgres@main", "alter system set archive_mode = 'on'").ok();
    home.sleep("main");
    let calm = out.join("calm");
    let said = home.nap(&["export", "main", calm.to_str().unwrap()]);
    assert!(said.ok().contains("pg_ctl -D"), "{said}");
    let hba = std::fs::read_to_string(calm.join("pg_hba.conf")).unwrap();
    assert!(!hba.lines().any(|line| !line.starts_with('#') && line.contains("trust")), "{hba}");
    let control = Output::of(as_server_user(home.install().program("pg_controldata")).arg(&calm));
    assert!(control.ok().contains("shut down"), "{control}");
    trust(&calm);
    assert_eq!(
        ask(&home, &calm, "select n || current_setting('work_mem') || current_setting('archive_mode') from t"),
        "427MBoff"
    );

    let taken = home.nap(&["export", "main", calm.to_str().unwrap()]);
    assert!(taken.fails_with(1).contains("exists and is no empty directory"), "{taken}");
    let inside = home.nap(&["export", "main", home.path().join("branches/x").to_str().unwrap()]);
    assert!(inside.fails_with(2).contains("lies in the home"), "{inside}");
    let denied = home.nap(&["export", "main", "/proc/x"]);
    assert!(denied.code == Some(1), "{denied}");
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 1, "and nothing else");
}

#[test]
fn a_branch_in_use_goes_out_as_it_is_now() {
    let home = home();
    let out = outside(&home);
    home.psql("postgres@main", "create table t as select 42 as n").ok();
    // An empty directory is as good as none.
    let busy = out.join("busy");
    std::fs::create_dir(&busy).unwrap();
    give_to_server_user(&busy);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let client = runtime.block_on(home.connect("postgres@main"));
    runtime.block_on(client.batch_execute("begin; insert into t values (1)")).unwrap();
    home.nap(&["export", "main", busy.to_str().unwrap()]).ok();
    runtime.block_on(client.batch_execute("commit")).unwrap();
    let control = Output::of(as_server_user(home.install().program("pg_controldata")).arg(&busy));
    assert!(control.ok().lines().any(|line| line.ends_with(" shut down")), "{control}");
    trust(&busy);
    assert_eq!(ask(&home, &busy, "select count(*) from t"), "1");
    assert_eq!(home.psql("postgres@main", "select count(*) from t").ok(), "2");
}

#[test]
fn a_database_becomes_a_dump() {
    let home = home();
    let out = outside(&home);
    home.psql("postgres@main", "create database \"o'shop\"").ok();
    home.psql("o'shop@main", "create table t as select 42 as n").ok();
    let dump = out.join("a.dump");
    home.nap(&["export", "o'shop@main", dump.to_str().unwrap()]).ok();
    let listed = Output::of(home.program("pg_restore").arg("--list").arg(&dump));
    assert!(listed.ok().contains("TABLE DATA public t"), "{listed}");
    let script = out.join("a.sql");
    home.nap(&["export", "o'shop@main", script.to_str().unwrap()]).ok();
    assert!(std::fs::read_to_string(&script).unwrap().contains("COPY public.t"));
    let taken = home.nap(&["export", "o'shop@main", script.to_str().unwrap()]);
    assert!(taken.fails_with(1).contains("exists"), "{taken}");
    let none = home.nap(&["export", "nothere@main", out.join("b.dump").to_str().unwrap()]);
    assert!(none.fails_with(1).contains("database \"nothere\" does not exist"), "{none}");
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 2, "and nothing else");
}

#[test]
fn out_and_in_again() {
    let home = home();
    let out = outside(&home);
    home.psql("postgres@main", "create table t as select 42 as n").ok();
    let there = out.join("there");
    home.nap(&["export", "main", there.to_str().unwrap()]).ok();
    home.nap(&["import", "--ignore-hba", there.to_str().unwrap(), "again"]).ok();
    assert_eq!(home.psql("postgres@again", "select n from t").ok(), "42", "the role and its password came along");
    let _ = as_role(&home, "x", "y", "");
}
