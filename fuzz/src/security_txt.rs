//! `security.txt` of any domain, as `disclosure_readiness` reads it (RFC 9116).

use std::fmt::Write as _;

use gatepost_evidence::check::disclosure_readiness::security_txt::SecurityTxt;

use crate::Seeds;

/// # Panics
/// When the same text reads as another, something of it is kept as it is not, or what was found, written as the RFC has it,
/// reads as another or has mistakes.
pub fn attack(data: &[u8]) {
    let found = SecurityTxt::of(data);
    assert_eq!(found, SecurityTxt::of(data), "the same bytes gave another");
    assert!(found.mistakes.len() <= 10);
    let fields = [
        ("Contact", &found.contacts),
        ("Canonical", &found.canonical),
        ("Policy", &found.policies),
        ("Encryption", &found.encryption),
    ];
    assert!(found.languages.len() <= 20);
    let mut again = String::new();
    for (name, values) in fields {
        for value in values {
            assert!(!value.contains(char::is_whitespace) && !value.chars().any(char::is_control), "{value:?}");
            assert!(!value.to_ascii_lowercase().starts_with("http:"), "{value:?}");
            let _ = writeln!(again, "{name}: {value}");
        }
    }
    if !found.languages.is_empty() {
        let _ = writeln!(again, "Preferred-Languages: {}", found.languages.join(", "));
    }
    if let Some(expires) = found.expires {
        let _ = writeln!(again, "Expires: {expires}");
    }
    let second = SecurityTxt::parse(&again);
    let sound = |one: &SecurityTxt| {
        (
            one.contacts.clone(),
            one.canonical.clone(),
            one.policies.clone(),
            one.encryption.clone(),
            one.languages.clone(),
            one.expires,
        )
    };
    assert_eq!(sound(&second), sound(&found), "written again it is another");
    if !found.contacts.is_empty() && found.expires.is_some() {
        assert!(second.mistakes.is_empty(), "{second:?}");
    }
    let signed = SecurityTxt::parse(&format!(
        "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n{again}-----BEGIN PGP SIGNATURE-----\n\niQ==\n-----END PGP SIGNATURE-----\n"
    ));
    assert!(signed.signed && sound(&signed) == sound(&found), "signed it is another");
}

/// Sound ones, signed and not, and each mistake.
#[must_use]
pub fn seeds() -> Seeds {
    let good = "# where to report\r\nContact: mailto:security@example.com\r\nContact: https://example.com/report\r\n\
                Expires: 2027-01-01T00:00:00Z\r\nCanonical: https://example.com/.well-known/security.txt\r\n\
                Encryption: openpgp4fpr:5f2de5521c63a801ab59ccb603d49de44b29100f\r\nPolicy: https://example.com/policy\r\n\
                Acknowledgments: https://example.com/thanks\r\nPreferred-Languages: en, de\r\nHiring: https://example.com/jobs\r\n";
    let signed = format!(
        "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n- {good}-----BEGIN PGP SIGNATURE-----\n\niQ==\n-----END PGP SIGNATURE-----\n"
    );
    [
        ("good", good),
        ("signed", &signed),
        ("torn", &signed[..signed.len() - 20]),
        ("http", "Contact: http://a/\nExpires: 2027-01-01T00:00:00+02:00\nPolicy: HTTP://x\n"),
        (
            "mail",
            "contact: security@example.com\nexpires: tomorrow\nPreferred-Languages: en\nPreferred-Languages: d!\n",
        ),
        ("twice", "Contact:mailto:a@b\nExpires: 2027-01-01T00:00:00Z\nExpires: 2028-01-01T00:00:00Z\n"),
        ("control", "Contact: https://a/\u{0}\u{1}b\nCanonical: :c\nExpires: 2027-01-01T00:00:00Z\n"),
        ("page", "<!doctype html>\n<html><body>404</body></html>\n"),
        ("mark", "\u{feff}Contact: mailto:a@b\nExpires: 2027-01-01T00:00:00Z\n"),
    ]
    .into_iter()
    .map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()))
    .collect()
}
