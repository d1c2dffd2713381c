//! When a rule does not apply.

use portcullis_sdk::{Session, SettingErrors, clock};
use serde::Deserialize;

const DAY_MINUTES: u64 = 24 * 60;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExceptSettings {
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    days: Vec<Day>,
    from: Option<String>,
    to: Option<String>,
}

/// In the order of the calendar: the Unix epoch was a Thursday, and so comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Day {
    Thu,
    Fri,
    Sat,
    Sun,
    Mon,
    Tue,
    Wed,
}

/// An exception: whatever is given of groups and time must hold.
#[derive(Debug, Default)]
pub(crate) struct Except {
    groups: Vec<String>,
    window: Option<Window>,
}

/// A part of certain days, in minutes since midnight UTC. One that ends before it begins ends on the next day.
#[derive(Debug)]
struct Window {
    days: Vec<Day>,
    from: u64,
    to: u64,
}

impl Except {
    pub(crate) fn read(at: &str, settings: &ExceptSettings, errors: &mut SettingErrors) -> Self {
        let mut minutes = |key: &str, text: &Option<String>, default: u64| match text.as_deref().map(minutes) {
            None => default,
            Some(Some(minutes)) => minutes,
            Some(None) => {
                errors.add(format_args!("{at}/{key}"), "a time is HH:MM in UTC, from 00:00 to 23:59");
                default
            }
        };
        let (from, to) = (minutes("from", &settings.from, 0), minutes("to", &settings.to, DAY_MINUTES));
        errors.check(from != to, at, "`from` and `to` are the same; leave both out for the whole day");
        let timed = !settings.days.is_empty() || settings.from.is_some() || settings.to.is_some();
        errors.check(
            timed || !settings.groups.is_empty(),
            at,
            "an empty exception would hold always; give `groups`, `days`, `from` or `to`",
        );
        let window = timed.then(|| Window { days: settings.days.clone(), from, to });
        Self { groups: settings.groups.clone(), window }
    }

    pub(crate) fn holds(&self, session: &Session) -> bool {
        let member = || session.groups().iter().any(|g| self.groups.contains(g));
        (self.groups.is_empty() || member()) && self.window.as_ref().is_none_or(|w| w.holds(clock::now_ms()))
    }
}

impl Window {
    fn holds(&self, now_ms: u64) -> bool {
        let minutes = now_ms / 60_000;
        let (day, minute) = (minutes / DAY_MINUTES, minutes % DAY_MINUTES);
        let on = |day: u64| self.days.is_empty() || self.days.iter().any(|d| *d as u64 == day % 7);
        match self.from < self.to {
            true => on(day) && (self.from..self.to).contains(&minute),
            // After midnight the window is that of the day before; six days later is the same day of the week.
            false => on(day) && minute >= self.from || on(day + 6) && minute < self.to,
        }
    }
}

fn minutes(text: &str) -> Option<u64> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |t: &str| (t.len() == 2 && t.bytes().all(|b| b.is_ascii_digit())).then(|| t.parse::<u64>().ok())?;
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Thursday, 1 January 1970.
    fn at(days: u64, hours: u64, minutes: u64) -> u64 {
        (days * DAY_MINUTES + hours * 60 + minutes) * 60_000
    }

    fn window(days: &[Day], from: &str, to: &str) -> Window {
        Window { days: days.to_vec(), from: minutes(from).unwrap(), to: minutes(to).unwrap() }
    }

    #[test]
    fn a_window_within_a_day() {
        let office = window(&[Day::Mon, Day::Fri], "09:00", "17:30");
        for (now, holds) in [
            (at(1, 9, 0), true),
            (at(1, 8, 59), false),
            (at(1, 17, 29), true),
            (at(1, 17, 30), false),
            (at(4, 12, 0), true),
            (at(2, 12, 0), false),
            (at(7 * 2900 + 4, 12, 0), true),
        ] {
            assert_eq!(office.holds(now), holds, "{now}");
        }
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_it_begins() {
        let night = window(&[Day::Fri], "22:00", "06:00");
        for (now, holds) in [
            (at(1, 22, 0), true),
            (at(2, 5, 59), true),
            (at(2, 6, 0), false),
            (at(1, 5, 0), false),
            (at(2, 22, 0), false),
        ] {
            assert_eq!(night.holds(now), holds, "{now}");
        }
        assert!(window(&[], "22:00", "06:00").holds(at(0, 3, 0)));
    }

    #[test]
    fn times() {
        assert_eq!((minutes("00:00"), minutes("23:59")), (Some(0), Some(1439)));
        for text in ["24:00", "1:00", "01:60", "+1:00", "0100", "01:00:00", ""] {
            assert_eq!(minutes(text), None, "{text}");
        }
    }
}
