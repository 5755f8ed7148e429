//! Where a certificate that parses departs from the profile of RFC 5280: what one parser forgives, another refuses, and
//! what nobody refuses is read in different ways.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::x509::X509Version;

use super::der;

/// Ways to depart from RFC 5280.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Violation {
    /// It is not DER (section 4.1): lengths or values are written in another way than the one there is.
    NotDer,
    /// The serial number is negative (section 4.1.2.2).
    NegativeSerial,
    /// The serial number is zero (section 4.1.2.2).
    ZeroSerial,
    /// The serial number has more than 20 bytes (section 4.1.2.2).
    LongSerial,
    /// It has extensions and does not say version 3 (section 4.1.2.1).
    WrongVersion,
    /// The algorithms named inside and beside the signed part differ (section 4.1.1.2).
    SignatureAlgorithmsDiffer,
    /// The issuer has no name (section 4.1.2.4).
    EmptyIssuer,
    /// The end of validity is before its start (section 4.1.2.5).
    EndBeforeStart,
    /// A date through 2049 is not a UTCTime, or a later one not a GeneralizedTime (section 4.1.2.5).
    WrongTimeType,
    /// Neither the subject nor an alternative name says whose it is (section 4.1.2.6).
    NoName,
    /// An extension is there twice (section 4.2).
    DuplicateExtension,
    /// An extension that everybody reads cannot be read (section 4.2.1).
    UnreadableExtension,
    /// It may sign certificates and is no CA (section 4.2.1.3).
    CertSignWithoutCa,
    /// It is a CA whose key usage does not let it sign certificates (section 4.2.1.3).
    CaWithoutCertSign,
    /// It limits the length of paths and is no CA (section 4.2.1.9).
    PathLengthWithoutCa,
    /// There is an alternative name extension without a name (section 4.2.1.6).
    EmptyAlternativeName,
    /// An address is written as a DNS name, where nobody looks for it (section 4.2.1.6).
    AddressAsDnsName,
    /// A DNS name that is none: empty, with a space, or with a star elsewhere than alone in the first place
    /// (section 4.2.1.6; RFC 9525, section 6.3).
    MalformedDnsName,
}

/// The first moment that a UTCTime can say: 1950-01-01T00:00:00Z.
const YEAR_1950: i64 = -631_152_000;
/// The first moment that a UTCTime can say no more: 2050-01-01T00:00:00Z.
const YEAR_2050: i64 = 2_524_608_000;

/// Everything in which `certificate`, whose bytes are `bytes`, departs from the profile, in the order of [`Violation`].
pub(super) fn violations(certificate: &X509Certificate<'_>, bytes: &[u8]) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut say = |is: bool, violation: Violation| {
        if is {
            found.push(violation);
        }
    };
    let extensions = certificate.extensions();
    let inner = extensions.iter().filter(|extension| understood(extension.parsed_extension()));
    let strict = inner.map(|extension| extension.value).chain([bytes]).all(|part| der::violation(part).is_none());
    say(!strict, Violation::NotDer);

    let serial = certificate.raw_serial();
    say(serial.first().is_some_and(|first| first & 0x80 != 0), Violation::NegativeSerial);
    say(serial.iter().all(|byte| *byte == 0), Violation::ZeroSerial);
    say(serial.len() > 20, Violation::LongSerial);
    say(!extensions.is_empty() && certificate.version() != X509Version::V3, Violation::WrongVersion);
    say(certificate.signature_algorithm != certificate.tbs_certificate.signature, Violation::SignatureAlgorithmsDiffer);
    say(certificate.issuer().iter_rdn().next().is_none(), Violation::EmptyIssuer);
    let validity = certificate.validity();
    say(validity.not_after.timestamp() < validity.not_before.timestamp(), Violation::EndBeforeStart);
    let types = [validity.not_before, validity.not_after].into_iter().zip(time_tags(certificate));
    let wrong = |(time, tag): (x509_parser::time::ASN1Time, u8)| {
        // A UTCTime says neither earlier nor later years.
        let utc = (YEAR_1950..YEAR_2050).contains(&time.timestamp());
        utc == (tag == GENERALIZED_TIME)
    };
    say(types.into_iter().any(wrong), Violation::WrongTimeType);

    let names = alternative_names(certificate);
    say(certificate.subject().iter_rdn().next().is_none() && names.is_none_or(<[_]>::is_empty), Violation::NoName);
    let twice = |at: usize| extensions[..at].iter().any(|other| other.oid == extensions[at].oid);
    say((0..extensions.len()).any(twice), Violation::DuplicateExtension);
    let unreadable = |parsed: &ParsedExtension<'_>| matches!(parsed, ParsedExtension::ParseError { .. });
    say(extensions.iter().any(|extension| unreadable(extension.parsed_extension())), Violation::UnreadableExtension);

    let parsed = || extensions.iter().map(|extension| extension.parsed_extension());
    let basic =
        parsed().find_map(|one| if let ParsedExtension::BasicConstraints(basic) = one { Some(basic) } else { None });
    let usage = parsed().find_map(|one| if let ParsedExtension::KeyUsage(usage) = one { Some(usage) } else { None });
    let ca = basic.is_some_and(|basic| basic.ca);
    say(!ca && usage.is_some_and(|usage| usage.key_cert_sign()), Violation::CertSignWithoutCa);
    say(ca && usage.is_some_and(|usage| !usage.key_cert_sign()), Violation::CaWithoutCertSign);
    say(!ca && basic.is_some_and(|basic| basic.path_len_constraint.is_some()), Violation::PathLengthWithoutCa);

    say(names.is_some_and(<[_]>::is_empty), Violation::EmptyAlternativeName);
    let dns = || {
        names.into_iter().flatten().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(*name),
            _ => None,
        })
    };
    let address = |name: &str| name.parse::<std::net::IpAddr>().is_ok();
    say(dns().any(address), Violation::AddressAsDnsName);
    say(dns().any(|name| !address(name) && !is_dns_name(name)), Violation::MalformedDnsName);
    found
}

fn understood(parsed: &ParsedExtension<'_>) -> bool {
    !matches!(parsed, ParsedExtension::UnsupportedExtension { .. } | ParsedExtension::Unparsed)
}

fn alternative_names<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a [GeneralName<'a>]> {
    certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => Some(names.general_names.as_slice()),
        _ => None,
    })
}

/// Labels of letters, digits, `-` and `_` (which is no letter of a host name, but used), the first may be a lone star.
fn is_dns_name(name: &str) -> bool {
    let rest = name.strip_prefix("*.").unwrap_or(name);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    rest.len() <= 253 && rest.split('.').all(label)
}

const SEQUENCE: u8 = 0x30;
const GENERALIZED_TIME: u8 = 0x18;

/// The tags of start and end of validity, which the parser does not keep.
fn time_tags(certificate: &X509Certificate<'_>) -> Vec<u8> {
    // The validity stands between the issuer and the subject, whose bytes the parser does keep.
    let body = certificate.tbs_certificate.as_ref();
    let after = |part: &[u8]| (part.as_ptr() as usize + part.len()).checked_sub(body.as_ptr() as usize);
    let begin = |part: &[u8]| (part.as_ptr() as usize).checked_sub(body.as_ptr() as usize);
    let range = after(certificate.issuer().as_raw()).zip(begin(certificate.subject().as_raw()));
    let Some(validity) = range.and_then(|(from, to)| body.get(from..to)) else { return Vec::new() };
    // Short lengths throughout: two times have at most 36 bytes.
    let [SEQUENCE, _, first, length, rest @ ..] = validity else { return Vec::new() };
    let second = rest.get(usize::from(*length));
    std::iter::once(*first).chain(second.copied()).collect()
}
