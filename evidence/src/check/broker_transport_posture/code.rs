//! TLS code points: what the IANA registries call them, and what a cipher suite's name says about it.
//!
//! Names are those of the registries "TLS Cipher Suites" and "TLS Supported Groups". A suite's properties are read from its
//! name, which says all of them; a code point without a name has no properties, and is never taken for a good one.

use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A 16-bit code point of TLS, as it stands on the wire; written as four lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(pub u16);

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04x}", self.0)
    }
}

impl std::fmt::Debug for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).map(Self).ok_or_else(|| serde::de::Error::custom(format!("{text} is not four hexadecimal digits")))
    }
}

impl JsonSchema for Code {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Code".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A 16-bit code point of TLS, four lower-case hexadecimal digits.",
            "type": "string",
            "pattern": "^[0-9a-f]{4}$"
        })
    }
}

fn parse(text: &str) -> Option<u16> {
    let digits = text.len() == 4 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    digits.then(|| u16::from_str_radix(text, 16).ok())?
}

/// Every cipher suite with a name, by code point; signalling values (SCSVs) are none.
pub static SUITES: LazyLock<Vec<(u16, &'static str)>> = LazyLock::new(|| {
    let line = |line: &'static str| line.split_once(' ').and_then(|(code, name)| Some((parse(code)?, name)));
    include_str!("suites.txt").lines().filter_map(line).collect()
});

/// The signalling suite of a client that fell back to an older version (RFC 7507).
pub const FALLBACK_SCSV: u16 = 0x5600;
/// The signalling suite of a client that knows secure renegotiation (RFC 5746).
pub const RENEGOTIATION_SCSV: u16 = 0x00ff;

/// Every key exchange group with a name, by code point. The names of the registry, in lower case but for ML-KEM.
pub const GROUPS: &[(u16, &str)] = &[
    (1, "sect163k1"),
    (2, "sect163r1"),
    (3, "sect163r2"),
    (4, "sect193r1"),
    (5, "sect193r2"),
    (6, "sect233k1"),
    (7, "sect233r1"),
    (8, "sect239k1"),
    (9, "sect283k1"),
    (10, "sect283r1"),
    (11, "sect409k1"),
    (12, "sect409r1"),
    (13, "sect571k1"),
    (14, "sect571r1"),
    (15, "secp160k1"),
    (16, "secp160r1"),
    (17, "secp160r2"),
    (18, "secp192k1"),
    (19, "secp192r1"),
    (20, "secp224k1"),
    (21, "secp224r1"),
    (22, "secp256k1"),
    (23, "secp256r1"),
    (24, "secp384r1"),
    (25, "secp521r1"),
    (26, "brainpoolP256r1"),
    (27, "brainpoolP384r1"),
    (28, "brainpoolP512r1"),
    (29, "x25519"),
    (30, "x448"),
    (31, "brainpoolP256r1tls13"),
    (32, "brainpoolP384r1tls13"),
    (33, "brainpoolP512r1tls13"),
    (41, "curveSM2"),
    (0x0100, "ffdhe2048"),
    (0x0101, "ffdhe3072"),
    (0x0102, "ffdhe4096"),
    (0x0103, "ffdhe6144"),
    (0x0104, "ffdhe8192"),
    (0x0200, "MLKEM512"),
    (0x0201, "MLKEM768"),
    (0x0202, "MLKEM1024"),
    (0x11eb, "SecP256r1MLKEM768"),
    (0x11ec, "X25519MLKEM768"),
    (0x11ed, "SecP384r1MLKEM1024"),
    (0x6399, "X25519Kyber768Draft00"),
];

/// The registry's name of a cipher suite, or its code point in hexadecimal.
#[must_use]
pub fn suite_name(code: Code) -> String {
    let found = SUITES.binary_search_by_key(&code.0, |(code, _)| *code);
    found.map_or_else(|_| format!("0x{code}"), |index| SUITES[index].1.to_owned())
}

/// The registry's name of a group, or its code point in hexadecimal.
#[must_use]
pub fn group_name(code: Code) -> String {
    let found = GROUPS.iter().find(|(known, _)| *known == code.0);
    found.map_or_else(|| format!("0x{code}"), |(_, name)| (*name).to_owned())
}

/// Whether a group has less than 112 bits of strength (a curve of less than 224 bits; NIST SP 800-57 part 1, table 2).
#[must_use]
pub fn group_is_weak(code: Code) -> bool {
    matches!(code.0, 1..=5 | 15..=19)
}

/// Whether a group withstands a quantum computer as far as is known: ML-KEM, alone or beside a curve.
#[must_use]
pub fn group_is_post_quantum(code: Code) -> bool {
    matches!(code.0, 0x0200..=0x0202 | 0x11eb..=0x11ed | 0x6399)
}

/// What the name of a cipher suite says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Properties {
    /// A suite of TLS 1.3, which says nothing of the key exchange.
    pub tls13: bool,
    /// It does not encrypt.
    pub null: bool,
    /// Nobody is authenticated.
    pub anonymous: bool,
    /// It was weakened for export.
    pub export: bool,
    /// It encrypts with RC4 (RFC 7465).
    pub rc4: bool,
    /// It encrypts in blocks of 64 bits: DES, 3DES, RC2, IDEA.
    pub small_block: bool,
    /// A key that leaks later does not open what was recorded before.
    pub forward_secrecy: bool,
    /// Encryption and integrity are one (RFC 5116).
    pub aead: bool,
    /// It encrypts in CBC mode.
    pub cbc: bool,
    /// The server sends a ServerKeyExchange with the group in use.
    pub ephemeral: bool,
    /// Finite field Diffie-Hellman with a new key each time.
    pub dhe: bool,
    /// Elliptic curve Diffie-Hellman with a new key each time.
    pub ecdhe: bool,
    /// It needs a pre-shared key or password.
    pub shared_key: bool,
}

/// The properties of the suite called `name` in the registry; none for a code point without a name.
#[must_use]
pub fn properties(name: &str) -> Option<Properties> {
    let (exchange, cipher) = match name.strip_prefix("TLS_")?.split_once("_WITH_") {
        Some((exchange, cipher)) => (Some(exchange), cipher),
        None => (None, name),
    };
    let has = |word: &str| cipher.split('_').any(|part| part == word);
    let words: Vec<&str> = exchange.map(|exchange| exchange.split('_').collect()).unwrap_or_default();
    let exchanged = |word: &str| words.contains(&word);
    let anonymous = exchanged("anon");
    let dhe = exchanged("DHE") || (exchanged("DH") && anonymous);
    let ecdhe = exchanged("ECDHE") || (exchanged("ECDH") && anonymous);
    // Integrity-only suites of TLS 1.3 (RFC 9150).
    let integrity_only = matches!(name, "TLS_SHA256_SHA256" | "TLS_SHA384_SHA384");
    Some(Properties {
        tls13: exchange.is_none(),
        null: has("NULL") || integrity_only,
        anonymous,
        export: exchanged("EXPORT") || exchanged("EXPORT1024"),
        rc4: has("RC4"),
        small_block: ["DES", "DES40", "3DES", "RC2", "IDEA"].into_iter().any(has),
        forward_secrecy: exchange.is_none() || dhe || ecdhe || exchanged("ECCPWD"),
        aead: ["GCM", "CCM", "CHACHA20", "AEGIS"].into_iter().any(has),
        cbc: has("CBC"),
        ephemeral: dhe || ecdhe || (exchanged("RSA") && (exchanged("EXPORT") || exchanged("EXPORT1024"))),
        dhe,
        ecdhe,
        shared_key: exchanged("PSK") || exchanged("SRP") || exchanged("KRB5") || exchanged("ECCPWD"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_read_and_sorted() {
        assert_eq!(SUITES.len(), include_str!("suites.txt").lines().count());
        assert!(SUITES.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(GROUPS.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(SUITES.iter().all(|(_, name)| properties(name).is_some()));
    }

    #[test]
    fn a_name_says_what_the_suite_is() {
        let of = |name: &str| properties(name).unwrap();
        let modern = of("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256");
        assert!(modern.forward_secrecy && modern.aead && modern.ecdhe && !modern.cbc && !modern.dhe);
        let anonymous = of("TLS_DH_anon_EXPORT_WITH_DES40_CBC_SHA");
        assert!(anonymous.anonymous && anonymous.export && anonymous.small_block && anonymous.dhe && anonymous.cbc);
        let fixed = of("TLS_RSA_WITH_AES_128_GCM_SHA256");
        assert!(!fixed.forward_secrecy && fixed.aead && !fixed.ephemeral && !fixed.tls13);
        assert!(!of("TLS_ECDH_ECDSA_WITH_RC4_128_SHA").forward_secrecy);
        assert!(of("TLS_RSA_EXPORT1024_WITH_RC4_56_SHA").export && of("TLS_RSA_EXPORT_WITH_RC4_40_MD5").ephemeral);
        assert!(of("TLS_AES_128_CCM_8_SHA256").tls13 && of("TLS_SHA256_SHA256").null);
        assert!(of("TLS_PSK_DHE_WITH_AES_128_CCM_8").dhe && of("TLS_ECDHE_PSK_WITH_NULL_SHA").null);
        assert_eq!(properties("0xdada"), None);
    }

    #[test]
    fn a_code_point_is_four_digits() {
        let code: Code = serde_json::from_str("\"c02f\"").unwrap();
        assert_eq!(suite_name(code), "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256");
        assert_eq!((suite_name(Code(0xdada)), group_name(Code(0x11ec))), ("0xdada".into(), "X25519MLKEM768".into()));
        for bad in ["\"C02F\"", "\"02f\"", "\"+02f\"", "49199"] {
            assert!(serde_json::from_str::<Code>(bad).is_err(), "{bad}");
        }
    }
}
