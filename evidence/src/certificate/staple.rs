//! The OCSP answer that a server sends along with its certificate (RFC 6960, RFC 6066 section 8).
//!
//! The bytes come from strangers: everything is read with bounds, and what is not as RFC 6960 wants it is told as unreadable.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509_parser::asn1_rs::{Any, Class, Tag};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::{ASN1Time, FromDer};
use x509_parser::verify::verify_signature;
use x509_parser::x509::{AlgorithmIdentifier, SubjectPublicKeyInfo};

use super::chain::Chain;
use super::date;
use crate::check::{Seen, Unknown};
use crate::look::Bytes;

/// What an answer says of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StapleStatus {
    /// It was not revoked.
    Good,
    /// It was revoked.
    Revoked,
    /// The responder does not know it.
    Unknown,
}

/// What a stapled answer says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StapleFacts {
    /// It is an answer, and a successful one.
    pub readable: bool,
    /// It speaks of the leaf, by serial number.
    pub names_leaf: bool,
    /// What it says of the leaf.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<StapleStatus>,
    /// It is signed by the leaf's issuer, or by a responder that the issuer named. Absent when the issuer's certificate is
    /// not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed: Option<bool>,
    /// It was seen before its next one was due. Absent when the clock is not believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fresh: Option<bool>,
    /// When its next one is due, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_update: Option<String>,
}

impl StapleFacts {
    /// What the stapled `answer` says of the leaf of `chain`, nothing if it is empty; reasons for what is missing go below
    /// `place`.
    pub(crate) fn told(
        answer: &Bytes,
        chain: &Chain<'_>,
        place: &str,
        seen: &Seen,
        unknown: &mut Unknown,
    ) -> Option<Self> {
        if answer.0.is_empty() {
            return None;
        }
        if let Some(reason) = seen.distrust {
            unknown.because(format!("{place}/fresh"), reason);
        }
        Some(Self::of(&answer.0, chain))
    }

    /// What `answer` (DER) says of the leaf of `chain`.
    #[must_use]
    pub fn of(answer: &[u8], chain: &Chain<'_>) -> Self {
        let mut facts = Self::default();
        let Some(basic) = Basic::read(answer) else { return facts };
        facts.readable = true;
        let Some(leaf) = chain.certificates.first().and_then(|der| parse(der)) else { return facts };
        let one = basic.responses.iter().find(|one| one.serial == leaf.raw_serial());
        if let Some(one) = one {
            facts.names_leaf = true;
            facts.status = Some(one.status);
            facts.next_update = one.next_update.and_then(date);
            let now = chain.observed_at.as_second();
            let fresh = one.this_update <= now && one.next_update.is_none_or(|next| now <= next);
            facts.fresh = chain.clock_believed.then_some(fresh);
        }
        let known = chain.certificates.iter().skip(1).chain(chain.anchors.into_iter().flatten());
        let issuers = known.filter_map(|der| parse(der));
        let issuers: Vec<_> = issuers.filter(|one| one.subject().as_raw() == leaf.issuer().as_raw()).collect();
        facts.signed = (!issuers.is_empty()).then(|| issuers.iter().any(|issuer| basic.is_signed_for(issuer)));
        facts
    }
}

fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    X509Certificate::from_der(der).ok().map(|(_, certificate)| certificate)
}

/// A BasicOCSPResponse (RFC 6960, section 4.2.1).
struct Basic<'a> {
    signed: &'a [u8],
    algorithm: AlgorithmIdentifier<'a>,
    signature: x509_parser::asn1_rs::BitString<'a>,
    certificates: Vec<&'a [u8]>,
    responses: Vec<Single<'a>>,
}

struct Single<'a> {
    serial: &'a [u8],
    status: StapleStatus,
    this_update: i64,
    next_update: Option<i64>,
}

/// One element: its class, its number, its content and all of its bytes.
struct Element<'a> {
    class: Class,
    tag: Tag,
    content: &'a [u8],
    whole: &'a [u8],
}

fn next<'a>(input: &mut &'a [u8]) -> Option<Element<'a>> {
    let before = *input;
    let (rest, any) = Any::from_der(before).ok()?;
    *input = rest;
    let whole = before.get(..before.len() - rest.len())?;
    Some(Element { class: any.class(), tag: any.tag(), content: any.data, whole })
}

fn universal<'a>(input: &mut &'a [u8], tag: Tag) -> Option<Element<'a>> {
    next(input).filter(|element| element.class == Class::Universal && element.tag == tag)
}

/// The content of an element with the context-specific number, if that comes next.
fn tagged<'a>(input: &mut &'a [u8], number: u32) -> Option<&'a [u8]> {
    let mut ahead = *input;
    let element = next(&mut ahead)?;
    if element.class != Class::ContextSpecific || element.tag != Tag(number) {
        return None;
    }
    *input = ahead;
    Some(element.content)
}

/// id-pkix-ocsp-basic, as DER.
const BASIC: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 48, 1, 1];
/// More answers in one than any responder gives.
const MAX_RESPONSES: usize = 64;

impl<'a> Basic<'a> {
    fn read(mut input: &'a [u8]) -> Option<Self> {
        let mut response = universal(&mut input, Tag::Sequence)?.content;
        let successful = universal(&mut response, Tag::Enumerated)?.content == [0];
        let mut bytes = tagged(&mut response, 0).filter(|_| successful && input.is_empty())?;
        let mut bytes = universal(&mut bytes, Tag::Sequence)?.content;
        let kind = universal(&mut bytes, Tag::Oid)?.content;
        let mut basic = universal(&mut bytes, Tag::OctetString).filter(|_| kind == BASIC)?.content;
        let mut basic = universal(&mut basic, Tag::Sequence)?.content;
        let data = universal(&mut basic, Tag::Sequence)?;
        let (rest, algorithm) = AlgorithmIdentifier::from_der(basic).ok()?;
        let (mut rest, signature) = x509_parser::asn1_rs::BitString::from_der(rest).ok()?;
        let mut certificates = Vec::new();
        if let Some(mut list) = tagged(&mut rest, 0) {
            let mut list = universal(&mut list, Tag::Sequence)?.content;
            while let Some(one) = next(&mut list) {
                certificates.push(one.whole);
            }
        }
        Some(Self { signed: data.whole, algorithm, signature, certificates, responses: responses(data.content)? })
    }

    /// Whether the issuer signed it, or somebody whom the issuer lets sign such answers (section 4.2.2.2).
    fn is_signed_for(&self, issuer: &X509Certificate<'_>) -> bool {
        let by = |key: &SubjectPublicKeyInfo<'_>| {
            verify_signature(key, &self.algorithm, &self.signature, self.signed).is_ok()
        };
        let delegate = |der: &&[u8]| {
            parse(der).is_some_and(|one| {
                let may = one.extended_key_usage().ok().flatten().is_some_and(|usage| usage.value.ocsp_signing);
                may && one.issuer().as_raw() == issuer.subject().as_raw()
                    && one.verify_signature(Some(issuer.public_key())).is_ok()
                    && by(one.public_key())
            })
        };
        by(issuer.public_key()) || self.certificates.iter().any(delegate)
    }
}

fn responses(mut data: &[u8]) -> Option<Vec<Single<'_>>> {
    // Version, responder and the time of production say nothing of the certificate.
    tagged(&mut data, 0);
    next(&mut data)?;
    universal(&mut data, Tag::GeneralizedTime)?;
    let mut list = universal(&mut data, Tag::Sequence)?.content;
    let mut found = Vec::new();
    while !list.is_empty() && found.len() < MAX_RESPONSES {
        let mut one = universal(&mut list, Tag::Sequence)?.content;
        let mut id = universal(&mut one, Tag::Sequence)?.content;
        universal(&mut id, Tag::Sequence)?;
        universal(&mut id, Tag::OctetString)?;
        universal(&mut id, Tag::OctetString)?;
        let serial = universal(&mut id, Tag::Integer)?.content;
        let status = next(&mut one).filter(|status| status.class == Class::ContextSpecific)?;
        let status = match status.tag.0 {
            0 => StapleStatus::Good,
            1 => StapleStatus::Revoked,
            2 => StapleStatus::Unknown,
            _ => return None,
        };
        let (mut rest, this_update) = ASN1Time::from_der(one).ok()?;
        let next_update = match tagged(&mut rest, 0) {
            Some(time) => Some(ASN1Time::from_der(time).ok()?.1.timestamp()),
            None => None,
        };
        found.push(Single { serial, status, this_update: this_update.timestamp(), next_update });
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::Usage;

    #[test]
    fn garbage_is_not_readable() {
        let chain = Chain {
            certificates: &[],
            anchors: None,
            usage: Usage::Server,
            observed_at: "2026-02-01T00:00:00Z".parse().unwrap(),
            clock_believed: true,
        };
        for bytes in [&b""[..], b"\x30\x03\x0a\x01\x00", b"\x30\x03\x0a\x01\x06", b"\x30\x80", b"garbage"] {
            assert_eq!(StapleFacts::of(bytes, &chain), StapleFacts::default(), "{bytes:?}");
        }
    }
}
