//! Names: whether a certificate is for the one that is dialled, and by what (RFC 9525).

use rustls_pki_types::{CertificateDer, ServerName};
use webpki::EndEntityCert;

use super::CertificateFacts;

/// Whether the certificate `der` is valid for `name` by its subject alternative name (RFC 9525); `None` when the
/// certificate or the name cannot be read.
#[must_use]
pub fn matches_name(der: &[u8], name: &str) -> Option<bool> {
    let der = CertificateDer::from(der);
    let certificate = EndEntityCert::try_from(&der).ok()?;
    let name = ServerName::try_from(name).ok()?;
    Some(certificate.verify_is_valid_for_subject_name(&name).is_ok())
}

/// How a name that is dialled is, or is not, among the names of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameFacts {
    /// It is the common name and no alternative name, so that nobody who follows RFC 9525 finds it.
    pub only_in_common_name: bool,
    /// It is covered by a wildcard and not named itself.
    pub only_by_wildcard: bool,
}

impl NameFacts {
    /// How `name` stands in the certificate of `facts`; `matches` is what [`matches_name`] said.
    #[must_use]
    pub fn of(facts: &CertificateFacts, name: &str, matches: bool) -> Self {
        let same = |other: &str| other.trim_end_matches('.').eq_ignore_ascii_case(name.trim_end_matches('.'));
        let named = facts.alternative_names.iter().flatten().any(|other| same(other));
        let common = facts.common_name.as_deref().is_some_and(same);
        Self {
            only_in_common_name: !matches && !named && common,
            // An address is never matched by a wildcard, and may be written in several ways.
            only_by_wildcard: matches && !named && name.parse::<std::net::IpAddr>().is_err(),
        }
    }
}
