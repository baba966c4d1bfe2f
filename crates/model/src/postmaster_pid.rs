//! `postmaster.pid`, line by line as `src/include/utils/pidfile.h` has it.

/// What a postmaster wrote about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostmasterPid {
    /// Line 1: the postmaster's pid. A standalone backend writes its pid negated; it is given as such.
    pub pid: i32,
    /// Line 7: key and id of its System V shared memory segment, if it has come so far.
    pub shm: Option<(i64, i32)>,
    /// Line 8: how far it has come.
    pub progress: Progress,
}

/// Line 8 of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Not written yet, or `starting`.
    Starting,
    /// `ready`: takes connections.
    Ready,
    /// `standby`: in recovery, takes no connections.
    Standby,
    /// `stopping`.
    Stopping,
}

impl PostmasterPid {
    /// Reads the file's text; `None` while there is not even a pid (PostgreSQL is about to write it).
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let pid = lines.next()?.trim().parse().ok()?;
        let mut rest = lines.skip(5);
        let shm = rest.next().and_then(|line| {
            let mut numbers = line.split_whitespace();
            Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
        });
        let progress = match rest.next().map(str::trim) {
            Some("ready") => Progress::Ready,
            Some("standby") => Progress::Standby,
            Some("stopping") => Progress::Stopping,
            _ => Progress::Starting,
        };
        Some(Self { pid, shm, progress })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_a_running_servers_file() {
        let text = "4242\n/home/main/data\n1700000000\n5432\n/run/s\n\n  5432001    163840\nready   \n";
        let read = PostmasterPid::parse(text).unwrap();
        assert_eq!(read.pid, 4242);
        assert_eq!(read.shm, Some((5_432_001, 163_840)));
        assert_eq!(read.progress, Progress::Ready);
    }

    #[test]
    fn a_half_written_file_is_a_server_that_starts() {
        let read = PostmasterPid::parse("4242\n/data\n").unwrap();
        assert_eq!((read.shm, read.progress), (None, Progress::Starting));
        assert_eq!(PostmasterPid::parse(""), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String) {
            let _ = PostmasterPid::parse(&text);
        }
    }
}
