//! What the agent and the sink say to each other over HTTP.
//!
//! * `POST /v1/enrol`: body is a DSSE envelope around an [`Enrolment`], signed with the gateway's new key, which proves
//!   that the sender has it. The answer is [`Enrolled`].
//! * `POST /v1/runs`: body is envelopes, one line of JSON each, compressed with zstd (`Content-Encoding: zstd`), oldest
//!   first. The answer is [`Answers`], one per line, in order.
//!
//! Any other status than 200 has a [`Problem`] as its body. Nothing else ever comes back: no command travels this way.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::envelope::Envelope;
use crate::id::{Digest, GatewayId};
use crate::key::PublicKey;

/// DSSE payload type of an enrolment.
pub const ENROLMENT_TYPE: &str = "application/vnd.gatepost.enrolment+json";
/// Path of enrolment on the sink.
pub const ENROL_PATH: &str = "/v1/enrol";
/// Path of uploads on the sink.
pub const RUNS_PATH: &str = "/v1/runs";
/// The most envelopes in one upload.
pub const MAX_BATCH_ENVELOPES: usize = 256;
/// The most bytes in one upload after decompression.
pub const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;

/// A gateway asks to be known to the sink.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    /// The one-time token an operator gave out. A secret: it is never logged.
    pub token: String,
    /// The key whose private half signed the envelope around this.
    pub public_key: PublicKey,
    /// The gateway's name.
    pub name: String,
    /// The gateway's labels.
    pub labels: BTreeMap<String, String>,
}

/// The sink's answer to an enrolment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Enrolled {
    /// The gateway's identity as the sink computed it.
    pub gateway: GatewayId,
    /// The key that signs receipts from now on.
    pub sink_key: PublicKey,
    /// The sink's clock.
    pub time: Timestamp,
}

/// The sink's answer to an upload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Answers {
    /// One per envelope, in the order they were sent.
    pub answers: Vec<Answer>,
    /// The sink's clock.
    pub time: Timestamp,
}

/// The sink's answer to one envelope.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Answer {
    /// It is on the sink's disk.
    Accepted {
        /// SHA-256 of the payload.
        digest: Digest,
        /// The sink's signed word, a [`crate::receipt::Receipt`].
        receipt: Envelope,
    },
    /// It was there already.
    Duplicate {
        /// SHA-256 of the payload.
        digest: Digest,
        /// The sink's signed word, made when it was accepted.
        receipt: Envelope,
    },
    /// It will never be accepted; sending it again cannot help.
    Rejected {
        /// A stable word for programs, such as `bad_signature`.
        reason: String,
        /// What happened, for people.
        detail: String,
    },
}

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// A stable word for programs.
    pub reason: String,
    /// What happened and what to do, for people.
    pub detail: String,
}
