/// Milliseconds since 1970-01-01 UTC of `2026-11-20T12:00:00Z`, with or without a fraction of a second.
pub(crate) fn time(text: &str) -> Option<u64> {
    let (date, clock) = text.strip_suffix('Z')?.split_once('T')?;
    let [year, month, day] = numbers(date, '-')?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let [hour, minute, second] = numbers(clock, ':')?;
    let length = match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    let in_range = year >= 1970 && (1..=length).contains(&day) && hour < 24 && minute < 60 && second < 60;
    if !in_range || fraction.len() > 3 || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let thousandths: u64 = format!("{fraction:0<3}").parse().ok()?;
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some(seconds * 1000 + thousandths)
}

/// Bytes: `4096`, `64KiB`, `2MiB`, `1GiB`.
pub(crate) fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let factor = match text[digits.len()..].trim_start() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

fn numbers(text: &str, separator: char) -> Option<[u64; 3]> {
    let all: Option<Vec<u64>> = text.split(separator).map(|part| part.parse().ok()).collect();
    all?.try_into().ok()
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// Days since 1970-01-01, counted from a year that begins in March, so that the leap day is its last.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_milliseconds() {
        for (text, want) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T23:59:59.5Z", Some(951_868_799_500)),
            ("2026-11-20T12:00:00Z", Some(1_795_176_000_000)),
            ("2026-02-29T12:00:00Z", None),
            ("2026-11-20", None),
            ("2026-11-20T12:00:00+01:00", None),
            ("2026-11-20T24:00:00Z", None),
        ] {
            assert_eq!(time(text), want, "{text}");
        }
    }

    #[test]
    fn sizes_are_bytes() {
        for (text, want) in [
            ("12", Some(12)),
            ("64KiB", Some(65_536)),
            ("2 MiB", Some(2 << 20)),
            ("2MB", None),
            ("", None),
            ("KiB", None),
        ] {
            assert_eq!(size(text), want, "{text:?}");
        }
    }
}
