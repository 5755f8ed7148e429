//! The corpus of `fixtures/certificates`, served over TLS to the built agent: what each certificate gives is found where the
//! field has it, at a broker, at a device and at an ingest edge, by the very handshake that the agent makes.
//!
//! The server has the corpus' usual key. Where a certificate is of another key the handshake breaks off behind the
//! certificate, as it does at whoever copied one; what the certificate shows is found all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use gatepost_tests::agent::Agent;
use gatepost_tests::clock::Clock;
use gatepost_tests::port::Port;
use gatepost_tests::tls::{certificates, provider};
use jiff::Timestamp;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{ServerConfig, ServerConnection, Stream};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Deserialize;

/// A little before the corpus is meant to be looked at, which takes a while.
const SEEN: &str = "2026-03-01T09:30:00Z";

#[derive(Debug, Deserialize)]
struct Sample {
    name: String,
    what: String,
    /// Controls that must fail, without the check's name; no others may.
    findings: BTreeSet<String>,
    #[serde(default = "yes")]
    anchors: bool,
    #[serde(default = "usual_name")]
    dialled: String,
    crl: Option<String>,
}

fn yes() -> bool {
    true
}

fn usual_name() -> String {
    "broker.example".into()
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/certificates")
}

/// Presents whatever it was given last, and looks at none of it.
#[derive(Debug)]
struct Shown {
    key: Arc<dyn SigningKey>,
    now: Mutex<Option<Arc<CertifiedKey>>>,
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A TLS server that lets everybody in, reads what comes first, and refuses it as an HTTP server would.
struct Server {
    shown: Arc<Shown>,
    address: SocketAddr,
    _port: Port,
}

impl Server {
    fn start() -> Result<Self> {
        let key = any_supported_type(&PrivateKeyDer::from_pem_file(corpus().join("leaf.key"))?)?;
        let shown = Arc::new(Shown { key, now: Mutex::new(None) });
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&shown) as _);
        let (port, config) = (Port::reserve()?, Arc::new(config));
        let (listener, address) = (port.listen()?, port.address());
        listener.set_nonblocking(false)?;
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let config = Arc::clone(&config);
                // A client that breaks off is what many of these certificates are there for.
                std::thread::spawn(move || refuse(config, stream).ok());
            }
        });
        Ok(Self { shown, address, _port: port })
    }

    fn show(&self, chain: &Path) -> Result<()> {
        let shown = CertifiedKey::new(certificates(chain)?, Arc::clone(&self.shown.key));
        *self.shown.now.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(shown));
        Ok(())
    }
}

fn refuse(config: Arc<ServerConfig>, mut stream: TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut session = ServerConnection::new(config)?;
    let mut tls = Stream::new(&mut session, &mut stream);
    let mut asked = [0; 4096];
    if tls.read(&mut asked)? > 0 {
        tls.write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
    }
    Ok(())
}

/// What the agent finds, by check, without the check's name.
type Found = BTreeMap<String, BTreeSet<String>>;

struct Site {
    folder: tempfile::TempDir,
    server: Server,
    clock: Clock,
}

impl Site {
    fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let then: Timestamp = SEEN.parse()?;
        let clock = Clock::off_by(folder.path(), then.as_second() - Timestamp::now().as_second())?;
        Ok(Self { server: Server::start()?, folder, clock })
    }

    fn look(&self, sample: &Sample) -> Result<Found> {
        self.server.show(&corpus().join(format!("{}.pem", sample.name)))?;
        let file = |name: &str| format!("{:?}", corpus().join(name));
        let anchors = if sample.anchors { format!("ca_file = {}\n", file("anchors.pem")) } else { String::new() };
        let crl = sample.crl.as_deref().map(|name| format!("crl_file = {}\n", file(name))).unwrap_or_default();
        let address = self.server.address;
        let text = format!(
            "[gateway]\nname = \"corpus\"\n\n[state]\ndirectory = {:?}\n\n[broker]\nserver_name = {:?}\ntls = [\"{address}\"]\n\
             {anchors}{crl}\n[devices]\n{anchors}{crl}\n[[devices.device]]\nid = {:?}\nendpoint = \"{address}\"\n\n\
             [ingest]\nurl = \"https://{address}/events\"\n{anchors}{crl}",
            self.folder.path().join("state"),
            sample.dialled,
            sample.dialled,
        );
        let agent = Agent::configured(&self.folder.path().join("gatepost.toml"), &text)?.under(&self.clock);
        let report = agent.run(&["audit", "--bundle", "field-self-audit", "--format", "json"])?.json()?;
        let mut found = Found::new();
        for row in report["findings"].as_array().context("no findings")? {
            let (check, key) = row["key"].as_str().and_then(|key| key.split_once('.')).context("no key")?;
            found.entry(check.to_owned()).or_default().insert(key.to_owned());
        }
        Ok(found)
    }
}

/// Looks at every sample, from two sites at once.
fn look_at_all(samples: &[Sample]) -> Result<Vec<Found>> {
    let half = samples.len() / 2;
    let look = |samples: &[Sample]| -> Result<Vec<Found>> {
        let site = Site::start()?;
        samples.iter().map(|sample| site.look(sample).with_context(|| sample.name.clone())).collect()
    };
    std::thread::scope(|scope| {
        let second = scope.spawn(|| look(&samples[half..]));
        let mut found = look(&samples[..half])?;
        found.extend(second.join().map_err(|_| anyhow::anyhow!("the second site panicked"))??);
        Ok(found)
    })
}

/// What a device is not asked for, since it is a client and not dialled by its name.
const NOT_OF_DEVICES: [&str; 7] = [
    "expiring_60d",
    "long_lifetime",
    "name_mismatch",
    "name_only_in_common_name",
    "not_server_auth",
    "staple_missing",
    "wildcard_name",
];

/// Samples that are something else at a device than at a broker: its own control, in place of what the broker's would say.
const AT_DEVICES: [(&str, &[&str]); 10] = [
    ("any-usage", &["not_client_auth"]),
    ("good-server-only", &["not_client_auth"]),
    ("end-before-start", &["absurd_end", "expired"]),
    ("lifetime-without-end", &["absurd_end"]),
    ("issuer-for-clients", &[]),
    ("other-name", &["identity_mismatch"]),
    ("other-address", &["identity_mismatch"]),
    ("wildcard", &["identity_mismatch"]),
    ("wildcard-in-the-middle", &["identity_mismatch", "malformed_name"]),
    ("no-name", &["identity_mismatch", "malformed_name"]),
];

fn at_device(sample: &Sample) -> BTreeSet<&str> {
    match AT_DEVICES.iter().find(|(name, _)| *name == sample.name) {
        Some((_, controls)) => controls.iter().copied().collect(),
        None => sample.findings.iter().map(String::as_str).filter(|key| !NOT_OF_DEVICES.contains(key)).collect(),
    }
}

/// What a control of the broker's certificate is called at an ingest edge. Whether a name stands in a wildcard is not asked
/// there, and whether it stands in the common name alone is no control of its own.
fn at_ingest(control: &str) -> Option<String> {
    Some(match control {
        "name_mismatch" | "name_only_in_common_name" | "wildcard_name" => return None,
        "exponent_one" | "factorable_key" | "malformed_key" | "roca_key" => "certificate_key_exposed".into(),
        "leaf_is_ca" => "certificate_is_ca".into(),
        "surplus_certificates" => "certificate_surplus".into(),
        other => format!("certificate_{other}"),
    })
}

/// Controls that some certificate of the corpus must give.
const PROVEN: [(&str, &[&str]); 3] = [
    (
        "broker_certificate_identity",
        &[
            "chain_out_of_order",
            "clock_never_set",
            "curve_not_allowed",
            "end_before_start",
            "expired",
            "expiring_30d",
            "expiring_60d",
            "exponent_one",
            "factorable_key",
            "issuer_expired",
            "issuer_expiring_60d",
            "issuer_revoked",
            "issuer_weak_key",
            "issuer_weak_signature",
            "leaf_is_ca",
            "leaf_with_ca_rights",
            "long_lifetime",
            "malformed_key",
            "malformed_name",
            "malformed_serial",
            "name_mismatch",
            "name_only_in_common_name",
            "not_as_rfc5280",
            "not_for_signing",
            "not_server_auth",
            "not_yet_valid",
            "outlives_issuer",
            "revocation_list_stale",
            "revocation_list_unusable",
            "revoked",
            "roca_key",
            "staple_missing",
            "surplus_certificates",
            "unknown_critical_extension",
            "unparseable",
            "untrusted_chain",
            "weak_key",
            "weak_signature",
            "wildcard_name",
        ],
    ),
    (
        "device_certificate_hygiene",
        &[
            "absurd_end",
            "chain_out_of_order",
            "clock_never_set",
            "curve_not_allowed",
            "expired",
            "exponent_one",
            "factorable_key",
            "identity_mismatch",
            "issuer_expired",
            "issuer_expiring_60d",
            "issuer_revoked",
            "issuer_weak_key",
            "issuer_weak_signature",
            "leaf_is_ca",
            "leaf_with_ca_rights",
            "malformed_key",
            "malformed_name",
            "malformed_serial",
            "not_as_rfc5280",
            "not_client_auth",
            "not_for_signing",
            "not_yet_valid",
            "outlives_issuer",
            "revocation_list_stale",
            "revocation_list_unusable",
            "revoked",
            "roca_key",
            "surplus_certificates",
            "unknown_critical_extension",
            "unparseable",
            "untrusted_chain",
            "weak_key",
            "weak_signature",
        ],
    ),
    (
        "ingest_auth",
        &[
            "certificate_chain_out_of_order",
            "certificate_clock_never_set",
            "certificate_curve_not_allowed",
            "certificate_end_before_start",
            "certificate_expired",
            "certificate_expiring_30d",
            "certificate_expiring_60d",
            "certificate_is_ca",
            "certificate_issuer_expired",
            "certificate_issuer_expiring_60d",
            "certificate_issuer_revoked",
            "certificate_issuer_weak_key",
            "certificate_issuer_weak_signature",
            "certificate_key_exposed",
            "certificate_leaf_with_ca_rights",
            "certificate_long_lifetime",
            "certificate_malformed_name",
            "certificate_malformed_serial",
            "certificate_not_as_rfc5280",
            "certificate_not_for_signing",
            "certificate_not_server_auth",
            "certificate_not_yet_valid",
            "certificate_outlives_issuer",
            "certificate_revocation_list_stale",
            "certificate_revocation_list_unusable",
            "certificate_revoked",
            "certificate_staple_missing",
            "certificate_surplus",
            "certificate_unknown_critical_extension",
            "certificate_unparseable",
            "certificate_untrusted_chain",
            "certificate_weak_key",
            "certificate_weak_signature",
        ],
    ),
];

/// What was found of `check`, but for what is so of every sample.
fn without<'f>(found: &'f Found, check: &str, always: &[&str]) -> BTreeSet<&'f str> {
    found.get(check).into_iter().flatten().map(String::as_str).filter(|key| !always.contains(key)).collect()
}

#[test]
fn each_certificate_of_the_corpus_gives_exactly_its_findings_where_it_is_served() -> Result<()> {
    let samples: Vec<Sample> = serde_json::from_slice(&fs::read(corpus().join("samples.json"))?)?;
    assert!(samples.len() >= 120, "{}", samples.len());
    let all = look_at_all(&samples)?;
    let mut wrong = Vec::new();
    let mut compare = |sample: &Sample, place, found: BTreeSet<&str>, expected: BTreeSet<&str>| {
        if found != expected {
            wrong.push(format!("{} ({}) at the {place}: {found:?}, not {expected:?}", sample.name, sample.what));
        }
    };
    for (sample, found) in samples.iter().zip(&all) {
        let expected = sample.findings.iter().map(String::as_str);
        compare(sample, "broker", without(found, "broker_certificate_identity", &[]), expected.clone().collect());
        // Of most other keys the server has no private half.
        let device = without(found, "device_certificate_hygiene", &["possession_unproven"]);
        compare(sample, "device", device, at_device(sample));
        // The edge is dialled by its address, which none of them has; and the server counts nobody's requests.
        let ingest = without(found, "ingest_auth", &["certificate_name_mismatch", "rate_limit_not_seen"]);
        let expected: Vec<String> = expected.filter_map(at_ingest).collect();
        compare(sample, "ingest edge", ingest, expected.iter().map(String::as_str).collect());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (check, controls) in PROVEN {
        let found: BTreeSet<&str> = all.iter().flat_map(|found| without(found, check, &[])).collect();
        let missing: Vec<_> = controls.iter().filter(|control| !found.contains(**control)).collect();
        assert!(missing.is_empty(), "no certificate of the corpus gives {check}.{missing:?}");
    }
    Ok(())
}
