//! What is in the way of clients of this user.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;

use nap_testkit::TestHome;

use super::{doctor, doctor_by, home};

#[test]
fn variables_that_lead_elsewhere() {
    let home = home();
    home.up();
    doctor(&home).is_well("libpq variables");
    let mut command = home.nap_command(&["doctor", "--json"]);
    command.env("PGHOST", "db.example.com").env("PGSERVICE", "production");
    let report = doctor_by(&mut command);
    report.finds("libpq variables", "warn", "PGHOST=db.example.com, PGSERVICE=production", "unset PGHOST PGSERVICE");
    let mut command = home.nap_command(&["doctor", "--json"]);
    let env = home.nap(&["env", "--json"]).json();
    for name in ["PGHOST", "PGPORT"] {
        command.env(name, env[name].as_str().unwrap());
    }
    doctor_by(&mut command).is_well("libpq variables");
}

#[test]
fn a_password_file_that_libpq_passes_over() {
    let home = home();
    let file = home.beside().join("pgpass");
    std::fs::write(&file, "*:*:*:*:secret\n").unwrap();
    let look = |mode| {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        doctor_by(home.nap_command(&["doctor", "--json"]).env("PGPASSFILE", &file))
    };
    look(0o644).finds("password file", "warn", "has mode 0644", "chmod 600 ");
    look(0o600).is_well("password file");
}

#[test]
fn a_socket_that_is_anothers_or_was_left() {
    let home = home();
    let socket = home.socket_directory().join(format!(".s.PGSQL.{}", home.port()));
    let other = UnixListener::bind(&socket).unwrap();
    doctor(&home).finds("bare psql", "warn", "another server has its socket", "nap env");
    drop(other);
    std::fs::remove_file(&socket).unwrap();
    let lock = home.socket_directory().join(format!(".s.PGSQL.{}.lock", home.port()));
    std::fs::write(&lock, format!("{}\n", std::process::id())).unwrap();
    doctor(&home).finds("socket lock", "warn", "nobody listens there", "rm ");
    std::fs::remove_file(&lock).unwrap();
    let healthy = doctor(&home);
    healthy.is_well("bare psql");
    healthy.is_well("socket lock");
}

#[test]
fn a_home_too_deep_for_sockets_of_its_own() {
    let base = std::path::PathBuf::from(format!("/tmp/nap-doctor-deep-{}", std::process::id()));
    std::fs::create_dir_all(&base).unwrap();
    let home = TestHome::builder(env!("CARGO_BIN_EXE_nap")).below(&base).build();
    home.up();
    let long = "b".repeat(63);
    home.nap(&["branch", &long]).ok();
    doctor(&home).finds("socket paths", "warn", &long, "--home");
    drop(home);
    std::fs::remove_dir_all(base).unwrap();
}
