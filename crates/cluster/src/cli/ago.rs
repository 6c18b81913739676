//! Ages as kubectl shows them. PURE.

use k8s_openapi::jiff::Timestamp;

/// How long `then` is before `now`: `8s`, `5m`, `3h`, `12d`; nothing is before now by less than a second.
pub(crate) fn ago(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::ago;
    use k8s_openapi::jiff::Timestamp;

    #[test]
    fn ages_are_short() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let check = |seconds: i64, expected: &str| {
            assert_eq!(ago(Timestamp::from_second(1_000_000 - seconds).unwrap(), now), expected);
        };
        check(-5, "0s");
        check(119, "119s");
        check(120, "2m");
        check(7199, "119m");
        check(7200, "2h");
        check(172_800, "2d");
    }
}
