//! A branch that nothing may reach while a test works on another one.

use crate::home::TestHome;

/// A sleeping branch, as it was.
#[derive(Debug)]
pub struct Bystander<'a> {
    home: &'a TestHome,
    branch: &'a str,
    databases: String,
    wakes: u64,
}

impl TestHome {
    /// Makes two branches that can be told apart: `main` and `feat` have a table `mark` with the branch's name in each
    /// database, and a database `only_main` or `only_feat`. Both sleep.
    #[track_caller]
    pub fn main_and_feat(&self) -> Bystander<'_> {
        self.up();
        self.psql("postgres@main", "create table mark (name text)").ok();
        self.psql("main", "create table mark (name text)").ok();
        self.sleep("main");
        self.nap(&["branch", "feat"]).ok();
        for branch in ["main", "feat"] {
            self.psql(branch, &format!("insert into mark values ('{branch}')")).ok();
            self.psql(&format!("postgres@{branch}"), &format!("insert into mark values ('{branch}')")).ok();
            self.psql(branch, &format!("create database only_{branch}")).ok();
        }
        self.sleep("feat");
        Bystander::watch(self, "main")
    }
}

impl<'a> Bystander<'a> {
    /// From now on nothing may reach this branch.
    #[track_caller]
    pub fn watch(home: &'a TestHome, branch: &'a str) -> Self {
        let databases = databases(home, branch);
        home.sleep(branch);
        Self { home, branch, databases, wakes: home.wakes(branch) }
    }

    /// It sleeps as it slept, and nobody has woken it meanwhile.
    #[track_caller]
    pub fn was_not_woken(&self, by: &str) {
        let now = (self.home.state(self.branch), self.home.wakes(self.branch));
        assert_eq!(now, ("asleep".to_owned(), self.wakes), "{by} reached {}", self.branch);
    }

    /// It has what it had. Wakes it to see that.
    #[track_caller]
    pub fn is_unchanged(&self) {
        self.was_not_woken("somebody");
        assert_eq!(databases(self.home, self.branch), self.databases);
    }
}

/// Databases, tables and marks.
#[track_caller]
fn databases(home: &TestHome, branch: &str) -> String {
    let names = home.psql(branch, "select string_agg(datname, ' ' order by datname) from pg_database");
    let roles = home.psql(branch, "select string_agg(rolname, ' ' order by rolname) from pg_roles");
    let mut text = format!("{} / {}", names.ok(), roles.ok());
    for database in [home.role(), "postgres".to_owned()] {
        let target = format!("{database}@{branch}");
        let tables = home
            .psql(&target, "select string_agg(tablename, ' ' order by 1) from pg_tables where schemaname = 'public'");
        let mark = home.psql(&target, "select string_agg(name, ' ') from mark");
        text.push_str(&format!(" / {database}: {} ({})", tables.ok(), mark.ok()));
    }
    text
}
