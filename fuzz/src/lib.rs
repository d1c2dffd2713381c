//! Fuzz targets: one for every decoder of bytes that a client, a server, a policy or a file chooses.
//!
//! A target takes any bytes. It panics if the decoder does, or if the decoder breaks the promise that the target's own
//! documentation states. The targets need no special toolchain: `tests/smoke.rs` runs each of them on mutations of
//! [`corpus::seeds`], and `README.md` says how to give them to a fuzzer that is guided by coverage.

pub mod corpus;
mod login;
mod policy;
mod relay;
mod text;
mod values;
mod wire;

/// Every target with its name.
pub const TARGETS: &[(&str, fn(&[u8]))] = &[
    ("batch", policy::batch),
    ("connect", login::connect),
    ("data_row", wire::data_row),
    ("frame", wire::frame),
    ("login", login::login),
    ("manifest", text::manifest),
    ("mask", policy::mask),
    ("message", wire::message),
    ("relay", relay::relay),
    ("row_description", wire::row_description),
    ("scram", login::scram),
    ("sql", text::sql),
    ("types", values::types),
];

/// Cuts an input into chunks, so that mutations of one part leave the others alone: a byte of flags, a length, and as many
/// bytes, or as many as there are.
fn chunks(mut data: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (&[flags, length], rest) = data.split_first_chunk::<2>()?;
        let (chunk, rest) = rest.split_at(rest.len().min(length.into()));
        data = rest;
        Some((flags, chunk))
    })
}
