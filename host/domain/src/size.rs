use std::fmt;
use std::str::FromStr;

/// A number of bytes, as config writes it: `64MiB`, `512 KiB`, `8000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

/// Why a text is not a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write a size as a whole number with B, KiB, MiB or GiB, such as 64MiB")]
pub struct InvalidByteSize;

const UNITS: &[(&str, u64)] = &[("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl FromStr for ByteSize {
    type Err = InvalidByteSize;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let (number, unit) =
            UNITS.iter().find_map(|(name, unit)| text.strip_suffix(name).map(|n| (n, *unit))).unwrap_or((text, 1));
        let number: u64 = number.trim().parse().map_err(|_| InvalidByteSize)?;
        number.checked_mul(unit).map(ByteSize).ok_or(InvalidByteSize)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, unit) =
            UNITS.iter().find(|(_, unit)| self.0 >= *unit && self.0.is_multiple_of(*unit)).unwrap_or(&("B", 1));
        write!(f, "{}{name}", self.0 / unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_and_print() {
        for (text, bytes, printed) in
            [("64MiB", 64 << 20, "64MiB"), ("1536 KiB", 1536 << 10, "1536KiB"), ("8000", 8000, "8000B"), ("0", 0, "0B")]
        {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!((size.0, size.to_string().as_str()), (bytes, printed));
        }
        for bad in ["", "-1", "1.5MiB", "64MB", "99999999999GiB"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
    }
}
