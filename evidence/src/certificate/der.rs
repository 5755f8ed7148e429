//! Whether bytes are DER (X.690, section 10), since a signature covers bytes and parsers that forgive do not all forgive
//! the same.
//!
//! Bounded in depth and never recursive: the bytes come from strangers.

/// Deeper nesting than any certificate has.
const MAX_DEPTH: usize = 32;

/// The first thing in `bytes` that is not DER, with its offset.
pub(super) fn violation(bytes: &[u8]) -> Option<String> {
    let mut ends = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        while ends.last() == Some(&at) {
            ends.pop();
        }
        let end = ends.last().copied().unwrap_or(bytes.len());
        let say = |words: &str| Some(format!("{words} at offset {at}"));
        let element = match element(&bytes[at..end]) {
            Ok(element) => element,
            Err(words) => return say(words),
        };
        let content = at + element.header;
        if element.constructed {
            if ends.len() == MAX_DEPTH {
                return say("nested too deeply");
            }
            if element.length > 0 {
                ends.push(content + element.length);
            }
            at = content;
        } else {
            let value = &bytes[content..content + element.length];
            if let Some(words) = element.tag.and_then(|tag| primitive(tag, value)) {
                return say(words);
            }
            at = content + element.length;
        }
    }
    None
}

struct Element {
    /// Of the universal class; none for the others.
    tag: Option<u8>,
    constructed: bool,
    header: usize,
    length: usize,
}

fn element(bytes: &[u8]) -> Result<Element, &'static str> {
    let (first, rest) = bytes.split_first().ok_or("an element is cut off")?;
    let number = first & 0x1f;
    if number == 0x1f {
        // Tags above 30 do not occur in certificates.
        return Err("a tag of several bytes");
    }
    let constructed = first & 0x20 != 0;
    let tag = (first & 0xc0 == 0).then_some(number);
    match tag {
        Some(0) => return Err("an end of contents"),
        Some(16 | 17) if !constructed => return Err("a sequence or set that is primitive"),
        Some(1..=15 | 18..=30) if constructed => return Err("a string or number in parts"),
        _ => {}
    }
    let (length, width) = match rest.first() {
        None => return Err("an element is cut off"),
        Some(short @ 0..=0x7f) => (usize::from(*short), 1),
        Some(0x80) => return Err("an indefinite length"),
        Some(long) => {
            let width = usize::from(long & 0x7f);
            let digits = rest.get(1..=width).ok_or("an element is cut off")?;
            if width > 4 {
                return Err("a length that is too large");
            }
            let length = digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
            if digits.first() == Some(&0) || length < 0x80 {
                return Err("a length with more bytes than it needs");
            }
            (length, 1 + width)
        }
    };
    let header = 1 + width;
    if length > bytes.len() - header {
        return Err("an element that is longer than what holds it");
    }
    Ok(Element { tag, constructed, header, length })
}

fn primitive(tag: u8, value: &[u8]) -> Option<&'static str> {
    match (tag, value) {
        (1, [0 | 0xff]) | (5, []) => None,
        (1, _) => Some("a boolean that is neither 00 nor ff"),
        (2 | 10, []) => Some("a number without digits"),
        (2 | 10, [0, second, ..]) if second & 0x80 == 0 => Some("a number with more bytes than it needs"),
        (2 | 10, [0xff, second, ..]) if second & 0x80 != 0 => Some("a number with more bytes than it needs"),
        (3, [] | [8..=0xff, ..] | [1..=7]) => Some("a bit string without bits"),
        (3, [unused, .., last]) if last & ((1u8 << unused) - 1) != 0 => Some("a bit string with unused bits set"),
        (5, _) => Some("a null with content"),
        (6, []) => Some("an object identifier without arcs"),
        (6, [.., last]) if last & 0x80 != 0 => Some("an object identifier that is cut off"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_der() {
        for good in [
            &[][..],
            &[0x30, 0],
            &[0x30, 6, 0x02, 1, 0x80, 0x01, 1, 0xff],
            &[0x03, 1, 0],
            &[0x03, 2, 7, 0x80],
            &[0x06, 1, 0x2a],
            &[0xa0, 2, 0x05, 0],
            &[0x80, 1, 0],
        ] {
            assert_eq!(violation(good), None, "{good:?}");
        }
    }

    #[test]
    fn what_is_not() {
        for (bad, words) in [
            (&[0x30][..], "cut off"),
            (&[0x30, 0x80, 0, 0], "indefinite"),
            (&[0x30, 0x81, 3, 2, 1, 1], "more bytes"),
            (&[0x30, 5, 2, 1, 1], "longer"),
            (&[0x30, 3, 1, 1, 1], "boolean"),
            (&[0x02, 2, 0, 1], "number"),
            (&[0x02, 2, 0xff, 0x80], "number"),
            (&[0x02, 0], "number"),
            (&[0x03, 0], "bit string"),
            (&[0x03, 1, 1], "bit string"),
            (&[0x03, 2, 4, 0x08], "unused"),
            (&[0x24, 2, 4, 0], "parts"),
            (&[0x10, 0], "primitive"),
            (&[0x06, 1, 0x80], "object identifier"),
            (&[0x05, 1, 0], "null"),
            (&[0x1f, 0x81, 0, 0], "tag"),
        ] {
            let found = violation(bad).unwrap_or_default();
            assert!(found.contains(words), "{bad:?}: {found}");
        }
        let deep: Vec<u8> = (0..60).rev().flat_map(|inner| [0x30, inner * 2]).collect();
        assert!(violation(&deep).unwrap().contains("deeply"));
    }
}
