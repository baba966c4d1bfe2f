//! `nap pg`: what is there, and a PostgreSQL fetched from a server of the test's own, well or badly.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods, reason = "a test")]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::{Compression, write::GzEncoder};
use nap_testkit::{Mirror, Output, Reply, Sandbox, TestHome, eventually, process};
use sha2::{Digest as _, Sha256};

/// Far beyond what is known to be there, so that it must be found by asking.
const NEWEST_MINOR: u16 = 30;

fn home() -> TestHome {
    TestHome::new(env!("CARGO_BIN_EXE_nap"))
}

/// An archive of the machine's own PostgreSQL, laid out as the real ones are: what a branch needs of it.
fn archive(home: &TestHome) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::none()));
    let root = home.install().bin.parent().unwrap();
    for program in ["postgres", "initdb", "psql"] {
        tar.append_path_with_name(root.join("bin").join(program), format!("postgresql-x/bin/{program}")).unwrap();
    }
    // Debian's share directory lies elsewhere, and its programs look there.
    for part in ["lib", "share"] {
        add(&mut tar, &format!("postgresql-x/{part}"), &root.join(part));
    }
    // And its libpq among the system's libraries; the real ones carry their own.
    if !root.join("lib/libpq.so.5").exists() {
        tar.append_path_with_name(libpq_of(&root.join("lib/libpqwalreceiver.so")), "postgresql-x/lib/libpq.so.5")
            .unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

fn add(tar: &mut tar::Builder<GzEncoder<Vec<u8>>>, name: &str, directory: &Path) {
    const NOT_NEEDED: [&str; 3] = ["bitcode", "pgxs", "llvmjit"];
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let file = entry.file_name().into_string().unwrap();
        let (path, name) = (entry.path(), format!("{name}/{file}"));
        if path.is_dir() && !path.is_symlink() && !NOT_NEEDED.contains(&file.as_str()) {
            add(tar, &name, &path);
        } else if path.is_file() && !NOT_NEEDED.iter().any(|part| file.starts_with(part)) && !file.ends_with(".a") {
            tar.append_path_with_name(&path, &name).unwrap();
        }
    }
}

/// The libpq that the system gives a module.
fn libpq_of(module: &Path) -> PathBuf {
    let said = Output::of(std::process::Command::new("ldd").arg(module));
    let line = said.ok().lines().find_map(|line| line.trim_start().strip_prefix("libpq.so.5 => "));
    PathBuf::from(line.unwrap_or_else(|| panic!("{said}")).split(" (").next().unwrap())
}

fn path_of(home: &TestHome, minor: u16) -> String {
    let version = format!("{}.{minor}.0", home.install().major);
    format!("/{version}/postgresql-{version}-{}-unknown-linux-gnu.tar.gz", std::env::consts::ARCH)
}

fn offer(mirror: &Mirror, path: &str, archive: &[u8]) {
    let digest: String = Sha256::digest(archive).iter().map(|byte| format!("{byte:02x}")).collect();
    mirror.set(&format!("{path}.sha256"), Reply::Bytes(format!("{digest}  {}\n", &path[1..]).into_bytes()));
    mirror.set(path, Reply::Bytes(archive.to_vec()));
}

/// A mirror with all minors up to the newest; only that one is whole.
fn mirror(home: &TestHome, archive: &[u8]) -> Mirror {
    let mirror = Mirror::default();
    for minor in 0..NEWEST_MINOR {
        // One was never packaged.
        if minor != NEWEST_MINOR - 1 {
            offer(&mirror, &path_of(home, minor), b"");
        }
    }
    offer(&mirror, &path_of(home, NEWEST_MINOR), archive);
    mirror
}

fn install(home: &TestHome, mirror: &Mirror, wanted: &str, more: &[&str]) -> std::process::Command {
    let mut command = home.nap_command(&["pg", "install", wanted, "--from", &mirror.url()]);
    command.args(more);
    for proxy in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(proxy);
    }
    command
}

fn major(home: &TestHome) -> String {
    home.install().major.to_string()
}

/// The mirror behind TLS, with a certificate of an authority that nobody knows; the file that holds the authority.
fn behind_tls(mirror: &Mirror, directory: &Path) -> (String, PathBuf) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let file = directory.join("authority.pem");
    std::fs::write(&file, certificate.pem()).unwrap();
    nap_testkit::give_to_server_user(&file);
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
    let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").unwrap());
    let (port, behind) = (listener.local_addr().unwrap().port(), mirror.url().replace("http://", ""));
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let session = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut client = rustls::StreamOwned::new(session, client);
            let mut request = [0; 4096];
            // Who does not trust us is gone by now.
            let Ok(count) = client.read(&mut request) else { continue };
            let mut plain = TcpStream::connect(&behind).unwrap();
            plain.write_all(&request[..count]).unwrap();
            let _ = std::io::copy(&mut plain, &mut client);
            client.conn.send_close_notify();
            let _ = client.flush();
        }
    });
    (format!("https://localhost:{port}"), file)
}

/// What lies in HOME/postgres besides the lock.
fn installed(home: &TestHome) -> Vec<String> {
    let entries = std::fs::read_dir(home.path().join("postgres"));
    let names = entries.into_iter().flatten().flatten().map(|entry| entry.file_name().into_string().unwrap());
    names.filter(|name| name != "lock").collect()
}

#[test]
fn slow_a_fetched_postgres_runs_a_branch() {
    let home = home();
    let mirror = mirror(&home, &archive(&home));
    let said = Output::of(&mut install(&home, &mirror, &major(&home), &["--json"]));
    let json = said.json();
    let version = format!("{}.{NEWEST_MINOR}", major(&home));
    assert_eq!((json["version"].as_str(), json["already_there"].as_bool()), (Some(version.as_str()), Some(false)));
    assert_eq!(installed(&home), [format!("{version}.0")], "nothing is left beside it");
    let again = Output::of(&mut install(&home, &mirror, &major(&home), &[]));
    assert!(again.ok().contains("was there already"), "{again}");

    let bin = json["directory"].as_str().unwrap();
    let set = home.nap(&["config", "set", &format!("postgres_bin={bin}")]);
    set.ok();
    home.up();
    assert_eq!(home.psql("main", "select 1").ok(), "1");
    let server = std::fs::read_link(format!("/proc/{}/exe", home.server_pid("main").unwrap())).unwrap();
    assert!(server.starts_with(bin), "{}", server.display());
    // Where the system has a libpq too, only a look at what was loaded tells them apart.
    let said = home.psql("main", "load 'libpqwalreceiver'; select pg_read_file('/proc/self/maps')");
    let own = Path::new(bin).with_file_name("lib").join("libpq.so.5").display().to_string();
    let libpqs: Vec<&str> = said.ok().lines().filter(|line| line.contains("libpq.so")).collect();
    assert!(!libpqs.is_empty() && libpqs.iter().all(|line| line.ends_with(&own)), "{own}: {libpqs:?}");

    let list = home.nap(&["pg", "list", "--json"]).json();
    let ours = list["found"].as_array().unwrap().iter().find(|found| found["directory"] == bin).unwrap();
    assert_eq!((ours["from"].as_str(), ours["branches"][0].as_str()), (Some("nap pg install"), Some("main")));
}

#[test]
fn slow_on_a_machine_without_postgresql_it_is_all_that_is_needed() {
    let Some(bare) = Sandbox::with("mount -t tmpfs none /usr/lib/postgresql") else { return };
    let home = home();
    if !home.install().bin.starts_with("/usr/lib/postgresql") {
        return;
    }
    let port = format!("port = {}\n", home.port());
    std::fs::write(home.path().join("nap.toml"), port).unwrap();
    let archive = archive(&home);
    let mirror = mirror(&home, &archive);
    let inside = |command: &std::process::Command| Output::of(&mut bare.inside(command));
    let up = inside(&home.nap_command(&["up"]));
    assert!(up.fails_with(1).contains("nap pg install"), "{up}");
    let list = inside(&home.nap_command(&["pg", "list"]));
    assert!(list.ok().starts_with("no PostgreSQL was found"), "{list}");
    inside(&install(&home, &mirror, &major(&home), &[])).ok();
    inside(&home.nap_command(&["up"])).ok();
    assert_eq!(home.psql("main", "select 1").ok(), "1");
    let list = inside(&home.nap_command(&["pg", "list"]));
    let line = list.ok().lines().find(|line| line.contains("nap pg install  main")).unwrap_or_default().to_owned();
    assert!(line.starts_with(&major(&home)), "{list}");
    // What root installs belongs to the user that runs the servers.
    use std::os::unix::fs::MetadataExt as _;
    let owner = |path: PathBuf| std::fs::metadata(path).unwrap().uid();
    assert_eq!(owner(home.path().join("postgres")), owner(home.path().join("nap.toml").with_file_name("branches")));
    home.nap(&["down"]).ok();
}

#[test]
fn what_goes_wrong_on_the_way_is_said_and_leaves_nothing() {
    let home = home();
    let archive = vec![7; 200_000];
    let mirror = mirror(&home, &archive);
    let path = path_of(&home, NEWEST_MINOR);
    let half = archive[..archive.len() / 2].to_vec();
    let stories = [
        (Reply::Bytes(half.clone()), "checksum"),
        (Reply::CutOff(half.clone()), "broke off"),
        (Reply::Stalled(half), "broke off"),
        (Reply::Status(503), "HTTP status 503"),
        (Reply::Silence, "cannot be reached"),
    ];
    for (reply, words) in stories {
        mirror.set(&path, reply.clone());
        let said = Output::of(&mut install(&home, &mirror, &major(&home), &["--timeout", "300ms"]));
        assert!(said.fails_with(1).contains(words), "{words}: {said}");
        assert!(installed(&home).is_empty(), "{words}: {:?}", installed(&home));
    }
    // An archive whose checksum is right, and which is none.
    offer(&mirror, &path, b"<html>please log in</html>");
    let said = Output::of(&mut install(&home, &mirror, &major(&home), &[]));
    assert!(said.fails_with(1).contains("cannot be used") && installed(&home).is_empty(), "{said}");
    mirror.set(&format!("{path}.sha256"), Reply::Bytes(b"<html>please log in</html>".to_vec()));
    let said = Output::of(&mut install(&home, &mirror, &major(&home), &[]));
    assert!(said.fails_with(1).contains("no SHA-256 checksum"), "{said}");
    let said = Output::of(&mut install(&home, &mirror, &format!("{}.77", major(&home)), &[]));
    assert!(said.fails_with(1).contains("there is no PostgreSQL"), "{said}");
    let said = Output::of(&mut install(&home, &mirror, "9", &[]));
    assert!(said.fails_with(2).contains("there are 14, 15"), "{said}");
    let nobody = nap_testkit::PortPair::free();
    let from = format!("http://127.0.0.1:{}", nobody.port);
    let said = Output::of(home.nap_command(&["pg", "install", "17"]).env("NAP_PG_MIRROR", from).env("NO_PROXY", "*"));
    assert!(said.fails_with(1).contains("without a network"), "{said}");
    assert!(installed(&home).is_empty());
}

#[test]
fn an_archive_that_leads_out_or_holds_another_major_is_refused() {
    let home = home();
    let mirror = mirror(&home, b"");
    let path = path_of(&home, NEWEST_MINOR);
    let made = |name: &str, bytes: &[u8]| {
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_mode(0o755);
        header.set_cksum();
        tar.append(&header, bytes).unwrap();
        tar.into_inner().unwrap().finish().unwrap()
    };
    for (name, bytes, words) in [
        ("x/../../../nap.toml", &b"port = 1"[..], "leads out of it"),
        ("x/bin/postgres", b"#!/bin/sh\necho 'postgres (PostgreSQL) 9.6.1'\n", "does not run"),
    ] {
        offer(&mirror, &path, &made(name, bytes));
        let said = Output::of(&mut install(&home, &mirror, &major(&home), &[]));
        assert!(said.fails_with(1).contains(words), "{said}");
        assert!(installed(&home).is_empty());
    }
}

#[test]
fn slow_one_that_was_killed_leaves_nothing_half_and_two_at_once_are_one_too_many() {
    let home = home();
    let archive = archive(&home);
    let mirror = mirror(&home, &archive);
    let path = path_of(&home, NEWEST_MINOR);
    mirror.set(&path, Reply::Stalled(archive[..archive.len() / 2].to_vec()));
    let mut first = install(&home, &mirror, &major(&home), &[]).stderr(std::process::Stdio::null()).spawn().unwrap();
    let is_half = |name: &String| {
        let file = home.path().join("postgres").join(name).join("archive");
        std::fs::metadata(file).is_ok_and(|found| found.len() > 0)
    };
    eventually("half of it is there", || installed(&home).iter().any(is_half).then_some(()));
    let second = Output::of(&mut install(&home, &mirror, &major(&home), &[]));
    assert!(second.fails_with(1).contains("another `nap pg install` is at work"), "{second}");
    process::kill9(first.id().cast_signed());
    first.wait().unwrap();
    let list = home.nap(&["pg", "list"]);
    assert!(!list.ok().contains("nap-tmp"), "{list}");
    let doctor = home.nap(&["doctor"]);
    assert!(doctor.stdout.contains("warn  leftovers: 1 file"), "{doctor}");
    offer(&mirror, &path, &archive);
    Output::of(&mut install(&home, &mirror, &major(&home), &[])).ok();
    assert_eq!(installed(&home), [format!("{}.{NEWEST_MINOR}.0", major(&home))]);
}

#[test]
fn over_tls_only_who_is_trusted_is_heard() {
    let home = home();
    let plain = mirror(&home, b"no archive");
    let (url, authority) = behind_tls(&plain, home.beside());
    let wanted = format!("{}.{NEWEST_MINOR}", major(&home));
    let mut command = home.nap_command(&["pg", "install", &wanted, "--from", &url]);
    command.env("NO_PROXY", "*");
    let stranger = Output::of(&mut command);
    assert!(stranger.fails_with(1).contains("certificate"), "{stranger}");
    let known = Output::of(command.env("SSL_CERT_FILE", authority));
    assert!(known.fails_with(1).contains("the archive cannot be used"), "it came through: {known}");
}
