//! A home: made, refused, locked, and short enough for sockets.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::disallowed_methods, missing_docs)]

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nap_model::ids::{BranchId, BranchName};
use nap_store::{Home, HomeLock, LockError, Owner, StoreError, config, create, make_home};

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn home() -> (tempfile::TempDir, Home) {
    let root = tempfile::tempdir().unwrap();
    let home = Home::at(root.path().join("home"));
    (root, home)
}

#[test]
fn the_skeleton_has_its_modes_and_is_made_twice_without_harm() {
    let (_root, home) = home();
    make_home(&home).unwrap();
    fs::set_permissions(home.secrets_dir(), fs::Permissions::from_mode(0o755)).unwrap();
    make_home(&home).unwrap();
    assert_eq!(fs::read(home.format_file()).unwrap(), format!("1\nnap {}\n", env!("CARGO_PKG_VERSION")).as_bytes());
    for private in
        [home.secrets_dir(), home.branches_dir(), home.templates_dir(), home.staging(), home.trash(), home.log_dir()]
    {
        assert_eq!(mode(&private), 0o700, "{}", private.display());
    }
    assert_eq!((mode(home.root()), mode(&home.run_dir()), mode(&home.lock_file())), (0o711, 0o711, 0o600));
    create::make_door_dir(&home, &BranchName::main()).unwrap();
    create::make_server_socket_dir(&home, &BranchId::from_bytes([1; 4])).unwrap();
    assert_eq!(mode(&home.door_dir(&BranchName::main())), 0o755);
    assert_eq!(mode(&home.server_socket_dir(&BranchId::from_bytes([1; 4]))), 0o700);
}

#[test]
fn a_directory_of_somebody_elses_is_not_used() {
    let (_root, home) = home();
    fs::create_dir(home.root()).unwrap();
    fs::write(home.nap_toml(), "port = 5433\n").unwrap();
    make_home(&home).unwrap();
    fs::remove_file(home.format_file()).unwrap();
    assert!(matches!(make_home(&home), Err(StoreError::NotAHome(_))));
    fs::create_dir(home.branches_dir().join("main")).unwrap();
    assert!(matches!(make_home(&home), Err(StoreError::FormatMissing(_))));
    fs::write(home.format_file(), "2\nnap 9.1.0\n").unwrap();
    let error = make_home(&home).unwrap_err().to_string();
    let own = env!("CARGO_PKG_VERSION");
    assert!(
        error.ends_with(&format!("has format 2, written by nap 9.1.0; nap {own} knows formats up to 1")),
        "{error}"
    );
    fs::write(home.format_file(), "one").unwrap();
    assert!(matches!(make_home(&home), Err(StoreError::FormatUnreadable(_))));
}

#[test]
fn root_makes_it_for_another_and_follows_no_link() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (root, home) = home();
    let owner = Owner { uid: 12_345, gid: 12_346 };
    create::give_home(&home, owner).unwrap();
    let found = fs::symlink_metadata(home.root()).unwrap();
    assert_eq!((found.uid(), found.gid()), (12_345, 12_346));
    assert_eq!(fs::read_dir(home.root()).unwrap().count(), 0, "what is in it, its owner makes");
    let other = Owner { uid: 54_321, gid: 54_321 };
    assert!(matches!(create::give_home(&home, other), Err(StoreError::NotOurs(_))), "it is not root's to give");
    config::set(&home, "port", Some("5433")).unwrap();
    assert_eq!(fs::metadata(home.nap_toml()).unwrap().uid(), 12_345, "the owner can replace what root wrote");

    // Its owner may put links where directories are looked for; nothing behind them is changed.
    make_home(&home).unwrap();
    fs::remove_dir(home.log_dir()).unwrap();
    let victim = root.path().join("victim");
    fs::create_dir(&victim).unwrap();
    symlink(&victim, home.log_dir()).unwrap();
    assert!(matches!(make_home(&home), Err(StoreError::NotOurs(_))));
    assert_eq!(fs::metadata(&victim).unwrap().uid(), 0);
}

#[test]
fn the_home_itself_may_be_a_link() {
    let (root, home) = home();
    fs::create_dir(root.path().join("large")).unwrap();
    symlink(root.path().join("large"), home.root()).unwrap();
    make_home(&home).unwrap();
    assert_eq!(mode(&root.path().join("large")), 0o711);
    assert!(root.path().join("large/branches").is_dir());
}

#[test]
fn one_daemon_per_home() {
    let (_root, home) = home();
    assert!(matches!(HomeLock::acquire(&home), Err(LockError::Store(StoreError::NoHome(_)))));
    make_home(&home).unwrap();
    let lock = HomeLock::acquire(&home).unwrap();
    let Err(LockError::Held { pid, .. }) = HomeLock::acquire(&home) else { panic!("two daemons") };
    assert_eq!(pid, Some(std::process::id().cast_signed()));
    drop(lock);
    HomeLock::acquire(&home).unwrap();
}

/// A home 150 bytes deep, and its run directory, which goes with it.
struct DeepHome {
    _root: tempfile::TempDir,
    home: Home,
}

impl DeepHome {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let home = Home::at(root.path().join("deep".repeat(35)));
        Self { _root: root, home }
    }
}

impl Drop for DeepHome {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.home.run_dir());
    }
}

#[test]
fn a_deep_home_has_short_sockets() {
    let deep = DeepHome::new();
    let home = &deep.home;
    make_home(home).unwrap();
    let id = BranchId::from_bytes([7; 4]);
    create::make_server_socket_dir(home, &id).unwrap();
    UnixListener::bind(home.server_socket_dir(&id).join(".s.PGSQL.65535")).unwrap();
    UnixListener::bind(home.control_socket()).unwrap();
    assert!(home.root().join("run/.servers/07070707/.s.PGSQL.65535").exists(), "HOME/run leads there");
    assert_eq!(mode(&home.run_dir()), 0o711);

    // As after a boot, which empties /tmp.
    let short = home.run_dir();
    fs::remove_dir_all(&short).unwrap();
    make_home(home).unwrap();
    assert_eq!(home.run_dir(), short);
    assert!(short.is_dir());
}

#[test]
fn what_others_planted_for_a_run_directory_is_refused() {
    let deep = DeepHome::new();
    let home = &deep.home;
    make_home(home).unwrap();
    let (short, elsewhere) = (home.run_dir(), home.root().join("elsewhere"));
    fs::remove_dir_all(&short).unwrap();
    fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, &short).unwrap();
    assert!(matches!(make_home(home), Err(StoreError::NotOurs(_))), "a link");
    fs::remove_file(&short).unwrap();
    if rustix::process::geteuid().is_root() {
        fs::create_dir(&short).unwrap();
        std::os::unix::fs::chown(&short, Some(12_345), None).unwrap();
        assert!(matches!(make_home(home), Err(StoreError::NotOurs(_))), "somebody else's");
        fs::remove_dir(&short).unwrap();
    }
}

#[test]
fn paths_are_as_they_should_be() {
    let home = Home::at(PathBuf::from("/h"));
    assert_eq!(home.run_dir(), Path::new("/h/run"));
    assert_eq!(home.password_file("a/../b"), Path::new("/h/secrets/a%2F%2E%2E%2Fb.password"));
    assert_eq!(home.door_socket(&BranchName::main(), 5432).unwrap(), Path::new("/h/run/main/.s.PGSQL.5432"));
    assert!(Home::at("relative".into()).root().is_absolute());
    assert_eq!(Home::locate(Some("/flag".into())).root(), Path::new("/flag"));

    let long: BranchName = "x".repeat(63).parse().unwrap();
    let longest = Home::at(format!("/{}", "h".repeat(23)).into());
    assert_eq!(longest.door_socket(&long, 54_320).unwrap().as_os_str().as_bytes().len(), 107);
    assert_eq!(Home::at(format!("/{}", "h".repeat(24)).into()).door_socket(&long, 54_320), None);
}

#[test]
fn settings_are_changed_and_comments_stay() {
    let (_root, home) = home();
    make_home(&home).unwrap();
    assert_eq!(config::load(&home).unwrap(), Default::default());
    fs::write(home.nap_toml(), "# ours\nport = 1 # the port\n").unwrap();
    assert_eq!(config::set(&home, "port", Some("5433")).unwrap().port, 5433);
    config::set(&home, "role", Some("alice")).unwrap();
    assert_eq!(config::text(&home).unwrap(), "# ours\nport = 5433 # the port\nrole = \"alice\"\n");
    assert!(config::set(&home, "port", Some("70000")).is_err());
    assert!(config::set(&home, "prot", Some("1")).unwrap_err().to_string().contains("did you mean port"));
    config::set(&home, "role", None).unwrap();
    assert_eq!(config::load(&home).unwrap().role, None);
}
