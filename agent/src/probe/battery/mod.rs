//! The negative battery: throw-away clients, each wrong in one way, at one TLS listener.
//!
//! Three are made on the spot; four that only the owner of the CA can make, and a sound one beside them, come from files
//! that `gatepost battery` wrote. One connection each, one after the other, bounded in number and time: a handshake, CONNECT
//! without a user name under a canary client id, DISCONNECT. Keys that are made here are never written anywhere. What has no
//! certificate to be tried with says what it needs.

pub mod certificate;
pub mod mint;

use std::sync::Arc;
use std::time::Duration;

use gatepost_evidence::check::broker_transport_posture::Connack;
use gatepost_evidence::check::broker_transport_posture::battery::{Battery, Copied, CopiedFrom, Made, Member, Trial};
use gatepost_evidence::look::{Bytes, Failure, FailureKind, Look};
use jiff::{SignedDuration, Timestamp};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::x509::X509Name;

use super::tls::{self, Identity};
use super::wire::{self, Budget};
use super::{blocking, mqtt};
use crate::{config, files};
use certificate::{Key, Plan, Purpose};

/// The most connections to one listener.
const CONNECTIONS: u32 = 8;
/// The most time for one listener.
const TOTAL: Duration = Duration::from_secs(6);
/// After so many trials without any answer in time the rest is left alone.
const SILENCES: usize = 2;
/// Common name of what is made here.
const NAME: &str = "gatepost-canary";

/// One listener, and what is known of it.
pub struct Ground<'a> {
    /// Where it is.
    pub address: &'a str,
    /// Its name in TLS.
    pub name: &'a ServerName<'static>,
    /// The broker's part of the configuration.
    pub broker: &'a config::Broker,
    /// Whether the broker's configuration names a CRL for it; none when that is not known.
    pub crl: Option<bool>,
}

/// Tries every member at one listener.
pub async fn look(ground: &Ground<'_>, budget: &Budget) -> Battery {
    let budget = budget.within(TOTAL);
    let broker = ground.broker.clone();
    let files = blocking(move || Ok(Files::read(&broker))).await;
    let mut looking = Looking { ground, budget, connections: 0, silences: 0, issuer: None };
    let mut trials = Vec::new();
    for member in Member::ALL {
        let supplied = match &files {
            Ok(files) => files.supplied.iter().find(|(known, _)| *known == member).map(|(_, found)| found),
            Err(missed) => {
                trials.push(not_tried(member, Failure::new(FailureKind::Error, missed)));
                continue;
            }
        };
        let trial = match supplied {
            Some(Ok(identity)) => looking.supplied(member, identity).await,
            Some(Err(failure)) => not_tried(member, failure.clone()),
            // Nobody revokes: what is revoked is not a question then.
            None if member == Member::Revoked && ground.crl == Some(false) => continue,
            None if Member::SUPPLIED.contains(&member) => not_tried(member, needs(member)),
            None => match files.as_ref() {
                Ok(files) => looking.made(member, files).await,
                Err(_) => continue,
            },
        };
        trials.push(trial);
    }
    Battery { connections: looking.connections, connection_limit: CONNECTIONS, trials }
}

fn needs(member: Member) -> Failure {
    let words = format!("needs `{member}` of [broker.battery]; `gatepost battery` makes it where the key of the CA is");
    Failure::new(FailureKind::NotFound, words)
}

fn not_tried(member: Member, failure: Failure) -> Trial {
    let made = if Member::SUPPLIED.contains(&member) { Made::Supplied } else { Made::OnTheSpot };
    Trial { member, made, certificate: None, copied: None, shown: false, answer: Look::Failed(failure) }
}

/// A member's certificate and key, from the one file that holds both.
///
/// # Errors
/// When there is no such member, or its file cannot be read.
pub fn supplied(broker: &config::Broker, member: Member) -> Result<Identity, Failure> {
    let path = broker.battery.file(member).ok_or_else(|| needs(member))?;
    Ok(Identity { chain: files::read_certificates(&path)?, key: files::read_private_key(&path)? })
}

/// What is read before anything is dialled.
struct Files {
    supplied: Vec<(Member, Result<Identity, Failure>)>,
    /// The configured client's certificate.
    client: Option<Bytes>,
    anchor: Option<Bytes>,
}

impl Files {
    fn read(broker: &config::Broker) -> Self {
        let first = |path: &Option<std::path::PathBuf>| {
            path.as_deref()
                .and_then(|path| files::read_certificates(path).ok())
                .and_then(|found| found.into_iter().next())
        };
        let named = Member::ALL.into_iter().filter(|member| broker.battery.file(*member).is_some());
        // A folder made without a CRL has no revoked certificate in it.
        let absent = |member: Member, found: &Result<Identity, Failure>| {
            let gone = found.as_ref().is_err_and(|failure| failure.kind == FailureKind::NotFound);
            member == Member::Revoked && gone && broker.battery.revoked.is_none()
        };
        let read = named.map(|member| (member, supplied(broker, member)));
        Self {
            supplied: read.filter(|(member, found)| !absent(*member, found)).collect(),
            client: first(&broker.client_certificate),
            anchor: first(&broker.ca_file),
        }
    }
}

/// The trials so far.
struct Looking<'a> {
    ground: &'a Ground<'a>,
    budget: Budget,
    connections: u32,
    silences: usize,
    /// The first name that the server said it accepts.
    issuer: Option<Bytes>,
}

impl Looking<'_> {
    async fn supplied(&mut self, member: Member, identity: &Identity) -> Trial {
        let leaf = identity.chain.first().cloned();
        let key = certified(identity.chain.iter().map(|der| der.0.clone()).collect(), &identity.key);
        let mut trial = match key {
            Ok(key) => self.show(member, key).await,
            Err(failure) => not_tried(member, failure),
        };
        (trial.certificate, trial.made) = (leaf, Made::Supplied);
        trial
    }

    async fn made(&mut self, member: Member, files: &Files) -> Trial {
        let copied = match member {
            Member::CopiedIssuer => match self.to_copy(files) {
                Some(found) => Some(found),
                None => {
                    let words = "needs the name of an accepted issuer, which the server did not disclose: ca_file or \
                                 client_certificate of [broker]";
                    return not_tried(member, Failure::new(FailureKind::NotFound, words));
                }
            },
            _ => None,
        };
        let client = files.client.as_ref().and_then(|der| subject(&der.0));
        let made = make(member, copied.as_ref().map(|(name, _)| name.as_slice()), client);
        let mut trial = match made {
            Ok(key) => self.show(member, key).await,
            Err(failure) => not_tried(member, failure),
        };
        trial.copied = copied.map(|(name, from)| {
            let text = X509Name::from_der(&name).map_or_else(|_| wire::hex(&name), |(_, name)| name.to_string());
            Copied { name: text.chars().take(300).collect(), from }
        });
        trial
    }

    /// The name of an accepted issuer, and from whom it is known.
    fn to_copy(&self, files: &Files) -> Option<(Vec<u8>, CopiedFrom)> {
        let disclosed = self.issuer.as_ref().map(|der| (der.0.clone(), CopiedFrom::Server));
        let client = || files.client.as_ref().and_then(|der| Some((issuer(&der.0)?, CopiedFrom::ConfiguredClient)));
        let anchor = || files.anchor.as_ref().and_then(|der| Some((subject(&der.0)?, CopiedFrom::Anchors)));
        disclosed.or_else(client).or_else(anchor)
    }

    async fn show(&mut self, member: Member, key: CertifiedKey) -> Trial {
        let mut trial = not_tried(member, Failure::new(FailureKind::Error, ""));
        if self.connections == CONNECTIONS || self.silences == SILENCES {
            let words = "the listener was left alone after it had not answered those before in time";
            trial.answer = Look::Failed(Failure::new(FailureKind::TimedOut, words));
            return trial;
        }
        self.connections += 1;
        let answer = match wire::dial(self.ground.address, &self.budget).await {
            Ok((wire, _)) => {
                let looked = tls::show(wire, self.ground.name, Arc::new(key), &self.budget).await;
                trial.shown = looked.peer.certificate_shown;
                self.issuer = self.issuer.take().or(looked.peer.accepted_issuer);
                // In TLS 1.3 the server judges the certificate only now, so its word is read instead of CONNACK.
                match looked.handshake {
                    Ok((_, stream)) => mqtt::anonymous_tls(stream, &self.budget).await,
                    Err(failure) => Err(failure),
                }
            }
            Err(failure) => Err(failure),
        };
        if answer.as_ref().is_err_and(|failure| failure.kind == FailureKind::TimedOut) {
            self.silences += 1;
        }
        trial.answer = Look::<Connack>::from(answer);
        trial
    }
}

/// A chain and its key, unchecked: some of these certificates are wrong on purpose.
fn certified(chain: Vec<Vec<u8>>, key: &PrivateKeyDer<'_>) -> Result<CertifiedKey, Failure> {
    let chain = chain.into_iter().map(CertificateDer::from).collect();
    Ok(CertifiedKey::new(chain, certificate::signing_key(key)?))
}

/// A member that needs nobody's consent. `copied` is the name that its issuer takes.
fn make(member: Member, copied: Option<&[u8]>, client: Option<Vec<u8>>) -> Result<CertifiedKey, Failure> {
    let day = SignedDuration::from_hours(24);
    let now = Timestamp::now();
    let leaf = Key::make()?;
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf.private()));
    let own = certificate::name(NAME);
    let public = certificate::public_key(leaf.signing())?;
    let plan = |subject, issuer, purpose| Plan {
        subject,
        issuer,
        issuer_key: None,
        dns_name: None,
        from: now - day,
        to: now + day,
        purpose,
    };
    if member == Member::SelfSigned {
        let name = client.unwrap_or(own);
        let (der, _) = certificate::issue(&plan(&name, &name, Purpose::Client), &public, leaf.signing())?;
        return certified(vec![der], &private);
    }
    let authority = Key::make()?;
    let stranger = certificate::name("gatepost-canary CA");
    let issuer = copied.unwrap_or(&stranger);
    let (leaf, _) = certificate::issue(&plan(&own, issuer, Purpose::Client), &public, authority.signing())?;
    let public = certificate::public_key(authority.signing())?;
    let (root, _) = certificate::issue(&plan(issuer, issuer, Purpose::Authority), &public, authority.signing())?;
    certified(vec![leaf, root], &private)
}

/// The subject of a certificate, in DER.
fn subject(der: &[u8]) -> Option<Vec<u8>> {
    X509Certificate::from_der(der).ok().map(|(_, certificate)| certificate.subject().as_raw().to_vec())
}

/// The issuer of a certificate, in DER.
fn issuer(der: &[u8]) -> Option<Vec<u8>> {
    X509Certificate::from_der(der).ok().map(|(_, certificate)| certificate.issuer().as_raw().to_vec())
}
