//! A small public key infrastructure for one lab: a CA and a certificate for everybody, P-256 throughout.
//!
//! Everything is sound: the right names and usages, valid since yesterday and for long enough that no rule about expiry
//! has anything to say. Tests that want an unsound certificate ask [`Pki::issue`] for it. Keys are files with mode 0600
//! in a folder with mode 0700, and live no longer than the lab. The devices' keys and certificates are made by mbedTLS
//! ([`crate::device`]), as a board's are.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};

use crate::device;

/// One day.
const DAY: Duration = Duration::from_secs(86_400);

/// The names of the devices in every lab: id, common name and subject alternative name.
pub const DEVICES: [&str; 3] = ["stm32-01", "stm32-02", "stm32-03"];

/// A certificate and its key, as PEM files.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key (PKCS #8), mode 0600.
    pub key: PathBuf,
}

/// What a certificate is to say.
#[derive(Debug, Clone)]
pub struct Leaf<'a> {
    /// Common name.
    pub common_name: &'a str,
    /// Subject alternative names: DNS names, or addresses where they parse as such.
    pub names: &'a [&'a str],
    /// Extended key usages.
    pub usages: &'a [ExtendedKeyUsagePurpose],
    /// Days from now to `notBefore`, usually -1.
    pub from_day: i64,
    /// Days from now to `notAfter`.
    pub to_day: i64,
}

/// The CA of one lab and what it has issued.
pub struct Pki {
    folder: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// The CA's certificate.
    pub ca: PathBuf,
    /// Its private key, for the station that provisions devices.
    pub ca_key: PathBuf,
    /// The broker, `localhost` and 127.0.0.1.
    pub broker: Identity,
    /// The gateway as a client of the broker, common name `gateway`.
    pub gateway: Identity,
    /// The ingest edge, `localhost` and 127.0.0.1.
    pub ingest: Identity,
    /// The sink, `localhost` and 127.0.0.1.
    pub sink: Identity,
    /// The devices, in the order of [`DEVICES`].
    pub devices: Vec<Identity>,
    /// A folder with the devices' certificates and nothing else.
    pub registry: PathBuf,
}

impl Pki {
    /// Makes everything in `folder`, which must not exist yet.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn create(folder: &Path) -> Result<Self> {
        fs::DirBuilder::new()
            .mode(0o700)
            .create(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let issuer = authority("Gatepost lab CA")?;
        let ca = folder.join("ca.pem");
        write(&ca, issuer.pem().as_bytes(), 0o644)?;
        let ca_key = folder.join("ca.key");
        write(&ca_key, issuer.key().serialize_pem().as_bytes(), 0o600)?;
        let server = |name| Leaf {
            common_name: name,
            names: &["localhost", "127.0.0.1"],
            usages: &[ExtendedKeyUsagePurpose::ServerAuth],
            from_day: -1,
            to_day: 180,
        };
        let issue = |file: &str, leaf: &Leaf<'_>| issue(folder, &issuer, file, leaf);
        let broker = issue("broker", &server("localhost"))?;
        let ingest = issue("ingest", &server("localhost"))?;
        let sink = issue("sink", &server("localhost"))?;
        let gateway = issue(
            "gateway",
            &Leaf {
                common_name: "gateway",
                names: &["gateway"],
                usages: &[ExtendedKeyUsagePurpose::ClientAuth],
                ..server("")
            },
        )?;
        let registry = folder.join("registry");
        fs::create_dir(&registry).with_context(|| format!("cannot make {}", registry.display()))?;
        let mut devices = Vec::new();
        for id in DEVICES {
            let device = device::provision(folder, id, &device::Wanted::of(id, Some((&ca, &ca_key))))?;
            fs::copy(&device.certificate, registry.join(format!("{id}.pem")))
                .with_context(|| format!("cannot register {id}"))?;
            devices.push(device);
        }
        Ok(Self { folder: folder.to_owned(), ca, ca_key, broker, gateway, ingest, sink, devices, registry, issuer })
    }

    /// Issues one more certificate, as `file.pem` and `file.key`, replacing what stands there.
    ///
    /// # Errors
    /// When it cannot be made or written.
    pub fn issue(&self, file: &str, leaf: &Leaf<'_>) -> Result<Identity> {
        issue(&self.folder, &self.issuer, file, leaf)
    }
}

/// A CA that nobody in a lab trusts, as a client or server certificate for `leaf` in `folder`.
///
/// # Errors
/// When it cannot be made or written.
pub fn foreign(folder: &Path, file: &str, leaf: &Leaf<'_>) -> Result<Identity> {
    issue(folder, &authority("Somebody else's CA")?, file, leaf)
}

fn authority(name: &str) -> Result<CertifiedIssuer<'static, KeyPair>> {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = common_name(name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    validity(&mut parameters, -1, 3650);
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("no key for the CA")?;
    CertifiedIssuer::self_signed(parameters, key).context("no certificate for the CA")
}

fn issue(folder: &Path, issuer: &CertifiedIssuer<'static, KeyPair>, file: &str, leaf: &Leaf<'_>) -> Result<Identity> {
    let what = || format!("no certificate {file} for {}", leaf.common_name);
    let names: Vec<String> = leaf.names.iter().map(|name| (*name).to_owned()).collect();
    let mut parameters = CertificateParams::new(names).with_context(what)?;
    parameters.distinguished_name = common_name(leaf.common_name);
    parameters.is_ca = IsCa::ExplicitNoCa;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = leaf.usages.to_vec();
    parameters.use_authority_key_identifier_extension = true;
    validity(&mut parameters, leaf.from_day, leaf.to_day);
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).with_context(what)?;
    let certificate = parameters.signed_by(&key, issuer).with_context(what)?;
    let identity =
        Identity { certificate: folder.join(format!("{file}.pem")), key: folder.join(format!("{file}.key")) };
    write(&identity.key, key.serialize_pem().as_bytes(), 0o600)?;
    write(&identity.certificate, certificate.pem().as_bytes(), 0o644)?;
    Ok(identity)
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn validity(parameters: &mut CertificateParams, from_day: i64, to_day: i64) {
    let now = Duration::from_secs(Timestamp::now().as_second().unsigned_abs());
    let days = |days: i64| DAY * u32::try_from(days.unsigned_abs()).unwrap_or(u32::MAX);
    let at = |day: i64| {
        let epoch = rcgen::date_time_ymd(1970, 1, 1) + now;
        if day < 0 { epoch - days(day) } else { epoch + days(day) }
    };
    parameters.not_before = at(from_day);
    parameters.not_after = at(to_day);
}

/// Writes a file whole, with exactly these permission bits: beside it first, then in its place.
///
/// # Errors
/// When it cannot be written.
pub fn write(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let beside = path.with_extension("new");
    let written = || -> std::io::Result<()> {
        let _ = fs::remove_file(&beside);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        file.write_all(content)?;
        fs::rename(&beside, path)
    };
    written().with_context(|| format!("cannot write {}", path.display()))
}
