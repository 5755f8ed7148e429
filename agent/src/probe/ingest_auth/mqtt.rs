//! An ingest edge that takes events by MQTT, such as a broker in the cloud: asked by CONNECT as the other is by POST.
//!
//! Nothing is published and nothing subscribed to. The configured password and client certificate go to the configured
//! host once its certificate has verified, and nowhere else. At most ten connections beside the survey of TLS.

use gatepost_evidence::check::broker_transport_posture::Connack;
use gatepost_evidence::check::ingest_auth::Observation;
use gatepost_evidence::check::ingest_auth::mqtt::{MqttCredentials, MqttRequest};
use gatepost_evidence::check::ingest_auth::transport::TransportLook;
use gatepost_evidence::look::{Failure, FailureKind, Look};

use super::client::{Files, made_up};
use super::session::{self, Session, Speak};
use super::transport;
use super::{Limits, Missed, silence};
use crate::config::IngestMqtt;
use crate::files;
use crate::probe::mqtt::{self, Credentials};
use crate::probe::tls::{self, Identity};
use crate::probe::wire::{self, Budget};
use crate::probe::{blocking, canary};
use crate::secret::Secret;

/// Makes the connections.
///
/// # Errors
/// When nothing at all answers.
pub(super) async fn observe(edge: &IngestMqtt, limits: Limits) -> Result<Observation, Missed> {
    let budget = limits.start();
    let settings = edge.clone();
    let (files, password) = blocking(move || {
        let files = super::read_files(
            settings.ca_file.as_deref(),
            settings.crl_file.as_deref(),
            settings.client_certificate.as_deref(),
            settings.client_key.as_deref(),
        );
        Ok((files, settings.password_file.as_deref().map(files::read_secret).transpose()))
    })
    .await?;
    let name = edge.server_name.clone().unwrap_or_else(|| host(&edge.address));
    let asking = Asking { edge, files: &files, password, name: &name, budget: &budget, limits };
    let (mut transport, requests) = tokio::join!(transport::look(&edge.address, &name, &files, &budget), asking.all());
    let requests = requests?;
    let failures: Vec<&Failure> = requests.iter().filter_map(|request| request.answer.failure()).collect();
    if failures.len() == requests.len()
        && let Some(missed) = silence(&failures)
    {
        return Err(missed);
    }
    served(&mut transport, &requests);
    let resumption = session::resumption(&edge.address, &name, &files, &budget, &asking).await;
    transport.resumption = resumption.transpose().map(Look::from);
    Ok(Observation {
        url: format!("mqtts://{}", edge.address),
        plaintext_url: edge.plaintext.as_ref().map(|address| format!("mqtt://{address}")),
        transport: Some(transport),
        mqtt: requests,
        ..Observation::default()
    })
}

/// Whether a client without a certificate got an answer of MQTT.
fn served(transport: &mut TransportLook, requests: &[MqttRequest]) {
    let none = requests.iter().find(|request| request.credentials == MqttCredentials::None);
    transport.served_without_certificate = none.and_then(|request| match &request.answer {
        Look::Seen(_) => Some(true),
        Look::Failed(Failure { kind: FailureKind::TlsAlert, .. }) => Some(false),
        Look::Failed(_) => None,
    });
}

fn host(address: &str) -> String {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']').to_owned()
}

struct Asking<'a> {
    edge: &'a IngestMqtt,
    files: &'a Files,
    password: Result<Option<Secret>, Failure>,
    name: &'a str,
    budget: &'a Budget,
    limits: Limits,
}

impl Speak for &Asking<'_> {
    /// Says CONNECT without user name and password.
    async fn speak(&mut self, session: Session) -> Result<(), Failure> {
        let budget = self.budget.within(self.limits.request);
        match session {
            Session::Nobody(stream) => mqtt::anonymous_tls(stream, &budget).await,
            Session::Configured(stream) => mqtt::authenticated(stream, None, &budget).await,
        }
        .map(drop)
    }
}

impl Asking<'_> {
    async fn all(&self) -> Result<Vec<MqttRequest>, Missed> {
        use MqttCredentials::{None as Nothing, Plaintext, Right, WithoutCertificate, Wrong, WrongCertificate};
        let mut kinds = vec![Nothing, Wrong];
        let certificate = self.files.identity.is_some();
        if certificate || self.edge.username.is_some() {
            kinds.push(Right);
        }
        if certificate {
            kinds.extend([WithoutCertificate, WrongCertificate]);
        }
        if self.edge.plaintext.is_some() {
            kinds.push(Plaintext);
        }
        let mut requests = Vec::new();
        for credentials in kinds {
            let made_up = Secret::new(canary::random::<16>()?);
            let answer = self.ask(credentials, made_up).await.into();
            requests.push(MqttRequest { credentials, answer });
        }
        Ok(requests)
    }

    async fn ask(&self, kind: MqttCredentials, made_up: Secret) -> Result<Connack, Failure> {
        use MqttCredentials::{None as Nothing, Plaintext, Right, WithoutCertificate, Wrong, WrongCertificate};
        let budget = self.budget.within(self.limits.request);
        match kind {
            Plaintext => {
                let address = self.edge.plaintext.as_deref().unwrap_or_default();
                let (wire, _) = wire::dial(address, &budget).await?;
                mqtt::anonymous_plaintext(wire, &budget).await
            }
            Nothing => {
                let (wire, _) = wire::dial(&self.edge.address, &budget).await?;
                let (_, stream) = tls::look(wire, &tls::server_name(self.name)?, None, &budget).await.handshake?;
                mqtt::anonymous_tls(stream, &budget).await
            }
            Wrong => {
                let username = self.edge.username.clone().map_or_else(canary::name, Ok)?;
                let credentials = Credentials { username, password: Some(made_up) };
                // Beside a certificate that is asked for, the password alone is wrong.
                let identity = if self.edge.username.is_some() { self.identity()? } else { None };
                self.connect(identity, Some(credentials), &budget).await
            }
            Right | WithoutCertificate => {
                let identity = if kind == Right { self.identity()? } else { None };
                self.connect(identity, self.credentials()?, &budget).await
            }
            WrongCertificate => self.connect(Some(self::made_up()?), self.credentials()?, &budget).await,
        }
    }

    fn identity(&self) -> Result<Option<Identity>, Failure> {
        match &self.files.identity {
            Some(Ok(Identity { chain, key })) => Ok(Some(Identity { chain: chain.clone(), key: key.clone_key() })),
            Some(Err(failure)) => Err(failure.clone()),
            None => Ok(None),
        }
    }

    fn credentials(&self) -> Result<Option<Credentials>, Failure> {
        let password = self.password.clone()?;
        Ok(self.edge.username.clone().map(|username| Credentials { username, password }))
    }

    /// Credentials go over a connection whose server is authenticated, made-up ones included.
    async fn connect(
        &self,
        identity: Option<Identity>,
        credentials: Option<Credentials>,
        budget: &Budget,
    ) -> Result<Connack, Failure> {
        let anchors = self.files.anchors.as_ref().map_err(Clone::clone)?;
        let (wire, _) = wire::dial(&self.edge.address, budget).await?;
        let stream = tls::trusted(wire, &tls::server_name(self.name)?, anchors, identity, budget).await?;
        mqtt::authenticated(stream, credentials, budget).await
    }
}
