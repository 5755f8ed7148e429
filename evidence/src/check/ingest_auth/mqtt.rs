//! An ingest edge that takes events by MQTT: the same questions as by HTTP, as far as MQTT has them.
//!
//! Methods, paths, headers, caches and redirects are HTTP's. Whether an event comes twice is told by no answer of MQTT, so
//! that nothing is published here and a replay is not looked at.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::questions::ClientFacts;
use super::{Facts, Observation, Plaintext, wants_certificate};
use crate::check::Unknown;
use crate::check::broker_transport_posture::Connack;
use crate::check::broker_transport_posture::mqtt::let_in;
use crate::look::{Failure, FailureKind, Look};

/// One CONNECT and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MqttRequest {
    /// Which credentials were sent.
    pub credentials: MqttCredentials,
    /// The answer.
    pub answer: Look<Connack>,
}

/// Which credentials a CONNECT carried. The credentials themselves are never recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MqttCredentials {
    /// None, and no client certificate, over TLS.
    None,
    /// The configured user name with a random password, or random ones; no client certificate.
    Wrong,
    /// The configured ones, the client certificate included.
    Right,
    /// The configured ones without the client certificate.
    WithoutCertificate,
    /// The configured ones with a client certificate that was made on the spot.
    WrongCertificate,
    /// None, without TLS.
    Plaintext,
}

/// What only an edge has that speaks MQTT.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MqttFacts {
    /// MQTT is answered without TLS, be it with a refusal: a client that dials there sends its credentials in the clear.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plaintext_spoken: Option<bool>,
    /// Code of the CONNACK to a client without credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unauthenticated_code: Option<u8>,
}

/// The facts that follow from `observation`.
pub(super) fn facts(observation: &Observation, unknown: &mut Unknown) -> Facts {
    let find = |credentials| observation.mqtt.iter().find(|request| request.credentials == credentials);
    let look = |credentials| find(credentials).map(|request| &request.answer);
    let mut taken = |credentials, place: &str| match took(look(credentials)?, observation.certificate_asked()) {
        Ok(taken) => Some(taken),
        Err(failure) => {
            unknown.because(place, failure);
            None
        }
    };
    let unauthenticated_accepted = taken(MqttCredentials::None, "/unauthenticated_accepted");
    let wrong_credentials_accepted = taken(MqttCredentials::Wrong, "/wrong_credentials_accepted");
    let right_credentials_accepted = taken(MqttCredentials::Right, "/right_credentials_accepted");
    let client = find(MqttCredentials::WithoutCertificate).map(|_| ClientFacts {
        without_certificate_accepted: taken(
            MqttCredentials::WithoutCertificate,
            "/client/without_certificate_accepted",
        ),
        wrong_certificate_accepted: taken(MqttCredentials::WrongCertificate, "/client/wrong_certificate_accepted"),
    });
    let plain = look(MqttCredentials::Plaintext);
    let plaintext = match plain {
        None => None,
        Some(Look::Seen(Connack { code: 0, .. })) => Some(Plaintext::Accepts),
        Some(Look::Seen(connack)) => match let_in(connack) {
            Ok(_) => Some(Plaintext::Refuses),
            Err(failure) => {
                unknown.because("/plaintext", failure);
                None
            }
        },
        Some(Look::Failed(Failure { kind: FailureKind::Refused, .. })) => Some(Plaintext::Closed),
        Some(Look::Failed(Failure { kind: FailureKind::Closed | FailureKind::Protocol, .. })) => {
            Some(Plaintext::Refuses)
        }
        Some(Look::Failed(failure)) => {
            unknown.because("/plaintext", failure);
            unknown.because("/mqtt/plaintext_spoken", failure);
            None
        }
    };
    let spoken = plain.and_then(|look| match look {
        Look::Seen(_) => Some(true),
        Look::Failed(_) => plaintext.map(|_| false),
    });
    let code = |credentials| look(credentials).and_then(Look::seen).map(|connack| connack.code);
    let answers = observation.mqtt.iter().filter_map(|request| request.answer.seen());
    Facts {
        url_is_https: observation.url.starts_with("mqtts://"),
        unauthenticated_accepted,
        wrong_credentials_accepted,
        credentials_configured: find(MqttCredentials::Right).is_some(),
        right_credentials_accepted,
        plaintext_tried: plain.is_some(),
        plaintext,
        unauthenticated_status: None,
        right_credentials_status: None,
        answer_micros: answers.map(|connack| connack.micros).next(),
        http: None,
        client,
        transport: None,
        mqtt: Some(MqttFacts { plaintext_spoken: spoken, unauthenticated_code: code(MqttCredentials::None) }),
    }
}

/// Code 0 is yes; one that refuses the client is no, and so is an alert of TLS about the client's certificate. A broker may also end the
/// connection instead of answering (MQTT 3.1.1, section 3.1.4), but a broker that is full or broken does that, too.
fn took(look: &Look<Connack>, asked: bool) -> Result<bool, Failure> {
    match look {
        Look::Seen(connack) => let_in(connack),
        Look::Failed(Failure { kind: FailureKind::TlsAlert, detail }) if wants_certificate(detail, asked) => Ok(false),
        Look::Failed(failure) => Err(failure.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Contract as _, Seen};

    fn request(credentials: MqttCredentials, answer: Look<Connack>) -> MqttRequest {
        MqttRequest { credentials, answer }
    }

    fn code(code: u8) -> Look<Connack> {
        Look::Seen(Connack { code, micros: 5 })
    }

    fn failed(kind: FailureKind, words: &str) -> Look<Connack> {
        Look::Failed(Failure::new(kind, words))
    }

    fn normalise(mqtt: Vec<MqttRequest>) -> (Facts, Unknown) {
        let mut unknown = Unknown::default();
        let seen = Seen { at: "2026-03-01T10:00:00Z".parse().unwrap(), distrust: None };
        let observation = Observation { url: "mqtts://cloud.example:8883".into(), mqtt, ..Observation::default() };
        (super::super::Check::normalise(&observation, &seen, &mut unknown), unknown)
    }

    #[test]
    fn a_sound_broker_refuses_all_but_the_right_ones() {
        use MqttCredentials::{None, Plaintext as Plain, Right, WithoutCertificate, Wrong, WrongCertificate};
        let alert = || failed(FailureKind::TlsAlert, "certificate_required (116)");
        let (facts, unknown) = normalise(vec![
            request(None, alert()),
            request(Wrong, code(5)),
            request(Right, code(0)),
            request(WithoutCertificate, alert()),
            request(WrongCertificate, failed(FailureKind::TlsAlert, "unknown_ca (48)")),
            request(Plain, failed(FailureKind::Refused, "nobody")),
        ]);
        assert_eq!((facts.unauthenticated_accepted, facts.wrong_credentials_accepted), (Some(false), Some(false)));
        assert_eq!((facts.right_credentials_accepted, facts.plaintext), (Some(true), Some(Plaintext::Closed)));
        let client = facts.client.unwrap();
        assert_eq!(client.without_certificate_accepted, Some(false));
        assert_eq!(client.wrong_certificate_accepted, Some(false));
        assert_eq!(facts.mqtt.unwrap().plaintext_spoken, Some(false));
        assert_eq!(unknown, Unknown::default());
    }

    #[test]
    fn a_listener_without_tls_that_refuses_still_speaks() {
        let (facts, _) = normalise(vec![request(MqttCredentials::Plaintext, code(5))]);
        assert_eq!((facts.plaintext, facts.mqtt.unwrap().plaintext_spoken), (Some(Plaintext::Refuses), Some(true)));
    }

    #[test]
    fn a_connection_that_just_ends_says_nothing_about_credentials() {
        let (facts, unknown) =
            normalise(vec![request(MqttCredentials::None, failed(FailureKind::Closed, "not a word"))]);
        assert_eq!(facts.unauthenticated_accepted, None);
        assert!(unknown.reason("/unauthenticated_accepted").unwrap().contains("not a word"));
    }
}
