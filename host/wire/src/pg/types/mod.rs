//! The types whose values the gateway can read and write in both formats.
//!
//! A [`Class`] is what a single value looks like; a [`Type`] is made of those: arrays, rows and ranges. The text form is the one that a
//! server with `DateStyle = ISO` and `IntervalStyle = postgres` writes. What is not listed is [`Class::Other`]: such values pass, or
//! become NULL, and are never made up.

mod array;
mod class;
mod geometry;
mod made;
mod network;
mod number;
mod range;
mod record;
mod table;
#[cfg(test)]
mod tests;
mod time;

pub use class::{Class, is_valid_text, to_binary, to_text};
pub use made::{Form, Type};
pub use table::{Make, builtin, class, name};

/// A value that is not valid for its type, or not representable here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value is not valid for its type")]
pub struct BadValue;

/// What becomes of a value within another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inner {
    /// It becomes NULL.
    Null,
    /// What was appended takes its place.
    Written,
}

/// Big-endian fields, one after another.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], BadValue> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(BadValue)?;
        self.0 = rest;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], BadValue> {
        self.take(N)?.try_into().map_err(|_| BadValue)
    }

    fn i32(&mut self) -> Result<i32, BadValue> {
        self.fixed().map(i32::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, BadValue> {
        self.fixed().map(u32::from_be_bytes)
    }

    fn f64(&mut self) -> Result<f64, BadValue> {
        self.fixed().map(f64::from_be_bytes)
    }

    /// A length and as many bytes; a negative length is NULL.
    fn value(&mut self) -> Result<Option<&'a [u8]>, BadValue> {
        match self.i32()? {
            -1 => Ok(None),
            len => self.take(usize::try_from(len).map_err(|_| BadValue)?).map(Some),
        }
    }

    fn end(&self) -> Result<(), BadValue> {
        if self.0.is_empty() { Ok(()) } else { Err(BadValue) }
    }
}

/// How large the text form or the edited form of a value within which there are others may get. Otherwise short elements under a long
/// mask, or numbers with a thousand digits in a byte, would be worth all memory.
struct Room {
    start: usize,
    most: usize,
}

impl Room {
    const FACTOR: usize = 16;
    const SMALL: usize = 64 << 10;
    const LARGE: usize = 64 << 20;

    /// Room behind what is there, for what a value of so many bytes becomes.
    fn behind(out: &[u8], len: usize) -> Self {
        let most = len.saturating_mul(Self::FACTOR).saturating_add(Self::SMALL);
        Self { start: out.len(), most: most.min(len.max(Self::LARGE)) }
    }

    fn check(&self, out: &[u8]) -> Result<(), BadValue> {
        if out.len() - self.start > self.most { Err(BadValue) } else { Ok(()) }
    }
}

/// Appends a value and its length, or the length that stands for NULL.
fn put_value<E>(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Result<Inner, E>) -> Result<Inner, E>
where
    E: From<BadValue>,
{
    let mark = out.len();
    out.extend_from_slice(&[0; 4]);
    let written = write(out)?;
    let length = match written {
        Inner::Null => {
            out.truncate(mark + 4);
            -1
        }
        Inner::Written => i32::try_from(out.len() - mark - 4).map_err(|_| BadValue)?,
    };
    set(out, mark, length);
    Ok(written)
}

fn set(out: &mut [u8], at: usize, value: i32) {
    if let Some(field) = out.get_mut(at..at + 4) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}

/// As the server's `array_isspace` has it.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}
