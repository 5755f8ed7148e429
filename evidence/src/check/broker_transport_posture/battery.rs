//! The negative battery: clients that a TLS listener must turn away, each with what the listener answered.
//!
//! A client is a certificate that is wrong in exactly one way. What it met counts only where it says something: a refusal is
//! believed when its reason can be the one that was tried, and, for certificates of the right CA, when a sound client is let
//! in by the same listener. A client that could not be tried, or that is not what it is called, is unknown with what it
//! needs; silence of the broker is never taken for a refusal.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Connack, Listener};
use crate::certificate::CertificateFacts;
use crate::check::{Seen, Unknown};
use crate::look::{Bytes, Failure, FailureKind, Look};

/// What the battery met at one listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Battery {
    /// How many connections were opened for it.
    pub connections: u32,
    /// The most that are opened for it.
    pub connection_limit: u32,
    /// One per member that was asked for, in the order of [`Member::ALL`].
    pub trials: Vec<Trial>,
}

/// One client of the battery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// Which one.
    pub member: Member,
    /// Where its certificate came from.
    pub made: Made,
    /// Its certificate, DER, when an operator supplied it; what was made for this one look is described by [`Member`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Bytes>,
    /// The distinguished name that was copied, where one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copied: Option<Copied>,
    /// The server asked for a certificate and was shown this one, with proof of its key.
    pub shown: bool,
    /// The answer to MQTT CONNECT without user name, or how the connection ended before it; a failure of kind `not_found`
    /// says what is needed to try it.
    pub answer: Look<Connack>,
}

/// A distinguished name that was copied from an accepted issuer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Copied {
    /// The name.
    pub name: String,
    /// Who gave it away.
    pub from: CopiedFrom,
}

/// Who gave the name of an accepted issuer away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CopiedFrom {
    /// The server, in its request for a certificate.
    Server,
    /// The issuer of the configured client's certificate.
    ConfiguredClient,
    /// The configured anchors of the broker.
    Anchors,
}

/// The members of the battery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Member {
    /// A certificate that signed itself, under the configured client's name.
    SelfSigned,
    /// A sound certificate of a CA that was made for this one look.
    WrongCa,
    /// The same, from a CA that calls itself what an accepted issuer is called.
    CopiedIssuer,
    /// Of the right CA, expired.
    Expired,
    /// Of the right CA, not yet valid.
    NotYetValid,
    /// Of the right CA, for TLS servers only (RFC 5280, section 4.2.1.12).
    ServerOnly,
    /// Of the right CA, revoked.
    Revoked,
    /// Of the right CA and sound, under a name of its own: the client that must be let in for the others to say anything.
    Canary,
}

impl Member {
    /// Every member, in the order in which they are tried.
    pub const ALL: [Self; 8] = [
        Self::SelfSigned,
        Self::WrongCa,
        Self::CopiedIssuer,
        Self::Expired,
        Self::NotYetValid,
        Self::ServerOnly,
        Self::Revoked,
        Self::Canary,
    ];

    /// Those that only the owner of the broker's CA can make.
    pub const SUPPLIED: [Self; 5] = [Self::Expired, Self::NotYetValid, Self::ServerOnly, Self::Revoked, Self::Canary];

    /// Its name in configuration, observations and facts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SelfSigned => "self_signed",
            Self::WrongCa => "wrong_ca",
            Self::CopiedIssuer => "copied_issuer",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::ServerOnly => "server_only",
            Self::Revoked => "revoked",
            Self::Canary => "canary",
        }
    }

    /// Whether the right CA has to have signed it.
    fn of_the_right_ca(self) -> bool {
        Self::SUPPLIED.contains(&self)
    }
}

impl std::fmt::Display for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a certificate of the battery came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Made {
    /// Made for this look and forgotten after it.
    OnTheSpot,
    /// Named by the agent's configuration.
    Supplied,
}

/// What the battery says about a listener. A member is absent without a reason where the question does not arise: no CRL is
/// configured and no revoked certificate supplied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BatteryFacts {
    /// The members that were asked for, tried or not.
    pub asked: Vec<Member>,
    /// A certificate that signed itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub self_signed: Option<MemberFacts>,
    /// A certificate of an unknown CA.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wrong_ca: Option<MemberFacts>,
    /// A certificate of an unknown CA with the name of an accepted one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copied_issuer: Option<MemberFacts>,
    /// An expired certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expired: Option<MemberFacts>,
    /// A certificate that is not yet valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_yet_valid: Option<MemberFacts>,
    /// A certificate for TLS servers only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_only: Option<MemberFacts>,
    /// A revoked certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked: Option<MemberFacts>,
    /// The sound one, which is no weakness when it is let in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<MemberFacts>,
}

/// What became of one member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemberFacts {
    /// It was let in: its CONNECT was answered with CONNACK 0.
    pub let_in: bool,
    /// What it was answered: a TLS alert by name and number, `closed`, or a CONNACK with its code.
    pub answer: String,
}

/// The facts of `battery`, which stand at `place`.
pub(super) fn facts(
    battery: &Battery,
    listener: &Listener,
    seen: &Seen,
    place: &str,
    unknown: &mut Unknown,
) -> BatteryFacts {
    let canary = canary_let_in(battery);
    let sound = canary || listener.authenticated.as_ref().is_some_and(lets_in);
    let mut of = |member: Member| {
        let trial = battery.trials.iter().find(|trial| trial.member == member)?;
        match outcome(trial, sound, canary, seen) {
            Ok(facts) => Some(facts),
            Err(why) => {
                unknown.because(format!("{place}/{member}"), why);
                None
            }
        }
    };
    BatteryFacts {
        asked: battery.trials.iter().map(|trial| trial.member).collect(),
        self_signed: of(Member::SelfSigned),
        wrong_ca: of(Member::WrongCa),
        copied_issuer: of(Member::CopiedIssuer),
        expired: of(Member::Expired),
        not_yet_valid: of(Member::NotYetValid),
        server_only: of(Member::ServerOnly),
        revoked: of(Member::Revoked),
        canary: of(Member::Canary),
    }
}

fn lets_in(answer: &Look<Connack>) -> bool {
    answer.seen().is_some_and(|connack| connack.code == 0)
}

/// Whether the battery's own sound client, which has no user name either, is let in.
fn canary_let_in(battery: &Battery) -> bool {
    battery.trials.iter().any(|trial| trial.member == Member::Canary && trial.shown && lets_in(&trial.answer))
}

/// What became of `trial`, at a listener that lets a `sound` client in: the configured one or the `canary`.
fn outcome(trial: &Trial, sound: bool, canary: bool, seen: &Seen) -> Result<MemberFacts, String> {
    if let Look::Failed(failure @ Failure { kind: FailureKind::NotFound, .. }) = &trial.answer {
        return Err(failure.to_string());
    }
    if let Some(der) = &trial.certificate {
        is_what_it_is_called(trial.member, der, seen)?;
    }
    let answered = |let_in, answer: String| Ok(MemberFacts { let_in, answer });
    let (answer, names_it) = match &trial.answer {
        Look::Seen(_) | Look::Failed(Failure { kind: FailureKind::TlsAlert | FailureKind::Closed, .. })
            if !trial.shown =>
        {
            return Err("the server did not ask for a certificate that this one could be shown as".into());
        }
        Look::Seen(Connack { code: 0, .. }) => return answered(true, "CONNACK 0".into()),
        // 1 and 0x84: another protocol version; 3: the server is unavailable (MQTT 3.1.1, table 3.1). None is about the client.
        Look::Seen(Connack { code: code @ (1 | 3 | 0x84), .. }) => {
            return Err(format!("CONNACK {code} is no word about the client"));
        }
        // TLS has taken the certificate by then. Only beside a sound one that is let in does it say that this one is refused,
        // and not everybody who has no user name.
        Look::Seen(Connack { code, .. }) if !canary && trial.member != Member::Canary => {
            return Err(format!(
                "CONNACK {code} came after the certificate was taken, and may be for want of a user name; needs a canary of \
                 [broker.battery] that is let in"
            ));
        }
        Look::Seen(Connack { code, .. }) => (format!("CONNACK {code}"), true),
        Look::Failed(Failure { kind: FailureKind::TlsAlert, detail }) => (detail.clone(), names_a_certificate(detail)),
        Look::Failed(Failure { kind: FailureKind::Closed, .. }) => ("closed".into(), false),
        Look::Failed(failure) => return Err(failure.to_string()),
    };
    if trial.member.of_the_right_ca() && number(&answer) == Some(UNKNOWN_CA) {
        return Err(format!(
            "{answer}: it was refused for its issuer; needs a certificate of a CA that the broker accepts"
        ));
    }
    if !sound && (trial.member.of_the_right_ca() || !names_it) {
        let words = "and no sound client is known to be let in; needs client_certificate of [broker] or canary of \
                     [broker.battery]";
        return Err(format!("{answer}, {words}"));
    }
    answered(false, answer)
}

const UNKNOWN_CA: u8 = 48;

/// The number of an alert written as `name (number)`.
fn number(alert: &str) -> Option<u8> {
    alert.strip_suffix(')')?.rsplit_once('(')?.1.parse().ok()
}

/// Whether an alert speaks of the peer's certificate or its right: bad_certificate to unknown_ca without 47, access_denied,
/// and decrypt_error, which OpenSSL sends for a certificate whose signature does not verify (RFC 8446, section 6.2).
fn names_a_certificate(alert: &str) -> bool {
    matches!(number(alert), Some(42..=46 | 48 | 49 | 51))
}

/// A certificate that is wrong in another way than it is called would accuse a broker that is right, or acquit one that is
/// not.
fn is_what_it_is_called(member: Member, der: &Bytes, seen: &Seen) -> Result<(), String> {
    let facts = CertificateFacts::from_der(&der.0, seen.at, seen.clock_believed());
    let supplied = |words: &str| Err(format!("the certificate supplied as {member} {words}"));
    if !facts.parses {
        return supplied("is no certificate");
    }
    if let Some(distrust) = seen.distrust {
        return Err(format!("{distrust}, so whether the certificate supplied as {member} is that cannot be told"));
    }
    let dates = (facts.expired == Some(true), facts.not_yet_valid == Some(true));
    let right = match member {
        Member::Expired => dates == (true, false),
        Member::NotYetValid => dates == (false, true),
        _ => dates == (false, false),
    };
    if !right {
        let (from, to) = (facts.not_before.unwrap_or_default(), facts.not_after.unwrap_or_default());
        return supplied(&format!("is valid from {from} to {to}; make the battery anew"));
    }
    match (member == Member::ServerOnly, facts.client_auth == Some(true)) {
        (true, true) => supplied("is for TLS clients too"),
        (false, false) => supplied("is not for TLS clients"),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "battery_tests.rs"]
mod tests;
