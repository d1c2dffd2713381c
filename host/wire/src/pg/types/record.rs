//! Rows: `(a,"b c",)`, where nothing between commas is NULL, and in the binary format fields with their types.

use super::made::{Each, Quotes};
use super::{BadValue, Fields, Inner, Room, Type, put_value};

const QUOTES: Quotes = Quotes { special: b"(),", doubled: true, null: b"" };

/// Appends the text form of a row in the binary format. Fields that are not known are of the types that it names.
pub(super) fn to_text(fields: &[Type], value: &[u8], out: &mut Vec<u8>) -> Result<(), BadValue> {
    let mut body = Fields(value);
    let count = body.i32()?;
    if !fields.is_empty() && usize::try_from(count) != Ok(fields.len()) {
        return Err(BadValue);
    }
    let (mut text, room) = (Vec::new(), Room::behind(out, value.len()));
    out.push(b'(');
    for place in 0..count {
        if place > 0 {
            out.push(b',');
        }
        let (oid, value) = (body.u32()?, body.value()?);
        let Some(value) = value else { continue };
        text.clear();
        match fields.get(place as usize) {
            Some(field) => field.to_text(value, &mut text)?,
            None => Type::builtin(oid).to_text(value, &mut text)?,
        }
        QUOTES.put(&text, out);
        room.check(out)?;
    }
    out.push(b')');
    body.end()
}

/// Appends the binary format of a row in text form.
pub(super) fn to_binary(fields: &[Type], text: &[u8], out: &mut Vec<u8>) -> Result<(), BadValue> {
    out.extend((fields.len() as i32).to_be_bytes());
    walk(fields.len(), text, &mut |place, value| {
        let field = fields.get(place).ok_or(BadValue)?;
        out.extend(field.oid.to_be_bytes());
        put_value(out, |out| match value {
            Some(text) => field.to_binary(text, out).map(|()| Inner::Written),
            None => Ok(Inner::Null),
        })
        .map(drop)
    })
}

/// Appends a row in text form, each field made anew.
pub(super) fn edit_text<E: From<BadValue>>(
    count: usize,
    text: &[u8],
    out: &mut Vec<u8>,
    each: &mut Each<'_, E>,
) -> Result<(), E> {
    let (mut made, room) = (Vec::new(), Room::behind(out, text.len()));
    out.push(b'(');
    walk(count, text, &mut |place, value| {
        if place > 0 {
            out.push(b',');
        }
        made.clear();
        if let Some(value) = value
            && each(place, value, &mut made)? == Inner::Written
        {
            QUOTES.put(&made, out);
        }
        Ok::<_, E>(room.check(out)?)
    })?;
    out.push(b')');
    Ok(())
}

/// Appends a row in the binary format, each field made anew.
pub(super) fn edit_binary<E: From<BadValue>>(
    count: usize,
    value: &[u8],
    out: &mut Vec<u8>,
    each: &mut Each<'_, E>,
) -> Result<(), E> {
    let mut fields = Fields(value);
    if usize::try_from(fields.i32()?) != Ok(count) {
        return Err(BadValue.into());
    }
    let room = Room::behind(out, value.len());
    out.extend((count as i32).to_be_bytes());
    for place in 0..count {
        out.extend(fields.u32()?.to_be_bytes());
        let value = fields.value()?;
        put_value(out, |out| value.map_or(Ok(Inner::Null), |value| each(place, value, out)))?;
        room.check(out)?;
    }
    Ok(fields.end()?)
}

type EachField<'a, E> = dyn FnMut(usize, Option<&[u8]>) -> Result<(), E> + 'a;

/// Reads the fields of a row in text form, of which there must be so many.
fn walk<E: From<BadValue>>(count: usize, text: &[u8], each: &mut EachField<'_, E>) -> Result<(), E> {
    let (mut at, mut scratch) = (1, Vec::new());
    if text.first() != Some(&b'(') || count == 0 {
        return Err(BadValue.into());
    }
    for place in 0..count {
        let value = QUOTES.take(text, &mut at, &mut scratch)?;
        each(place, value.map(|()| &scratch[..]))?;
        let due = if place + 1 < count { b',' } else { b')' };
        if text.get(at) != Some(&due) {
            return Err(BadValue.into());
        }
        at += 1;
    }
    if at == text.len() { Ok(()) } else { Err(BadValue.into()) }
}
