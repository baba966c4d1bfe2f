//! The server's certificate: made and renewed, or given; and what a reload makes of it.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nap_testkit::{Output, TestHome, eventually, process};
use rustix::process::Signal;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::ParsedCertificate;

use crate::support::{Authority, tls_url, write};

const DAY: Duration = Duration::from_secs(86_400);

fn up() -> TestHome {
    let home = TestHome::new(env!("CARGO_BIN_EXE_nap"));
    home.up();
    home
}

fn tls(home: &TestHome) -> PathBuf {
    home.path().join("tls")
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// Whether a client that trusts this root, and verifies the host's name, comes in.
fn verifies(home: &TestHome, root: &Path) -> bool {
    let root = root.display().to_string();
    home.psql_with(&tls_url(home, "main", &[("sslmode", "verify-full"), ("sslrootcert", &root)]), "select 1")
        .succeeded()
}

/// The names in a certificate's subjectAltName, as openssl prints them.
fn names(certificate: &Path) -> BTreeSet<String> {
    let mut openssl = Command::new("openssl");
    openssl.args(["x509", "-noout", "-ext", "subjectAltName", "-in"]).arg(certificate);
    let said = Output::of(&mut openssl);
    said.ok().lines().nth(1).unwrap().split(',').map(|name| name.trim().to_owned()).collect()
}

#[test]
fn the_certificate_of_the_first_start_names_every_way_in() {
    let home =
        TestHome::builder(env!("CARGO_BIN_EXE_nap")).setting("sni_domains", "[\"localhost\", \"db.example\"]").build();
    home.up();
    let names = names(&tls(&home).join("server.crt"));
    for name in ["localhost", "*.localhost", "db.example", "*.db.example"] {
        assert!(names.contains(&format!("DNS:{name}")), "{name}: {names:?}");
    }
    assert!(names.contains("IP Address:127.0.0.1") && names.contains("IP Address:0:0:0:0:0:0:0:1"), "{names:?}");
    for key in ["root.key", "server.key"] {
        assert_eq!(std::fs::metadata(tls(&home).join(key)).unwrap().permissions().mode() & 0o777, 0o600, "{key}");
    }
    let before = text(&tls(&home).join("server.crt"));
    home.nap(&["down"]).ok();
    home.up();
    assert_eq!(text(&tls(&home).join("server.crt")), before, "it lasts");
}

#[test]
fn a_certificate_that_ends_soon_is_renewed_and_clients_need_not_know() {
    let home = up();
    let root = tls(&home).join("root.crt");
    let first_root = text(&root);
    home.nap(&["down"]).ok();
    let wanted: Vec<String> =
        ["*.localhost", "main.localhost", "127.0.0.1", "::1", "localhost"].map(str::to_owned).into();
    let wanted = [wanted, vec![rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase()]].concat();
    let short = |lasts: Duration| {
        Authority::of(&tls(&home)).issue_server(&wanted, lasts, &tls(&home));
        text(&tls(&home).join("server.crt"))
    };
    let lasting = short(DAY * 40);
    home.up();
    assert_eq!(text(&tls(&home).join("server.crt")), lasting, "a month is time enough");
    home.nap(&["down"]).ok();
    let short_lived = short(DAY * 2);
    home.up();
    assert_ne!(text(&tls(&home).join("server.crt")), short_lived);
    assert_eq!(text(&root), first_root);
    assert!(verifies(&home, &root));
    // While the daemon runs as well.
    let short_lived = short(DAY * 2);
    home.nap(&["config", "reload"]).ok();
    assert_ne!(text(&tls(&home).join("server.crt")), short_lived);
    assert!(verifies(&home, &root));
}

/// OpenSSL's own check of the name, which is not libpq's: it takes no wildcard for a name directly below `localhost`.
#[test]
fn a_branch_can_be_verified_by_its_name_as_soon_as_it_is_there() {
    let home = up();
    home.nap(&["branch", "dev"]).ok();
    for branch in ["main", "dev"] {
        let mut openssl = Command::new("openssl");
        openssl.args(["x509", "-noout", "-checkhost", &format!("{branch}.localhost"), "-in"]);
        let said = Output::of(openssl.arg(tls(&home).join("server.crt")));
        assert!(said.ok().contains("does match"), "{said}");
    }
}

/// Of more branches than are named one by one, all can be verified there.
#[test]
fn below_a_domain_with_a_dot_clients_take_the_wildcard_for_every_branch() {
    let home = up();
    home.nap(&["config", "set", "sni_domains=[\"localhost\", \"nap.localhost\"]"]).ok();
    let (host, certificate) = ("main.nap.localhost", tls(&home).join("server.crt"));
    let names = names(&certificate);
    assert!(names.contains("DNS:*.nap.localhost") && !names.contains(&format!("DNS:{host}")), "{names:?}");
    let said =
        Output::of(Command::new("openssl").args(["x509", "-noout", "-checkhost", host, "-in"]).arg(&certificate));
    assert!(said.ok().contains("does match"), "{said}");
    let server = CertificateDer::from_pem_file(&certificate).unwrap();
    let rustls =
        rustls::client::verify_server_name(&ParsedCertificate::try_from(&server).unwrap(), &host.try_into().unwrap());
    assert_eq!(rustls, Ok(()));
    let root = tls(&home).join("root.crt").display().to_string();
    let url = tls_url(&home, "main", &[("sslmode", "verify-full"), ("sslrootcert", &root), ("hostaddr", "127.0.0.1")]);
    let url = url.replace("@localhost:", &format!("@{host}:"));
    assert_eq!(home.psql_with(&url, "show nap.branch").ok(), "main");
}

#[test]
fn other_names_are_certified_at_once() {
    let home = up();
    home.nap(&["config", "set", "sni_domains=[\"db.example\"]"]).ok();
    let names = names(&tls(&home).join("server.crt"));
    assert!(names.contains("DNS:*.db.example") && !names.contains("DNS:*.localhost"), "{names:?}");
    let root = tls(&home).join("root.crt").display().to_string();
    let url = tls_url(&home, "main", &[("sslmode", "verify-full"), ("sslrootcert", &root), ("hostaddr", "127.0.0.1")]);
    home.psql_with(&url.replace("@localhost:", "@main.db.example:"), "select 1").ok();
}

#[test]
fn a_certificate_that_is_given_is_used_and_taken_anew_at_a_reload() {
    let home = up();
    let (one, other) = (Authority::new("one"), Authority::new("other"));
    let roots = [one.write(home.beside(), "one.crt"), other.write(home.beside(), "other.crt")].map(PathBuf::from);
    let trusted = || [verifies(&home, &roots[0]), verifies(&home, &roots[1])];
    let names = ["localhost".to_owned()];
    one.issue_server(&names, DAY, &home.path());
    home.nap(&["config", "set", "ssl_cert_file=server.crt", "ssl_key_file=server.key"]).ok();
    assert_eq!(trusted(), [true, false]);
    let plain = home.nap(&["url", "--verify"]);
    assert!(plain.ok().ends_with("?sslmode=verify-full") && plain.stderr.contains("sslrootcert="), "{plain}");
    other.issue_server(&names, DAY, &home.path());
    assert_eq!(trusted(), [true, false], "nothing has been read again");
    process::signal(home.daemon_pid(), Signal::HUP);
    eventually("the new certificate", || (trusted() == [false, true]).then_some(()));
}

#[test]
fn files_that_are_wrong_are_named_and_change_nothing() {
    let home = up();
    let authority = Authority::new("one");
    let root = PathBuf::from(authority.write(home.beside(), "one.crt"));
    authority.issue_server(&["localhost".to_owned()], DAY, &home.path());
    home.nap(&["config", "set", "ssl_cert_file=server.crt", "ssl_key_file=server.key"]).ok();
    let key = home.path().join("server.key");
    let refused = |words: &str| {
        let said = home.nap(&["config", "reload"]);
        assert!(said.fails_with(1).contains(words), "{said}");
        assert!(verifies(&home, &root), "the old certificate does not hold after: {said}");
    };
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    refused(&format!("private key file \"{}\" has group or world access", key.display()));
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let good = text(&key);
    write(&home.path(), "server.key", "rubbish", 0o600);
    refused("server.key cannot be used: it holds no private key in PEM form");
    write(&home.path(), "server.key", &good, 0o600);
    home.nap(&["config", "reload"]).ok();
    // As with PostgreSQL, no start without what was asked for.
    std::fs::remove_file(&key).unwrap();
    home.nap(&["down"]).ok();
    let said = home.nap(&["up"]);
    assert!(said.fails_with(1).contains(&format!("cannot read {}: No such file", key.display())), "{said}");
}

#[test]
fn addresses_of_the_network_need_tls() {
    let home = TestHome::new(env!("CARGO_BIN_EXE_nap"));
    let refused = |set: &[&str]| {
        let said = home.nap(&[&["config", "set"], set].concat());
        assert!(said.fails_with(2).contains("not a loopback address and ssl is off"), "{said}");
    };
    refused(&["ssl=off", "listen_addresses=[\"0.0.0.0\"]"]);
    home.nap(&["config", "set", "listen_addresses=[\"0.0.0.0\"]"]).ok();
    refused(&["ssl=off"]);
    home.nap(&["config", "set", "listen_addresses=", "ssl=off"]).ok();
    let url = home.up().nap(&["url", "--verify"]);
    assert!(url.fails_with(1).contains("ssl is off"), "{url}");
}

#[test]
fn an_address_that_is_given_up_needs_tls_until_the_next_start() {
    let home = TestHome::builder(env!("CARGO_BIN_EXE_nap")).setting("listen_addresses", "[\"0.0.0.0\"]").build();
    home.up().nap(&["config", "set", "listen_addresses="]).ok();
    let said = home.nap(&["config", "set", "ssl=off"]);
    assert!(said.fails_with(1).contains("0.0.0.0 is not a loopback address and ssl is off"), "{said}");
    home.nap(&["url", "--verify"]).ok();
    home.nap(&["down"]).ok();
    assert!(home.up().nap(&["url", "--verify"]).fails_with(1).contains("ssl is off"));
}
