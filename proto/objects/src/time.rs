//! Times as objects carry them: RFC 3339 in UTC, to the second (`metav1.Time`) or the microsecond (`MicroTime`).

use jiff::Timestamp;

pub fn now() -> Timestamp {
    Timestamp::now()
}

/// `2026-01-02T03:04:05Z`, the fraction cut off.
pub fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `2026-01-02T03:04:05.000006Z`, always six digits.
pub fn micro(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// The present time to the second, as creationTimestamp has it.
pub fn now_seconds() -> String {
    seconds(now())
}

pub fn now_micro() -> String {
    micro(now())
}

/// Any RFC 3339 time.
pub fn parse(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_print_in_both_precisions() {
        let time = parse("2026-01-02T03:04:05.123456789Z").unwrap();
        assert_eq!(seconds(time), "2026-01-02T03:04:05Z");
        assert_eq!(micro(time), "2026-01-02T03:04:05.123456Z");
        let offset = parse("2026-01-02T04:04:05+01:00").unwrap();
        assert_eq!(seconds(offset), "2026-01-02T03:04:05Z");
        assert_eq!(micro(offset), "2026-01-02T03:04:05.000000Z");
        assert!(parse("yesterday").is_none());
    }
}
