//! `security.txt` (RFC 9116): what stands in one, and what is wrong with it. Pure.
//!
//! The file is read as its ABNF (section 4) has it, but for what parsers are told to forgive: line ends may be LF. A cleartext
//! signature (section 2.3) is recognised and what it covers is read; it is not verified, since whose key would have to
//! be known.

use jiff::Timestamp;

/// The most mistakes that are told of one file.
const MAX_MISTAKES: usize = 10;
/// The most characters of a value that are kept.
const MAX_CHARS: usize = 300;
/// The most languages that are kept.
const MAX_LANGUAGES: usize = 20;
/// The bytes of which a reader may take no more (section 5).
const MAX_BYTES: usize = 32 * 1024;

/// What stands in a `security.txt`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SecurityTxt {
    /// `Contact` (section 2.5.3), in the order of preference.
    pub contacts: Vec<String>,
    /// `Expires` (section 2.5.5).
    pub expires: Option<Timestamp>,
    /// `Canonical` (section 2.5.2).
    pub canonical: Vec<String>,
    /// `Policy` (section 2.5.7).
    pub policies: Vec<String>,
    /// `Encryption` (section 2.5.4).
    pub encryption: Vec<String>,
    /// `Preferred-Languages` (section 2.5.8).
    pub languages: Vec<String>,
    /// There is an OpenPGP cleartext signature around it (section 2.3).
    pub signed: bool,
    /// What does not follow the RFC, in words.
    pub mistakes: Vec<String>,
}

impl SecurityTxt {
    /// Reads a body, which is to be UTF-8 (section 3).
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        let mut found = Self::parse(&String::from_utf8_lossy(body));
        if std::str::from_utf8(body).is_err() {
            found.mistake("it is not UTF-8");
        }
        if body.len() >= MAX_BYTES {
            found.mistake("it has 32 KiB or more, of which readers may take no more");
        }
        found
    }

    /// Reads `text`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut found = Self::default();
        let lines = unsigned(text, &mut found);
        let (mut expires, mut languages) = (0, 0);
        for line in lines.iter().map(|line| line.trim_end()).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let Some((name, value)) = line.split_once(':') else {
                found.mistake(format!("`{}` is neither a field nor a comment", shorten(line)));
                continue;
            };
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "contact" => found.uri("Contact", value).map_or((), |uri| found.contacts.push(uri)),
                "canonical" => found.uri("Canonical", value).map_or((), |uri| found.canonical.push(uri)),
                "policy" => found.uri("Policy", value).map_or((), |uri| found.policies.push(uri)),
                "encryption" => found.uri("Encryption", value).map_or((), |uri| found.encryption.push(uri)),
                "acknowledgments" | "hiring" => drop(found.uri(name, value)),
                "expires" => {
                    expires += 1;
                    match value.parse::<Timestamp>() {
                        Ok(at) => found.expires = Some(at),
                        Err(_) => found.mistake(format!("Expires is `{}`, no time by RFC 3339", shorten(value))),
                    }
                }
                "preferred-languages" => {
                    languages += 1;
                    found.languages(value);
                }
                // Others may be registered (section 2.4): unknown ones are passed over.
                _ if name.is_empty() || !name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-') => {
                    found.mistake(format!("`{}` is no name of a field", shorten(name)));
                }
                _ => {}
            }
        }
        match expires {
            0 => found.mistake("Expires is missing"),
            1 => {}
            _ => {
                found.expires = None;
                found.mistake("Expires stands there more than once");
            }
        }
        if found.contacts.is_empty() {
            found.mistake("there is no Contact that can be used");
        }
        if languages > 1 {
            found.languages.clear();
            found.mistake("Preferred-Languages stands there more than once");
        }
        found
    }

    fn mistake(&mut self, words: impl Into<String>) {
        if self.mistakes.len() < MAX_MISTAKES {
            self.mistakes.push(words.into());
        }
    }

    /// Language tags with commas between them (RFC 5646, section 2.1).
    fn languages(&mut self, value: &str) {
        let part = |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|c| c.is_ascii_alphanumeric());
        let tags: Vec<_> = value.split(',').map(str::trim).collect();
        if tags.iter().all(|tag| tag.split('-').all(part)) {
            self.languages = tags.into_iter().take(MAX_LANGUAGES).map(shorten).collect();
        } else {
            self.mistake(format!("Preferred-Languages `{}` is no list of language tags", shorten(value)));
        }
    }

    /// A URI (RFC 3986, sections 2 and 3.1); web URIs must begin with `https://` (section 2.5).
    fn uri(&mut self, field: &str, value: &str) -> Option<String> {
        let allowed = |c: u8| c.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&c);
        let named = |scheme: &str| {
            scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.bytes().all(|c| c.is_ascii_alphanumeric() || b"+-.".contains(&c))
        };
        let scheme = value.split_once(':').map(|(scheme, rest)| (scheme.to_ascii_lowercase(), rest));
        let wrong = match &scheme {
            _ if !value.bytes().all(allowed) => "is no URI",
            Some((scheme, _)) if scheme == "http" => "is a web address without https",
            Some((scheme, rest)) if named(scheme) && !rest.is_empty() => return Some(shorten(value)),
            _ => "is no URI; an address of mail begins with mailto:",
        };
        self.mistake(format!("{field} `{}` {wrong}", shorten(value)));
        None
    }
}

/// The lines that count: all, or those between the head of a cleartext signature and the signature (RFC 9580, section 7).
fn unsigned<'t>(text: &'t str, found: &mut SecurityTxt) -> Vec<&'t str> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let all: Vec<&str> = text.lines().collect();
    let Some(begin) = all.iter().position(|line| line.trim_end() == "-----BEGIN PGP SIGNED MESSAGE-----") else {
        return all;
    };
    let body = all.iter().skip(begin).position(|line| line.trim().is_empty()).map(|blank| begin + blank + 1);
    let end = all.iter().position(|line| line.trim_end() == "-----BEGIN PGP SIGNATURE-----");
    let closed = all.iter().position(|line| line.trim_end() == "-----END PGP SIGNATURE-----");
    match (body, end) {
        (Some(body), Some(end)) if body <= end && closed.is_some_and(|closed| end < closed) => {
            found.signed = true;
            let outside = all.iter().take(begin).chain(all.iter().skip(closed.unwrap_or(end) + 1));
            if outside.into_iter().any(|line| !line.trim().is_empty()) {
                found.mistake("something stands outside of the signature");
            }
            all[body..end].iter().map(|line| line.strip_prefix("- ").unwrap_or(line)).collect()
        }
        _ => {
            found.mistake("a cleartext signature begins and does not end");
            all.into_iter().filter(|line| !line.starts_with("-----")).collect()
        }
    }
}

fn shorten(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# where to report\r\nContact: mailto:security@example.com\r\nContact: https://example.com/report\r\n\
                        Expires: 2027-01-01T00:00:00Z\r\nCanonical: https://example.com/.well-known/security.txt\r\n\
                        Policy: https://example.com/policy\r\nPreferred-Languages: en, de\r\nX-Future: anything\r\n";

    #[test]
    fn a_sound_file_has_no_mistakes() {
        let found = SecurityTxt::parse(GOOD);
        assert_eq!(found.mistakes, Vec::<String>::new());
        assert_eq!((found.contacts.len(), found.canonical.len(), found.policies.len()), (2, 1, 1));
        assert_eq!(found.expires.unwrap().to_string(), "2027-01-01T00:00:00Z");
        assert_eq!(found.languages, ["en", "de"]);
        assert!(!found.signed);
    }

    #[test]
    fn a_signature_is_seen_and_what_it_covers_is_read() {
        let signed = format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n- {GOOD}-----BEGIN PGP SIGNATURE-----\n\niQ==\n-----END PGP SIGNATURE-----\n"
        );
        let found = SecurityTxt::parse(&signed);
        assert!(found.signed && found.mistakes.is_empty() && found.contacts.len() == 2, "{found:?}");
        let torn = SecurityTxt::parse(signed.split("-----END").next().unwrap());
        assert!(!torn.signed && torn.mistakes[0].contains("does not end"), "{torn:?}");
    }

    #[test]
    fn each_mistake_is_told() {
        for (text, words) in [
            ("Contact: mailto:a@b.example\n", "Expires is missing"),
            ("Expires: 2027-01-01T00:00:00Z\n", "no Contact"),
            ("Contact: security@example.com\nExpires: 2027-01-01T00:00:00Z\n", "begins with mailto:"),
            ("Contact: http://example.com/\nExpires: 2027-01-01T00:00:00Z\n", "without https"),
            ("Contact: https://example.com/\u{1}report\nExpires: 2027-01-01T00:00:00Z\n", "is no URI"),
            ("Contact: https://exämple.com/\nExpires: 2027-01-01T00:00:00Z\n", "is no URI"),
            ("Contact: :nowhere\nExpires: 2027-01-01T00:00:00Z\n", "is no URI"),
            ("Contact: mailto:a@b.example\nExpires: tomorrow\n", "no time by RFC 3339"),
            (
                "Contact: mailto:a@b.example\nExpires: 2027-01-01T00:00:00Z\nExpires: 2028-01-01T00:00:00Z\n",
                "more than once",
            ),
            ("<!doctype html><html>\n", "neither a field"),
            ("Preferred-Languages: en\nPreferred-Languages: de\n", "Preferred-Languages stands"),
            ("Preferred-Languages: en, de_DE\n", "no list of language tags"),
            ("Preferred-Languages: en,, de\n", "no list of language tags"),
            (
                "Contact: mailto:a@b\n-----BEGIN PGP SIGNED MESSAGE-----\n\nx: y\n-----BEGIN PGP SIGNATURE-----\n-----END PGP SIGNATURE-----\n",
                "outside of the signature",
            ),
        ] {
            let found = SecurityTxt::parse(text);
            assert!(found.mistakes.iter().any(|mistake| mistake.contains(words)), "{text}: {found:?}");
        }
        assert!(SecurityTxt::of(b"Contact: mailto:a@b\xff\n").mistakes.iter().any(|one| one == "it is not UTF-8"));
        let long = [b"# ".repeat(20_000), b"\n".to_vec()].concat();
        assert!(SecurityTxt::of(&long).mistakes.iter().any(|one| one.contains("32 KiB")));
        let garbage = SecurityTxt::parse(&"\u{0}\u{1b}[2J garbage\n".repeat(10_000));
        assert_eq!(garbage.mistakes.len(), MAX_MISTAKES);
        assert!(!garbage.mistakes[0].contains('\u{1b}'));
    }
}
