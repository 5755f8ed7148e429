//! The probe and the scanners, each run against one server and read into [`Facts`].
//!
//! `sslscan` and `testssl.sh` are Debian's, `sslyze` is PyPI's. Their output is read for what it says outright; what they
//! leave out is left out here.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use gatepost_evidence::check::broker_transport_posture::code::{Code, GROUPS, SUITES};
use gatepost_evidence::check::broker_transport_posture::survey::Survey;
use gatepost_evidence::check::broker_transport_posture::{
    Check, ClientCertificate, Listener, ListenerFacts, Observation, TlsVersion,
};
use gatepost_evidence::check::{Contract as _, Seen, Unknown};
use serde_json::Value;

use super::{Facts, Told};
use crate::agent::{Agent, Finished, run};
use crate::process::{built, command, installed};
use crate::python;

/// The longest that one scan may take.
const LIMIT: Duration = Duration::from_secs(900);

/// Who looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scanner {
    /// Ours.
    Probe,
    /// `sslscan`.
    Sslscan,
    /// `testssl.sh`.
    Testssl,
    /// `sslyze`.
    Sslyze,
}

impl Scanner {
    /// Its name in the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Sslscan => "sslscan",
            Self::Testssl => "testssl.sh",
            Self::Sslyze => "sslyze",
        }
    }

    /// Looks at the server at `address`; files go into `folder`.
    ///
    /// # Errors
    /// When the scanner is not installed, does not end, or says what cannot be read.
    pub fn look(self, address: SocketAddr, folder: &Path) -> Result<Facts> {
        match self {
            Self::Probe => probe(address, folder),
            Self::Sslscan => sslscan(address, folder),
            Self::Testssl => testssl(address, folder),
            Self::Sslyze => sslyze(address, folder),
        }
        .with_context(|| format!("{} at {address}", self.name()))
    }

    /// The program and its arguments, for whoever wants to run it and does not read what it says. Ours wants
    /// [`agent`]'s configuration to be there; files go into `folder`.
    ///
    /// # Errors
    /// When it is not installed, has not been built, or a path is not UTF-8.
    pub fn words(self, address: SocketAddr, folder: &Path) -> Result<Vec<String>> {
        let file = |end: &str| folder.join(format!("{}-{}.{end}", self.name(), address.port()));
        let text = |path: PathBuf| path.into_os_string().into_string().ok().context("a path is not UTF-8");
        // By name, so that servers are told a name (SNI), which must not be an address (RFC 6066, section 3).
        let named = format!("localhost:{}", address.port());
        let address = address.to_string();
        let (program, arguments, rest): (_, &[&str], Vec<String>) = match self {
            Self::Probe => {
                let configuration =
                    text(folder.join(format!("agent-{}.toml", address.rsplit(':').next().unwrap_or("0"))))?;
                (
                    built("gatepost")?,
                    &["audit", "--bundle", "audit-baseline", "--format", "json", "--config"],
                    vec![configuration],
                )
            }
            Self::Sslscan => (installed("sslscan", "sslscan")?, SSLSCAN, vec![address]),
            Self::Testssl => (installed("testssl", "testssl.sh")?, TESTSSL, vec![text(file("json"))?, named]),
            Self::Sslyze => (sslyze_program()?, SSLYZE, vec![text(file("json"))?, address]),
        };
        let arguments = arguments.iter().map(|word| (*word).to_owned());
        Ok(std::iter::once(text(program)?).chain(arguments).chain(rest).collect())
    }

    /// Runs it; what it wrote and the file it made, if it makes one.
    fn run(self, address: SocketAddr, folder: &Path) -> Result<(Finished, PathBuf)> {
        let words = self.words(address, folder)?;
        let mut scan = command(Path::new(&words[0]));
        scan.args(&words[1..]);
        Ok((run(scan, LIMIT)?, folder.join(format!("{}-{}.json", self.name(), address.port()))))
    }
}

const SSLSCAN: &[&str] = &["--no-colour", "--no-check-certificate", "--sni-name=localhost", "--xml=-"];
const TESTSSL: &[&str] =
    &["--quiet", "--color", "0", "--warnings", "batch", "--ip", "127.0.0.1", "-p", "-R", "-C", "-Z", "--jsonfile"];
const SSLYZE: &[&str] = &[
    "--sslv3",
    "--tlsv1",
    "--tlsv1_1",
    "--tlsv1_2",
    "--tlsv1_3",
    "--elliptic_curves",
    "--fallback",
    "--reneg",
    "--compression",
    "--ems",
    "--quiet",
    "--sni",
    "localhost",
    "--json_out",
];

/// Whether the server speaks TLS at all.
const SPEAKS: &str = "speaks TLS";
/// Whether it asks clients for a certificate, and whether it lets nobody in without.
const ASKED: &str = "client certificate asked for";
const REQUIRED: &str = "client certificate required";

fn suites_of(version: TlsVersion) -> String {
    format!("suites {}", version.name())
}

/// The built agent, configured for the broker at `address` and nothing else.
///
/// # Errors
/// When its configuration cannot be written or it has not been built.
pub fn agent(address: SocketAddr, folder: &Path) -> Result<Agent> {
    agent_for(&format!("[broker]\nserver_name = \"localhost\"\ntls = [\"{address}\"]\n"), address, folder)
}

/// As [`agent`], for an ingest edge.
///
/// # Errors
/// As [`agent`].
pub fn agent_of_ingest(address: SocketAddr, folder: &Path) -> Result<Agent> {
    agent_for(&format!("[ingest]\nurl = \"https://{address}/events\"\nthorough = false\n"), address, folder)
}

fn agent_for(target: &str, address: SocketAddr, folder: &Path) -> Result<Agent> {
    let state = folder.join(format!("state-{}", address.port()));
    let text = format!("[gateway]\nname = \"agreement\"\n\n[state]\ndirectory = {state:?}\n\n{target}");
    Agent::configured(&folder.join(format!("agent-{}.toml", address.port())), &text)
}

/// The survey that the built agent makes of `address`, and the facts that follow.
///
/// # Errors
/// When the agent does not run or there was no survey.
pub fn survey(address: SocketAddr, folder: &Path) -> Result<(Survey, ListenerFacts)> {
    let (listener, facts) = listener(address, folder)?;
    let look = listener.survey.context("there was no survey")?;
    match look.seen() {
        Some(survey) => Ok((survey.clone(), facts)),
        None => bail!("the survey failed: {look:?}"),
    }
}

/// The one listener that the built agent sees at `address`, and the facts that follow.
fn listener(address: SocketAddr, folder: &Path) -> Result<(Listener, ListenerFacts)> {
    let agent = agent(address, folder)?;
    // Whatever it finds is not asked here.
    let Finished { code, stderr, .. } = agent.run(&["audit", "--bundle", "audit-baseline"])?;
    let envelope = agent.run(&["show", "--envelope"])?.expect_code(0).with_context(|| format!("{code:?}: {stderr}"))?;
    let payload = envelope.json()?["payload"].as_str().map(str::to_owned).context("an envelope without a payload")?;
    let run: Value = serde_json::from_slice(&base64::engine::general_purpose::STANDARD.decode(payload)?)?;
    let records = run["predicate"]["records"].as_array().context("a run without records")?;
    let record = records.iter().find(|record| record["check"] == Check::CHECK).context("the check was not made")?;
    let observation: Observation = serde_json::from_value(record["observation"].clone())
        .with_context(|| format!("nothing was observed: {}", record["detail"]))?;
    let seen = Seen { at: "2026-03-01T10:00:00Z".parse()?, distrust: None };
    let facts = Check::normalise(&observation, &seen, &mut Unknown::default()).listeners;
    let (_, facts) = facts.into_iter().next().context("no listener")?;
    Ok((observation.listeners.into_iter().next().context("no listener")?, facts))
}

fn probe(address: SocketAddr, folder: &Path) -> Result<Facts> {
    let (seen, listener) = listener(address, folder)?;
    let survey = seen.survey.as_ref().and_then(|look| look.seen()).context("there was no survey")?;
    let tls = listener.tls.context("no facts of the survey")?;
    let codes = |codes: &[Code]| Told::Set(codes.iter().map(Code::to_string).collect());
    let mut facts = Facts::from([(SPEAKS.to_owned(), Told::Is(true))]);
    let mut curves = BTreeSet::new();
    for version in &survey.versions {
        if let Ok(accepted) = survey.accepted(version.version) {
            facts.insert(version.version.name().to_owned(), Told::Is(accepted));
        }
        facts.insert(suites_of(version.version), codes(&version.suites));
        if version.groups_end.is_some() {
            facts.insert(format!("groups {}", version.version.name()), codes(&version.groups));
            curves.extend(version.groups.iter().filter(|code| code.0 <= 30).map(Code::to_string));
        }
    }
    facts.insert("curves".into(), Told::Set(curves));
    for (name, told) in [
        ("secure renegotiation", tls.secure_renegotiation),
        ("compression", tls.compression),
        ("extended master secret", tls.extended_master_secret),
        ("fallback SCSV", tls.fallback_scsv),
        ("server's order", tls.server_order),
    ] {
        facts.extend(told.map(|told| (name.to_owned(), Told::Is(told))));
    }
    facts.extend(tls.dh_bits.map(|bits| ("DH bits".to_owned(), Told::Number(bits))));
    if let Some(policy) = listener.client_certificate {
        facts.insert(REQUIRED.into(), Told::Is(policy == ClientCertificate::Required));
    }
    if seen.versions.iter().any(|offer| offer.handshake.seen().is_some() || offer.client_certificate_requested) {
        let asked = seen.versions.iter().any(|offer| offer.client_certificate_requested);
        facts.insert(ASKED.into(), Told::Is(asked));
    }
    Ok(facts)
}

/// The value of an attribute in a line of XML that a program wrote in one way only.
fn attribute<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split_once(&format!(" {name}=\""))?.1.split_once('"').map(|(value, _)| value)
}

fn insert(facts: &mut Facts, name: &str, code: String) {
    match facts.entry(name.to_owned()).or_insert_with(|| Told::Set(BTreeSet::new())) {
        Told::Set(codes) => drop(codes.insert(code)),
        Told::Is(_) | Told::Number(_) => {}
    }
}

fn sslscan(address: SocketAddr, folder: &Path) -> Result<Facts> {
    let text = Scanner::Sslscan.run(address, folder)?.0.expect_code(0)?.stdout;
    let mut facts = Facts::new();
    let version = |name: &str| match name {
        "SSLv3" => Some("ssl3"),
        "TLSv1.0" => Some("tls1.0"),
        "TLSv1.1" => Some("tls1.1"),
        "TLSv1.2" => Some("tls1.2"),
        "TLSv1.3" => Some("tls1.3"),
        _ => None,
    };
    let mut smallest: Option<u32> = None;
    for line in text.lines().map(str::trim) {
        let is = |name: &str| attribute(line, name) == Some("1");
        let element = line.trim_start_matches('<').split(' ').next().unwrap_or_default();
        let spoken = attribute(line, "sslversion").and_then(version);
        match element {
            "protocol" => {
                let kind = if attribute(line, "type") == Some("ssl") { "SSLv" } else { "TLSv" };
                let name = format!("{kind}{}", attribute(line, "version").unwrap_or_default());
                let Some(name) = version(&name) else { continue };
                facts.insert(name.to_owned(), Told::Is(is("enabled")));
                // It finds SSL 3.0 by a ClientHello of its own, and suites by an OpenSSL that does not have it.
                if name != "ssl3" || !is("enabled") {
                    facts.insert(format!("suites {name}"), Told::Set(BTreeSet::new()));
                }
            }
            // Where it finds no renegotiation at all, it does not say whether that would be secure.
            "renegotiation" if !is("supported") => {}
            "renegotiation" => drop(facts.insert("secure renegotiation".into(), Told::Is(is("secure")))),
            "compression" => drop(facts.insert("compression".into(), Told::Is(is("supported")))),
            "fallback" => drop(facts.insert("fallback SCSV".into(), Told::Is(is("supported")))),
            "cipher" => {
                let code = attribute(line, "id").and_then(|id| id.strip_prefix("0x")).map(str::to_lowercase);
                let (spoken, code) = spoken.zip(code).with_context(|| format!("cannot be read: {line}"))?;
                insert(&mut facts, &format!("suites {spoken}"), code);
                let bits = attribute(line, "dhebits").and_then(|bits| bits.parse().ok());
                smallest = bits.into_iter().chain(smallest).min();
            }
            "group" => {
                let code = attribute(line, "id").and_then(|id| id.strip_prefix("0x")).map(str::to_lowercase);
                let (spoken, code) = spoken.zip(code).with_context(|| format!("cannot be read: {line}"))?;
                insert(&mut facts, &format!("groups {spoken}"), code);
            }
            _ => {}
        }
    }
    facts.extend(smallest.map(|bits| ("DH bits".to_owned(), Told::Number(bits))));
    Ok(facts)
}

fn testssl(address: SocketAddr, folder: &Path) -> Result<Facts> {
    // Its exit code counts findings.
    let (finished, file) = Scanner::Testssl.run(address, folder)?;
    let text = std::fs::read_to_string(&file).with_context(|| format!("it wrote no file: {finished:?}"))?;
    let rows: Vec<Value> = serde_json::from_str(&text).context("its file is not JSON")?;
    let spoken = rows.iter().any(|row| row["id"] == "SSLv3");
    let mut facts = Facts::from([(SPEAKS.to_owned(), Told::Is(spoken))]);
    for row in rows {
        let finding = row["finding"].as_str().unwrap_or_default();
        let offered = Told::Is(finding.starts_with("offered"));
        let told = match row["id"].as_str().unwrap_or_default() {
            "SSLv3" => ("ssl3", offered),
            "TLS1" => ("tls1.0", offered),
            "TLS1_1" => ("tls1.1", offered),
            "TLS1_2" => ("tls1.2", offered),
            "TLS1_3" => ("tls1.3", offered),
            "secure_renego" if finding.contains("supported") => {
                ("secure renegotiation", Told::Is(finding == "supported"))
            }
            "CRIME_TLS" if finding.starts_with("not vulnerable") => ("compression", Told::Is(false)),
            "CRIME_TLS" if finding.starts_with("VULNERABLE") => ("compression", Told::Is(true)),
            "fallback_SCSV" if finding == "supported" => ("fallback SCSV", Told::Is(true)),
            "fallback_SCSV" if finding == "not supported" => ("fallback SCSV", Told::Is(false)),
            _ => continue,
        };
        facts.insert(told.0.to_owned(), told.1);
    }
    Ok(facts)
}

/// The scanner in its environment.
fn sslyze_program() -> Result<PathBuf> {
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/sslyze.txt");
    Ok(python::environment("sslyze", &list)?.with_file_name("sslyze"))
}

fn sslyze(address: SocketAddr, folder: &Path) -> Result<Facts> {
    let (finished, file) = Scanner::Sslyze.run(address, folder)?;
    let text = std::fs::read_to_string(&file).with_context(|| format!("it wrote no file: {finished:?}"))?;
    let report: Value = serde_json::from_str(&text).context("its file is not JSON")?;
    let result = &report["server_scan_results"][0];
    if result["scan_result"].is_null() {
        // Its own first handshake failed, and it leaves it at that.
        return Ok(Facts::from([(SPEAKS.to_owned(), Told::Is(false))]));
    }
    let of = |scan: &str| &result["scan_result"][scan]["result"];
    let mut facts = Facts::from([(SPEAKS.to_owned(), Told::Is(true))]);
    if let Some(policy) = result["connectivity_result"]["client_auth_requirement"].as_str() {
        facts.insert(ASKED.into(), Told::Is(policy != "DISABLED"));
        facts.insert(REQUIRED.into(), Told::Is(policy == "REQUIRED"));
    }
    for (scan, version) in [
        ("ssl_3_0_cipher_suites", TlsVersion::Ssl3),
        ("tls_1_0_cipher_suites", TlsVersion::Tls10),
        ("tls_1_1_cipher_suites", TlsVersion::Tls11),
        ("tls_1_2_cipher_suites", TlsVersion::Tls12),
        ("tls_1_3_cipher_suites", TlsVersion::Tls13),
    ] {
        let Some(accepted) = of(scan)["accepted_cipher_suites"].as_array() else { continue };
        facts.insert(version.name().to_owned(), Told::Is(!accepted.is_empty()));
        let name = |suite: &Value| suite["cipher_suite"]["name"].as_str().map(str::to_owned);
        let code = |name: String| match SUITES.iter().find(|(_, known)| *known == name) {
            Some((code, _)) => Code(*code).to_string(),
            None => name,
        };
        facts.insert(suites_of(version), Told::Set(accepted.iter().filter_map(name).map(code).collect()));
    }
    if let Some(curves) = of("elliptic_curves")["supported_curves"].as_array() {
        let name = |curve: &Value| curve["name"].as_str().map(str::to_owned);
        let known = |name: &str| GROUPS.iter().find(|(_, known)| known.eq_ignore_ascii_case(name));
        let code = |name: String| match name.as_str() {
            "prime192v1" => Code(19).to_string(),
            "prime256v1" => Code(23).to_string(),
            name => known(name).map_or_else(|| name.to_owned(), |(code, _)| Code(*code).to_string()),
        };
        facts.insert("curves".into(), Told::Set(curves.iter().filter_map(name).map(code).collect()));
    }
    for (name, told) in [
        ("secure renegotiation", &of("session_renegotiation")["supports_secure_renegotiation"]),
        ("compression", &of("tls_compression")["supports_compression"]),
        ("extended master secret", &of("tls_extended_master_secret")["supports_ems_extension"]),
        ("fallback SCSV", &of("tls_fallback_scsv")["supports_fallback_scsv"]),
    ] {
        facts.extend(told.as_bool().map(|told| (name.to_owned(), Told::Is(told))));
    }
    Ok(facts)
}
