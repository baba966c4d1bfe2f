//! Where packages put PostgreSQL, and the command that installs it on this system.

use std::path::PathBuf;
use std::process::Command;

use nap_model::ids::Major;

use super::Runner;

/// Directories that hold one directory per version, and what leads from there to the programs.
const VERSIONED: &[(&str, &str, &str)] = &[
    ("/usr/lib/postgresql", "", "bin"),                          // Debian, Ubuntu
    ("/usr", "pgsql-", "bin"),                                   // PGDG's packages for RHEL and Fedora
    ("/opt/homebrew/opt", "postgresql@", "bin"),                 // Homebrew on Apple silicon (untested)
    ("/usr/local/opt", "postgresql@", "bin"),                    // Homebrew on Intel (untested)
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"), // Postgres.app (untested)
    ("/usr/libexec", "postgresql", ""),                          // Alpine
];

/// Directories that hold one version.
const SINGLE: &[&str] = &["/usr/local/pgsql/bin", "/usr/bin", "/usr/local/bin"];

/// Every directory worth a look, the likeliest first.
pub(super) fn candidates(run: Runner<'_>) -> Vec<PathBuf> {
    let mut places = Vec::new();
    if let Some(bin) = run(Command::new("pg_config").arg("--bindir")) {
        places.push(PathBuf::from(bin.trim()));
    }
    for (directory, prefix, suffix) in VERSIONED {
        let Ok(entries) = std::fs::read_dir(directory) else { continue };
        let mut versions: Vec<PathBuf> = entries
            .flatten()
            .filter(|entry| {
                entry
                    .file_name()
                    .to_str()
                    .and_then(|name| name.strip_prefix(prefix))
                    .is_some_and(|version| version.starts_with(|first: char| first.is_ascii_digit()))
            })
            .map(|entry| entry.path().join(suffix))
            .collect();
        versions.sort();
        places.extend(versions.into_iter().rev());
    }
    places.extend(SINGLE.iter().map(PathBuf::from));
    places
}

/// The exact command that installs PostgreSQL (of this major, if one is wanted) on this system.
pub fn how_to_install(major: Option<Major>) -> String {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    command_for(cfg!(target_os = "macos"), &release, major)
}

fn command_for(macos: bool, os_release: &str, major: Option<Major>) -> String {
    let dashed = |stem: &str| major.map_or(stem.to_owned(), |major| format!("{stem}-{major}"));
    let joined = |stem: &str| major.map_or(stem.to_owned(), |major| format!("{stem}{major}"));
    if macos {
        return format!("brew install postgresql@{}", major.unwrap_or(Major(17)));
    }
    let family: String = os_release
        .lines()
        .filter_map(|line| line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")))
        .flat_map(|value| [value.trim_matches('"'), " "])
        .collect();
    let is = |names: &[&str]| family.split_whitespace().any(|id| names.contains(&id));
    if is(&["debian", "ubuntu"]) {
        format!("sudo apt-get install {}", dashed("postgresql"))
    } else if is(&["fedora", "rhel", "centos"]) {
        format!("sudo dnf install {}-server", joined("postgresql"))
    } else if is(&["alpine"]) {
        format!("sudo apk add {}", joined("postgresql"))
    } else if is(&["arch"]) {
        "sudo pacman -S postgresql".to_owned()
    } else if is(&["suse", "opensuse"]) {
        format!("sudo zypper install {}-server", joined("postgresql"))
    } else {
        format!("your system's package manager ({} server)", dashed("postgresql"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_system_has_its_command() {
        let debian = "PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\n";
        assert_eq!(command_for(false, debian, None), "sudo apt-get install postgresql");
        assert_eq!(command_for(false, debian, Some(Major(17))), "sudo apt-get install postgresql-17");
        assert_eq!(
            command_for(false, "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", None),
            "sudo dnf install postgresql-server"
        );
        assert_eq!(command_for(true, "", None), "brew install postgresql@17");
    }
}
