//! The files of `nap service install`, judged by systemd's own tools.

use std::path::Path;
use std::process::Command;

use nap_testkit::{Output, TestHome, is_root};

use crate::home;

/// systemd's words for a home that cannot be worse named.
const EXPOSURE_AT_MOST: &str = "30";

fn has(program: &str) -> bool {
    let there = Path::new("/usr/bin").join(program).exists();
    assert!(there || !nap_testkit::is_full_run(), "{program} is missing");
    there
}

/// Units in a directory beside the home.
fn install(home: &TestHome, at: &Path, options: &[&str]) -> Output {
    let mut command = home.nap_command(&["service", "install", "--directory"]);
    Output::of(command.arg(at).args(options))
}

fn verify(units: &Path) -> Output {
    let mut command = Command::new("systemd-analyze");
    command.arg("verify").args(std::fs::read_dir(units).unwrap().map(|entry| entry.unwrap().path()));
    Output::of(command.env("SYSTEMD_LOG_LEVEL", "warning"))
}

#[test]
fn systemd_finds_no_fault_with_the_units() {
    if !has("systemd-analyze") {
        return;
    }
    let home = home();
    for (name, options) in
        [("service", &["--system"][..]), ("socket", &["--system", "--socket"]), ("user", &["--user", "--socket"])]
    {
        let units = home.beside().join(name);
        let said = install(&home, &units, options);
        assert!(said.ok().contains("wrote "), "{said}");
        let verified = verify(&units);
        assert_eq!((verified.ok(), verified.stderr.as_str()), ("", ""), "{verified}");
    }
    let unit = home.beside().join("socket/napgres.service");
    let mut security = Command::new("systemd-analyze");
    security.args(["security", "--offline=true", "--threshold", EXPOSURE_AT_MOST]).arg(&unit);
    Output::of(&mut security).ok();
    let text = std::fs::read_to_string(unit).unwrap();
    for line in ["Type=notify", "KillMode=process", "TimeoutStopSec=90", "NoNewPrivileges=yes", "ProtectSystem=strict"]
    {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
    let root = home.beside().join("root");
    let place = root.join("etc/systemd/system");
    std::fs::create_dir_all(&place).unwrap();
    for unit in ["napgres.service", "napgres.socket"] {
        std::fs::copy(home.beside().join("socket").join(unit), place.join(unit)).unwrap();
    }
    let mut enable = Command::new("systemctl");
    Output::of(enable.arg("--root").arg(&root).args(["enable", "napgres.socket"])).ok();
    assert!(place.join("sockets.target.wants/napgres.socket").symlink_metadata().is_ok());
}

#[test]
fn a_home_may_have_any_name_in_a_unit() {
    let home = home();
    let odd = home.beside().join("a b%h \"c\" $d 'e' \\f & <g> ");
    std::fs::create_dir(&odd).unwrap();
    std::fs::write(odd.join("nap.toml"), "port = 6543\n").unwrap();
    let nap = |arguments: &[&str]| {
        let mut command = Command::new(home.nap_command(&[]).get_program());
        Output::of(command.arg("--home").arg(&odd).args(arguments))
    };
    let units = home.beside().join("units");
    let at = units.display().to_string();
    nap(&["service", "install", "--system", "--socket", "--directory", &at]).ok();
    if has("systemd-analyze") {
        let verified = verify(&units);
        assert_eq!((verified.ok(), verified.stderr.as_str()), ("", ""), "{verified}");
    }
    let text = std::fs::read_to_string(units.join("napgres.service")).unwrap();
    let start = text.lines().find(|line| line.starts_with("ExecStart=")).unwrap();
    let as_written = odd.display().to_string().replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%");
    assert!(start.contains(&format!("--home \"{}\"", as_written.replace('$', "$$"))), "{start}");
    assert!(text.contains(&format!("ReadWritePaths=\"{as_written}\"")), "{text}");

    nap(&["service", "uninstall", "--system", "--directory", &at]).ok();
    assert!(!units.join("napgres.service").exists(), "a blank at the end is of the name");

    nap(&["service", "install", "--manager", "launchd", "--user", "--directory", &at]).ok();
    let read = "import plistlib, sys; print(plistlib.load(open(sys.argv[1], 'rb'))['ProgramArguments'][2] + '.')";
    let mut python = Command::new("python3");
    let said = Output::of(python.args(["-c", read]).arg(units.join("napgres.plist")));
    assert_eq!(said.ok(), format!("{}.", odd.display()));

    let broken = home.beside().join("two\nlines");
    let mut command = Command::new(home.nap_command(&[]).get_program());
    command.arg("--home").arg(&broken).args(["service", "install", "--user", "--directory", &at]);
    assert!(Output::of(&mut command).fails_with(1).contains("cannot stand in a unit file"));
}

#[test]
fn only_what_it_wrote_is_removed() {
    let home = home();
    let units = home.beside().join("units");
    let at = units.display().to_string();
    install(&home, &units, &["--socket", "--user"]).ok();
    install(&home, &units, &["--socket", "--user"]).ok();
    std::fs::write(units.join("other.service"), "[Service]\n").unwrap();
    let stranger = home.beside().join("stranger");
    let mut other = Command::new(home.nap_command(&[]).get_program());
    other.arg("--home").arg(&stranger).args(["service", "uninstall", "--user", "--directory", &at]);
    assert!(Output::of(&mut other).fails_with(1).contains("the service of another home"));

    let removed = home.nap(&["service", "uninstall", "--user", "--directory", &at, "--json"]).json();
    assert_eq!(removed["removed"].as_array().unwrap().len(), 2);
    assert!(units.join("other.service").exists());
    let again = home.nap(&["service", "uninstall", "--user", "--directory", &at]);
    assert!(again.ok().starts_with("there is no service of ours"), "{again}");

    std::fs::write(units.join("napgres.service"), "[Service]\nExecStart=/bin/true\n").unwrap();
    let refused = install(&home, &units, &["--user"]);
    assert!(refused.fails_with(1).contains("was not written by nap"), "{refused}");
    home.nap(&["service", "uninstall", "--user", "--directory", &at]).fails_with(1);
    assert!(units.join("napgres.service").exists());
}

#[test]
fn each_has_its_own_place() {
    let home = home();
    if is_root() {
        assert!(home.nap(&["service", "install", "--user"]).fails_with(2).contains("root installs for the system"));
    } else {
        assert!(home.nap(&["service", "install", "--system"]).fails_with(1).contains("only root"));
    }
    let mut without_port = home.nap_command(&["service", "install", "--socket", "--user", "--directory", "/nowhere"]);
    std::fs::write(home.path().join("nap.toml"), "").unwrap();
    assert!(Output::of(&mut without_port).fails_with(1).contains("has no port yet"));
}
