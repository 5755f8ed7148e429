//! What a device's answer to a challenge proves: computed from nonce, certificate and signature, never recorded as a verdict.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Device, DeviceFacts, Source, SourceKind, Unknown, leaf};
use crate::challenge::{Challenge as Question, NONCE_BYTES};
use crate::id::{Digest, GatewayId};
use crate::look::{Bytes, Look};
use crate::signature::{self, Unverifiable};

/// What was asked of a device over MQTT, and what came back beside its certificates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Challenge {
    /// The gateway that asked, as the challenge had it.
    pub gateway: GatewayId,
    /// The 32 random bytes that were to be answered.
    pub nonce: Bytes,
    /// The topic that the answer was expected on.
    pub topic: String,
    /// Whether the broker took the challenge.
    pub asked: Look<Asked>,
    /// The signature that came with the certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Bytes>,
    /// Answers that came meanwhile and answer another challenge.
    pub stale: u32,
    /// Messages that came meanwhile and are no answers.
    pub malformed: u32,
    /// What is wrong with the first of those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub malformed_because: Option<String>,
}

/// The broker took a challenge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// Somebody is subscribed to its topic, by the broker's word (MQTT 5, section 3.4.2.1). Absent when it gave none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscribed: Option<bool>,
    /// Microseconds from the challenge to the answer that counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub micros: Option<u64>,
}

/// What became of a challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChallengeOutcome {
    /// The device has the key of the certificate that it showed.
    Proven,
    /// The signature is not that key's over this challenge.
    WrongSignature,
    /// It holds, but the challenge is another gateway's.
    OtherGateway,
    /// Only answers to other challenges came.
    Stale,
    /// Something came, but no answer.
    Malformed,
    /// Nothing came, though somebody is subscribed or the broker does not say.
    Silent,
    /// Nothing came, and nobody is subscribed.
    NotSubscribed,
}

/// Facts about a challenge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChallengeFacts {
    /// What became of it. Absent when it could not be put, or the key is of a kind that cannot be checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<ChallengeOutcome>,
    /// Answers to other challenges that came meanwhile.
    pub stale_answers: u64,
    /// Messages that are no answers.
    pub malformed_answers: u64,
    /// What is wrong with the first of those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub malformed_because: Option<String>,
}

/// Whether the signature holds.
fn verified(device: &Device, leaf: &[u8], challenge: &Challenge) -> Result<bool, Unverifiable> {
    let nonce: Option<[u8; NONCE_BYTES]> = challenge.nonce.0.as_slice().try_into().ok();
    let signed = nonce.and_then(|nonce| {
        Question { gateway: challenge.gateway, nonce }.signed(Digest::of(leaf), &challenge.topic, &device.id)
    });
    let (Some(signed), Some(Bytes(signature))) = (signed, &challenge.signature) else { return Ok(false) };
    signature::verify(leaf, &signed, signature)
}

/// Whether `source` proves possession; `None` when it is none or nothing can be said.
pub(super) fn proven(device: &Device, source: &Source) -> Option<bool> {
    verified(device, leaf(&source.chain)?, source.challenge.as_ref()?).ok()
}

/// The facts about `source`, if it is a challenge.
pub(super) fn facts(device: &Device, source: &Source, unknown: &mut Unknown) -> Option<ChallengeFacts> {
    const OUTCOME: &str = "/device/challenge/outcome";
    if source.kind != SourceKind::Challenge {
        return None;
    }
    let Some(challenge) = &source.challenge else {
        unknown.because(OUTCOME, format!("{}: what was asked is not recorded", source.location));
        return Some(ChallengeFacts { outcome: None, stale_answers: 0, malformed_answers: 0, malformed_because: None });
    };
    let outcome = match (leaf(&source.chain), &challenge.asked) {
        (Some(leaf), _) => match verified(device, leaf, challenge) {
            Ok(true) => Some(ChallengeOutcome::Proven),
            Ok(false) => Some(ChallengeOutcome::WrongSignature),
            Err(why) => {
                unknown.because(OUTCOME, why);
                None
            }
        },
        (None, Look::Failed(failure)) => {
            unknown.because(OUTCOME, format!("{}: {failure}", source.location));
            None
        }
        (None, Look::Seen(_)) if challenge.stale > 0 => Some(ChallengeOutcome::Stale),
        (None, Look::Seen(_)) if challenge.malformed > 0 => Some(ChallengeOutcome::Malformed),
        (None, Look::Seen(Asked { subscribed: Some(false), .. })) => Some(ChallengeOutcome::NotSubscribed),
        (None, Look::Seen(_)) => Some(ChallengeOutcome::Silent),
    };
    Some(ChallengeFacts {
        outcome,
        stale_answers: challenge.stale.into(),
        malformed_answers: challenge.malformed.into(),
        malformed_because: challenge.malformed_because.clone(),
    })
}

/// An answer to the challenge of another gateway than the one that signed the run proves nothing to this one.
pub(super) fn belongs(device: &Device, gateway: GatewayId, facts: &mut DeviceFacts) {
    let foreign = device.sources.iter().any(|source| {
        source.kind == SourceKind::Challenge && source.challenge.as_ref().is_some_and(|asked| asked.gateway != gateway)
    });
    let Some(challenge) = facts.challenge.as_mut().filter(|_| foreign) else { return };
    if challenge.outcome != Some(ChallengeOutcome::Proven) {
        return;
    }
    challenge.outcome = Some(ChallengeOutcome::OtherGateway);
    if let Some(source) = facts.sources.get_mut(&SourceKind::Challenge.to_string()) {
        source.possession = Some(false);
    }
    facts.possession_proven = facts.sources.values().any(|source| source.possession == Some(true));
}
