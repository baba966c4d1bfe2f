//! The systemd units of a pool, judged by systemd's own tools.

use std::path::Path;
use std::process::Command;

use nap_testkit::Output;

use super::OnExt4;

#[test]
fn systemd_finds_no_fault_with_the_units() {
    let Some(home) = OnExt4::with_a_row(1_024) else { return };
    let units = home.beside().join("units");
    let made = Output::of(home.nap_command(&["pool", "create", "--size", "1G", "--json", "--units"]).arg(&units));
    assert_eq!(made.json()["wrote"].as_array().unwrap().len(), 3);
    Output::of(home.nap_command(&["service", "install", "--system", "--directory"]).arg(&units)).ok();
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let paths: Vec<_> = std::fs::read_dir(&units).unwrap().map(|entry| entry.unwrap().path()).collect();
    let mount = paths.iter().find(|path| name(path).ends_with("home.service")).unwrap();
    let text = std::fs::read_to_string(mount).unwrap();
    for line in ["Before=napgres.service", "WantedBy=multi-user.target napgres.service", "RemainAfterExit=yes"] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
    let service = std::fs::read_to_string(units.join("napgres.service")).unwrap();
    let needs = format!("RequiresMountsFor=\"{}\"", home.path().join("pool").display());
    assert!(service.lines().any(|line| line == needs), "{needs} in {service}");
    let there = Path::new("/usr/bin/systemd-analyze").exists();
    assert!(there || !nap_testkit::is_full_run(), "systemd-analyze is missing");
    if there {
        let mut verify = Command::new("systemd-analyze");
        let verified = Output::of(verify.arg("verify").args(&paths).env("SYSTEMD_LOG_LEVEL", "warning"));
        assert_eq!((verified.ok(), verified.stderr.as_str()), ("", ""), "{verified}");
    }
}
