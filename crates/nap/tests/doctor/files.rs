//! Files that people write, and the number of the layout.

use std::path::Path;
use std::process::Command;

use nap_testkit::{Output, give_to_server_user};

use super::{doctor, home};

#[test]
fn settings_and_rules_that_cannot_be_read() {
    let home = home();
    home.up();
    let healthy = doctor(&home);
    for name in ["settings", "rules", "format", "branches", "default branch", "certificate", "daemon", "servers"] {
        healthy.is_well(name);
    }
    let toml = home.path().join("nap.toml");
    let text = std::fs::read_to_string(&toml).unwrap();
    std::fs::write(&toml, format!("{text}max_awake = 0\n")).unwrap();
    doctor(&home).finds("settings", "fail", "nap.toml", "nap config check");
    std::fs::write(&toml, &text).unwrap();

    let hba = home.path().join("pg_hba.conf");
    std::fs::write(&hba, "host all all all nonsense\n").unwrap();
    doctor(&home).finds("rules", "fail", "pg_hba.conf", "nap config check");
    assert_eq!(home.psql("main", "select 1").ok(), "1", "the old rules hold");
}

#[test]
fn a_home_of_a_newer_version() {
    let home = home();
    home.up();
    home.nap(&["down"]).ok();
    std::fs::write(home.path().join("format"), "7\nnap 9.1.0\n").unwrap();
    doctor(&home).finds("format", "fail", "has format 7, written by nap 9.1.0", "use nap 9.1.0");
    let up = home.nap(&["up"]);
    assert!(up.fails_with(1).contains("written by nap 9.1.0"), "{up}");
    std::fs::write(home.path().join("format"), "1\n").unwrap();
    home.up();
}

#[test]
fn branches_that_cannot_be_read_or_are_not_there() {
    let home = home();
    home.up();
    home.nap(&["branch", "dev"]).ok();
    home.nap(&["down"]).ok();
    std::fs::write(home.path().join("branches/dev/branch.toml"), "id = 7\n").unwrap();
    doctor(&home).finds("branches", "fail", "dev: ", "Correct the file");
    let toml = home.path().join("nap.toml");
    let text = std::fs::read_to_string(&toml).unwrap();
    std::fs::write(&toml, format!("{text}default_branch = \"shop\"\n")).unwrap();
    doctor(&home).finds("default branch", "fail", "\"shop\"", "default_branch");
}

#[test]
fn a_certificate_that_ends() {
    let home = home();
    let files = ["server.crt", "server.key"].map(|name| home.path().join(name));
    let make = |days: &str| {
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
        openssl.args(["-subj", "/CN=localhost", "-days", days, "-keyout"]).arg(&files[1]).arg("-out").arg(&files[0]);
        Output::of(&mut openssl).ok();
        files.iter().for_each(|file: &std::path::PathBuf| give_to_server_user(Path::new(file)));
    };
    let toml = home.path().join("nap.toml");
    let text = std::fs::read_to_string(&toml).unwrap();
    std::fs::write(&toml, format!("{text}ssl_cert_file = \"server.crt\"\nssl_key_file = \"server.key\"\n")).unwrap();
    doctor(&home).finds("certificate", "fail", "server.crt", "a new one");
    make("3");
    doctor(&home).finds("certificate", "warn", "ends in", "a new one");
    make("90");
    doctor(&home).is_well("certificate");
}
