//! Types that are made of others.

use super::{BadValue, Class, Inner, Make, array, builtin, is_valid_text, range, record, to_binary, to_text};

/// Types within types, deeper than anybody goes.
const MOST_LEVELS: usize = 16;

/// A type with what it is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Type {
    /// Its OID; that of a domain is the domain's.
    pub oid: u32,
    /// Its modifier, or -1.
    pub modifier: i32,
    /// How it is made.
    pub form: Form,
}

/// How a type is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// An array of this element.
    Array(Box<Type>),
    /// Ranges of this type in a list.
    Multirange(Box<Type>),
    /// A single value.
    Plain(Class),
    /// A range with bounds of this type.
    Range(Box<Type>),
    /// A row; without fields if they are not known.
    Record(Vec<Type>),
}

/// Makes one value within another: its place among the fields of a row (0 in an array), the value, and the output to append to.
pub(super) type Each<'a, E> = dyn FnMut(usize, &[u8], &mut Vec<u8>) -> Result<Inner, E> + 'a;

impl Type {
    /// The type with this OID and modifier. `make` tells of types that are not built in.
    pub fn of<'a>(oid: u32, modifier: i32, make: &dyn Fn(u32) -> Make<'a>) -> Self {
        Self::within(oid, modifier, make, MOST_LEVELS)
    }

    fn within<'a>(oid: u32, modifier: i32, make: &dyn Fn(u32) -> Make<'a>, levels: usize) -> Self {
        let inner = |oid, modifier| Box::new(Self::within(oid, modifier, make, levels.saturating_sub(1)));
        let form = match builtin(oid).unwrap_or_else(|| make(oid)) {
            _ if levels == 0 => Form::Plain(Class::Other),
            Make::Plain(class) => Form::Plain(class),
            Make::Domain { base, modifier: of_base } => {
                let base = inner(base, if modifier == -1 { of_base } else { modifier });
                return Self { oid, ..*base };
            }
            // An array's modifier is its elements'.
            Make::Array(element) => Form::Array(inner(element, modifier)),
            Make::Range(bound) => Form::Range(inner(bound, -1)),
            Make::Multirange(range) => Form::Multirange(inner(range, -1)),
            Make::Record(fields) => {
                Form::Record(fields.iter().map(|(oid, modifier)| *inner(*oid, *modifier)).collect())
            }
        };
        Self { oid, modifier, form }
    }

    /// A built-in type.
    pub fn builtin(oid: u32) -> Self {
        Self::of(oid, -1, &|_| Make::Plain(Class::Other))
    }

    /// Whether values in the binary format have a text form here.
    pub fn is_readable(&self) -> bool {
        match &self.form {
            Form::Plain(class) => *class != Class::Other,
            Form::Array(of) | Form::Range(of) | Form::Multirange(of) => of.is_readable(),
            Form::Record(fields) => fields.iter().all(Self::is_readable),
        }
    }

    /// Whether both formats are the same characters.
    pub fn is_text(&self) -> bool {
        matches!(self.form, Form::Plain(class) if class.is_text())
    }

    /// Appends the text form of a value in the binary format.
    pub fn to_text(&self, value: &[u8], out: &mut Vec<u8>) -> Result<(), BadValue> {
        match &self.form {
            Form::Plain(class) => to_text(*class, value, out),
            Form::Array(element) => array::to_text(element, value, out),
            Form::Record(fields) => record::to_text(fields, value, out),
            Form::Range(bound) => range::to_text(bound, value, out),
            Form::Multirange(range) => range::list_to_text(range, value, out),
        }
    }

    /// Appends the binary format of a value in text form.
    pub fn to_binary(&self, text: &[u8], out: &mut Vec<u8>) -> Result<(), BadValue> {
        match &self.form {
            Form::Plain(class) => to_binary(*class, text, out),
            Form::Array(element) => array::to_binary(element, text, out),
            Form::Record(fields) => record::to_binary(fields, text, out),
            // Policies cannot make up ranges.
            Form::Range(_) | Form::Multirange(_) => Err(BadValue),
        }
    }

    /// Whether a text is a valid value of the type, whatever its modifier.
    pub fn is_valid_text(&self, text: &[u8]) -> bool {
        let valid = |ty: &Self, text: &[u8]| if ty.is_valid_text(text) { Ok(Inner::Written) } else { Err(BadValue) };
        match &self.form {
            Form::Plain(class) => is_valid_text(*class, text),
            Form::Array(element) => array::check(text, &mut |_, text, _| valid(element, text)).is_ok(),
            Form::Record(fields) => {
                !fields.is_empty()
                    && record::edit_text(fields.len(), text, &mut Vec::new(), &mut |place, text, _| {
                        fields.get(place).map_or(Err(BadValue), |field| valid(field, text))
                    })
                    .is_ok()
            }
            Form::Range(_) | Form::Multirange(_) => false,
        }
    }

    /// Appends an array or a row with each of its values made anew; NULL stays NULL.
    pub fn edit<E: From<BadValue>>(
        &self,
        binary: bool,
        value: &[u8],
        out: &mut Vec<u8>,
        each: &mut Each<'_, E>,
    ) -> Result<(), E> {
        match (&self.form, binary) {
            (Form::Array(_), true) => array::edit_binary(value, out, each),
            (Form::Array(_), false) => array::edit_text(value, out, each),
            (Form::Record(fields), true) => record::edit_binary(fields.len(), value, out, each),
            (Form::Record(fields), false) => record::edit_text(fields.len(), value, out, each),
            _ => Err(BadValue.into()),
        }
    }
}

/// How values within others are quoted.
pub(super) struct Quotes {
    /// What must not stand outside of quotes, besides white space, quotes and backslashes.
    pub(super) special: &'static [u8],
    /// Whether a quote and a backslash are doubled, and not set behind a backslash.
    pub(super) doubled: bool,
    /// What would be taken for NULL outside of quotes.
    pub(super) null: &'static [u8],
}

impl Quotes {
    /// Appends a value that is not NULL.
    pub(super) fn put(&self, text: &[u8], out: &mut Vec<u8>) {
        let is_mark = |byte: u8| matches!(byte, b'"' | b'\\');
        let stands_out = |byte: &u8| is_mark(*byte) || super::is_space(*byte) || self.special.contains(byte);
        if !text.eq_ignore_ascii_case(self.null) && !text.is_empty() && !text.iter().any(stands_out) {
            return out.extend_from_slice(text);
        }
        out.push(b'"');
        for byte in text {
            if is_mark(*byte) {
                out.push(if self.doubled { *byte } else { b'\\' });
            }
            out.push(*byte);
        }
        out.push(b'"');
    }

    /// Reads the value that begins at this place, up to what ends it, which is not taken. `None` is NULL.
    pub(super) fn take(&self, text: &[u8], at: &mut usize, scratch: &mut Vec<u8>) -> Result<Option<()>, BadValue> {
        scratch.clear();
        if text.get(*at) != Some(&b'"') {
            let rest = text.get(*at..).unwrap_or_default();
            let ends =
                |byte: &u8| matches!(byte, b'"' | b'\\') || super::is_space(*byte) || self.special.contains(byte);
            let taken = rest.split(ends).next().unwrap_or_default();
            *at += taken.len();
            scratch.extend_from_slice(taken);
            return Ok((!taken.eq_ignore_ascii_case(self.null)).then_some(()));
        }
        *at += 1;
        loop {
            let byte = *text.get(*at).ok_or(BadValue)?;
            let next = text.get(*at + 1);
            *at += 1;
            match byte {
                b'"' if self.doubled && next == Some(&b'"') => *at += 1,
                b'"' => return Ok(Some(())),
                b'\\' => {
                    scratch.push(*next.ok_or(BadValue)?);
                    *at += 1;
                    continue;
                }
                _ => {}
            }
            scratch.push(byte);
        }
    }
}
