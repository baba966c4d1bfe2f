//! The programs: PostgreSQL's, and our own.

use nap_testkit::{Sandbox, TestHome};

use super::{Report, doctor, doctor_by, home};

/// The doctor on a machine that a shell command made ill.
fn doctor_on(setup: &str, home: &TestHome) -> Option<Report> {
    let machine = Sandbox::with(setup)?;
    Some(doctor_by(&mut machine.inside(&home.nap_command(&["doctor", "--json"]))))
}

#[test]
fn no_postgresql_or_half_of_one() {
    let home = home();
    let bin = home.install().bin.display().to_string();
    if !bin.starts_with("/usr/lib/postgresql") {
        return;
    }
    doctor(&home).is_well("programs");
    let Some(none) = doctor_on("mount -t tmpfs none /usr/lib/postgresql", &home) else { return };
    none.finds("PostgreSQL", "fail", "no PostgreSQL 14 or newer", "install");
    let half = doctor_on(&format!("mount --bind /dev/null {bin}/initdb"), &home).unwrap();
    half.finds("programs", "fail", "lacks initdb, and is not used", "install");
    half.finds("PostgreSQL", "fail", "no PostgreSQL", "install");
    let less = doctor_on(&format!("mount --bind /dev/null {bin}/pg_rewind"), &home).unwrap();
    less.finds("programs", "warn", "lacks pg_rewind", "install");
    less.is_well("PostgreSQL");
}

#[test]
fn a_locale_that_new_clusters_need() {
    let home = home();
    if home.install().major >= 17 {
        return;
    }
    doctor(&home).is_well("locale");
    let Some(without) = doctor_on("mount -t tmpfs none /usr/lib/locale", &home) else { return };
    without.finds("locale", "fail", "C.UTF-8", "install");
}

#[test]
fn a_user_that_is_not_there() {
    if !nap_testkit::is_root() {
        return;
    }
    doctor(&home()).is_well("run_as");
    let home = TestHome::builder(env!("CARGO_BIN_EXE_nap")).setting("run_as", "\"nap-nobody\"").build();
    doctor(&home).finds("run_as", "fail", "no user nap-nobody", "run_as");
}

#[test]
fn another_nap_on_the_path() {
    let home = home();
    let other = home.beside().join("bin");
    std::fs::create_dir(&other).unwrap();
    std::fs::copy("/bin/true", other.join("nap")).unwrap();
    let report =
        doctor_by(home.nap_command(&["doctor", "--json"]).env("PATH", format!("{}:/usr/bin:/bin", other.display())));
    report.finds("nap on the PATH", "warn", "another one", "remove");
}
