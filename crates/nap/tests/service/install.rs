//! `nap service install` and what takes it away again, on a machine where systemd runs: what it writes, what it asks
//! systemd and when, and what it says when systemd refuses.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use nap_testkit::{Output, Sandbox, TestHome, as_server_user, give_to_server_user, process};

use crate::home;

/// It writes down what it was asked, what units of ours there were at that moment, and whether our daemon was up. It
/// remembers what was started, and fails as systemd does where it is told to.
const SYSTEMCTL: &str = r#"#!/bin/sh
here=${0%/*}
units=$(cd "$(cat "$here/units")" && ls | grep ^napgres | tr '\n' ' ')
[ ! -S "$(cat "$here/control")" ] || up=' up'
echo "${0##*/} $* [${units% }]$up" >>"$here/asked"
! grep -qxF -- "$*" "$here/refuses" || { echo 'Failed to connect to bus: refused' >&2; exit 1; }
[ "$1" != --user ] || shift
case "$1 $2" in
"enable --now") echo "$3" >>"$here/active" ;;
"disable --now") : >"$here/active" ;;
"is-active --quiet") grep -qxF -- "$3" "$here/active" || exit 3 ;;
esac
"#;

/// A machine with a systemd that only takes notes, for one user of it.
struct Machine<'a> {
    home: &'a TestHome,
    sandbox: Sandbox,
    is_system: bool,
}

impl<'a> Machine<'a> {
    /// For root, whose service is the system's, or for an ordinary user. `None`: this test is not run by root, who alone
    /// can make one.
    fn new(home: &'a TestHome, is_system: bool) -> Option<Self> {
        Self::with(home, is_system, "mkdir -p /run/systemd/system")
    }

    fn with(home: &'a TestHome, is_system: bool, setup: &str) -> Option<Self> {
        let place = Path::new("/etc/systemd/system");
        assert!(place.exists() || !nap_testkit::is_full_run(), "systemd's directory is missing");
        let beside = home.beside().display();
        for directory in ["system", "user", "user/.config", "user/.config/systemd", "user/.config/systemd/user", "bin"]
        {
            std::fs::create_dir(home.beside().join(directory)).unwrap();
            give_to_server_user(&home.beside().join(directory));
        }
        let cover = format!("mount --bind {beside}/system {}; mount -t tmpfs none /run; {setup}", place.display());
        let sandbox = Sandbox::with(&cover).filter(|_| place.exists())?;
        let machine = Self { home, sandbox, is_system };
        for program in ["systemctl", "loginctl"] {
            machine.note(program, SYSTEMCTL, 0o755);
        }
        let control = home.path().join("control.sock");
        let notes =
            [("units", machine.units()), ("control", control)].map(|(name, path)| (name, path.display().to_string()));
        for (name, text) in notes.iter().map(|(name, text)| (*name, text.as_str())).chain([
            ("asked", ""),
            ("refuses", ""),
            ("active", ""),
        ]) {
            machine.note(name, text, 0o644);
        }
        Some(machine)
    }

    fn note(&self, name: &str, text: &str, mode: u32) {
        let path = self.home.beside().join("bin").join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        give_to_server_user(&path);
    }

    /// Where units belong, as it is seen from outside.
    fn units(&self) -> PathBuf {
        self.home.beside().join(if self.is_system { "system" } else { "user/.config/systemd/user" })
    }

    /// Where `nap` says that a unit is.
    fn place(&self, unit: &str) -> String {
        let directory = if self.is_system { PathBuf::from("/etc/systemd/system") } else { self.units() };
        directory.join(unit).display().to_string()
    }

    /// All files in the units' directory with their text.
    fn written(&self) -> Vec<(String, String)> {
        let mut found: Vec<(String, String)> = std::fs::read_dir(self.units())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| {
                (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(path).unwrap())
            })
            .collect();
        found.sort();
        found
    }

    /// `nap --home HOME ARGUMENTS…` on it.
    fn nap_of(&self, home: &Path, arguments: &[&str]) -> Output {
        let nap = self.home.nap_command(&[]).get_program().to_owned();
        let mut command = if self.is_system { Command::new(nap) } else { as_server_user(nap) };
        command.arg("--home").arg(home).args(arguments);
        let path = format!("{}:{}", self.home.beside().join("bin").display(), std::env::var("PATH").unwrap());
        command.env("PATH", path).env("HOME", self.home.beside().join("user")).env_remove("XDG_CONFIG_HOME");
        Output::of(&mut self.sandbox.inside(&command))
    }

    fn nap(&self, arguments: &[&str]) -> Output {
        self.nap_of(&self.home.path(), arguments)
    }

    /// The lines by which it is called, without the user's `--user`: what was asked since the last time.
    fn asked(&self) -> Vec<String> {
        let asked = std::fs::read_to_string(self.home.beside().join("bin/asked")).unwrap();
        self.note("asked", "", 0o644);
        let own = if self.is_system { "systemctl " } else { "systemctl --user " };
        asked.lines().map(|line| line.strip_prefix(own).unwrap_or_else(|| panic!("{line}")).to_owned()).collect()
    }

    /// From now on it refuses this; `""`: nothing.
    fn refuses(&self, request: &str) {
        let user = if self.is_system || request.is_empty() { "" } else { "--user " };
        self.note("refuses", &format!("{user}{request}\n"), 0o644);
    }
}

/// A story for root and for a user.
fn for_both(story: impl Fn(Machine<'_>)) {
    for is_system in [true, false] {
        let home = home();
        let Some(machine) = Machine::new(&home, is_system) else { return };
        story(machine);
    }
}

#[test]
fn units_are_written_then_read_then_started_and_go_in_the_opposite_order() {
    for_both(|machine| {
        machine.nap(&["service", "uninstall"]).ok();
        assert!(machine.asked().is_empty(), "there is nothing to stop");
        std::fs::write(machine.units().join("napgres-shop.socket"), "[Socket]\n").unwrap();
        for (option, started, units) in [
            (None, "napgres.service", "napgres.service"),
            (Some("--socket"), "napgres.socket", "napgres.service napgres.socket"),
        ] {
            let install: Vec<&str> = ["service", "install"].into_iter().chain(option).collect();
            let shop = format!("napgres-shop.socket {units}");
            let asked = [format!("daemon-reload [{shop}]"), format!("enable --now {started} [{shop}]")];
            let wrote: String = units.split(' ').map(|unit| format!("wrote {}\n", machine.place(unit))).collect();
            let said = machine.nap(&install);
            assert_eq!(said.ok(), format!("{wrote}started, and from now on with the system"), "{said}");
            assert_eq!(machine.asked(), asked);
            let written = machine.written();
            assert_eq!(written.len(), 1 + units.split(' ').count(), "{written:?}");
            for (name, text) in &written[1..] {
                assert!(text.contains(&format!("# Home: {}\n", machine.home.path().display())), "{name}: {text}");
                assert_eq!(
                    text.contains("\nUser=postgres\n"),
                    machine.is_system && name == "napgres.service",
                    "{text}"
                );
                let mode = std::fs::metadata(machine.units().join(name)).unwrap().permissions().mode();
                assert_eq!(mode & 0o777, 0o644, "{name}");
            }

            let again = machine.nap(&install);
            assert_eq!((again.ok(), machine.asked(), machine.written()), (said.ok(), asked.to_vec(), written));

            let said = machine.nap(&["service", "uninstall"]);
            let mut ours: Vec<&str> = units.split(' ').collect();
            ours.reverse();
            let removed: Vec<String> = ours.iter().map(|unit| format!("removed {}", machine.place(unit))).collect();
            assert_eq!(said.ok(), removed.join("\n"));
            let disabled = format!("disable --now {} [{shop}]", ours.join(" "));
            assert_eq!(machine.asked(), [disabled, "daemon-reload [napgres-shop.socket]".to_owned()]);
            assert_eq!(machine.written(), [("napgres-shop.socket".to_owned(), "[Socket]\n".to_owned())]);
        }
    });
}

#[test]
fn what_systemd_refuses_is_said_and_can_be_tried_again() {
    for_both(|machine| {
        let (status, journal) = if machine.is_system {
            ("`systemctl status napgres`", "`journalctl -u napgres`")
        } else {
            ("`systemctl --user status napgres`", "`journalctl --user -u napgres`")
        };
        let fails = |arguments: &[&str], refused: &str| {
            machine.refuses(refused);
            let said = machine.nap(arguments);
            machine.refuses("");
            let own = if machine.is_system { "systemctl" } else { "systemctl --user" };
            for words in [&format!("`{own} {refused}` failed"), "Failed to connect to bus: refused", status, journal] {
                assert!(said.fails_with(1).contains(words), "{words}: {said}");
            }
            assert_eq!(said.stdout, "");
        };
        fails(&["service", "install"], "daemon-reload");
        assert_eq!(machine.asked(), ["daemon-reload [napgres.service]"], "and nothing is started");
        fails(&["service", "install"], "enable --now napgres.service");
        machine.asked();
        machine.nap(&["service", "install"]).ok();
        assert_eq!(machine.asked().len(), 2);

        let written = machine.written();
        fails(&["service", "uninstall"], "disable --now napgres.service");
        assert_eq!((machine.asked().len(), machine.written()), (1, written), "what may still run keeps its files");
        machine.nap(&["service", "uninstall"]).ok();
        assert!(machine.written().is_empty());
    });
}

#[test]
fn a_daemon_that_is_up_already_is_not_started_twice() {
    for_both(|machine| {
        machine.home.up();
        let said = machine.nap(&["service", "install", "--socket"]);
        let pid = machine.home.daemon_pid();
        let own = if machine.is_system { "systemctl" } else { "systemctl --user" };
        let rest = format!(
            "the daemon that is up now (PID {pid}) makes way by `nap down`; then this starts it, and enables it for \
             good:\n    {own} enable --now napgres.socket"
        );
        assert!(said.ok().ends_with(&rest), "{said}");
        let with = "[napgres.service napgres.socket] up";
        let is_active = format!("is-active --quiet napgres.socket {with}");
        assert_eq!(machine.asked(), [is_active.clone(), format!("daemon-reload {with}")]);

        // If it is the service's own there is nothing to make way for.
        machine.note("active", "napgres.socket\n", 0o644);
        let said = machine.nap(&["service", "install", "--socket"]);
        assert!(said.ok().ends_with("\nstarted, and from now on with the system"), "{said}");
        let asked = [is_active, format!("daemon-reload {with}"), format!("enable --now napgres.socket {with}")];
        assert_eq!(machine.asked(), asked);
        assert_eq!(machine.home.daemon_pid(), pid);
    });
}

#[test]
fn where_systemd_does_not_run_nothing_is_asked() {
    for is_system in [true, false] {
        let home = home();
        let Some(machine) = Machine::with(&home, is_system, "") else { return };
        let said = machine.nap(&["service", "install", "--json"]).json();
        let own = if is_system { "systemctl" } else { "systemctl --user" };
        assert_eq!(said["ran"], serde_json::json!([]));
        let to_run = [format!("{own} daemon-reload"), format!("{own} enable --now napgres.service")];
        assert_eq!(said["to_run"], serde_json::json!(to_run));
        assert_eq!(said["wrote"], serde_json::json!([machine.place("napgres.service")]));
        assert!(machine.nap(&["service", "install"]).ok().contains("this starts it, and enables it for good:\n"));
        machine.nap(&["service", "uninstall"]).ok();
        assert!(machine.asked().is_empty() && machine.written().is_empty());
    }
}

#[test]
fn a_home_that_is_not_there_yet_is_made_for_the_user_that_the_unit_names() {
    let home = home();
    let Some(machine) = Machine::new(&home, true) else { return };
    let new = home.beside().join("new");
    machine.nap_of(&new, &["service", "install"]).ok();
    let owner = |path: &Path| std::fs::metadata(path).unwrap().uid();
    assert_eq!(owner(&new), owner(&home.path()), "systemd can make no home where only root may");
}

#[test]
fn uninstalling_takes_the_service_first_and_leaves_other_homes_theirs() {
    for_both(|machine| {
        let home = machine.home;
        machine.nap(&["service", "install", "--socket"]).ok();
        home.up();
        machine.asked();
        let stranger = machine.nap_of(&home.beside().join("stranger"), &["uninstall", "--purge", "--yes"]);
        assert!(stranger.ok().starts_with("nothing of it runs\nremains"), "{stranger}");
        assert!(machine.asked().is_empty() && machine.written().len() == 2, "it is the service of another home");

        let disable = "disable --now napgres.socket napgres.service";
        machine.refuses(disable);
        let said = machine.nap(&["uninstall", "--purge", "--yes"]);
        machine.refuses("");
        assert!(said.fails_with(1).contains("Failed to connect to bus: refused"), "{said}");
        home.psql("main", "create table kept as select 7 as n").ok();
        machine.asked();

        let asked = [format!("{disable} [napgres.service napgres.socket] up"), "daemon-reload [] up".to_owned()];
        let removed: String =
            ["napgres.socket", "napgres.service"].map(|unit| format!("removed {}\n", machine.place(unit))).concat();
        let said = machine.nap(&["uninstall"]);
        assert!(said.ok().starts_with(&format!("nothing of it runs\n{removed}remains ")), "{said}");
        assert_eq!(machine.asked(), asked, "it would have started the daemon again");
        assert!(machine.written().is_empty() && process::below(&home.path()).is_empty());

        machine.nap(&["service", "install", "--socket"]).ok();
        home.up();
        assert_eq!(home.psql("main", "select n from kept").ok(), "7");
        machine.asked();
        let said = machine.nap(&["uninstall", "--purge", "--yes"]);
        let home_too = format!("nothing of it runs\n{removed}removed {}\n", home.path().display());
        assert!(said.ok().starts_with(&home_too), "{said}");
        assert_eq!(machine.asked(), asked);
        assert!(machine.written().is_empty() && !home.path().exists());
    });
}
