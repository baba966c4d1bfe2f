//! What a clone must not go on doing in its parent's place: archiving, following, waiting for standbys.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use crate::error::StoreError;

/// Settings that speak of others, and the values that speak of nobody.
const OFF: [(&str, &str); 7] = [
    ("external_pid_file", "''"),
    ("archive_mode", "off"),
    ("archive_command", "''"),
    ("restore_command", "''"),
    ("synchronous_standby_names", "''"),
    ("primary_conninfo", "''"),
    ("primary_slot_name", "''"),
];
/// The same, of newer majors: an older one that found it in its configuration would not start.
const OFF_IF_SET: (&str, &str) = ("synchronized_standby_slots", "''");

/// Longer ones are nobody's configuration.
const FILE_MAX_BYTES: u64 = 16 << 20;

/// Turns off in this data directory what the cluster it was cloned from does for others, where it is set at all. In the file of
/// ALTER SYSTEM, which comes last: there it can be changed again as usual.
pub(crate) fn give_own_life(data: &Path) -> Result<(), StoreError> {
    let auto = data.join("postgresql.auto.conf");
    let mut said = read(&data.join("postgresql.conf"))?;
    said.push_str(&read(&auto)?);
    // What another file says is not looked for.
    let includes = ["include", "include_if_exists", "include_dir"].iter().any(|name| is_set(&said, name));
    let newer = Some(OFF_IF_SET).filter(|(name, _)| is_set(&said, name));
    let lines: String = OFF
        .into_iter()
        .filter(|(name, _)| includes || is_set(&said, name))
        .chain(newer)
        .map(|(name, value)| format!("{name} = {value}\n"))
        .collect();
    if lines.is_empty() {
        return Ok(());
    }
    let text = format!("\n# This cluster is a branch: what it was cloned from does this, not it.\n{lines}");
    append(&auto, &text).map_err(|error| StoreError::io("write", &auto, error))
}

/// Settings that come last count.
pub(crate) fn append(auto: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().append(true).create(true).open(auto)?;
    file.write_all(text.as_bytes())
}

fn read(path: &Path) -> Result<String, StoreError> {
    match crate::durable::read_bounded(path, FILE_MAX_BYTES) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        // A link to a file elsewhere that is not there, for instance: the server will say so.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(StoreError::io("read", path, error)),
    }
}

/// Whether a line begins with this name.
fn is_set(text: &str, name: &str) -> bool {
    text.lines().any(|line| {
        let line = line.trim_start();
        let head = line.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name));
        head && line.get(name.len()..).is_some_and(|rest| rest.starts_with(['=', ' ', '\t', '\'']))
    })
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    fn after(conf: &str, auto: &str) -> String {
        let data = tempfile::tempdir().unwrap();
        fs::write(data.path().join("postgresql.conf"), conf).unwrap();
        fs::write(data.path().join("postgresql.auto.conf"), auto).unwrap();
        give_own_life(data.path()).unwrap();
        fs::read_to_string(data.path().join("postgresql.auto.conf")).unwrap()
    }

    #[test]
    fn what_is_not_set_is_left_alone() {
        let conf = "#archive_mode = on\nshared_buffers=1GB\narchive_timeout = 60\nrecovery_target_timeline=latest\n";
        assert_eq!(after(conf, "work_mem = '4MB'\n"), "work_mem = '4MB'\n");
    }

    #[test]
    fn what_is_done_for_others_is_turned_off() {
        let auto = after(
            "  Archive_Mode=on\narchive_command = 'cp %p /a/%f'\n",
            "synchronous_standby_names = 's1'\nsynchronized_standby_slots = 's1'\n",
        );
        let mut lines = auto.lines().skip(4);
        assert_eq!(lines.next(), Some("archive_mode = off"));
        assert_eq!(lines.next(), Some("archive_command = ''"));
        assert_eq!(lines.next(), Some("synchronous_standby_names = ''"));
        assert_eq!(lines.next(), Some("synchronized_standby_slots = ''"));
        assert_eq!(lines.next(), None);
    }

    #[test]
    fn an_included_file_may_say_anything() {
        let auto = after("include_dir 'conf.d'\n", "");
        assert_eq!(auto.lines().filter(|line| line.contains('=')).count(), OFF.len());
    }
}
