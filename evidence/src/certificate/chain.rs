//! A chain as a whole: its order, what it lacks, who issued it, and whether it leads to an anchor.
//!
//! The way from the leaf upwards is found by names and key identifiers, whether or not the signatures hold, so that there is
//! something to say of a chain that is broken. Whether it is trusted is [`path`](super::path)'s affair alone.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;

use super::key::{Key, KeyWeakness};
use super::path::{self, PathError, PathProblem, Revocation, Usage};
use super::{CertificateFacts, date, weak_signature};
use crate::check::Unknown;

/// More certificates in a row than any chain has.
const MAX_LENGTH: usize = 16;

/// Facts about a chain as it was sent, or as it lies in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChainFacts {
    /// How many certificates there are.
    pub length: u64,
    /// Each certificate is issued by the one behind it (RFC 5246, section 7.4.2).
    pub ordered: bool,
    /// How many of them are not on the way from the leaf to its authority.
    pub surplus: u64,
    /// How many of those behind the leaf do not parse.
    pub unreadable: u64,
    /// An authority's own certificate is among them, which a peer either has or does not trust.
    pub root_sent: bool,
    /// The chain leads to a configured anchor. Absent when no anchors are configured, and when it cannot be told here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trusted: Option<bool>,
    /// What is wrong with the path, when it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<PathProblem>,
    /// That problem is one of the leaf alone, which its own facts tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem_is_told: Option<bool>,
    /// The same in webpki's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How many issuers above the leaf are known: sent ones, and the anchor.
    pub issuers: u64,
    /// The subject of the issuer that expires first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer_subject: Option<String>,
    /// When the first of the issuers expires, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer_not_after: Option<String>,
    /// Whole days from when it was seen until then. Absent when the clock is not believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer_days_to_expiry: Option<i64>,
    /// Seen after then. Absent when the clock is not believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer_expired: Option<bool>,
    /// The leaf is to be valid for longer than one of its issuers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaf_outlives_issuer: Option<bool>,
    /// The smallest RSA key of an issuer, bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer_rsa_bits: Option<i64>,
    /// The curves of the issuers' keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub issuer_curves: Vec<String>,
    /// In what ways issuers' keys give themselves away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer_key_weaknesses: Option<Vec<KeyWeakness>>,
    /// An issuer's certificate that is not signed by itself is signed with MD5 or SHA-1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer_weak_signature: Option<bool>,
}

/// Facts of a chain that change with every look and are left out of drift.
pub const VOLATILE: &[&str] = &["issuer_days_to_expiry"];

/// A chain and what it is held against.
#[derive(Debug, Clone, Copy)]
pub struct Chain<'a> {
    /// DER, leaf first.
    pub certificates: &'a [Vec<u8>],
    /// The anchors, DER; none when none are configured.
    pub anchors: Option<&'a [Vec<u8>]>,
    /// What the leaf should be good for.
    pub usage: Usage,
    /// When it was seen.
    pub observed_at: Timestamp,
    /// Whether that time may be compared with dates.
    pub clock_believed: bool,
}

/// Why [`ChainFacts::trusted`] is absent although there are anchors.
pub const NOT_CHECKED: &str = "a signature on the path uses an algorithm or a key that cannot be checked here";

impl ChainFacts {
    /// Says why facts at `place` are missing, beside [`ChainFacts::trusted`], whose reason its owner knows.
    pub fn explain(&self, place: &str, unknown: &mut Unknown) {
        if self.issuers == 0 {
            for fact in [
                "issuer_subject",
                "issuer_not_after",
                "issuer_days_to_expiry",
                "issuer_expired",
                "leaf_outlives_issuer",
                "issuer_rsa_bits",
                "issuer_key_weaknesses",
                "issuer_weak_signature",
            ] {
                unknown.because(format!("{place}/{fact}"), "no issuer was sent, and none of the anchors is one");
            }
        } else if self.issuer_key_weaknesses.is_none() {
            let reason = "there is no test here for a key such as one of the issuers'";
            unknown.because(format!("{place}/issuer_key_weaknesses"), reason);
        }
    }

    /// The facts of `chain`.
    #[must_use]
    pub fn of(chain: &Chain<'_>) -> Self {
        let parsed: Vec<Option<X509Certificate<'_>>> = chain.certificates.iter().map(|der| parse(der)).collect();
        let anchors: Vec<X509Certificate<'_>> =
            chain.anchors.into_iter().flatten().filter_map(|der| parse(der)).collect();
        let way = Way::find(&parsed, &anchors);
        let behind = parsed.get(1..).unwrap_or_default();
        // One that leads beyond the anchor need not follow the very certificate that it issued: there may be several.
        let follows = |(place, parent): (usize, &Option<X509Certificate<'_>>)| {
            let Some(parent) = parent else { return false };
            let before = parsed.get(..place).unwrap_or_default();
            let near = if way.beyond.contains(&place) { before } else { before.split_at(place.saturating_sub(1)).1 };
            near.iter().flatten().any(|child| issued(child, parent))
        };
        let mut facts = Self {
            length: parsed.len() as u64,
            ordered: parsed.iter().enumerate().skip(1).all(follows),
            surplus: (parsed.len().saturating_sub(way.sent)) as u64,
            unreadable: behind.iter().filter(|one| one.is_none()).count() as u64,
            root_sent: behind.iter().flatten().any(is_self_issued),
            issuers: way.issuers.len() as u64,
            ..Self::default()
        };
        facts.tell_of_issuers(&way, parsed.first().and_then(Option::as_ref), chain);
        if let Some(anchors) = chain.anchors {
            let judged =
                path::judge(chain.certificates, anchors, Some(chain.usage), chain.observed_at, &Revocation::NotAsked);
            let leaf = chain.certificates.first().map(Vec::as_slice).unwrap_or_default();
            facts.tell_of_path(judged, &way, &CertificateFacts::from_der(leaf, chain.observed_at, false), chain.usage);
        }
        facts
    }

    fn tell_of_issuers(&mut self, way: &Way<'_>, leaf: Option<&X509Certificate<'_>>, chain: &Chain<'_>) {
        let end = |certificate: &X509Certificate<'_>| certificate.validity().not_after.timestamp();
        let Some(first) = way.issuers.iter().min_by_key(|issuer| end(issuer)) else { return };
        let (now, until) = (chain.observed_at.as_second(), end(first));
        self.issuer_subject = Some(first.subject().to_string());
        self.issuer_not_after = date(until);
        self.issuer_days_to_expiry = chain.clock_believed.then_some((until - now).div_euclid(86_400));
        self.issuer_expired = chain.clock_believed.then_some(now > until);
        self.leaf_outlives_issuer = leaf.map(|leaf| end(leaf) > until);
        let keys: Vec<Key> = way.issuers.iter().map(|issuer| Key::of(issuer.public_key())).collect();
        self.issuer_rsa_bits = keys.iter().filter(|key| key.algorithm == "rsa").filter_map(|key| key.bits).min();
        self.issuer_curves = keys.iter().filter_map(|key| key.curve.clone()).collect();
        self.issuer_curves.sort();
        self.issuer_curves.dedup();
        let weaknesses: Option<Vec<Vec<KeyWeakness>>> = keys.into_iter().map(|key| key.weaknesses).collect();
        self.issuer_key_weaknesses = weaknesses.map(|all| {
            let mut all: Vec<KeyWeakness> = all.into_iter().flatten().collect();
            all.sort_unstable();
            all.dedup();
            all
        });
        let signed = |issuer: &&&X509Certificate<'_>| !is_self_issued(issuer);
        self.issuer_weak_signature = Some(way.issuers.iter().filter(signed).any(|issuer| weak_signature(issuer)));
    }

    fn tell_of_path(&mut self, judged: Result<(), PathError>, way: &Way<'_>, leaf: &CertificateFacts, usage: Usage) {
        let Err(PathError { problem, words }) = judged else {
            self.trusted = Some(true);
            return;
        };
        let problem = match problem {
            PathProblem::IssuerMissing => way.end,
            // A key of a kind or size that ring does not use is told as a signature that does not hold.
            PathProblem::BadSignature if self.issuer_rsa_bits.is_some_and(|bits| !(2048..=8192).contains(&bits)) => {
                PathProblem::SignatureAlgorithm
            }
            other => other,
        };
        self.trusted = (problem != PathProblem::SignatureAlgorithm).then_some(false);
        let allowed = match usage {
            Usage::Server => leaf.server_auth,
            Usage::Client => leaf.client_auth,
        };
        let listed = |list: Option<usize>| list.is_some_and(|length| length > 0);
        let departs = listed(leaf.violations.as_ref().map(Vec::len));
        self.problem_is_told = Some(match problem {
            PathProblem::Unreadable => !leaf.parses || departs,
            PathProblem::Validity => departs,
            PathProblem::LeafIsCa => leaf.is_ca == Some(true),
            PathProblem::Usage => allowed == Some(false),
            PathProblem::CriticalExtension => listed(leaf.unknown_critical_extensions.as_ref().map(Vec::len)),
            _ => false,
        });
        self.problem = Some(problem);
        self.error = Some(words);
    }
}

/// The way from the leaf upwards.
struct Way<'a> {
    /// The issuers on it, nearest first.
    issuers: Vec<&'a X509Certificate<'a>>,
    /// How many of the sent certificates are on it, the leaf included.
    sent: usize,
    /// Places of sent certificates that lead beyond the anchor; they are counted in `sent`.
    beyond: Vec<usize>,
    /// How it ends when it does not end in an anchor.
    end: PathProblem,
}

impl<'a> Way<'a> {
    fn find(sent: &'a [Option<X509Certificate<'a>>], anchors: &'a [X509Certificate<'a>]) -> Self {
        let mut way = Self {
            issuers: Vec::new(),
            sent: usize::from(!sent.is_empty()),
            beyond: Vec::new(),
            end: PathProblem::IssuerMissing,
        };
        let Some(Some(leaf)) = sent.first() else { return way };
        let mut at = leaf;
        let mut used = vec![false; sent.len()];
        while way.issuers.len() < MAX_LENGTH {
            if let Some(anchor) = best(anchors.iter(), at) {
                if anchor.as_raw() != at.as_raw() {
                    way.beyond = sent_beyond(anchor, sent, used);
                    way.sent += way.beyond.len();
                }
                if anchor.as_raw() != leaf.as_raw() {
                    way.issuers.push(anchor);
                }
                return way;
            }
            if is_self_issued(at) {
                way.end = if way.issuers.is_empty() { PathProblem::SelfSigned } else { PathProblem::ForeignAuthority };
                return way;
            }
            let free = sent.iter().enumerate().skip(1).filter(|(index, _)| !used[*index]);
            let candidates = free.filter_map(|(index, one)| Some((index, one.as_ref()?)));
            let parents: Vec<_> = candidates.filter(|(_, parent)| issued(at, parent)).collect();
            let Some(parent) = best(parents.iter().map(|(_, parent)| *parent), at) else { return way };
            for (index, other) in &parents {
                used[*index] |= std::ptr::eq(*other, parent);
            }
            way.issuers.push(parent);
            way.sent += 1;
            at = parent;
        }
        way
    }
}

/// Places of the sent certificates that are not `used` and that are the anchor's own, which is needless, or lead clients with
/// other anchors further: certificates of its name and key that somebody else has signed (a new root, say, that an older one
/// vouches for), and their issuers.
fn sent_beyond(anchor: &X509Certificate<'_>, sent: &[Option<X509Certificate<'_>>], mut used: Vec<bool>) -> Vec<usize> {
    let is_anchor = |one: &X509Certificate<'_>| {
        one.subject().as_raw() == anchor.subject().as_raw() && one.public_key().raw == anchor.public_key().raw
    };
    let mut places = Vec::new();
    let mut beyond: Vec<&X509Certificate<'_>> = Vec::new();
    while beyond.len() < MAX_LENGTH {
        let belongs = |one: &X509Certificate<'_>| {
            (is_anchor(one) || beyond.iter().any(|child| issued(child, one)))
                && !beyond.iter().any(|other| other.as_raw() == one.as_raw())
        };
        let free = sent.iter().enumerate().skip(1).filter(|(place, _)| used.get(*place) == Some(&false));
        let found = free.filter_map(|(place, one)| Some((place, one.as_ref()?))).find(|(_, one)| belongs(one));
        let Some((place, next)) = found else { break };
        used[place] = true;
        places.push(place);
        beyond.push(next);
    }
    places
}

/// Of those that bear the name of the issuer of `child`, the one with the key it names, else any.
fn best<'a>(
    candidates: impl Iterator<Item = &'a X509Certificate<'a>>,
    child: &X509Certificate<'_>,
) -> Option<&'a X509Certificate<'a>> {
    let wanted = authority_key(child);
    let named: Vec<_> = candidates.filter(|parent| issued(child, parent)).collect();
    let fits = |parent: &&&X509Certificate<'_>| wanted.is_some() && subject_key(parent) == wanted;
    named.iter().find(fits).or(named.first()).copied()
}

fn issued(child: &X509Certificate<'_>, parent: &X509Certificate<'_>) -> bool {
    child.issuer().as_raw() == parent.subject().as_raw()
}

pub(super) fn is_self_issued(certificate: &X509Certificate<'_>) -> bool {
    certificate.issuer().as_raw() == certificate.subject().as_raw()
}

fn authority_key<'a>(certificate: &X509Certificate<'a>) -> Option<&'a [u8]> {
    certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(identifier) => identifier.key_identifier.as_ref().map(|key| key.0),
        _ => None,
    })
}

fn subject_key<'a>(certificate: &X509Certificate<'a>) -> Option<&'a [u8]> {
    certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0),
        _ => None,
    })
}

fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    X509Certificate::from_der(der).ok().and_then(|(rest, certificate)| rest.is_empty().then_some(certificate))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

    struct Authority {
        der: Vec<u8>,
        issuer: Issuer<'static, KeyPair>,
    }

    fn params(name: &str, ca: bool, years: (i32, i32)) -> CertificateParams {
        let names = if ca { Vec::new() } else { vec![name.to_owned()] };
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        if ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        }
        params.use_authority_key_identifier_extension = true;
        params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        params
    }

    fn root(name: &str) -> Authority {
        let (params, key) = (params(name, true, (2026, 2036)), KeyPair::generate().unwrap());
        Authority { der: params.self_signed(&key).unwrap().der().to_vec(), issuer: Issuer::new(params, key) }
    }

    fn below(parent: &Authority, name: &str, to_year: i32) -> Authority {
        let (params, key) = (params(name, true, (2026, to_year)), KeyPair::generate().unwrap());
        let der = params.signed_by(&key, &parent.issuer).unwrap().der().to_vec();
        Authority { der, issuer: Issuer::new(params, key) }
    }

    fn leaf(parent: &Authority) -> Vec<u8> {
        let params = params("broker.local", false, (2026, 2028));
        params.signed_by(&KeyPair::generate().unwrap(), &parent.issuer).unwrap().der().to_vec()
    }

    fn facts(certificates: &[&[u8]], anchors: Option<&[&[u8]]>) -> ChainFacts {
        let own = |ders: &[&[u8]]| ders.iter().map(|der| der.to_vec()).collect::<Vec<_>>();
        let (certificates, anchors) = (own(certificates), anchors.map(own));
        ChainFacts::of(&Chain {
            certificates: &certificates,
            anchors: anchors.as_deref(),
            usage: Usage::Server,
            observed_at: "2026-02-01T00:00:00Z".parse().unwrap(),
            clock_believed: true,
        })
    }

    #[test]
    fn a_chain_in_order_leads_to_its_anchor() {
        let top = root("root");
        let middle = below(&top, "middle", 2036);
        let end = leaf(&middle);
        let facts = facts(&[&end, &middle.der], Some(&[&top.der]));
        assert_eq!((facts.trusted, facts.problem, facts.ordered, facts.surplus), (Some(true), None, true, 0));
        assert_eq!((facts.issuers, facts.root_sent, facts.leaf_outlives_issuer), (2, false, Some(false)));
        assert_eq!(facts.issuer_curves, ["P-256"]);
        assert_eq!((facts.issuer_key_weaknesses, facts.issuer_weak_signature), (Some(vec![]), Some(false)));
    }

    #[test]
    fn what_is_wrong_with_a_chain_has_a_name() {
        let (top, other) = (root("root"), root("another"));
        let middle = below(&top, "middle", 2036);
        let end = leaf(&middle);
        let problem = |certificates: &[&[u8]], anchors: &[&[u8]]| facts(certificates, Some(anchors)).problem;
        assert_eq!(problem(&[&end], &[&top.der]), Some(PathProblem::IssuerMissing));
        assert_eq!(problem(&[&end, &middle.der, &top.der], &[&other.der]), Some(PathProblem::ForeignAuthority));
        assert_eq!(problem(&[&end, &middle.der], &[&other.der]), Some(PathProblem::IssuerMissing));
        assert_eq!(problem(&[], &[&top.der]), Some(PathProblem::NoCertificate));
        assert_eq!(problem(&[&end], &[b"garbage"]), Some(PathProblem::NoAnchor));
        assert_eq!(problem(&[b"garbage"], &[&top.der]), Some(PathProblem::Unreadable));
        assert_eq!(problem(&[&middle.der], &[&top.der]), Some(PathProblem::LeafIsCa));
        let alone = params("broker.local", false, (2026, 2028)).self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert_eq!(problem(&[alone.der()], &[&top.der]), Some(PathProblem::SelfSigned));
        // Somebody else of the same name.
        let impostor = root("root");
        assert_eq!(problem(&[&leaf(&impostor)], &[&top.der]), Some(PathProblem::BadSignature));
        let wrong = below(&impostor, "middle", 2036);
        assert_eq!(problem(&[&leaf(&wrong), &middle.der], &[&top.der]), Some(PathProblem::BadSignature));
    }

    #[test]
    fn disorder_surplus_and_garbage_are_counted() {
        let (top, other) = (root("root"), root("another"));
        let low = below(&top, "low", 2036);
        let lower = below(&low, "lower", 2036);
        let end = leaf(&lower);
        let swapped = facts(&[&end, &low.der, &lower.der], Some(&[&top.der]));
        assert_eq!((swapped.trusted, swapped.ordered, swapped.surplus), (Some(true), false, 0));
        let more = facts(&[&end, &lower.der, &low.der, &other.der, b"garbage"], Some(&[&top.der]));
        assert_eq!((more.surplus, more.unreadable, more.ordered, more.root_sent), (2, 1, false, true));
        let whole = facts(&[&end, &lower.der, &low.der, &top.der], Some(&[&top.der]));
        assert_eq!((whole.surplus, whole.ordered, whole.root_sent, whole.issuers), (0, true, true, 3));
    }

    #[test]
    fn a_root_that_an_older_one_vouches_for_leads_other_clients_further() {
        let (top, older, other) = (root("root"), root("older"), root("another"));
        let crossed = {
            let params = params("root", true, (2026, 2036));
            params.signed_by(top.issuer.key(), &older.issuer).unwrap().der().to_vec()
        };
        let middle = below(&top, "middle", 2036);
        let end = leaf(&middle);
        let second = {
            let params = params("root", true, (2026, 2036));
            params.signed_by(top.issuer.key(), &other.issuer).unwrap().der().to_vec()
        };
        let told = |certificates: &[&[u8]]| {
            let facts = facts(certificates, Some(&[&top.der]));
            (facts.surplus, facts.ordered)
        };
        assert_eq!(told(&[&end, &middle.der, &crossed]), (0, true));
        assert_eq!(told(&[&end, &middle.der, &crossed, &older.der]), (0, true));
        assert_eq!(told(&[&end, &middle.der, &crossed, &second]), (0, true));
        assert_eq!(told(&[&end, &crossed, &middle.der]), (0, false));
        assert_eq!(told(&[&end, &middle.der, &older.der]), (1, false));
        assert_eq!(told(&[&end, &middle.der, &crossed, &crossed, &other.der]).0, 2);
    }

    #[test]
    fn the_way_beyond_the_anchor_ends_where_every_way_does() {
        let top = root("root");
        let mut chain: Vec<Vec<u8>> = vec![leaf(&top)];
        let mut above = root("the first");
        for number in 0..300 {
            let next = below(&above, &format!("number {number}"), 2036);
            chain.push(std::mem::replace(&mut above, next).der);
        }
        let crossed = params("root", true, (2026, 2036)).signed_by(top.issuer.key(), &above.issuer).unwrap();
        chain.push(above.der);
        chain.push(crossed.der().to_vec());
        let parts: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
        // Those beyond the anchor are followed as far as any way is.
        assert_eq!(facts(&parts, Some(&[&top.der])).surplus, (chain.len() - 1 - MAX_LENGTH) as u64);
    }

    #[test]
    fn the_first_issuer_to_expire_is_told() {
        let top = root("root");
        let middle = below(&top, "middle", 2027);
        let facts = facts(&[&leaf(&middle), &middle.der], None);
        assert_eq!(facts.issuer_subject.as_deref(), Some("CN=middle"));
        assert_eq!((facts.leaf_outlives_issuer, facts.issuer_expired, facts.trusted), (Some(true), Some(false), None));
        assert_eq!(facts.issuer_days_to_expiry, Some(334));
    }
}
