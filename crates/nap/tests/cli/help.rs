//! The help is part of the interface: every change of it shows in a snapshot.

use crate::fake::Home;

#[test]
fn the_whole_help() {
    let home = Home::down();
    let commands = [
        "",
        "up",
        "down",
        "restart",
        "status",
        "ls",
        "url",
        "env",
        "psql",
        "logs",
        "wake",
        "sleep",
        "doze",
        "sessions",
        "branch",
        "rm",
        "reset",
        "restore",
        "snapshot",
        "history",
        "import",
        "export",
        "set",
        "config",
        "config get",
        "config set",
        "config check",
        "config reload",
        "config path",
        "pg",
        "pg list",
        "pg install",
        "pool",
        "pool create",
        "pool grow",
        "pool status",
        "pool mount",
        "pool unmount",
        "doctor",
        "service",
        "service install",
        "service uninstall",
        "uninstall",
        "completions",
        "man",
    ];
    let mut text = String::new();
    for command in commands {
        let mut arguments: Vec<&str> = command.split_whitespace().collect();
        arguments.push("--help");
        let ran = home.nap(&arguments);
        assert_eq!(ran.code, 0, "{ran:?}");
        text.push_str(&format!("======== nap {}\n{}\n", arguments.join(" "), ran.out));
    }
    let every = home.nap(&["--help"]).out;
    for line in every.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty()) {
        if let Some(command) = line.strip_prefix("  ").filter(|line| !line.starts_with(' ')) {
            let name = command.split_whitespace().next().unwrap();
            // It is clap's own.
            if name == "help" {
                continue;
            }
            assert!(commands.contains(&name), "`nap {name}` is not in this snapshot");
        }
    }
    insta::assert_snapshot!(text);
}

#[test]
fn commands_have_the_names_that_people_try_first() {
    let home = Home::down();
    for (name, ours) in [("help", "--help"), ("start", "up"), ("stop", "down"), ("list", "ls")] {
        let asked: &[&str] = if name == "help" { &["help", "up"] } else { &[name, "--help"] };
        let ours: &[&str] = if name == "help" { &["up", "--help"] } else { &[ours, "--help"] };
        assert_eq!(home.nap(asked).out, home.nap(ours).out, "{name}");
    }
}

#[test]
fn the_version_is_told() {
    let ran = Home::down().nap(&["--version"]);
    assert_eq!((ran.code, ran.out), (0, format!("nap {}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn parts_of_the_documentation_are_made() {
    let home = Home::down();
    assert!(home.nap(&["docs", "settings"]).out.starts_with("| setting | default |"));
    assert!(home.nap(&["docs", "lifecycle"]).out.starts_with("stateDiagram-v2"));
    insta::assert_snapshot!(home.nap(&["docs", "commands"]).out);
}
