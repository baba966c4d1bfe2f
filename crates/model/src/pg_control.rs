//! The head of `global/pg_control`: enough to know whether a cluster was shut down cleanly, and where.
//!
//! The fields read here have kept their places in PostgreSQL 14 to 18 (`src/include/catalog/pg_control.h`).

use crate::lsn::Lsn;

/// What the control file says of a cluster that nobody runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PgControl {
    /// Drawn by initdb; a clone keeps its parent's.
    pub system_identifier: u64,
    /// `DB_SHUTDOWNED` or `DB_SHUTDOWNED_IN_RECOVERY`.
    pub clean: bool,
    /// The last checkpoint; of a clean cluster, the shutdown checkpoint.
    pub checkpoint: Lsn,
    /// Where recovery from that checkpoint begins, which is not behind it.
    pub redo: Lsn,
    /// The timeline of that checkpoint.
    pub timeline: u32,
}

/// Why bytes are not a control file of a PostgreSQL that we know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPgControl {
    /// Fewer bytes than the fields need.
    #[error("pg_control holds only {0} bytes")]
    Short(usize),
    /// Another `pg_control_version`: an older or newer major than the ones we know.
    #[error("pg_control has version {0}, which is none of PostgreSQL 14 to 18")]
    Version(u32),
}

const DB_SHUTDOWNED: u32 = 1;
const DB_SHUTDOWNED_IN_RECOVERY: u32 = 2;

impl PgControl {
    /// Bytes that must be read.
    pub const BYTES: usize = 52;

    /// Reads the head of the file, in the byte order of this machine, as PostgreSQL wrote it.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadPgControl> {
        let short = || BadPgControl::Short(bytes.len());
        let u64_at = |at: usize| -> Result<u64, BadPgControl> {
            let field = bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).ok_or_else(short)?;
            Ok(u64::from_ne_bytes(field))
        };
        let u32_at = |at: usize| -> Result<u32, BadPgControl> {
            let field = bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).ok_or_else(short)?;
            Ok(u32::from_ne_bytes(field))
        };
        // 14 to 16 write 1300, 17 writes 1700, 18 writes 1800.
        let version = u32_at(8)?;
        if !(1300..1900).contains(&version) {
            return Err(BadPgControl::Version(version));
        }
        let state = u32_at(16)?;
        Ok(Self {
            system_identifier: u64_at(0)?,
            clean: state == DB_SHUTDOWNED || state == DB_SHUTDOWNED_IN_RECOVERY,
            checkpoint: Lsn(u64_at(32)?),
            redo: Lsn(u64_at(40)?),
            timeline: u32_at(48)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn control(version: u32, state: u32) -> Vec<u8> {
        let mut bytes = vec![0; 296];
        bytes[0..8].copy_from_slice(&7u64.to_ne_bytes());
        bytes[8..12].copy_from_slice(&version.to_ne_bytes());
        bytes[16..20].copy_from_slice(&state.to_ne_bytes());
        bytes[32..40].copy_from_slice(&0x15E_CF68u64.to_ne_bytes());
        bytes[40..48].copy_from_slice(&0x15E_CF00u64.to_ne_bytes());
        bytes[48..52].copy_from_slice(&3u32.to_ne_bytes());
        bytes
    }

    #[test]
    fn reads_state_and_checkpoint() {
        let clean = PgControl::parse(&control(1300, 1)).unwrap();
        let (checkpoint, redo) = (Lsn(0x15E_CF68), Lsn(0x15E_CF00));
        assert_eq!(clean, PgControl { system_identifier: 7, clean: true, checkpoint, redo, timeline: 3 });
        assert!(!PgControl::parse(&control(1800, 6)).unwrap().clean);
        assert_eq!(PgControl::parse(&control(942, 1)), Err(BadPgControl::Version(942)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = PgControl::parse(&bytes);
        }
    }
}
