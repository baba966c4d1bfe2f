//! The manual pages, read by groff.

use std::process::Command;

use crate::fake::Home;

#[test]
fn each_command_has_a_page_that_groff_reads_without_a_warning() {
    let home = Home::down();
    let pages = home.path("man1");
    let ran = home.nap(&["man", &pages.display().to_string()]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for name in ["nap.1", "nap-up.1", "nap-config-set.1", "nap-service-install.1"] {
        assert!(pages.join(name).exists(), "{name}");
    }
    assert!(home.nap(&["man"]).out.contains(".TH NAP 1"));
    if !std::path::Path::new("/usr/bin/groff").exists() {
        assert!(!nap_testkit::is_full_run(), "groff is missing");
        return;
    }
    for page in std::fs::read_dir(&pages).unwrap() {
        let mut groff = Command::new("groff");
        let read = groff.args(["-ww", "-man", "-Tutf8", "-P-cbou"]).arg(page.unwrap().path()).output().unwrap();
        assert!(read.status.success() && read.stderr.is_empty(), "{}", String::from_utf8_lossy(&read.stderr));
        assert!(String::from_utf8_lossy(&read.stdout).contains("SYNOPSIS"));
    }
}
