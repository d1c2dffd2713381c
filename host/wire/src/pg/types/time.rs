//! Dates, times and intervals. Days count from 2000-01-01, and times in microseconds.

use super::class::{exact, push};
use super::{BadValue, Class, Fields};

const DAY_MICROS: i64 = 86_400_000_000;
/// Days from 1970-01-01 to 2000-01-01, where PostgreSQL counts from.
const EPOCH_DAYS: i64 = 10_957;

/// Appends the text form of a date, a time or an interval.
pub(super) fn text(class: Class, value: &[u8], out: &mut Vec<u8>) -> Result<(), BadValue> {
    match class {
        Class::Date => match i32::from_be_bytes(exact(value)?) {
            i32::MAX => push(out, b"infinity"),
            i32::MIN => push(out, b"-infinity"),
            days => moment_text(days.into(), None, "", out),
        },
        Class::Timestamp | Class::TimestampTz => match i64::from_be_bytes(exact(value)?) {
            i64::MAX => push(out, b"infinity"),
            i64::MIN => push(out, b"-infinity"),
            micros => {
                let zone = if class == Class::TimestampTz { "+00" } else { "" };
                moment_text(micros.div_euclid(DAY_MICROS), Some(micros.rem_euclid(DAY_MICROS)), zone, out)
            }
        },
        Class::Time => time_text(i64::from_be_bytes(exact(value)?), out),
        Class::TimeTz => {
            let (micros, zone) = value.split_at_checked(8).ok_or(BadValue)?;
            time_text(i64::from_be_bytes(exact(micros)?), out)?;
            zone_text(i32::from_be_bytes(exact(zone)?), out)
        }
        Class::Interval => interval_text(value, out),
        _ => Err(BadValue),
    }
}

/// Writes a date, and a time where there is one. Days count from 2000-01-01.
fn moment_text(days: i64, micros: Option<i64>, zone: &str, out: &mut Vec<u8>) -> Result<(), BadValue> {
    let (year, month, day) = civil(days + EPOCH_DAYS);
    let (shown, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    let mut text = format!("{shown:04}-{month:02}-{day:02}");
    if let Some(micros) = micros {
        text += " ";
        text += &clock(micros);
        text += zone;
    }
    text += era;
    push(out, text.as_bytes())
}

/// `HH:MM:SS`, with as many digits of the second as there are.
fn clock(micros: i64) -> String {
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let mut text = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if fraction > 0 {
        text += format!(".{fraction:06}").trim_end_matches('0');
    }
    text
}

/// A time of day.
fn time_text(micros: i64, out: &mut Vec<u8>) -> Result<(), BadValue> {
    // A day ends at 24:00:00.
    if !(0..=DAY_MICROS).contains(&micros) {
        return Err(BadValue);
    }
    push(out, clock(micros).as_bytes())
}

/// An offset in seconds to the west.
fn zone_text(west: i32, out: &mut Vec<u8>) -> Result<(), BadValue> {
    let (sign, seconds) = (if west > 0 { '-' } else { '+' }, west.unsigned_abs());
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let text = match (minutes, seconds) {
        (0, 0) => format!("{sign}{hours:02}"),
        (_, 0) => format!("{sign}{hours:02}:{minutes:02}"),
        _ => format!("{sign}{hours:02}:{minutes:02}:{seconds:02}"),
    };
    push(out, text.as_bytes())
}

/// Microseconds, days and months, each with a sign of its own.
fn interval_text(value: &[u8], out: &mut Vec<u8>) -> Result<(), BadValue> {
    let mut fields = Fields(value);
    let micros = fields.fixed().map(i64::from_be_bytes)?;
    let (days, months) = (fields.i32()?, fields.i32()?);
    fields.end()?;
    match (micros, days, months) {
        (i64::MAX, i32::MAX, i32::MAX) => return push(out, b"infinity"),
        (i64::MIN, i32::MIN, i32::MIN) => return push(out, b"-infinity"),
        _ => {}
    }
    let mut parts = Vec::new();
    let mut negative = false;
    for (count, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if count != 0 {
            // The server marks what is positive behind what is negative.
            let plus = if negative && count > 0 { "+" } else { "" };
            parts.push(format!("{plus}{count} {unit}{}", if count == 1 { "" } else { "s" }));
            negative = count < 0;
        }
    }
    if parts.is_empty() || micros != 0 {
        let sign = match micros {
            ..0 => "-",
            _ if negative => "+",
            _ => "",
        };
        // Its size may be one more than the largest number of its type.
        let size = i64::try_from(micros.unsigned_abs()).map_err(|_| BadValue)?;
        parts.push(format!("{sign}{}", clock(size)));
    }
    push(out, parts.join(" ").as_bytes())
}

pub(super) fn timestamp(class: Class, text: &str) -> Result<i64, BadValue> {
    match text {
        "infinity" => return Ok(i64::MAX),
        "-infinity" => return Ok(i64::MIN),
        _ => {}
    }
    let zoned = class == Class::TimestampTz;
    let (text, era) = text.strip_suffix(" BC").map_or((text, ""), |rest| (rest, " BC"));
    let cut = text.get(10..).and_then(|t| t.find(['+', '-']).map(|at| at + 10)).filter(|_| zoned).unwrap_or(text.len());
    let (local, zone) = text.split_at(cut);
    if zoned == zone.is_empty() {
        return Err(BadValue);
    }
    let (days, Some(micros)) = moment(&format!("{local}{era}"))? else { return Err(BadValue) };
    let utc = days.checked_mul(DAY_MICROS).and_then(|d| d.checked_add(micros)).ok_or(BadValue)?;
    utc.checked_sub(zone_micros(zone)?).ok_or(BadValue)
}

/// `+02`, `-03:30`, `+00:19:32`; empty for none.
fn zone_micros(zone: &str) -> Result<i64, BadValue> {
    let Some((sign, rest)) = zone.split_at_checked(1).filter(|(sign, _)| !sign.is_empty()) else { return Ok(0) };
    let mut micros = 0;
    let mut unit = 3_600_000_000;
    for part in rest.split(':') {
        micros += i64::from(two_digits(part, 60)?) * unit;
        unit /= 60;
    }
    if unit < 16_000 { Err(BadValue) } else { Ok(if sign == "-" { -micros } else { micros }) }
}

/// Reads `YYYY-MM-DD`, with `HH:MM:SS[.ffffff]` behind it or not, and with ` BC` at the end or not.
pub(super) fn moment(text: &str) -> Result<(i64, Option<i64>), BadValue> {
    let (text, bc) = text.strip_suffix(" BC").map_or((text, false), |rest| (rest, true));
    let (date, time) = text.split_once(' ').map_or((text, None), |(date, time)| (date, Some(time)));
    let mut parts = date.split('-');
    let (Some(year), Some(month), Some(day), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(BadValue);
    };
    if !(4..=7).contains(&year.len()) || !year.bytes().all(|b| b.is_ascii_digit()) {
        return Err(BadValue);
    }
    let year: i64 = year.parse().map_err(|_| BadValue)?;
    let year = if bc { 1 - year } else { year };
    let (month, day) = (i64::from(two_digits(month, 13)?), i64::from(two_digits(day, 32)?));
    let days = days_from_civil(year, month, day);
    // A day that does not exist, such as 30 February, comes back as another.
    if (year <= 0) != bc || civil(days) != (year, month, day) {
        return Err(BadValue);
    }
    Ok((days - EPOCH_DAYS, time.map(time_micros).transpose()?))
}

fn time_micros(time: &str) -> Result<i64, BadValue> {
    let (clock, fraction) = time.split_once('.').map_or((time, None), |(clock, f)| (clock, Some(f)));
    let mut parts = clock.split(':');
    let (Some(h), Some(m), Some(s), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(BadValue);
    };
    let seconds =
        i64::from(two_digits(h, 24)?) * 3600 + i64::from(two_digits(m, 60)?) * 60 + i64::from(two_digits(s, 60)?);
    let fraction = match fraction {
        None => 0,
        Some(f) if (1..=6).contains(&f.len()) && f.bytes().all(|b| b.is_ascii_digit()) => {
            format!("{f:0<6}").parse().map_err(|_| BadValue)?
        }
        Some(_) => return Err(BadValue),
    };
    Ok(seconds * 1_000_000 + fraction)
}

fn two_digits(text: &str, below: u32) -> Result<u32, BadValue> {
    let valid = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
    let number = text.parse().ok().filter(|n| valid && *n < below);
    number.ok_or(BadValue)
}

/// The proleptic Gregorian date of a day counted from 1970-01-01, by way of eras of 400 years that begin on 1 March.
pub(super) fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

pub(super) fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let march_month = (month + 9) % 12;
    let day_of_year = (153 * march_month + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}
