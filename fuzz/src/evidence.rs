//! What is kept as evidence, and what decides on approvals.

use portcullis_recording::Reader;
use portcullis_recording::replay::{Play, Player, Renderer};
use portcullis_verdict::LinkKey;

/// A recording, given as its content or as the file itself: whatever is in it, all whole entries come before an error, and what is shown of them
/// drives no terminal.
pub(super) fn recording(data: &[u8]) {
    let Some((packed, content)) = data.split_first() else { return };
    let file =
        if packed % 2 == 0 { zstd::stream::encode_all(content, 1).expect("memory takes it") } else { content.to_vec() };
    let Ok(mut reader) = Reader::new(file.as_slice()) else { return };
    let mut whole = 0;
    let mut failed = false;
    for entry in reader.by_ref() {
        assert!(!failed, "something follows an error");
        match entry {
            Ok(_) => whole += 1,
            Err(_) => failed = true,
        }
    }
    assert_eq!(reader.entries(), whole);
    let reader = Reader::new(file.as_slice()).expect("it could be read before");
    let terminal = matches!(reader.header().medium, portcullis_verdict::Medium::Terminal { .. });
    for piece in Player::new(reader, Renderer::new("ann", "shop"), Play::default()).flatten() {
        let shown = String::from_utf8_lossy(&piece.text);
        let drives = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
        assert!(terminal || !shown.contains(drives), "{shown:?}");
    }
}

/// A link: one that is accepted was made by the key, to the letter.
pub(super) fn link(data: &[u8]) {
    let key = LinkKey::new(b"a key of the fuzzer");
    let Some((made, rest)) = data.split_first() else { return };
    let token = match (made % 2, serde_json::from_slice(rest)) {
        (0, Ok(link)) => key.sign(&link),
        _ => String::from_utf8_lossy(rest).into_owned(),
    };
    if let Ok(link) = key.verify(&token, 0) {
        assert_eq!(key.sign(&link), token);
    }
}
