//! Signed notes and checkpoints: those of others without the key, and any text with it.

use gatepost_evidence::checkpoint::{Checkpoint, origin};
use gatepost_evidence::note;
use gatepost_evidence::receipt::Acknowledgement;

use crate::Seeds;
use crate::golden::{BUNDLES, GATEWAY, SINK};

/// The key's name in notes of the first kind.
const NAME: &str = "sink";

/// A first byte of `s` has the rest signed; else it is a note as it came.
///
/// # Panics
/// When a note opens that nobody signed, or one does not that should.
pub fn attack(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match text.strip_prefix('s') {
        Some(text) => signed(text),
        None => from_anywhere(text),
    }
}

fn signed(text: &str) {
    let made = note::sign(text, NAME, &SINK);
    let opened = note::open(&made, NAME, SINK.public());
    // The specification's text: not without its last newline, and no control characters but newlines.
    let is_text = text.ends_with('\n') && !text.contains(|c: char| c < ' ' && c != '\n');
    if is_text && made.len() <= note::MAX_NOTE_BYTES {
        assert_eq!(opened, Ok(text));
    } else {
        assert!(opened.is_err(), "{made:?}");
    }
    assert!(note::open(&made, NAME, GATEWAY.public()).is_err());
    // A checkpoint has three lines, its first is given; no other text is worth two more signatures.
    if !text.ends_with('\n') || text.matches('\n').count() != 2 {
        return;
    }
    let origin = origin(SINK.public());
    let made = note::sign(&format!("{origin}\n{text}"), &origin, &SINK);
    if let Ok(checkpoint) = Checkpoint::open(&made, SINK.public()) {
        assert_eq!(Checkpoint::sign(checkpoint.root(), &SINK).note(), made, "written again it is another");
    }
}

fn from_anywhere(text: &str) {
    let origin = origin(SINK.public());
    let opened = note::open(text, &origin, SINK.public());
    if let Ok(content) = &opened {
        assert!(text.starts_with(content) && content.ends_with('\n'));
        assert!(known().contains(&(*content).to_owned()), "opened without the key: {content:?}");
    }
    match Checkpoint::open(text, SINK.public()) {
        Ok(checkpoint) => {
            let again = Checkpoint::sign(checkpoint.root(), &SINK);
            assert_eq!(
                opened.ok(),
                note::open(again.note(), &origin, SINK.public()).ok(),
                "written again it is another"
            );
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn notes() -> impl Iterator<Item = (String, String)> {
    let receipts = BUNDLES.iter().flat_map(|(bundle, files)| {
        files
            .iter()
            .filter(|(name, _)| name.starts_with("receipts/"))
            .map(move |(name, content)| (format!("{bundle}-{}", name.replace('/', "-")), content))
    });
    receipts.filter_map(|(name, content)| Some((name, Acknowledgement::parse(content).ok()?.log?.checkpoint)))
}

/// The texts that the sink signed before the fuzzer began.
fn known() -> &'static std::collections::BTreeSet<String> {
    static KNOWN: std::sync::LazyLock<std::collections::BTreeSet<String>> = std::sync::LazyLock::new(|| {
        let origin = origin(SINK.public());
        let open = |(_, text): (String, String)| note::open(&text, &origin, SINK.public()).map(str::to_owned).ok();
        notes().filter_map(open).collect()
    });
    &KNOWN
}

/// The checkpoints of the golden bundles, and texts to be signed.
#[must_use]
pub fn seeds() -> Seeds {
    let mut seeds: Seeds = notes().map(|(name, text)| (name, text.into_bytes())).collect();
    for (number, (_, text)) in notes().take(2).enumerate() {
        let lines: Vec<&str> = text.lines().collect();
        seeds.push((format!("lines-{number}"), format!("s{}\n{}\n", lines[1], lines[2]).into_bytes()));
    }
    seeds.push(("text".into(), b"sa\n\nb\n".to_vec()));
    let witnessed = notes().next().map(|(_, text)| format!("{text}\u{2014} witness AAAAAAA=\n")).unwrap_or_default();
    seeds.push(("witnessed".into(), witnessed.into_bytes()));
    seeds
}
