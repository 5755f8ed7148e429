//! Whether our facts of certificates and the words of others agree, over the corpus of `fixtures/certificates`.
//!
//! `openssl` (Debian's) tells what stands in a certificate, whether it is for a name, and whether its chain holds; `badkeys`
//! (PyPI's) whether its key can be broken. A fact that one of them tells differently has to be mended or stand in [`explained`]
//! with the evidence of who is right.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use gatepost_evidence::certificate::{CertificateFacts, Chain, ChainFacts, KeyWeakness, Usage, matches_name};
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde_json::Value;

use crate::agent::run;
use crate::process::{command, installed};
use crate::python;

/// The longest that one look may take.
const LIMIT: Duration = Duration::from_secs(120);
/// When every sample is seen.
const SEEN: &str = "2026-03-01T10:00:00Z";

/// What is compared, in the order of the table's columns.
const FACTS: [&str; 10] =
    ["parses", "serial", "from", "until", "bits", "curve", "server", "name", "trusted", "weaknesses"];

/// By fact, what somebody tells of one sample; what is not told is not there.
pub type Words = BTreeMap<&'static str, String>;

/// One certificate of the corpus.
#[derive(Debug, Deserialize)]
pub struct Sample {
    /// Its name, and that of its file.
    pub name: String,
    /// The name that is dialled.
    #[serde(default = "usual")]
    pub dialled: String,
}

fn usual() -> String {
    "broker.example".into()
}

/// The folder of the corpus.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/certificates")
}

/// All samples.
///
/// # Errors
/// When the table of the corpus cannot be read.
pub fn samples() -> Result<Vec<Sample>> {
    let file = folder().join("samples.json");
    let text = std::fs::read(&file).with_context(|| file.display().to_string())?;
    serde_json::from_slice(&text).context("samples.json")
}

impl Sample {
    fn file(&self) -> PathBuf {
        folder().join(format!("{}.pem", self.name))
    }
}

fn ders(file: &Path) -> Result<Vec<Vec<u8>>> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file)?.map(|one| one.map(|der| der.to_vec())).collect();
    all.with_context(|| file.display().to_string())
}

fn yes(is: bool) -> String {
    if is { "yes" } else { "no" }.into()
}

/// What our facts tell.
///
/// # Errors
/// When the sample cannot be read.
pub fn ours(sample: &Sample) -> Result<Words> {
    let (chain, anchors) = (ders(&sample.file())?, ders(&folder().join("anchors.pem"))?);
    let leaf = chain.first().context("no certificate")?;
    let seen: Timestamp = SEEN.parse()?;
    let facts = CertificateFacts::from_der(leaf, seen, true);
    let mut words = Words::from([("parses", yes(facts.parses))]);
    if !facts.parses {
        return Ok(words);
    }
    let whole = ChainFacts::of(&Chain {
        certificates: &chain,
        anchors: Some(&anchors),
        usage: Usage::Server,
        observed_at: seen,
        clock_believed: true,
    });
    words.extend(facts.serial.as_deref().map(|serial| ("serial", number(serial))));
    words.extend(facts.not_before.map(|date| ("from", date)));
    words.extend(facts.not_after.map(|date| ("until", date)));
    words.extend(facts.key_bits.map(|bits| ("bits", bits.to_string())));
    words.extend(facts.key_curve.map(|curve| ("curve", curve)));
    words.extend(facts.server_auth.map(|is| ("server", yes(is))));
    words.extend(matches_name(leaf, &sample.dialled).map(|is| ("name", yes(is))));
    words.extend(whole.trusted.map(|is| ("trusted", yes(is))));
    let found = facts.key_weaknesses.map(|all| all.iter().map(weakness).collect::<Vec<_>>().join(" "));
    words.extend(found.map(|found| ("weaknesses", if found.is_empty() { "none".into() } else { found })));
    Ok(words)
}

fn weakness(one: &KeyWeakness) -> String {
    serde_json::to_value(one).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

/// The bytes of a DER integer as openssl writes it: hexadecimal, with a minus when it is negative.
fn number(bytes: &str) -> String {
    let digits = bytes.replace(':', "").to_uppercase();
    let negative = digits.starts_with(|first: char| first >= '8');
    let magnitude = match (negative, u128::from_str_radix(&digits, 16)) {
        (true, Ok(value)) => format!("-{:X}", (1u128 << (digits.len() * 4)).wrapping_sub(value)),
        _ => digits.trim_start_matches('0').to_owned(),
    };
    let (sign, digits) = magnitude.strip_prefix('-').map_or(("", magnitude.as_str()), |digits| ("-", digits));
    let even = if digits.len() % 2 == 0 { "" } else { "0" };
    let digits = if digits.is_empty() { "00" } else { digits };
    format!("{sign}{even}{digits}")
}

/// What openssl(1) tells.
///
/// # Errors
/// When it is not installed.
pub fn openssl(sample: &Sample) -> Result<Words> {
    let program = installed("openssl", "openssl")?;
    let address = sample.dialled.parse::<std::net::IpAddr>().is_ok();
    let mut look = command(&program);
    look.args(["x509", "-noout", "-text", "-serial", "-dates", "-dateopt", "iso_8601", "-purpose", "-in"]);
    look.arg(sample.file()).arg(if address { "-checkip" } else { "-checkhost" }).arg(&sample.dialled);
    let finished = run(look, LIMIT)?;
    // Its exit code is about the name when it could read the certificate.
    let text = finished.stdout;
    let parses = text.contains("Certificate:");
    let mut words = Words::from([("parses", yes(parses))]);
    if !parses {
        return Ok(words);
    }
    let line = |start: &str| text.lines().map(str::trim).find_map(|line| line.strip_prefix(start)).map(str::trim);
    let date = |text: &str| text.replacen(' ', "T", 1);
    words.extend(line("serial=").map(|serial| ("serial", serial.to_owned())));
    words.extend(line("notBefore=").map(|text| ("from", date(text))));
    words.extend(line("notAfter=").map(|text| ("until", date(text))));
    let bits = line("Public-Key: (").and_then(|rest| rest.split_once(" bit")).map(|(bits, _)| bits.to_owned());
    words.extend(bits.or_else(|| line("ED25519 Public-Key").map(|_| "256".into())).map(|bits| ("bits", bits)));
    if text.contains("id-ecPublicKey") {
        let named = line("NIST CURVE: ").or_else(|| line("ASN1 OID: "));
        let explicit = || line("Field Type: ").map(|_| "explicit");
        words.extend(named.or_else(explicit).map(|curve| ("curve", curve.to_owned())));
    }
    words.extend(line("SSL server : ").map(|is| ("server", is.to_lowercase())));
    if text.contains("does match certificate") || text.contains("does NOT match certificate") {
        words.insert("name", yes(text.contains("does match certificate")));
    }
    words.insert("trusted", yes(verifies(&program, sample, &words)?));
    Ok(words)
}

/// Whether `openssl verify` finds a way to an anchor, at the moment the sample was seen or the nearest of its validity.
fn verifies(program: &Path, sample: &Sample, words: &Words) -> Result<bool> {
    let moment = |fact: &str| words.get(fact).and_then(|date| date.parse::<Timestamp>().ok());
    let mut at: Timestamp = SEEN.parse()?;
    if let (Some(from), Some(until)) = (moment("from"), moment("until"))
        && from <= until
    {
        // openssl takes the last second for too late.
        at = at.clamp(from, until - Duration::from_secs(u64::from(from < until)));
    }
    let mut look = command(program);
    look.args(["verify", "-no-CApath", "-no-CAstore", "-purpose", "sslserver", "-attime", &at.as_second().to_string()]);
    look.arg("-CAfile").arg(folder().join("anchors.pem")).arg("-untrusted").arg(sample.file()).arg(sample.file());
    Ok(run(look, LIMIT)?.code == Some(0))
}

/// What badkeys tells, by sample.
///
/// # Errors
/// When it cannot be had or says what cannot be read.
pub fn badkeys(samples: &[Sample]) -> Result<BTreeMap<String, Words>> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("python");
    let python = python::environment("badkeys", &sources.join("badkeys.txt"))?;
    let mut look = command(&python);
    look.arg("-I").arg(sources.join("look_with_badkeys.py")).args(samples.iter().map(Sample::file));
    let said = run(look, LIMIT)?.expect_code(0)?.json()?;
    let mut all = BTreeMap::new();
    for sample in samples {
        let answer = &said[format!("{}.pem", sample.name)];
        let mut words = Words::new();
        if let Some(found) = answer["found"].as_object().filter(|_| !unread(answer)) {
            let mut found: Vec<_> = found.iter().map(|(check, kind)| translated(check, kind.as_str())).collect();
            found.sort_unstable();
            words.insert("weaknesses", if found.is_empty() { "none".into() } else { found.join(" ") });
        }
        words.extend(answer["bits"].as_u64().map(|bits| ("bits", bits.to_string())));
        all.insert(sample.name.clone(), words);
    }
    Ok(all)
}

/// It says nothing of keys that the library under it does not read.
fn unread(answer: &Value) -> bool {
    matches!(answer["type"].as_str(), Some("unparseable" | "unsupported"))
}

fn translated(check: &str, kind: Option<&str>) -> &'static str {
    match (check, kind) {
        ("fermat", _) => "close_primes",
        ("roca", _) => "roca",
        ("smallfactors", _) => "small_factor",
        ("smalld", _) => "small_private_exponent",
        ("rsainvalid", Some("invalid_e")) => "exponent_one",
        ("rsainvalid", _) => "malformed",
        ("rsapoly", _) => "pattern",
        ("sharedprimes", _) => "shared prime",
        _ => "something else",
    }
}

/// One fact that somebody tells differently than we do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The sample.
    pub sample: String,
    /// The fact.
    pub fact: &'static str,
    /// Who tells it differently.
    pub who: &'static str,
    /// What we tell.
    pub ours: String,
    /// What they tell.
    pub theirs: String,
}

/// What each of the others tells of one sample.
type Others = Vec<(&'static str, Words)>;

/// The table: by sample, what we tell, and what each of the others does.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<(String, Words, Others)>,
}

impl Table {
    /// Adds a sample.
    pub fn add(&mut self, sample: &str, ours: Words, others: Others) {
        self.rows.push((sample.to_owned(), ours, others));
    }

    /// How many facts somebody else told as well.
    #[must_use]
    pub fn compared(&self) -> usize {
        let told = |(_, ours, others): &(String, Words, Vec<(&'static str, Words)>)| {
            ours.keys().filter(|fact| others.iter().any(|(_, theirs)| theirs.contains_key(*fact))).count()
        };
        self.rows.iter().map(told).sum()
    }

    /// Everything that is told differently.
    #[must_use]
    pub fn differences(&self) -> Vec<Difference> {
        let mut found = Vec::new();
        for (sample, ours, others) in &self.rows {
            for (who, theirs) in others {
                for (fact, theirs) in theirs {
                    if let Some(ours) = ours.get(fact).filter(|ours| *ours != theirs) {
                        let (ours, theirs) = (ours.clone(), theirs.clone());
                        found.push(Difference { sample: sample.clone(), fact, who, ours, theirs });
                    }
                }
            }
        }
        found
    }

    /// The section of `docs/agreement.md`.
    #[must_use]
    pub fn markdown(&self) -> String {
        let differences = self.differences();
        let mut text = format!(
            "{HEADING}\n\nWhat our facts of certificates, `openssl x509` and `openssl verify`, and `badkeys` tell of the {} \
             certificates of\n`fixtures/certificates` (`tests/python/make_certificates.py` makes them): {} facts that at least \
             one of them tells as\nwell, {} told differently. Paths are judged at the moment the sample was seen, or the \
             nearest of the leaf's own validity.\n`badkeys` runs without its blocklist, which it fetches from a server of its \
             own. A cell is what we tell; in bold, behind\nit, what another tells instead.\n\n## Differences\n\n",
            self.rows.len(),
            self.compared(),
            differences.len(),
        );
        let mut reasons: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for found in &differences {
            let reason = explained(found).unwrap_or("NOT EXPLAINED");
            reasons.entry(reason).or_default().push(format!("{} ({}, {})", found.sample, found.fact, found.who));
        }
        // Writing to a string cannot fail.
        for (reason, places) in reasons {
            let _ = writeln!(text, "- {reason}\n  {}.", places.join("; "));
        }
        let _ = write!(
            text,
            "\n## Everything\n\n| sample | {} |\n| --- |{}\n",
            FACTS.join(" | "),
            " --- |".repeat(FACTS.len())
        );
        for (sample, ours, _) in &self.rows {
            let _ = write!(text, "| {sample} |");
            for fact in FACTS {
                let own = ours.get(fact).map_or("", String::as_str);
                let short: String = own.chars().take(30).collect();
                let _ = write!(text, " {short}");
                for other in differences.iter().filter(|one| one.sample == *sample && one.fact == fact) {
                    let _ = write!(text, " **{}: {}**", other.who, other.theirs);
                }
                text.push_str(" |");
            }
            text.push('\n');
        }
        text
    }
}

/// The first line of the section, by which it is found again.
pub const HEADING: &str = "# Agreement about certificates";

/// Why a difference is none of our making, with the evidence; none where that is not known.
#[must_use]
pub fn explained(found: &Difference) -> Option<&'static str> {
    Some(match (found.who, found.fact, found.sample.as_str()) {
        ("openssl", "name", "common-name-only" | "empty-alternative-name") => COMMON_NAME,
        ("openssl", "trusted", "ca-leaf" | "ca-leaf-path-length") => CA_LEAF,
        ("openssl", "trusted", "version-1" | "version-1-with-extensions") => VERSION,
        ("openssl", "trusted", "boolean-01" | "long-length") => NOT_DER,
        ("openssl", "trusted", "start-1066") => BEFORE_1970,
        ("openssl", "trusted", "root-expired") => ROOT_DATES,
        ("openssl", "trusted", "explicit-curve" | "point-off-curve" | "point-too-short") => LEAF_KEY,
        ("openssl", "trusted", "unreadable-key-usage") => UNREADABLE,
        ("openssl", "server", "duplicate-extension" | "unreadable-key-usage" | "unreadable-alternative-name") => {
            UNREADABLE
        }
        ("openssl", "parses", "trailing-bytes" | "indefinite-length" | "bad-date") => LENIENT,
        ("openssl", "parses", "padded-serial") => PADDED,
        ("badkeys", "weaknesses", "ed25519-small-order") => SMALL_ORDER,
        _ => return None,
    })
}

const COMMON_NAME: &str = "openssl falls back to the common name where there is no DNS name among the alternative names. Ours follows \
    RFC 9525, section 2, which gave that up, as browsers and rustls have; `name_only_in_common_name` is the finding.";
const CA_LEAF: &str = "openssl lets a CA be a server. webpki does not (`CaUsedAsEndEntity`), and so no client on rustls connects; \
    `leaf_is_ca` is the finding.";
const VERSION: &str = "openssl takes a leaf of version 1. webpki reads version 3 alone (`UnsupportedCertVersion`), as RFC 5280 \
    wants it of TLS certificates.";
const NOT_DER: &str = "openssl forgives these two departures from DER, webpki does not (`BadDer`). X.690, sections 10.1 and 11.1, \
    says that they are none; `not_as_rfc5280` is the finding.";
const BEFORE_1970: &str = "webpki counts seconds from 1970 and reads no earlier date (`BadDerTime`). Right about the chain is \
    openssl; devices on rustls will not connect all the same.";
const ROOT_DATES: &str = "To webpki an anchor is a name and a key (RFC 5280, section 6.1.1), without dates; openssl looks at the dates \
    of the root as well. Both are allowed. That the root has expired is the finding `issuer_expired`.";
const LEAF_KEY: &str = "openssl reads the leaf's own key while it looks for a path, webpki only when the handshake is signed with it. \
    Right about the key is openssl; ours are the findings `curve_not_allowed` and `malformed_key`.";
const UNREADABLE: &str = "openssl calls a certificate invalid as a whole when an extension is there twice or cannot be read. Ours says \
    which (`duplicate_extension`, `unreadable_extension`) and keeps what the extended key usage says; `not_as_rfc5280` is the finding.";
const LENIENT: &str = "`openssl x509` reads the first certificate and leaves what follows it, takes BER's indefinite lengths, and does \
    not look at dates until it has to judge them. Ours takes what is DER and nothing else (RFC 5280, section 4.1); \
    `unparseable` is the finding.";
const PADDED: &str = "openssl refuses a number with a zero too many. Ours reads it, and says that it is not DER; `not_as_rfc5280` is \
    the finding.";
const SMALL_ORDER: &str = "badkeys has no test for Ed25519 keys of small order. Right is ours: the point is the one of order 8 that \
    RFC 7748 and the papers on it list, and a signature under it holds for many messages.";
