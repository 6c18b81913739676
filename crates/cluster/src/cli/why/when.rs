//! Times and durations for people. The clock is nobody's here: all is given.

use std::time::Duration;

/// Milliseconds since 1970 as a time of UTC.
pub(super) fn utc(milliseconds: u64) -> String {
    let (seconds, rest) = (milliseconds / 1_000, milliseconds % 1_000);
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{rest:03} UTC")
}

/// How long something took.
pub(super) fn lasting(microseconds: u64) -> String {
    let took = Duration::from_micros(microseconds);
    match took.as_millis() {
        0..1_000 => format!("{:.1} ms", took.as_secs_f64() * 1e3),
        _ => format!("{:.1} s", took.as_secs_f64()),
    }
}

/// The date of a day since 1970. Counted by centuries of 400 years that begin on a first of March: a leap day then is the
/// last of its year.
fn date(days: u64) -> (u64, u64, u64) {
    const ERA: u64 = 146_097;
    let days = days + 719_468;
    let (era, day) = (days / ERA, days % ERA);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    (era * 400 + year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(milliseconds: u64, expected: &str) {
        assert_eq!(utc(milliseconds), format!("{expected} UTC"));
    }

    #[test]
    fn times_are_those_of_date_1() {
        check(0, "1970-01-01 00:00:00.000");
        check(951_782_399_999, "2000-02-28 23:59:59.999");
        check(951_782_400_000, "2000-02-29 00:00:00.000");
        check(951_868_800_000, "2000-03-01 00:00:00.000");
        check(1_795_363_519_123, "2026-11-22 16:05:19.123");
        check(4_107_542_399_000, "2100-02-28 23:59:59.000");
        check(4_107_542_400_000, "2100-03-01 00:00:00.000");
    }

    #[test]
    fn durations_are_read_at_a_glance() {
        let found = [0, 850, 1_234, 999_400, 1_000_000, 10_049_999].map(lasting);
        assert_eq!(found, ["0.0 ms", "0.8 ms", "1.2 ms", "999.4 ms", "1.0 s", "10.0 s"]);
    }
}
