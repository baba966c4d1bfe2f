//! What is mounted where, by the kernel's own list.

use std::path::{Path, PathBuf};

/// Something mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mounted {
    /// Where.
    pub(crate) at: PathBuf,
    /// From what: a device, mostly.
    pub(crate) source: PathBuf,
}

/// All that this process sees, in the order in which it was mounted.
pub(crate) fn mounts() -> Vec<Mounted> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table.lines().filter_map(parse).collect()
}

/// What is mounted exactly there, uppermost last.
pub(crate) fn at(place: &Path) -> Vec<Mounted> {
    let mut found = mounts();
    found.retain(|mounted| mounted.at == place);
    found
}

/// Where: the fifth field. From what: the second behind the lone hyphen.
fn parse(line: &str) -> Option<Mounted> {
    let at = path(line.split(' ').nth(4)?);
    let source = path(line.split_once(" - ")?.1.split(' ').nth(1)?);
    Some(Mounted { at, source })
}

/// Blanks, tabs and line breaks are octal numbers.
fn path(field: &str) -> PathBuf {
    field.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_lines_are_read() {
        let line = r"45 42 0:44 / /h\040x/pool rw,noatime shared:7 - btrfs /dev/loop2 rw,discard=async";
        let mounted = Mounted { at: "/h x/pool".into(), source: "/dev/loop2".into() };
        assert_eq!(parse(line), Some(mounted));
        assert_eq!(parse("45 42"), None);
    }
}
