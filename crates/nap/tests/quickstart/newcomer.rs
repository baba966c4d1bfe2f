//! Somebody who has a fresh clone, an empty home directory, and never had Napgres.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nap_testkit::{Output, Sandbox, as_server_user, give_to_server_user};

/// It builds what the test was built with, as cargo would in some minutes.
const CARGO: &str = r#"#!/bin/sh
here=${0%/*}
case "$1" in
--version) cat "$here/version" ;;
build) echo "$*" >"$here/asked" && mkdir -p "$CARGO_TARGET_DIR/release" && cp "$here/../built" "$CARGO_TARGET_DIR/release/nap" ;;
esac
"#;

/// Nothing may be installed for a test.
const NOTHING: &str = "#!/bin/sh\necho \"this test installs nothing: $0 $*\" >&2\nexit 1\n";

pub(crate) struct Newcomer {
    base: tempfile::TempDir,
    /// Root's programs and data go where this covers the machine's own.
    sandbox: Option<Sandbox>,
}

impl Newcomer {
    /// An ordinary user.
    pub(crate) fn user() -> Self {
        Self::with(None)
    }

    /// `None`: the test is not run by root.
    pub(crate) fn root() -> Option<Self> {
        Some(Self::with(Some(Sandbox::with("mount -t tmpfs none /usr/local/bin; mount -t tmpfs none /var/lib")?)))
    }

    fn with(sandbox: Option<Sandbox>) -> Self {
        let base = tempfile::Builder::new().prefix("nap-").tempdir_in("/tmp").unwrap();
        let newcomer = Self { base, sandbox };
        std::fs::set_permissions(newcomer.path(""), std::fs::Permissions::from_mode(0o755)).unwrap();
        for directory in ["bin", "clone", "clone/scripts", "home"] {
            std::fs::create_dir(newcomer.path(directory)).unwrap();
        }
        let clone = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for file in ["quickstart", "scripts/lib.sh", "Cargo.toml"] {
            std::fs::copy(clone.join(file), newcomer.path("clone").join(file)).unwrap();
        }
        std::fs::copy(env!("CARGO_BIN_EXE_nap"), newcomer.path("built")).unwrap();
        newcomer.write("bin/cargo", CARGO);
        newcomer.write("bin/version", "cargo 999.0.0 (0123456789 2026-01-01)\n");
        for installer in ["apt-get", "dnf", "brew", "sudo"] {
            newcomer.write(&format!("bin/{installer}"), NOTHING);
        }
        for directory in ["", "bin", "bin/version", "home"] {
            give_to_server_user(&newcomer.path(directory));
        }
        newcomer
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.base.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs a program with nothing in its environment but what a login gives.
    fn run(&self, program: &Path, arguments: &[&str]) -> Output {
        let mut command = if self.sandbox.is_some() { Command::new("env") } else { as_server_user("env") };
        command.arg("-i").arg(format!("HOME={}", self.path("home").display()));
        command.arg(format!("PATH={}:/usr/bin:/bin:/usr/sbin:/sbin", self.path("bin").display()));
        command.arg(format!("CARGO_TARGET_DIR={}", self.path("target").display())).arg(program).args(arguments);
        let mut inside = self.sandbox.as_ref().map(|sandbox| sandbox.inside(&command));
        Output::of(inside.as_mut().unwrap_or(&mut command))
    }

    pub(crate) fn quickstart(&self, arguments: &[&str]) -> Output {
        self.run(&self.path("clone/quickstart"), arguments)
    }

    /// Where it puts the program.
    pub(crate) fn installed(&self) -> PathBuf {
        if self.sandbox.is_some() { PathBuf::from("/usr/local/bin/nap") } else { self.path("home/.local/bin/nap") }
    }

    pub(crate) fn nap(&self, arguments: &[&str]) -> Output {
        self.run(&self.installed(), arguments)
    }

    pub(crate) fn psql(&self, url: &str, sql: &str) -> Output {
        let psql = nap_testkit::pg_majors()[0].program("psql");
        self.run(&psql, &["-XAt", "-d", url, "-c", sql])
    }

    pub(crate) fn daemon(&self) -> u64 {
        self.nap(&["status", "--json"]).json()["pid"].as_u64().unwrap()
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        if self.path("bin/asked").exists() {
            let gone = self.nap(&["uninstall", "--purge", "--yes"]);
            assert!(gone.succeeded() || std::thread::panicking(), "{gone}");
        }
    }
}
