//! Frames, and the bodies of messages.

use portcullis_wire::pg::frame::{Fields, HEADER, WireError, next, peek};
use portcullis_wire::pg::message;
use portcullis_wire::pg::rows::{self, Cell};
use portcullis_wire::pg::tap::{Item, Tap};

/// A frame is what its header says, the frames together are the input, and fields never reach past a body.
pub(crate) fn frame(data: &[u8]) {
    const LIMIT: usize = 4096;
    let mut rest = data;
    while let Ok(Some(frame)) = next(rest, LIMIT) {
        assert_eq!(peek(rest), Ok(Some((frame.tag, frame.raw.len()))));
        assert!(rest.starts_with(frame.raw) && frame.raw.len() <= LIMIT);
        assert_eq!(frame.body, &frame.raw[HEADER..]);
        fields(frame.tag, frame.body, data);
        rest = &rest[frame.raw.len()..];
    }
}

/// Reads fields in the order that `script` says.
fn fields(tag: u8, body: &[u8], script: &[u8]) {
    let mut fields = Fields::new(tag, body);
    for op in script {
        let before = fields.rest().len();
        let read = match op % 8 {
            0 => fields.u8().is_ok(),
            1 => fields.i16().is_ok(),
            2 => fields.i32().is_ok(),
            3 => fields.count().is_ok(),
            4 => fields.cstr().is_ok_and(|text| !text.contains(&0)),
            5 => fields.str().is_ok(),
            6 => fields.value().is_ok(),
            _ => fields.bytes(usize::from(*op)).is_ok(),
        };
        assert!(fields.rest().len() <= before && body.ends_with(fields.rest()));
        if !read || fields.end().is_ok() {
            return;
        }
    }
}

/// What is read in a message's body is a part of it.
pub(crate) fn message(data: &[u8]) {
    let Some((kind, body)) = data.split_first() else { return };
    if let Some(text) = message::field(body, *kind) {
        assert!(body.windows(text.len() + 1).any(|w| w.starts_with(text)) && !text.contains(&0));
    }
    assert!(message::sqlstate(body).is_none_or(|code| code.len() == 5));
    let _ = message::TxStatus::parse(body);
}

/// A shape that is written and read again is the same.
pub(crate) fn row_description(data: &[u8]) {
    let Ok(shape) = message::row_description(data) else { return };
    let mut body = (shape.len() as u16).to_be_bytes().to_vec();
    for field in shape.iter() {
        body.extend(field.name.as_bytes());
        body.push(0);
        body.extend(field.table.to_be_bytes());
        body.extend(field.attribute.to_be_bytes());
        body.extend(field.type_oid.to_be_bytes());
        body.extend([0, 0]);
        body.extend(field.type_modifier.to_be_bytes());
        body.extend([0, u8::from(field.binary)]);
    }
    assert_eq!(message::row_description(&body), Ok(shape));
}

/// A row that is kept is unchanged, edits read back, and a row that is refused has been refused by the reader too.
pub(crate) fn data_row(data: &[u8]) {
    let Some((&options, frames)) = data.split_first() else { return };
    let count = usize::from(options % 8);
    let columns: Vec<usize> = (0..count).filter(|i| (options >> 3) >> (i % 5) & 1 == 1).collect();
    let whole: usize = rows::frames(frames).map(<[u8]>::len).sum();
    assert!(whole <= frames.len());
    for frame in rows::frames(frames) {
        let mut values = vec![];
        let read = rows::read(frame, count, &columns, |_, value| values.push(value));
        let mut kept = vec![];
        let keep = rows::rewrite(frame, count, &columns, &mut kept, |_, _, out| {
            out.extend(b"not used");
            Ok::<_, WireError>(Cell::Keep)
        });
        assert_eq!(read, keep);
        if read.is_err() {
            continue;
        }
        assert_eq!(kept, frame);
        edits(frame, count, &columns);
    }
}

fn edits(frame: &[u8], count: usize, columns: &[usize]) {
    let mut edited = vec![];
    let edit = rows::rewrite(frame, count, columns, &mut edited, |place, _, out| {
        out.extend(b"new");
        Ok::<_, WireError>(if place % 2 == 0 { Cell::Null } else { Cell::Written })
    });
    assert_eq!(edit, Ok(()));
    assert_eq!(peek(&edited), Ok(Some((b'D', edited.len()))));
    let mut seen = 0;
    let read = rows::read(&edited, count, columns, |place, value| {
        seen += 1;
        assert_eq!(value, if place % 2 == 0 { None } else { Some(&b"new"[..]) });
    });
    assert_eq!((read, seen), (Ok(()), columns.len()));
}

/// Whatever the pieces in which it comes, the same is given, and no more rows and copied bytes than came.
///
/// If the first byte is odd, results are given too; the rest of it is the length of the pieces.
pub(crate) fn tap(data: &[u8]) {
    let Some((&options, bytes)) = data.split_first() else { return };
    let results = options & 1 == 1;
    let whole = tapped(results, [bytes]);
    let pieces = tapped(results, bytes.chunks(usize::from(options >> 1) + 1));
    // What is given before an error depends on the pieces.
    assert_eq!(whole.is_ok(), pieces.is_ok());
    if let (Ok(whole), Ok(pieces)) = (whole, pieces) {
        let given: usize = whole.iter().map(|(bulk, _)| bulk.len()).sum();
        assert!(given <= bytes.len() && (results || given == 0));
        assert_eq!(whole, pieces);
    }
}

/// The items: rows and copied data as they are, with those that follow each other joined, and what others say.
fn tapped<'a>(results: bool, pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<(Vec<u8>, String)>, WireError> {
    let (mut tap, mut items) = (Tap::new(results), Vec::<(Vec<u8>, String)>::new());
    for piece in pieces {
        tap.feed(piece, |item| {
            let (bulk, kind) = match &item {
                Item::Rows { data, .. } => (*data, "rows".to_owned()),
                Item::Copy(data) => (*data, "copy".to_owned()),
                other => (&[][..], format!("{other:?}")),
            };
            match items.last_mut() {
                Some((all, last)) if *last == kind && (kind == "rows" || kind == "copy") => all.extend_from_slice(bulk),
                _ => items.push((bulk.to_vec(), kind)),
            }
        })?;
    }
    Ok(items)
}
