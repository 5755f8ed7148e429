//! What hand-made ClientHellos bring out of one TLS listener, and the facts that follow.
//!
//! No handshake is finished. The observation holds the server's choices as code points and the answers that ended each
//! list; names and properties come from [`super::code`]. A list that ended with anything but a refusal is not known to be
//! whole: what it holds is known to be accepted, what it lacks is unknown.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::TlsVersion;
use super::code::{self, Code, Properties, group_is_post_quantum, group_is_weak, group_name, suite_name};
use crate::check::Unknown;
use crate::look::{Failure, FailureKind, Look};

/// What was brought out of one listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Survey {
    /// TCP connections that it took.
    pub connections: u32,
    /// The most that it could have taken.
    pub connection_limit: u32,
    /// How long it took, in milliseconds.
    pub millis: u64,
    /// One per version, oldest first.
    pub versions: Vec<VersionSurvey>,
    /// The answer to a version below the best accepted one, offered with `TLS_FALLBACK_SCSV` (RFC 7507); null when fewer
    /// than two versions are accepted.
    pub fallback: Option<Look<Answer>>,
    /// The answer to an offer with ALPN (RFC 7301) `mqtt` and `http/1.1` in the newest accepted version before TLS 1.3, and
    /// the protocol in it; null when there is no such version.
    pub alpn: Option<Look<Alpn>>,
}

/// What was brought out about one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VersionSurvey {
    /// The version, offered on its own.
    pub version: TlsVersion,
    /// The cipher suites that the server chose, in the order it chose them; each was left out of the offers after it.
    pub suites: Vec<Code>,
    /// The answer to the last offer, of all the suites that had not been chosen.
    pub end: Look<Answer>,
    /// Two of the suites, offered alone in the other order; null where there are no two.
    pub order: Option<OrderTrial>,
    /// The key exchange groups that the server chose, in the order it chose them; each was left out or put last in the
    /// offers after it. Empty where groups were not asked for.
    pub groups: Vec<Code>,
    /// The answer that ended the list of groups; null where groups were not asked for.
    pub groups_end: Option<Look<Answer>>,
    /// Finite field groups that the server used in a ServerKeyExchange.
    pub dh: Vec<DhGroup>,
    /// Extension types in its ServerHellos.
    pub extensions: BTreeSet<Code>,
    /// Compression methods in its ServerHellos; 0 is none.
    pub compression: BTreeSet<u8>,
    /// It gave the session an id, so that it can be resumed by it (RFC 5246, section 7.4.1.3). False for TLS 1.3.
    pub session_id: bool,
    /// Its random ends in the mark of a server that was offered less than it can do (RFC 8446, section 4.1.3).
    pub downgrade_mark: bool,
}

/// Two suites in the other order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderTrial {
    /// The two suites, in the order they were offered now.
    pub offered: Vec<Code>,
    /// Which of the two the server had chosen when they were offered the other way round.
    pub before: Code,
    /// The answer.
    pub answer: Look<Answer>,
}

/// A finite field group (RFC 5246, section 7.4.3).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DhGroup {
    /// Length of the prime in bits.
    pub bits: u32,
    /// SHA-256 of the prime, big endian without leading zeroes: the same prime on many servers is worth one big computation.
    pub prime_sha256: String,
}

/// What a server answered to a ClientHello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Answer {
    /// A ServerHello or a HelloRetryRequest.
    Hello {
        /// The version it chose.
        version: Code,
        /// The suite it chose.
        suite: Code,
    },
    /// An alert (RFC 8446, section 6).
    Alert {
        /// 1 warning, 2 fatal.
        level: u8,
        /// Its number in the registry.
        description: u8,
    },
}

/// An answer to ALPN.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Alpn {
    /// The answer.
    pub answer: Answer,
    /// The protocol that the server chose; null when it did not answer the extension.
    pub protocol: Option<String>,
}

/// Facts about one TLS listener, from its survey.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TlsFacts {
    /// SSL 3.0 is accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssl3: Option<bool>,
    /// TLS 1.0 is accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls10: Option<bool>,
    /// TLS 1.1 is accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls11: Option<bool>,
    /// A version before TLS 1.3 is accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before_tls13: Option<bool>,
    /// A version before TLS 1.2 is accepted beside a newer one, so that a client can be pushed down to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub downgradable: Option<bool>,
    /// Names of the suites that were accepted, by version, in the order the server chose them.
    pub suites: BTreeMap<String, Vec<String>>,
    /// Accepted suites that do not encrypt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub null_suites: Option<Vec<String>>,
    /// Accepted suites that authenticate nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anonymous_suites: Option<Vec<String>>,
    /// Accepted suites that were weakened for export.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub export_suites: Option<Vec<String>>,
    /// Accepted suites with RC4.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rc4_suites: Option<Vec<String>>,
    /// Accepted suites with blocks of 64 bits: DES, 3DES, RC2, IDEA.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub small_block_suites: Option<Vec<String>>,
    /// Accepted suites without forward secrecy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub static_key_suites: Option<Vec<String>>,
    /// Accepted suites in CBC mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cbc_suites: Option<Vec<String>>,
    /// A suite with authenticated encryption is accepted in TLS 1.2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls12_aead: Option<bool>,
    /// One of the suites without encryption, without authentication, for export, with RC4 or with small blocks is accepted
    /// beside another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weak_beside_strong: Option<bool>,
    /// Before TLS 1.3 the server's order of suites counts, not the client's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_order: Option<bool>,
    /// Names of the key exchange groups that were accepted, by version, in the order the server chose them.
    pub groups: BTreeMap<String, Vec<String>>,
    /// Accepted groups with less than 112 bits of strength.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weak_groups: Option<Vec<String>>,
    /// A group with ML-KEM is accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub post_quantum: Option<bool>,
    /// A suite with finite field Diffie-Hellman is accepted before TLS 1.3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dhe: Option<bool>,
    /// The smallest finite field group before TLS 1.3, in bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dh_bits: Option<u32>,
    /// The server knows secure renegotiation (RFC 5746).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secure_renegotiation: Option<bool>,
    /// The server compresses (RFC 3749).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<bool>,
    /// The server answers the heartbeat extension (RFC 6520).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<bool>,
    /// The server binds the master secret to the handshake (RFC 7627).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extended_master_secret: Option<bool>,
    /// The server encrypts before it authenticates (RFC 7366); known where a CBC suite is accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypt_then_mac: Option<bool>,
    /// The server gives session tickets before TLS 1.3 (RFC 5077).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_tickets: Option<bool>,
    /// The server gives session ids before TLS 1.3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_ids: Option<bool>,
    /// The server staples an OCSP answer before TLS 1.3 (RFC 6066, section 8).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ocsp_stapling: Option<bool>,
    /// The server refuses a client that fell back without need (RFC 7507).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback_scsv: Option<bool>,
    /// The server marks a version below its best in its random (RFC 8446, section 4.1.3); known where TLS 1.3 and an
    /// older version are accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub downgrade_mark: Option<bool>,
    /// The protocol that the server chose of `mqtt` and `http/1.1` (ALPN).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpn: Option<String>,
}

impl Survey {
    /// Whether `version` is accepted; the reason when that is not known.
    ///
    /// # Errors
    /// The failure that hides it.
    pub fn accepted(&self, version: TlsVersion) -> Result<bool, Failure> {
        match self.versions.iter().find(|survey| survey.version == version) {
            Some(survey) if !survey.suites.is_empty() => Ok(true),
            Some(survey) => self.refused(&survey.end).map(|()| false),
            None => Err(Failure::new(FailureKind::Error, "this version was not offered")),
        }
    }

    /// Whether an answer refuses what was offered. A fatal alert does, and so does another version. A peer that closes
    /// without a word, or has an internal error, and did so both times it was asked, refuses where other offers were
    /// answered: it is there, and speaks TLS. (OpenSSL 3 answers a version that is compiled in and has no usable signature
    /// with an internal error.)
    fn refused(&self, answer: &Look<Answer>) -> Result<(), Failure> {
        // close_notify and user_canceled end a connection without a word about the offer.
        const NO_REFUSAL: [u8; 2] = [0, 90];
        const INTERNAL_ERROR: u8 = 80;
        match answer {
            Look::Seen(Answer::Alert { description: INTERNAL_ERROR, .. }) if !self.spoke() => {
                Err(Failure::new(FailureKind::TlsAlert, "internal_error (80), and no offer was answered otherwise"))
            }
            Look::Seen(Answer::Alert { level: 2, description }) if !NO_REFUSAL.contains(description) => Ok(()),
            Look::Seen(Answer::Alert { level, description }) => Err(Failure::new(
                FailureKind::TlsAlert,
                format_args!("alert {description} of level {level} does not say that the offer is refused"),
            )),
            Look::Seen(Answer::Hello { .. }) => Ok(()),
            Look::Failed(failure) if failure.kind == FailureKind::Closed && self.spoke() => Ok(()),
            Look::Failed(failure) => Err(failure.clone()),
        }
    }

    fn spoke(&self) -> bool {
        self.versions.iter().any(|survey| !survey.suites.is_empty())
    }
}

/// The facts that follow from `survey`; reasons for what is missing go below `place`.
pub(in crate::check) fn facts(survey: &Survey, place: &str, unknown: &mut Unknown) -> TlsFacts {
    let mut reading = Reading { survey, place, unknown };
    let mut facts = TlsFacts::default();
    reading.versions(&mut facts);
    reading.suites(&mut facts);
    reading.groups(&mut facts);
    reading.extensions(&mut facts);
    facts
}

struct Reading<'a> {
    survey: &'a Survey,
    place: &'a str,
    unknown: &'a mut Unknown,
}

impl<'a> Reading<'a> {
    fn because<T>(&mut self, fact: &str, reason: impl std::fmt::Display) -> Option<T> {
        self.unknown.because(format!("{}/{fact}", self.place), reason);
        None
    }

    fn older(&self) -> impl Iterator<Item = &'a VersionSurvey> + use<'a> {
        self.survey.versions.iter().filter(|survey| survey.version != TlsVersion::Tls13 && !survey.suites.is_empty())
    }

    fn accepted(&mut self, version: TlsVersion, fact: &str) -> Option<bool> {
        match self.survey.accepted(version) {
            Ok(accepted) => Some(accepted),
            Err(failure) => self.because(fact, failure),
        }
    }

    /// True as soon as one of `parts` is, false only if all are known to be.
    fn any(&mut self, fact: &str, parts: impl IntoIterator<Item = Result<bool, Failure>>) -> Option<bool> {
        let mut hidden = None;
        for part in parts {
            match part {
                Ok(true) => return Some(true),
                Ok(false) => {}
                Err(failure) => hidden = Some(failure),
            }
        }
        match hidden {
            Some(failure) => self.because(fact, failure),
            None => Some(false),
        }
    }

    fn versions(&mut self, facts: &mut TlsFacts) {
        use TlsVersion::{Ssl3, Tls10, Tls11, Tls12, Tls13};
        let survey = self.survey;
        facts.ssl3 = self.accepted(Ssl3, "ssl3");
        facts.tls10 = self.accepted(Tls10, "tls10");
        facts.tls11 = self.accepted(Tls11, "tls11");
        facts.before_tls13 =
            self.any("before_tls13", [Ssl3, Tls10, Tls11, Tls12].map(|version| survey.accepted(version)));
        let old = self.any("downgradable", [Ssl3, Tls10, Tls11].map(|version| survey.accepted(version)));
        let count = survey.versions.iter().filter(|version| !version.suites.is_empty()).count();
        let hidden = [Tls10, Tls11, Tls12, Tls13].into_iter().find_map(|version| survey.accepted(version).err());
        facts.downgradable = match (old, count, hidden) {
            (Some(true), 0 | 1, Some(failure)) => self.because("downgradable", failure),
            (Some(true), count, _) => Some(count > 1),
            (old, _, _) => old,
        };
        let marked = self.older().any(|survey| survey.downgrade_mark);
        facts.downgrade_mark = match (survey.accepted(Tls13), self.older().next()) {
            (Ok(true), Some(_)) => Some(marked),
            _ => self.because("downgrade_mark", "TLS 1.3 and an older version are not both known to be accepted"),
        };
    }

    /// The names of accepted suites with a property, each once; none only when every list is whole.
    fn with(&mut self, fact: &str, property: impl Fn(&Properties) -> bool) -> Option<Vec<String>> {
        let mut names = Vec::new();
        for code in self.survey.versions.iter().flat_map(|survey| &survey.suites) {
            let name = suite_name(*code);
            if code::properties(&name).is_some_and(|properties| property(&properties)) && !names.contains(&name) {
                names.push(name);
            }
        }
        match self.incomplete().filter(|_| names.is_empty()) {
            Some(failure) => self.because(fact, failure),
            None => Some(names),
        }
    }

    /// Why a list of suites may not be whole, if one may not.
    fn incomplete(&self) -> Option<Failure> {
        let nameless = |survey: &VersionSurvey| {
            let code = survey.suites.iter().find(|code| code::properties(&suite_name(**code)).is_none())?;
            Some(Failure::new(FailureKind::Unparseable, format_args!("suite 0x{code} was accepted and has no name")))
        };
        let hidden = |survey: &VersionSurvey| self.survey.refused(&survey.end).err().or_else(|| nameless(survey));
        self.survey.versions.iter().find_map(hidden)
    }

    fn suites(&mut self, facts: &mut TlsFacts) {
        for survey in self.survey.versions.iter().filter(|survey| !survey.suites.is_empty()) {
            let names = survey.suites.iter().map(|code| suite_name(*code)).collect();
            facts.suites.insert(survey.version.name().to_owned(), names);
        }
        facts.null_suites = self.with("null_suites", |suite| suite.null);
        facts.anonymous_suites = self.with("anonymous_suites", |suite| suite.anonymous);
        facts.export_suites = self.with("export_suites", |suite| suite.export);
        facts.rc4_suites = self.with("rc4_suites", |suite| suite.rc4);
        facts.small_block_suites = self.with("small_block_suites", |suite| suite.small_block);
        facts.static_key_suites = self.with("static_key_suites", |suite| !suite.forward_secrecy);
        facts.cbc_suites = self.with("cbc_suites", |suite| suite.cbc);
        let weak = |suite: &Properties| suite.null || suite.anonymous || suite.export || suite.rc4 || suite.small_block;
        let weaker = self.with("weak_beside_strong", weak);
        let stronger = self.with("weak_beside_strong", |suite| !weak(suite));
        facts.weak_beside_strong = weaker.zip(stronger).map(|(weak, strong)| !weak.is_empty() && !strong.is_empty());
        facts.dhe = self.with("dhe", |suite| suite.dhe).map(|names| !names.is_empty());
        facts.dh_bits = self.older().flat_map(|survey| &survey.dh).map(|group| group.bits).min();
        if facts.dh_bits.is_none() {
            self.because::<()>("dh_bits", "no finite field group was seen");
        }
        facts.tls12_aead = self.tls12_aead();
        facts.server_order = self.server_order();
    }

    fn tls12_aead(&mut self) -> Option<bool> {
        let tls12 = self.survey.versions.iter().find(|survey| survey.version == TlsVersion::Tls12);
        let Some(tls12) = tls12.filter(|survey| !survey.suites.is_empty()) else {
            return self.because("tls12_aead", "TLS 1.2 is not known to be accepted");
        };
        let aead = |code: &Code| code::properties(&suite_name(*code)).is_some_and(|properties| properties.aead);
        let found = tls12.suites.iter().any(aead);
        match self.survey.refused(&tls12.end).err().filter(|_| !found) {
            Some(failure) => self.because("tls12_aead", failure),
            None => Some(found),
        }
    }

    fn server_order(&mut self) -> Option<bool> {
        let mut order = None;
        for trial in self.older().filter_map(|survey| survey.order.as_ref()) {
            match &trial.answer {
                Look::Seen(Answer::Hello { suite, .. }) => {
                    order = Some(order.unwrap_or(true) && *suite == trial.before)
                }
                Look::Seen(Answer::Alert { description, .. }) => {
                    return self.because("server_order", format_args!("alert {description} to suites accepted before"));
                }
                Look::Failed(failure) => return self.because("server_order", failure),
            }
        }
        order.or_else(|| self.because("server_order", "no version before TLS 1.3 accepts two suites"))
    }

    fn groups(&mut self, facts: &mut TlsFacts) {
        let mut all = Vec::new();
        for survey in self.survey.versions.iter().filter(|survey| !survey.groups.is_empty()) {
            let names = survey.groups.iter().map(|code| group_name(*code)).collect();
            facts.groups.insert(survey.version.name().to_owned(), names);
            all.extend(survey.groups.iter().copied());
        }
        let hidden = self.survey.versions.iter().find_map(|survey| {
            let asked = survey.groups_end.as_ref().map(|end| self.survey.refused(end).err());
            asked.flatten().or_else(|| self.survey.refused(&survey.end).err())
        });
        let weak: Vec<_> = all.iter().filter(|code| group_is_weak(**code)).map(|code| group_name(*code)).collect();
        facts.weak_groups = match hidden.clone().filter(|_| weak.is_empty()) {
            Some(failure) => self.because("weak_groups", failure),
            None => Some(weak),
        };
        let post_quantum = all.iter().any(|code| group_is_post_quantum(*code));
        facts.post_quantum = match hidden.filter(|_| !post_quantum) {
            Some(failure) => self.because("post_quantum", failure),
            None => Some(post_quantum),
        };
    }

    fn extensions(&mut self, facts: &mut TlsFacts) {
        const STATUS_REQUEST: u16 = 5;
        const HEARTBEAT: u16 = 15;
        const ENCRYPT_THEN_MAC: u16 = 22;
        const EXTENDED_MASTER_SECRET: u16 = 23;
        const SESSION_TICKET: u16 = 35;
        const RENEGOTIATION_INFO: u16 = 0xff01;
        let names = ["heartbeat", "session_tickets", "session_ids", "ocsp_stapling", "extended_master_secret"];
        if self.older().next().is_none() {
            for fact in ["secure_renegotiation", "compression"].into_iter().chain(names) {
                self.because::<()>(fact, "no version before TLS 1.3 is known to be accepted");
            }
        } else {
            let any = |kind: u16| self.older().any(|survey| survey.extensions.contains(&Code(kind)));
            facts.compression = Some(self.older().any(|survey| survey.compression.iter().any(|method| *method != 0)));
            facts.secure_renegotiation =
                Some(self.older().all(|survey| survey.extensions.contains(&Code(RENEGOTIATION_INFO))));
            facts.heartbeat = Some(any(HEARTBEAT));
            facts.session_tickets = Some(any(SESSION_TICKET));
            facts.session_ids = Some(self.older().any(|survey| survey.session_id));
            facts.ocsp_stapling = Some(any(STATUS_REQUEST));
            // SSL 3.0 has no extensions to speak of.
            let mut tls = self.older().filter(|survey| survey.version != TlsVersion::Ssl3).peekable();
            facts.extended_master_secret = match tls.peek() {
                Some(_) => Some(tls.all(|survey| survey.extensions.contains(&Code(EXTENDED_MASTER_SECRET)))),
                None => {
                    self.because("extended_master_secret", "no version that has extensions is known to be accepted")
                }
            };
        }
        let cbc = |code: &Code| code::properties(&suite_name(*code)).is_some_and(|suite| suite.cbc);
        let mut with_cbc = self.older().filter(|survey| survey.suites.iter().any(cbc)).peekable();
        facts.encrypt_then_mac = match with_cbc.peek() {
            Some(_) => Some(with_cbc.any(|survey| survey.extensions.contains(&Code(ENCRYPT_THEN_MAC)))),
            None => self.because("encrypt_then_mac", "no suite in CBC mode is known to be accepted"),
        };
        const INAPPROPRIATE_FALLBACK: u8 = 86;
        facts.fallback_scsv = match &self.survey.fallback {
            Some(Look::Seen(Answer::Alert { description: INAPPROPRIATE_FALLBACK, .. })) => Some(true),
            Some(Look::Seen(Answer::Hello { .. })) => Some(false),
            Some(Look::Seen(Answer::Alert { description, .. })) => {
                self.because("fallback_scsv", format_args!("alert {description} says nothing of a fallback"))
            }
            Some(Look::Failed(failure)) => self.because("fallback_scsv", failure),
            None => self.because("fallback_scsv", "fewer than two versions are known to be accepted"),
        };
        facts.alpn = match &self.survey.alpn {
            Some(Look::Seen(alpn)) => alpn.protocol.clone(),
            Some(Look::Failed(failure)) => self.because("alpn", failure),
            None => None,
        };
        if facts.alpn.is_none() && matches!(self.survey.alpn, Some(Look::Seen(_)) | None) {
            self.because::<()>("alpn", "the server chose no protocol");
        }
    }
}

#[cfg(test)]
#[path = "survey_tests.rs"]
mod tests;
