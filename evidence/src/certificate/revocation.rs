//! Whether a certificate was revoked, by lists that its issuer signed (RFC 5280, section 5), judged by `rustls-webpki`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use webpki::{BorrowedCertRevocationList, CertRevocationList};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::revocation_list::CertificateRevocationList;

use super::chain::Chain;
use super::date;
use super::path::{self, PathProblem, Revocation};
use crate::check::{Seen, Unknown};
use crate::look::{Bytes, Look};

/// What revocation lists say of a leaf.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RevocationFacts {
    /// How many lists were given.
    pub lists: u64,
    /// How many of them cannot be read.
    pub unreadable: u64,
    /// One of them is by the leaf's issuer.
    pub covered: bool,
    /// That one is signed by the issuer, who may sign lists. Absent when there is none, or when the path itself is broken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed: Option<bool>,
    /// It was seen before its next one was due (a list that names no such moment never is). Absent when the clock is not
    /// believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fresh: Option<bool>,
    /// When its next one is due, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_update: Option<String>,
    /// The leaf is on it. Absent when it is not known to be signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked: Option<bool>,
    /// One of the lists names an issuer of the leaf. Absent as above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer_revoked: Option<bool>,
    /// webpki's words where something cannot be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl RevocationFacts {
    /// What the configured `lists` say of `chain`; reasons for what is missing go to `place` and below.
    pub(crate) fn told(
        lists: &Look<Vec<Bytes>>,
        chain: &Chain<'_>,
        place: &str,
        seen: &Seen,
        unknown: &mut Unknown,
    ) -> Option<Self> {
        match lists {
            Look::Seen(lists) => {
                let lists: Vec<Vec<u8>> = lists.iter().map(|der| der.0.clone()).collect();
                let facts = Self::of(chain, &lists);
                facts.explain(place, seen, unknown);
                Some(facts)
            }
            Look::Failed(failure) => {
                unknown.because(place, failure);
                None
            }
        }
    }

    /// Says why facts at `place` are missing.
    pub fn explain(&self, place: &str, seen: &Seen, unknown: &mut Unknown) {
        if let (Some(reason), true) = (seen.distrust, self.covered) {
            unknown.because(format!("{place}/fresh"), reason);
        }
        let reason = match &self.error {
            Some(words) => words.as_str(),
            None if !self.covered => "no revocation list is by the issuer",
            None => "the path to an anchor does not hold, so that nobody vouches for the list",
        };
        for fact in ["signed", "revoked", "issuer_revoked"] {
            unknown.because(format!("{place}/{fact}"), reason);
        }
    }

    /// What `lists` (DER) say of `chain`; without anchors nobody can have signed them.
    #[must_use]
    pub fn of(chain: &Chain<'_>, lists: &[Vec<u8>]) -> Self {
        let read: Vec<_> = lists.iter().filter_map(|der| BorrowedCertRevocationList::from_der(der).ok()).collect();
        let read: Vec<CertRevocationList<'_>> = read.into_iter().map(CertRevocationList::from).collect();
        let all: Vec<&CertRevocationList<'_>> = read.iter().collect();
        let mut facts =
            Self { lists: lists.len() as u64, unreadable: (lists.len() - read.len()) as u64, ..Self::default() };
        let Some((_, leaf)) = chain.certificates.first().and_then(|der| X509Certificate::from_der(der).ok()) else {
            return facts;
        };
        let own = lists.iter().filter_map(|der| CertificateRevocationList::from_der(der).ok());
        let own = own.map(|(_, list)| list).find(|list| list.issuer().as_raw() == leaf.issuer().as_raw());
        facts.covered = own.is_some();
        if let Some(list) = own {
            let next = list.next_update().map(|time| time.timestamp());
            facts.next_update = next.and_then(date);
            let now = chain.observed_at.as_second();
            facts.fresh = chain.clock_believed.then_some(next.is_none_or(|next| now <= next));
        }
        let Some(anchors) = chain.anchors else { return facts };
        let judge =
            |revocation: &Revocation<'_>| path::judge(chain.certificates, anchors, None, chain.observed_at, revocation);
        if all.is_empty() || judge(&Revocation::NotAsked).is_err() {
            return facts;
        }
        match judge(&Revocation::Leaf(&all)) {
            Ok(()) => (facts.signed, facts.revoked) = (Some(true), Some(false)),
            Err(error) if error.problem == PathProblem::Revoked => {
                (facts.signed, facts.revoked) = (Some(true), Some(true));
            }
            Err(error) => {
                facts.signed = facts.covered.then_some(false);
                facts.error = Some(error.words);
                return facts;
            }
        }
        facts.covered = true;
        facts.issuer_revoked = match judge(&Revocation::Anybody(&all)) {
            Ok(()) => Some(false),
            Err(error) if error.problem == PathProblem::Revoked && facts.revoked == Some(false) => Some(true),
            // The leaf is what was met first: the lists that cannot name it tell of the others.
            Err(error) if error.problem == PathProblem::Revoked => {
                let others: Vec<_> = lists
                    .iter()
                    .filter(|der| {
                        CertificateRevocationList::from_der(der)
                            .is_ok_and(|(_, list)| list.issuer().as_raw() != leaf.issuer().as_raw())
                    })
                    .filter_map(|der| BorrowedCertRevocationList::from_der(der).ok())
                    .map(CertRevocationList::from)
                    .collect();
                let others: Vec<&CertRevocationList<'_>> = others.iter().collect();
                match (others.is_empty(), judge(&Revocation::Anybody(&others))) {
                    (true, _) | (false, Ok(())) => Some(false),
                    (false, Err(error)) => (error.problem == PathProblem::Revoked).then_some(true),
                }
            }
            Err(_) => None,
        };
        facts
    }
}

/// Whether `der` is a revocation list that can be read at all.
#[must_use]
pub fn is_list(der: &[u8]) -> bool {
    CertificateRevocationList::from_der(der).is_ok_and(|(rest, _)| rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::Usage;
    use rcgen::{
        BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod,
        KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
    };

    fn authority(usages: &[KeyUsagePurpose]) -> (Vec<u8>, Issuer<'static, KeyPair>) {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = usages.to_vec();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2036, 1, 1);
        let key = KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap().der().to_vec(), Issuer::new(params, key))
    }

    fn leaf(issuer: &Issuer<'static, KeyPair>) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["broker.local".into()]).unwrap();
        params.serial_number = Some(SerialNumber::from(7));
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2027, 1, 1);
        params.signed_by(&KeyPair::generate().unwrap(), issuer).unwrap().der().to_vec()
    }

    fn list(issuer: &Issuer<'static, KeyPair>, serial: u64) -> Vec<u8> {
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: rcgen::date_time_ymd(2026, 1, 10),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2026, 1, 15),
            next_update: rcgen::date_time_ymd(2026, 2, 15),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(issuer).unwrap().der().to_vec()
    }

    fn facts(chain: &[Vec<u8>], anchors: &[Vec<u8>], lists: &[Vec<u8>], day: &str) -> RevocationFacts {
        let chain = Chain {
            certificates: chain,
            anchors: Some(anchors),
            usage: Usage::Server,
            observed_at: format!("{day}T00:00:00Z").parse().unwrap(),
            clock_believed: true,
        };
        RevocationFacts::of(&chain, lists)
    }

    const BOTH: [KeyUsagePurpose; 2] = [KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];

    #[test]
    fn a_list_speaks_of_the_leaf_or_names_it() {
        let (ca, issuer) = authority(&BOTH);
        let (chain, anchors) = ([leaf(&issuer)], [ca]);
        let other = facts(&chain, &anchors, &[list(&issuer, 8)], "2026-02-01");
        assert_eq!((other.covered, other.signed, other.revoked), (true, Some(true), Some(false)));
        assert_eq!((other.fresh, other.issuer_revoked, other.lists), (Some(true), Some(false), 1));
        assert_eq!(other.next_update.as_deref(), Some("2026-02-15T00:00:00Z"));
        let named = facts(&chain, &anchors, &[list(&issuer, 7)], "2026-02-01");
        assert_eq!((named.revoked, named.issuer_revoked), (Some(true), Some(false)));
        let stale = facts(&chain, &anchors, &[list(&issuer, 8)], "2026-03-01");
        assert_eq!((stale.fresh, stale.revoked), (Some(false), Some(false)));
    }

    /// As a CA does that lost its intermediate's key: it revokes that, and the intermediate's own list names the leaf.
    #[test]
    fn an_issuer_is_revoked_whatever_the_leaf_is() {
        let (ca, root) = authority(&BOTH);
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "intermediate");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = BOTH.to_vec();
        params.serial_number = Some(SerialNumber::from(9));
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2027, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &root).unwrap().der().to_vec();
        let intermediate = Issuer::new(params, key);
        let (chain, anchors) = ([leaf(&intermediate), certificate], [ca]);
        for (named_leaf, named_issuer) in [(8, 8), (7, 8), (8, 9), (7, 9)] {
            let lists = [list(&intermediate, named_leaf), list(&root, named_issuer)];
            let found = facts(&chain, &anchors, &lists, "2026-02-01");
            let expected = (Some(named_leaf == 7), Some(named_issuer == 9));
            assert_eq!((found.revoked, found.issuer_revoked), expected, "{named_leaf} {named_issuer}");
        }
    }

    #[test]
    fn what_nobody_signed_says_nothing() {
        let (ca, issuer) = authority(&BOTH);
        let (_, impostor) = authority(&BOTH);
        let chain = [leaf(&issuer)];
        let forged = facts(&chain, std::slice::from_ref(&ca), &[list(&impostor, 7)], "2026-02-01");
        assert_eq!((forged.covered, forged.signed, forged.revoked), (true, Some(false), None));
        let (other, _) = authority(&BOTH);
        let untrusted = facts(&chain, &[other], &[list(&issuer, 7)], "2026-02-01");
        assert_eq!((untrusted.covered, untrusted.signed, untrusted.revoked), (true, None, None));
        let none = facts(&chain, &[ca], &[b"garbage".to_vec()], "2026-02-01");
        assert_eq!((none.lists, none.unreadable, none.covered, none.revoked), (1, 1, false, None));
        assert_eq!(facts(&[], &[], &[], "2026-02-01"), RevocationFacts::default());
    }

    #[test]
    fn an_issuer_that_may_not_sign_lists_has_not() {
        let (_, signer) = authority(&BOTH);
        let (params, key) = (authority(&[KeyUsagePurpose::KeyCertSign]), signer);
        // rcgen refuses to sign a list for an issuer that may not, so the certificate says less than its maker knows.
        let (ca, _) = params;
        let chain = [leaf(&key)];
        let facts = facts(&chain, &[ca], &[list(&key, 7)], "2026-02-01");
        assert_eq!((facts.signed, facts.revoked), (None, None));
    }
}
