use std::time::Duration;

use portcullis_verdict::{Entry, TimedEntry};

use super::Renderer;
use crate::reader::ReadError;

/// How to play a recording.
#[derive(Clone, Debug)]
pub struct Play {
    /// So many times as fast as it happened. Zero, and what is not a positive number, is without any delay.
    pub speed: f64,
    /// No delay is longer.
    pub max_idle: Option<Duration>,
    /// The first entry to be shown, from 1.
    pub from: u64,
    /// Shows nothing before the first entry, from `from` on, that has this text in it, whatever the case of ASCII letters.
    pub search: Option<String>,
}

impl Default for Play {
    fn default() -> Self {
        Self { speed: 1.0, max_idle: None, from: 1, search: None }
    }
}

/// A step of a playback: wait, then write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The entry, from 1.
    pub entry: u64,
    /// When it happened, since the recording began.
    pub at: Duration,
    /// How long to wait before.
    pub delay: Duration,
    /// What to write to the terminal.
    pub text: Vec<u8>,
}

/// Plays entries: an iterator that knows when to show what, and neither sleeps nor writes.
pub struct Player<I> {
    entries: I,
    renderer: Renderer,
    play: Play,
    /// Entries so far.
    entry: u64,
    /// When the last piece was shown, in microseconds; none before the first.
    shown: Option<u64>,
}

impl<I: Iterator<Item = Result<TimedEntry, ReadError>>> Player<I> {
    /// Plays entries, such as those of a [`Reader`](crate::Reader).
    pub fn new(entries: I, renderer: Renderer, play: Play) -> Self {
        Self { entries, renderer, play, entry: 0, shown: None }
    }

    /// Whether an entry has been shown; false at the end tells that none was found.
    pub fn found(&self) -> bool {
        self.shown.is_some()
    }

    /// Whether an entry is the first to be shown, or comes after it.
    fn begins(&self, entry: &Entry<'_>) -> bool {
        let sought = self.play.search.as_deref();
        self.shown.is_some() || (self.entry >= self.play.from && sought.is_none_or(|text| holds(entry, text)))
    }

    fn delay(&self, at_micros: u64) -> Duration {
        let past = Duration::from_micros(at_micros.saturating_sub(self.shown.unwrap_or(at_micros)));
        let delay = match self.play.speed {
            speed if speed > 0.0 => Duration::try_from_secs_f64(past.as_secs_f64() / speed).unwrap_or(Duration::MAX),
            _ => Duration::ZERO,
        };
        self.play.max_idle.map_or(delay, |most| delay.min(most))
    }
}

impl<I: Iterator<Item = Result<TimedEntry, ReadError>>> Iterator for Player<I> {
    type Item = Result<Piece, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let TimedEntry { at_micros, entry } = match self.entries.next()? {
                Ok(timed) => timed,
                Err(error) => return Some(Err(error)),
            };
            self.entry += 1;
            let piece = |delay, text| Piece { entry: self.entry, at: Duration::from_micros(at_micros), delay, text };
            if self.begins(&entry) {
                let delay = self.delay(at_micros);
                let text = self.renderer.render(&entry);
                // Of an entry that shows nothing, the time goes to the next one.
                if self.shown.is_none() || !text.is_empty() {
                    self.shown = Some(at_micros);
                }
                if !text.is_empty() {
                    return Some(Ok(piece(delay, text)));
                }
            } else if matches!(&entry, Entry::Data { channel, .. } if channel == "terminal") {
                // A terminal's screen is made of all that came before.
                let text = self.renderer.render(&entry);
                if !text.is_empty() {
                    return Some(Ok(piece(Duration::ZERO, text)));
                }
            } else {
                self.renderer.skip(&entry);
            }
        }
    }
}

/// Whether an entry has a text in it.
fn holds(entry: &Entry<'_>, text: &str) -> bool {
    let any = |hays: &[&[u8]]| hays.iter().any(|hay| contains(hay, text.as_bytes()));
    match entry {
        Entry::Command { text, .. } => any(&[text.as_bytes()]),
        Entry::Columns { columns } => columns.iter().any(|column| any(&[column.name.as_bytes()])),
        Entry::Rows { data, .. } | Entry::Data { data, .. } => any(&[data]),
        Entry::Message { severity, code, text } => any(&[severity.as_bytes(), code.as_bytes(), text.as_bytes()]),
        Entry::End { tag, .. } => any(&[tag.as_bytes()]),
        Entry::Resize { .. } => false,
    }
}

fn contains(hay: &[u8], text: &[u8]) -> bool {
    text.is_empty() || hay.windows(text.len()).any(|window| window.eq_ignore_ascii_case(text))
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::testing::{columns, rows};

    fn at(seconds: u64, entry: Entry<'static>) -> Result<TimedEntry, ReadError> {
        Ok(TimedEntry { at_micros: seconds * 1_000_000, entry })
    }

    fn entries() -> Vec<Result<TimedEntry, ReadError>> {
        vec![
            at(1, Entry::Command { sequence: 1, text: "SELECT 1".into() }),
            at(2, columns(&[("a", "text")])),
            at(3, rows(&[&[Some("needle")]])),
            at(63, Entry::End { sequence: 1, tag: "SELECT 1".into() }),
        ]
    }

    fn played(entries: Vec<Result<TimedEntry, ReadError>>, play: Play) -> Vec<(u64, f64, String)> {
        Player::new(entries.into_iter(), Renderer::new("ann", "shop"), play)
            .map(Result::unwrap)
            .map(|piece| (piece.entry, piece.delay.as_secs_f64(), String::from_utf8(piece.text).unwrap()))
            .collect()
    }

    fn delays(play: Play) -> Vec<f64> {
        played(entries(), play).into_iter().map(|(_, delay, _)| delay).collect()
    }

    #[test]
    fn delays_follow_speed_and_the_longest_pause() {
        // The columns alone show nothing, and their time goes to the rows.
        assert_eq!(delays(Play::default()), [0.0, 2.0, 60.0]);
        assert_eq!(delays(Play { speed: 2.0, ..Play::default() }), [0.0, 1.0, 30.0]);
        let max_idle = Some(Duration::from_secs(1));
        assert_eq!(delays(Play { max_idle, ..Play::default() }), [0.0, 1.0, 1.0]);
        for speed in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(delays(Play { speed, ..Play::default() }), [0.0; 3], "{speed}");
        }
        assert_eq!(delays(Play { speed: f64::MIN_POSITIVE, max_idle, ..Play::default() }), [0.0, 1.0, 1.0]);
    }

    #[test]
    fn playing_begins_where_it_is_told() {
        let from = played(entries(), Play { from: 3, ..Play::default() });
        assert_eq!(from[0], (3, 0.0, " a\n--------\n needle\n".into()));
        let found = played(entries(), Play { search: Some("NEEDLE".into()), ..Play::default() });
        assert_eq!(found, from);
        assert_eq!(played(entries(), Play { search: Some("hay".into()), ..Play::default() }), []);
        assert_eq!(played(entries(), Play { from: 9, ..Play::default() }), []);
    }

    #[test]
    fn of_a_terminal_what_came_before_is_shown_at_once() {
        let data =
            |text: &'static str| Entry::Data { channel: "terminal".into(), data: Cow::Borrowed(text.as_bytes()) };
        let entries = vec![at(5, data("a\x1b]0;x")), at(9, data("y\x07b")), at(10, data("c"))];
        let told = played(entries, Play { from: 3, ..Play::default() });
        assert_eq!(told, [(1, 0.0, "a".into()), (2, 0.0, "b".into()), (3, 0.0, "c".into())]);
    }

    #[test]
    fn an_error_comes_after_what_could_be_read() {
        let mut entries = entries();
        entries.truncate(1);
        entries.push(Err(ReadError::Cut { byte: 10, entries: 1 }));
        let mut player = Player::new(entries.into_iter(), Renderer::new("ann", "shop"), Play::default());
        assert!(player.next().unwrap().is_ok());
        assert!(matches!(player.next(), Some(Err(ReadError::Cut { .. }))));
        assert!(player.next().is_none() && player.found());
    }
}
