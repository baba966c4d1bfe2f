//! Sizes as people write them.

use std::str::FromStr;

/// A number of bytes: `50G`, `512MB`, `1T`; binary units, as PostgreSQL's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size(pub(super) u64);

/// Below this neither file system can be made, or is worth it.
pub(super) const SIZE_LEAST_BYTES: u64 = 512 << 20;
/// Sizes are whole multiples of this, which file systems below and inside agree on.
const STEP_BYTES: u64 = 1 << 20;

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
        let unit = text.get(digits.len()..).unwrap_or_default().to_ascii_uppercase();
        let shift = match unit.trim_end_matches('B').trim_end_matches('I') {
            "M" => 20,
            "G" => 30,
            "T" => 40,
            _ => return Err("a size is a number and a unit: 512M, 50G, 1T".to_owned()),
        };
        let number: u64 = digits.trim().parse().map_err(|_| "a size is a whole number and a unit: 50G".to_owned())?;
        // Beyond this no file system below holds a file.
        let bytes = number.checked_mul(1 << shift).filter(|bytes| *bytes <= 1 << 60).ok_or("this is too large")?;
        if bytes < SIZE_LEAST_BYTES {
            return Err("a pool is at least 512M".to_owned());
        }
        Ok(Self(bytes))
    }
}

/// In whole steps, no larger.
pub(super) fn rounded(bytes: u64) -> u64 {
    bytes - bytes % STEP_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        let read = |text: &str| text.parse::<Size>().map(|size| size.0);
        for text in ["50G", "50g", "50GB", "50GiB", "50 GB"] {
            assert_eq!(read(text), Ok(50 << 30), "{text}");
        }
        assert_eq!(read("512M"), Ok(512 << 20));
        assert_eq!(read("2T"), Ok(2 << 40));
        for text in ["", "50", "G", "-5G", "5.5G", "1k", "511M", "99999999999T", "18446744073709551615T", "5GG"] {
            assert!(read(text).is_err(), "{text}");
        }
        assert_eq!(rounded((7 << 20) + 5), 7 << 20);
    }
}
