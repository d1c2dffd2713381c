//! Times as people write and read them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// A time in UTC, to the second.
pub(crate) fn shown(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| "-".into(), |t| t.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%SZ").to_string())
}

/// A length of time such as `500ms`, `2s`, `5m`, `2h` or `3d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        "d" => 24 * 60 * 60 * 1000,
        _ => 0,
    };
    let millis = number.parse().ok().and_then(|number: u64| number.checked_mul(millis)).filter(|_| millis > 0);
    millis.map(Duration::from_millis).ok_or_else(|| "this is no length of time such as 500ms, 2s, 5m, 2h or 3d".into())
}

/// A time as in RFC 3339 or as [`shown`], a day or a time without a zone, which is in UTC, or how long ago it was; in milliseconds since
/// the Unix epoch.
pub(crate) fn instant(text: &str) -> Result<u64, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    if let Ok(ago) = duration(text) {
        return Ok(now.saturating_sub(ago).as_millis() as u64);
    }
    let ms = zoned(text).and_then(|time| u64::try_from(time.as_millisecond()).ok());
    ms.ok_or_else(|| {
        "this is neither a time such as 2026-01-31, 2026-01-31 12:00:00Z or 2026-01-31T12:00:00+01:00 nor one ago such as 2h or 3d"
            .into()
    })
}

fn zoned(text: &str) -> Option<Timestamp> {
    if let Ok(time) = text.parse() {
        return Some(time);
    }
    let time: DateTime = text.parse().ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_have_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(duration("3d"), Ok(Duration::from_secs(259_200)));
        for junk in ["", "2", "s", "-2s", "2 s", "2y", "2é", "99999999999999999999s", "9999999999999999d"] {
            assert!(duration(junk).is_err(), "{junk}");
        }
    }

    #[test]
    fn a_time_is_absolute_or_ago() {
        assert_eq!(instant("2023-11-14T22:13:20Z"), Ok(1_700_000_000_000));
        assert_eq!(instant("2023-11-14T23:13:20+01:00"), Ok(1_700_000_000_000));
        assert_eq!(instant("2023-11-14 22:13:20"), Ok(1_700_000_000_000));
        assert_eq!(instant("2023-11-14"), Ok(1_700_000_000_000 - (22 * 3600 + 13 * 60 + 20) * 1000));
        assert_eq!(shown(1_700_000_000_000), "2023-11-14 22:13:20Z");
        assert_eq!(instant(&shown(1_700_000_000_000)), Ok(1_700_000_000_000), "what is shown can be given back");
        assert!(instant("1h").unwrap() > instant("2h").unwrap());
        for junk in ["", "yesterday", "2023-11", "2023-11-32", "2023-11-14+01:00", "2023-11-14T25:00:00Z", "1900-01-01"]
        {
            assert!(instant(junk).is_err(), "{junk}");
        }
    }
}
