//! What TLS 1.3 hands out after a handshake: session tickets, whether they are good for anything, and whether they permit early
//! data.
//!
//! Needs a handshake that is finished as somebody whom the server lets in, so it is made by rustls, not by the survey. How long
//! a ticket lives is not told: rustls keeps that to itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::Unknown;
use crate::look::Look;

/// What a TLS 1.3 session left, and a second one made from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resumption {
    /// Tickets that came up to the answer to CONNECT, or to HEAD (RFC 8446, section 4.6.1).
    pub tickets: u32,
    /// The most early data that one of them permits, in bytes; 0 for none.
    pub max_early_data: u32,
    /// Whether a second handshake was shortened by the first ticket; null when there was none.
    pub resumed: Option<Look<bool>>,
}

/// Facts about tickets of TLS 1.3.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResumptionFacts {
    /// How many tickets the server gives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tickets: Option<u32>,
    /// A ticket shortens the next handshake. Absent without a reason where there is no ticket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resumed: Option<bool>,
    /// A ticket permits early data, which whoever listens can send again (RFC 8446, section 8).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub early_data: Option<bool>,
    /// How much, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_early_data: Option<u32>,
}

/// The facts that follow from `look`; reasons for what is missing go to `place` and below.
pub(in crate::check) fn facts(look: &Look<Resumption>, place: &str, unknown: &mut Unknown) -> ResumptionFacts {
    let seen = match look {
        Look::Seen(seen) => seen,
        Look::Failed(failure) => {
            unknown.because(place, failure);
            return ResumptionFacts::default();
        }
    };
    let resumed = match &seen.resumed {
        Some(Look::Seen(resumed)) => Some(*resumed),
        Some(Look::Failed(failure)) => {
            unknown.because(format!("{place}/resumed"), failure);
            None
        }
        None => None,
    };
    ResumptionFacts {
        tickets: Some(seen.tickets),
        resumed,
        early_data: Some(seen.max_early_data > 0),
        max_early_data: Some(seen.max_early_data),
    }
}
