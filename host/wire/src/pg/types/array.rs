//! Arrays: `{a,"b c",NULL}`, nested for each dimension, and in the binary format a header with the elements behind it.

use super::made::{Each, Quotes};
use super::{BadValue, Fields, Inner, Room, Type, put_value, set};

const MOST_DIMENSIONS: usize = 6;
const QUOTES: Quotes = Quotes { special: b"{},", doubled: false, null: b"NULL" };

/// Appends the text form of an array in the binary format.
pub(super) fn to_text(element: &Type, value: &[u8], out: &mut Vec<u8>) -> Result<(), BadValue> {
    let mut fields = Fields(value);
    let header = Header::read(&mut fields)?;
    if header.dimensions.is_empty() {
        out.extend_from_slice(b"{}");
        return fields.end();
    }
    if header.dimensions.iter().any(|(_, lower)| *lower != 1) {
        for (length, lower) in &header.dimensions {
            let upper = lower.checked_add(length - 1).ok_or(BadValue)?;
            out.extend_from_slice(format!("[{lower}:{upper}]").as_bytes());
        }
        out.push(b'=');
    }
    // How many elements stand in one pair of braces of each dimension.
    let mut sizes: Vec<i64> = header.dimensions.iter().map(|(length, _)| i64::from(*length)).collect();
    for outer in (1..sizes.len()).rev() {
        sizes[outer - 1] = sizes[outer - 1].checked_mul(sizes[outer]).ok_or(BadValue)?;
    }
    let room = Room::behind(out, value.len());
    let braces = |index: i64| sizes.iter().filter(|size| index % **size == 0).count();
    let mut text = Vec::new();
    for index in 0..sizes[0] {
        if index > 0 {
            out.push(b',');
        }
        out.resize(out.len() + braces(index), b'{');
        match fields.value()? {
            None => out.extend_from_slice(QUOTES.null),
            Some(value) => {
                text.clear();
                element.to_text(value, &mut text)?;
                QUOTES.put(&text, out);
            }
        }
        out.resize(out.len() + braces(index + 1), b'}');
        room.check(out)?;
    }
    fields.end()
}

/// Appends the binary format of an array in text form.
pub(super) fn to_binary(element: &Type, text: &[u8], out: &mut Vec<u8>) -> Result<(), BadValue> {
    let (bounds, _) = bounds(text)?;
    let mut elements = Vec::new();
    let mut has_null = false;
    let lengths = lengths(text, &mut |value| {
        let written = put_value(&mut elements, |out| match value {
            Some(text) => element.to_binary(text, out).map(|()| Inner::Written),
            None => Ok(Inner::Null),
        })?;
        has_null |= written == Inner::Null;
        Ok(())
    })?;
    out.extend((lengths.len() as i32).to_be_bytes());
    out.extend(i32::from(has_null).to_be_bytes());
    out.extend(element.oid.to_be_bytes());
    for (dimension, length) in lengths.iter().enumerate() {
        out.extend(length.to_be_bytes());
        out.extend(bounds.get(dimension).map_or(1, |(lower, _)| *lower).to_be_bytes());
    }
    out.extend_from_slice(&elements);
    Ok(())
}

/// Whether the text is an array, each element of which passes.
pub(super) fn check(text: &[u8], each: &mut Each<'_, BadValue>) -> Result<(), BadValue> {
    let unused = &mut Vec::new();
    lengths(text, &mut |value| value.map_or(Ok(()), |value| each(0, value, unused).map(drop))).map(drop)
}

/// Appends an array in text form, each element made anew.
pub(super) fn edit_text<E: From<BadValue>>(text: &[u8], out: &mut Vec<u8>, each: &mut Each<'_, E>) -> Result<(), E> {
    let (_, begin) = bounds(text)?;
    let room = Room::behind(out, text.len());
    out.extend_from_slice(text.get(..begin).unwrap_or_default());
    let mut made = Vec::new();
    walk(text, begin, &mut |token| {
        match token {
            Token::Mark(byte) => out.push(byte),
            Token::Element(None) => out.extend_from_slice(QUOTES.null),
            Token::Element(Some(value)) => {
                made.clear();
                match each(0, value, &mut made)? {
                    Inner::Null => out.extend_from_slice(QUOTES.null),
                    Inner::Written => QUOTES.put(&made, out),
                }
            }
        }
        Ok(room.check(out)?)
    })
}

/// Appends an array in the binary format, each element made anew.
pub(super) fn edit_binary<E: From<BadValue>>(value: &[u8], out: &mut Vec<u8>, each: &mut Each<'_, E>) -> Result<(), E> {
    let mut fields = Fields(value);
    let header = Header::read(&mut fields)?;
    let (start, room) = (out.len(), Room::behind(out, value.len()));
    out.extend_from_slice(value.get(..value.len() - fields.0.len()).unwrap_or_default());
    let mut has_null = false;
    for _ in 0..header.count()? {
        let value = fields.value()?;
        let written = put_value(out, |out| value.map_or(Ok(Inner::Null), |value| each(0, value, out)))?;
        has_null |= written == Inner::Null;
        room.check(out)?;
    }
    fields.end()?;
    set(out, start + 4, has_null.into());
    Ok(())
}

/// The lengths and lower bounds of the dimensions.
struct Header {
    dimensions: Vec<(i32, i32)>,
}

impl Header {
    /// Reads the number of dimensions, whether there are NULLs, the OID of the element, and the dimensions.
    fn read(fields: &mut Fields<'_>) -> Result<Self, BadValue> {
        let (count, has_null, _element) = (fields.i32()?, fields.i32()?, fields.u32()?);
        let count = usize::try_from(count).ok().filter(|count| *count <= MOST_DIMENSIONS).ok_or(BadValue)?;
        if !matches!(has_null, 0 | 1) {
            return Err(BadValue);
        }
        let dimensions =
            (0..count).map(|_| Ok((fields.i32()?, fields.i32()?))).collect::<Result<Vec<_>, BadValue>>()?;
        if dimensions.iter().any(|(length, _)| *length < 1) {
            return Err(BadValue);
        }
        Ok(Self { dimensions })
    }

    fn count(&self) -> Result<i32, BadValue> {
        let product = self.dimensions.iter().try_fold(1, |count: i32, (length, _)| count.checked_mul(*length));
        if self.dimensions.is_empty() { Ok(0) } else { product.ok_or(BadValue) }
    }
}

/// The lower and upper bounds `[1:2][0:3]=` in front of an array that does not count from 1, and where its braces begin.
fn bounds(text: &[u8]) -> Result<(Vec<(i32, i32)>, usize), BadValue> {
    if text.first() != Some(&b'[') {
        return Ok((Vec::new(), 0));
    }
    let end = memchr::memchr(b'=', text).ok_or(BadValue)?;
    let before = std::str::from_utf8(text.get(1..end).unwrap_or_default()).map_err(|_| BadValue)?;
    let before = before.strip_suffix(']').ok_or(BadValue)?;
    let number = |text: &str| text.parse::<i32>().map_err(|_| BadValue);
    let bound = |pair: &str| {
        let (lower, upper) = pair.split_once(':').ok_or(BadValue)?;
        Ok((number(lower)?, number(upper)?))
    };
    let bounds = before.split("][").map(bound).collect::<Result<Vec<_>, _>>()?;
    if bounds.len() > MOST_DIMENSIONS { Err(BadValue) } else { Ok((bounds, end + 1)) }
}

type EachElement<'a> = dyn FnMut(Option<&[u8]>) -> Result<(), BadValue> + 'a;

/// The length of each dimension of an array in text form, whose parts must all be as long; none for an empty array.
fn lengths(text: &[u8], each: &mut EachElement<'_>) -> Result<Vec<i32>, BadValue> {
    let (bounds, begin) = bounds(text)?;
    // Of each depth: how long its parts are, if one has ended, and what stands in the one that is open.
    let mut lengths: Vec<Option<i32>> = Vec::new();
    let mut counts: Vec<i32> = Vec::new();
    // Elements stand at one depth only.
    let mut bottom = None;
    walk(text, begin, &mut |token| {
        match token {
            Token::Mark(b'{') => {
                if let Some(count) = counts.last_mut() {
                    *count += 1;
                }
                counts.push(0);
                if lengths.len() < counts.len() {
                    lengths.push(None);
                }
            }
            Token::Mark(b'}') => {
                let count = counts.pop().ok_or(BadValue)?;
                let length = lengths.get_mut(counts.len()).ok_or(BadValue)?;
                if *length.get_or_insert(count) != count {
                    return Err(BadValue);
                }
            }
            Token::Mark(_) => {}
            Token::Element(value) => {
                if *bottom.get_or_insert(counts.len()) != counts.len() {
                    return Err(BadValue);
                }
                if let Some(count) = counts.last_mut() {
                    *count += 1;
                }
                each(value)?;
            }
        }
        Ok(())
    })?;
    let lengths: Vec<i32> = lengths.into_iter().flatten().collect();
    let Some(bottom) = bottom else {
        return if lengths == [0] && bounds.is_empty() { Ok(vec![]) } else { Err(BadValue) };
    };
    let fits =
        |(length, (lower, upper)): (&i32, &(i32, i32))| upper.checked_sub(*lower).is_some_and(|l| l == length - 1);
    let fit = bounds.is_empty() || bounds.len() == lengths.len() && lengths.iter().zip(&bounds).all(fits);
    if bottom == lengths.len() && fit { Ok(lengths) } else { Err(BadValue) }
}

enum Token<'a> {
    /// A brace or a comma.
    Mark(u8),
    /// A value, or NULL.
    Element(Option<&'a [u8]>),
}

/// Reads the braces that begin at this place, up to the end of the text.
fn walk<E: From<BadValue>>(
    text: &[u8],
    begin: usize,
    each: &mut dyn FnMut(Token<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let (mut at, mut depth, mut scratch) = (begin, 0, Vec::new());
    loop {
        // A value or an opening brace is due.
        if text.get(at) == Some(&b'{') {
            depth += 1;
            if depth > MOST_DIMENSIONS {
                return Err(BadValue.into());
            }
            each(Token::Mark(b'{'))?;
            at += 1;
            if text.get(at) != Some(&b'}') {
                continue;
            }
        } else if depth == 0 {
            return Err(BadValue.into());
        } else {
            let start = at;
            let value = QUOTES.take(text, &mut at, &mut scratch)?;
            if at == start {
                return Err(BadValue.into());
            }
            each(Token::Element(value.map(|()| &scratch[..])))?;
        }
        // What is due now is a comma or closing braces.
        while text.get(at) == Some(&b'}') && depth > 0 {
            each(Token::Mark(b'}'))?;
            at += 1;
            depth -= 1;
        }
        match text.get(at) {
            Some(b',') if depth > 0 => each(Token::Mark(b','))?,
            None if depth == 0 => return Ok(()),
            _ => return Err(BadValue.into()),
        }
        at += 1;
    }
}
