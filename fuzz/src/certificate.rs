//! Certificates, chains, revocation lists and stapled answers on their way to facts, as any peer may send them.

use gatepost_evidence::certificate::shared::{Modulus, share_a_prime};
use gatepost_evidence::certificate::staple::StapleFacts;
use gatepost_evidence::certificate::{
    CertificateFacts, Chain, ChainFacts, NameFacts, RevocationFacts, Usage, matches_name, not_before, public_key,
};

use crate::Seeds;

/// The corpus, as far as it is of different kinds.
const SAMPLES: &[(&str, &str)] = &[
    ("good", include_str!("../../fixtures/certificates/good.pem")),
    ("rsa", include_str!("../../fixtures/certificates/good-rsa2048.pem")),
    ("ed25519", include_str!("../../fixtures/certificates/good-ed25519.pem")),
    ("intermediate", include_str!("../../fixtures/certificates/good-intermediate.pem")),
    ("address", include_str!("../../fixtures/certificates/good-address.pem")),
    ("constraint", include_str!("../../fixtures/certificates/good-name-constraint.pem")),
    ("pss", include_str!("../../fixtures/certificates/good-signed-pss-sha256.pem")),
    ("explicit", include_str!("../../fixtures/certificates/explicit-curve.pem")),
    ("roca", include_str!("../../fixtures/certificates/roca.pem")),
    ("unknown-extension", include_str!("../../fixtures/certificates/unknown-critical-extension.pem")),
    ("no-end", include_str!("../../fixtures/certificates/lifetime-without-end.pem")),
    ("list", include_str!("../../fixtures/certificates/revoked.crl")),
];

/// The DER in each section of a PEM file.
fn pem(text: &str) -> Vec<Vec<u8>> {
    let sections = text.split("-----BEGIN ").skip(1).filter_map(|section| section.split_once("-----\n"));
    sections
        .filter_map(|(_, body)| {
            let digits: String = body.split("-----END").next()?.split_whitespace().collect();
            base64::Engine::decode(&base64::engine::general_purpose::STANDARD, digits).ok()
        })
        .collect()
}

/// The input is a chain: each certificate behind two bytes of its length, the rest is the last one.
fn split(mut data: &[u8]) -> Vec<Vec<u8>> {
    let mut chain = Vec::new();
    while let [high, low, rest @ ..] = data {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (one, behind) = rest.split_at(length);
        chain.push(one.to_vec());
        data = behind;
        if chain.len() == 8 {
            break;
        }
    }
    chain
}

/// # Panics
/// When facts differ from look to look, cannot be written down, or contradict each other.
pub fn attack(data: &[u8]) {
    let certificates = split(data);
    let Ok(observed_at) = "2026-03-01T10:00:00Z".parse() else { return };
    let Some(leaf) = certificates.first() else { return };
    let facts = CertificateFacts::from_der(leaf, observed_at, true);
    assert_eq!(facts, CertificateFacts::from_der(leaf, observed_at, true));
    assert_eq!(facts.parses, facts.parse_error.is_none());
    assert_eq!(facts.parses, facts.violations.is_some() && facts.not_before.is_some() == facts.lifetime_days.is_some());
    let text = serde_json::to_string(&facts).unwrap_or_default();
    assert_eq!(serde_json::from_str::<CertificateFacts>(&text).ok().as_ref(), Some(&facts), "{text}");
    if facts.parses {
        assert_eq!(public_key(leaf).map(|digest| digest.to_string()), facts.key_fingerprint);
        assert!(not_before(leaf).is_some());
    }
    if let Some(matches) = matches_name(leaf, "broker.example") {
        let name = NameFacts::of(&facts, "broker.example", matches);
        assert!(!(name.only_by_wildcard && name.only_in_common_name));
    }
    // The last one is the anchor as well, and a list, and an answer.
    let anchors = &certificates[certificates.len() - 1..];
    for (usage, anchors) in
        [(Usage::Server, Some(anchors)), (Usage::Client, Some(&certificates[..])), (Usage::Server, None)]
    {
        let chain = Chain { certificates: &certificates, anchors, usage, observed_at, clock_believed: true };
        let whole = ChainFacts::of(&chain);
        assert_eq!(whole.trusted.is_some() || whole.problem.is_some(), anchors.is_some());
        assert!(whole.surplus < whole.length.max(1) && whole.unreadable < whole.length.max(1));
        let revocation = RevocationFacts::of(&chain, &certificates);
        assert!(revocation.unreadable <= revocation.lists && (revocation.revoked.is_none() || revocation.covered));
        let staple = StapleFacts::of(certificates.last().map(Vec::as_slice).unwrap_or_default(), &chain);
        assert!(staple.readable || staple == StapleFacts::default());
    }
    let moduli: Vec<Modulus> = certificates.iter().filter_map(|der| Modulus::of_certificate(der)).collect();
    for group in share_a_prime(&moduli) {
        assert!(group.len() > 1 && group.iter().all(|place| *place < moduli.len()));
    }
}

/// Each sample alone, and all of them as one chain.
#[must_use]
pub fn seeds() -> Seeds {
    let framed = |ders: &[Vec<u8>]| -> Vec<u8> {
        let length = |der: &Vec<u8>| u16::try_from(der.len()).unwrap_or(u16::MAX).to_be_bytes();
        ders.iter().flat_map(|der| length(der).into_iter().chain(der.iter().copied())).collect()
    };
    SAMPLES.iter().map(|(name, text)| ((*name).to_owned(), framed(&pem(text)))).collect()
}
