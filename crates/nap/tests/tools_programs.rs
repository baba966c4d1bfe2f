//! PostgreSQL's own programs change the database by themselves. Through `USER@BRANCH` and through a branch's own socket
//! directory none of them ever reaches another branch.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods, reason = "a test")]

use std::path::PathBuf;

use nap_testkit::{Bystander, Output, TestHome, Way};

struct Story<'a> {
    home: &'a TestHome,
    way: Way,
    main: Bystander<'a>,
}

impl Story<'_> {
    /// Runs a program towards feat; it must go well, and main must not have noticed.
    #[track_caller]
    fn run(&self, name: &str, arguments: &[&str]) -> String {
        self.run_on("feat", name, arguments)
    }

    #[track_caller]
    fn run_on(&self, target: &str, name: &str, arguments: &[&str]) -> String {
        let output = Output::of(self.home.program_on(self.way, target, name).args(arguments));
        self.main.was_not_woken(&output.to_string());
        output.ok().to_owned()
    }

    /// Asks feat through psql, in this database.
    #[track_caller]
    fn ask(&self, database: &str, sql: &str) -> String {
        self.run("psql", &["-XqAt", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", sql])
    }

    /// A path beside the home for this story's files.
    fn file(&self, name: &str) -> PathBuf {
        self.home.beside().join(format!("{:?}-{name}", self.way))
    }

    /// Runs a script, with psql's commands in it.
    #[track_caller]
    fn script(&self, text: &str) -> String {
        let file = self.file("script.sql");
        std::fs::write(&file, text).unwrap();
        self.run("psql", &["-XqAt", "-v", "ON_ERROR_STOP=1", "-f", file.to_str().unwrap()])
    }
}

/// Tells a story twice, in one home: it takes away what it made.
fn both_ways(tell: impl Fn(&Story<'_>)) {
    let home = TestHome::new(env!("CARGO_BIN_EXE_nap"));
    let mut main = home.main_and_feat();
    for way in Way::ALL {
        let story = Story { home: &home, way, main };
        tell(&story);
        main = story.main;
    }
    main.is_unchanged();
}

#[test]
fn psql_stays_on_the_branch_when_it_connects_elsewhere() {
    both_ways(|story| {
        let alice = story.way.role("alice", "feat");
        let said = story.script(&format!(
            "show nap.branch\n;\\c postgres\nshow nap.branch;\nselect name from mark;\n\\c only_feat\nshow nap.branch;
             create role alice login password 'a';
             \\c - - - -\nshow nap.branch;\n\\setenv PGPASSWORD a\n\\c postgres \"{alice}\"\nselect current_user; show nap.branch;"
        ));
        assert_eq!(said.lines().collect::<Vec<_>>(), ["feat", "feat", "feat", "feat", "feat", "alice", "feat"]);
        story.script("drop role alice;");
        let file = story.file("missing.sql");
        std::fs::write(&file, "\\c only_main\n").unwrap();
        let mut psql = story.home.program_on(story.way, "feat", "psql");
        let said = Output::of(psql.args(["-X", "-v", "ON_ERROR_STOP=1", "-f"]).arg(file));
        assert!(said.fails_with(3).contains("database \"only_main\" does not exist"), "{said}");
        story.main.was_not_woken("\\c to a database of main");
    });
}

#[test]
fn programs_that_make_and_keep_databases_stay_on_the_branch() {
    both_ways(|story| {
        story.run("createdb", &["shop"]);
        story.run("createuser", &["bob"]);
        story.run("pgbench", &["-i", "-q", "-s", "1", "shop"]);
        story.run("pgbench", &["-t", "20", "-c", "2", "shop"]);
        assert_eq!(story.ask("shop", "select count(*) from pgbench_accounts"), "100000");
        assert_eq!(story.ask("shop", "select count(*) from pgbench_history"), "40");
        story.run("vacuumdb", &["--all", "--analyze"]);
        story.run("reindexdb", &["--all"]);
        story.run("clusterdb", &["--all"]);
        let vacuumed = "select coalesce(sum(vacuum_count), 0) > 0 from pg_stat_user_tables";
        assert_eq!(story.ask("shop", vacuumed), "t", "vacuumdb --all came by");
        story.run("createdb", &["-T", "shop", "shop2"]);
        story.run("dropdb", &["shop2"]);
        story.run("dropuser", &["bob"]);
        assert!(story.run("psql", &["-XAt", "-l"]).contains("only_feat"));
        story.run("pg_isready", &[]);
        story.run("dropdb", &["--force", "shop"]);
        assert_eq!(story.ask("postgres", "select count(*) from pg_database where datname like 'shop%'"), "0");
    });
}

#[test]
fn dumps_come_back_to_the_branch_they_are_sent_to() {
    both_ways(|story| {
        let (dump, all) = (story.file("dump"), story.file("all.sql"));
        let (dump, all) = (dump.to_str().unwrap(), all.to_str().unwrap());
        story.run("createdb", &["shop"]);
        story.ask("shop", "create table goods as select 'feat'::text as made_on");
        story.run("pg_dump", &["-Fc", "-f", dump, "shop"]);
        story.run("dropdb", &["shop"]);
        story.run("pg_restore", &["-C", "-d", "postgres", dump]);
        assert_eq!(story.ask("shop", "select made_on from goods"), "feat");
        story.run("pg_restore", &["--clean", "--if-exists", "-C", "-d", "postgres", dump]);
        assert_eq!(story.ask("shop", "select made_on from goods"), "feat");
        story.run("pg_dumpall", &["--clean", "--if-exists", "-f", all]);

        story.home.nap(&["branch", "copy", "--from", "main"]).ok();
        story.run_on("copy", "psql", &["-Xq", "-d", "template1", "-f", all]);
        let there = story.run_on("shop@copy", "psql", &["-XqAt", "-c", "select made_on from goods"]);
        assert_eq!(there, "feat");
        assert_eq!(story.run_on("postgres@copy", "psql", &["-XqAt", "-c", "show nap.branch"]), "copy");
        assert_eq!(story.run_on("postgres@copy", "psql", &["-XqAt", "-c", "select name from mark"]), "feat");
        story.run("dropdb", &["shop"]);
        story.home.nap(&["rm", "copy", "--force"]).ok();
    });
}

#[test]
fn base_backups_are_of_the_branch() {
    both_ways(|story| {
        let copy = story.file("backup");
        story.run("pg_basebackup", &["-D", copy.to_str().unwrap(), "-X", "stream", "-c", "fast"]);
        let oid = story.ask("postgres", "select oid from pg_database where datname = 'only_feat'");
        assert!(copy.join("base").join(oid).is_dir(), "only feat has this database");
        Output::of(story.home.program("pg_verifybackup").arg(&copy)).ok();
        std::fs::remove_dir_all(copy).unwrap();
    });
}
