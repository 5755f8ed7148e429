//! What the agent and the sink say to each other over HTTP.
//!
//! * `POST /v1/enrol`: body is a DSSE envelope around an [`Enrolment`], signed with the gateway's new key, which proves
//!   that the sender has it. The answer is [`Enrolled`].
//! * `POST /v1/runs`: body is a batch of envelopes, oldest first, as [`crate::batch`] codes it. The answer is [`Answers`], one
//!   per envelope, in order. The header [`LOG_SIZE_HEADER`] says the size of the last checkpoint the gateway saw, and the
//!   answer proves that the sink's log continues that one. A sink whose log is smaller answers 409 with the reason
//!   [`LOG_REWOUND`]; a gateway then asks for its newest checkpoint, and starts over only when that is signed and does not continue
//!   what it knows. One that does not have the run which the body is compressed against answers 415 with the reason
//!   [`UNKNOWN_DICTIONARY`]; both keep nothing of the upload.
//!   The header [`REQUEST_HEADER`] names the request, and the sink signs its answer for that name ([`ANSWER_HEADER`]), so that
//!   no other answer is taken for it ([`crate::bound`]).
//! * `GET /v1/log/checkpoint` is the log's newest checkpoint as a signed note. `GET /v1/log/consistency?from=N&to=M` is a
//!   [`LogConsistency`], `GET /v1/log/inclusion?digest=D` a [`crate::checkpoint::LogProof`]. For anyone who watches the sink; they name no
//!   gateway and need no sign-in.
//!
//! Any other status than 200 has a [`Problem`] as its body. Nothing else ever comes back: no command travels this way.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::envelope::Envelope;
use crate::id::{Digest, GatewayId};
use crate::key::PublicKey;
use crate::log::{ConsistencyProof, InclusionProof};

/// DSSE payload type of an enrolment.
pub const ENROLMENT_TYPE: &str = "application/vnd.gatepost.enrolment+json";
/// Path of enrolment on the sink.
pub const ENROL_PATH: &str = "/v1/enrol";
/// Path of uploads on the sink.
pub const RUNS_PATH: &str = "/v1/runs";
/// Path of the newest checkpoint on the sink.
pub const LOG_CHECKPOINT_PATH: &str = "/v1/log/checkpoint";
/// Path of consistency proofs on the sink.
pub const LOG_CONSISTENCY_PATH: &str = "/v1/log/consistency";
/// Path of inclusion proofs on the sink.
pub const LOG_INCLUSION_PATH: &str = "/v1/log/inclusion";
/// Header of an upload: the size of the last checkpoint the gateway saw of this sink, in decimal; absent means 0.
pub const LOG_SIZE_HEADER: &str = "gatepost-log-size";
/// Header of an upload: what the gateway calls this request, a [`crate::bound::RequestName`].
pub const REQUEST_HEADER: &str = "gatepost-request";
/// Header of the answer to an upload that was given a name: the sink's signature over name, status and body, see
/// [`crate::bound`].
pub const ANSWER_HEADER: &str = "gatepost-answer";
/// Reason of the [`Problem`] of a sink whose log is smaller than one the asker saw.
pub const LOG_REWOUND: &str = "log_rewound";
/// Reason of the [`Problem`] of a sink that does not have the run which an upload is compressed against; the same without a
/// dictionary can be read by any sink.
pub const UNKNOWN_DICTIONARY: &str = "unknown_dictionary";
/// Reason of a [`Rejected`](Answer::Rejected) envelope whose key is not enrolled. Given to a gateway's own key it means that
/// the gateway has to enrol (again), and nothing about the envelope.
pub const UNKNOWN_KEY: &str = "unknown_key";
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
    /// The gateway's first key. The private half of its current one, the same if it was never rotated, signed the envelope
    /// around this.
    pub public_key: PublicKey,
    /// Every rotation since, in order: see [`crate::rotation`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rotations: Vec<Envelope>,
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
    /// The log with the accepted runs in it, a signed note: see [`crate::checkpoint::Checkpoint`].
    pub checkpoint: String,
    /// That this checkpoint continues the one whose size the upload named.
    pub consistency: ConsistencyProof,
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
        /// The leaf of the log that stands for it, from 0.
        index: u64,
        /// That this leaf is in the log of the answers' checkpoint.
        inclusion: InclusionProof,
    },
    /// It was there already.
    Duplicate {
        /// SHA-256 of the payload.
        digest: Digest,
        /// The sink's signed word, made when it was accepted.
        receipt: Envelope,
        /// The leaf of the log that stands for it, from 0.
        index: u64,
        /// That this leaf is in the log of the answers' checkpoint.
        inclusion: InclusionProof,
    },
    /// It will never be accepted; sending it again cannot help.
    Rejected {
        /// A stable word for programs, such as `bad_signature`.
        reason: String,
        /// What happened, for people.
        detail: String,
    },
}

/// That the log of `to` leaves continues the one of `from`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogConsistency {
    /// The earlier size.
    pub from: u64,
    /// The later size.
    pub to: u64,
    /// The proof.
    pub consistency: ConsistencyProof,
}

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// A stable word for programs.
    pub reason: String,
    /// What happened and what to do, for people.
    pub detail: String,
}
