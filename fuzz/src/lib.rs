//! Fuzz targets: one for every decoder of bytes that a client, a server, a policy or a file chooses.
//!
//! A target takes any bytes. It panics if the decoder does, or if the decoder breaks the promise that the target's own
//! documentation states. The targets need no special toolchain: `tests/smoke.rs` runs each of them on mutations of
//! [`corpus::seeds`], and `README.md` says how to give them to a fuzzer that is guided by coverage.

pub mod corpus;
mod evidence;
mod login;
mod policy;
mod relay;
mod text;
mod trust;
mod values;
mod wire;

/// A target: it panics on an input that shows a fault.
pub type Target = fn(&[u8]);

/// Every target with its name.
pub const TARGETS: &[(&str, Target)] = &[
    ("batch", policy::batch),
    ("connect", login::connect),
    ("data_row", wire::data_row),
    ("frame", wire::frame),
    ("key", trust::key),
    ("link", evidence::link),
    ("lock", trust::lock),
    ("login", login::login),
    ("made", values::made),
    ("manifest", text::manifest),
    ("mask", policy::mask),
    ("message", wire::message),
    ("recording", evidence::recording),
    ("relay", relay::relay),
    ("row_description", wire::row_description),
    ("scram", login::scram),
    ("signature", trust::signature),
    ("sql", text::sql),
    ("tap", wire::tap),
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

#[cfg(test)]
mod tests {
    use portcullis_wire::pg::login::Tls;
    use portcullis_wire::sql;

    use super::*;

    /// Seeds that are refused at once would leave most of a decoder alone.
    #[test]
    fn seeds_are_accepted() {
        let (steps, _) = login::log_in(&corpus::seeds("login")[0][1..], 1, Tls::Unavailable);
        assert_eq!(steps.last().map(String::as_str), Some("Authenticated"));
        let seed = corpus::seeds("recording").swap_remove(0);
        let content = zstd::stream::encode_all(&seed[1..], 1).unwrap();
        let mut reader = portcullis_recording::Reader::new(content.as_slice()).unwrap();
        assert_eq!(reader.by_ref().map(Result::unwrap).count(), 6);
        assert!(reader.closing().is_some());
        for text in corpus::seeds("sql") {
            let text = String::from_utf8(text[1..].to_vec()).unwrap();
            assert!(sql::read(&text, sql::Lexing::default()).is_ok(), "{text}");
        }
        let manifest = String::from_utf8(corpus::seeds("manifest").remove(0)).unwrap();
        assert!(toml::from_str::<portcullis_package::Manifest>(&manifest).is_ok());
        for key in corpus::seeds("key") {
            assert!(String::from_utf8(key).unwrap().parse::<portcullis_package::trust::PublicKey>().is_ok());
        }
        let lock = String::from_utf8(corpus::seeds("lock").remove(0)).unwrap();
        let lock = portcullis_package::Lock::parse(std::path::Path::new("portcullis.lock"), &lock).unwrap();
        assert_eq!(lock.iter().count(), 2);
        for signature in corpus::seeds("signature") {
            assert!(trust::counts(&signature), "{}", String::from_utf8_lossy(&signature));
        }
    }
}
