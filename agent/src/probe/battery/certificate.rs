//! Certificates for the battery, written in DER by hand (RFC 5280, X.690).
//!
//! By hand, because a battery has to say what a sound library will not: an issuer's name copied byte for byte, whatever its
//! shape, and dates of one's choice. Keys are P-256 and stay in memory; who signs is any key that ring can sign with.

use std::sync::Arc;

use gatepost_evidence::look::{Failure, FailureKind};
use jiff::{Timestamp, tz::TimeZone};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use rustls::SignatureScheme;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::sign::SigningKey;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest as _, Sha256};

/// A key pair that was made here.
pub struct Key {
    pkcs8: Vec<u8>,
    signing: Arc<dyn SigningKey>,
}

impl Key {
    /// A new P-256 key.
    ///
    /// # Errors
    /// When the operating system has no random bytes.
    pub fn make() -> Result<Self, Failure> {
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new());
        let pkcs8 = made.map_err(|_| Failure::new(FailureKind::Error, "no key could be made"))?.as_ref().to_vec();
        let signing = signing_key(&PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8.as_slice())))?;
        Ok(Self { pkcs8, signing })
    }

    /// It, to sign with.
    #[must_use]
    pub fn signing(&self) -> &Arc<dyn SigningKey> {
        &self.signing
    }

    /// Its private half (PKCS #8, DER).
    #[must_use]
    pub fn private(&self) -> &[u8] {
        &self.pkcs8
    }
}

/// `key`, to sign with.
///
/// # Errors
/// When it is of a kind that ring does not sign with.
pub fn signing_key(key: &PrivateKeyDer<'_>) -> Result<Arc<dyn SigningKey>, Failure> {
    any_supported_type(key).map_err(|_| {
        let words = "the private key is not one of RSA of at least 2048 bits, P-256, P-384 and Ed25519";
        Failure::new(FailureKind::Unparseable, words)
    })
}

/// The SubjectPublicKeyInfo of `key` in DER.
///
/// # Errors
/// When the key does not give it.
pub fn public_key(key: &Arc<dyn SigningKey>) -> Result<Vec<u8>, Failure> {
    let public = key.public_key().map(|public| public.as_ref().to_vec());
    public.ok_or_else(|| Failure::new(FailureKind::Error, "the private key does not tell its public key"))
}

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A TLS client.
    Client,
    /// A TLS server and nothing else.
    Server,
    /// To sign others.
    Authority,
}

/// What a certificate says.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// The subject's name in DER.
    pub subject: &'a [u8],
    /// The issuer's name in DER.
    pub issuer: &'a [u8],
    /// The issuer's key identifier, if it has one.
    pub issuer_key: Option<&'a [u8]>,
    /// The DNS name in the subject alternative name, if there is to be one.
    pub dns_name: Option<&'a str>,
    /// From when it is valid.
    pub from: Timestamp,
    /// Until when it is valid.
    pub to: Timestamp,
    /// What it is for.
    pub purpose: Purpose,
}

/// The name `CN=common_name` in DER.
#[must_use]
pub fn name(common_name: &str) -> Vec<u8> {
    let attribute = sequence(&[&object(&[0x55, 4, 3]), &tlv(0x0c, common_name.as_bytes())]);
    sequence(&[&tlv(0x31, &attribute)])
}

/// The identifier of a public key: the first 20 bytes of SHA-256 over its SubjectPublicKeyInfo (RFC 7093, section 2).
#[must_use]
pub fn key_identifier(public: &[u8]) -> Vec<u8> {
    Sha256::digest(public)[..20].to_vec()
}

/// The certificate for `public` (SubjectPublicKeyInfo, DER) that says what `plan` says, signed by `signer`; and its serial
/// number.
///
/// # Errors
/// When the signer cannot sign, a date cannot be written, or there are no random bytes.
pub fn issue(plan: &Plan<'_>, public: &[u8], signer: &Arc<dyn SigningKey>) -> Result<(Vec<u8>, Vec<u8>), Failure> {
    let mut serial = [0; 16];
    getrandom::fill(&mut serial).map_err(|error| Failure::new(FailureKind::Error, error))?;
    // Positive and of full length (RFC 5280, section 4.1.2.2).
    serial[0] = serial[0] & 0x7f | 0x40;
    let (basic, usage): (&[u8], u8) = match plan.purpose {
        Purpose::Authority => (&[0x30, 3, 1, 1, 0xff], 0b0000_0110),
        // With keyEncipherment, that nothing but the extended key usage is wrong with the server's.
        Purpose::Server => (&[0x30, 0], 0b1010_0000),
        Purpose::Client => (&[0x30, 0], 0b1000_0000),
    };
    let mut extensions = vec![
        extension(19, true, basic),
        extension(15, true, &tlv(3, &[u8::try_from(usage.trailing_zeros()).unwrap_or(0), usage])),
        extension(14, false, &tlv(4, &key_identifier(public))),
    ];
    if let Some(identifier) = plan.issuer_key {
        extensions.push(extension(35, false, &sequence(&[&tlv(0x80, identifier)])));
    }
    let extended = match plan.purpose {
        Purpose::Authority => None,
        Purpose::Server => Some(1),
        Purpose::Client => Some(2),
    };
    if let Some(last) = extended {
        let usage = object(&[0x2b, 6, 1, 5, 5, 7, 3, last]);
        extensions.push(extension(37, false, &sequence(&[&usage])));
    }
    if let Some(dns_name) = plan.dns_name {
        extensions.push(extension(17, false, &sequence(&[&tlv(0x82, dns_name.as_bytes())])));
    }
    let algorithm = algorithm(signer)?;
    let validity = sequence(&[&time(plan.from)?, &time(plan.to)?]);
    let extensions = tlv(0xa3, &sequence(&extensions.iter().map(Vec::as_slice).collect::<Vec<_>>()));
    let body = sequence(&[
        &tlv(0xa0, &tlv(2, &[2])),
        &tlv(2, &serial),
        algorithm.1,
        plan.issuer,
        &validity,
        plan.subject,
        public,
        &extensions,
    ]);
    Ok((signed(&body, algorithm, signer)?, serial.to_vec()))
}

/// A CRL of version 2 (RFC 5280, section 5) by the issuer called `issuer`, with the entries `revoked` as they are in DER,
/// numbered `number`.
///
/// # Errors
/// As [`issue`].
pub fn revoke(
    issuer: &[u8],
    issuer_key: &[u8],
    revoked: &[Vec<u8>],
    number: &[u8],
    (from, to): (Timestamp, Timestamp),
    signer: &Arc<dyn SigningKey>,
) -> Result<Vec<u8>, Failure> {
    let algorithm = algorithm(signer)?;
    let extensions = sequence(&[
        &extension(35, false, &sequence(&[&tlv(0x80, issuer_key)])),
        &extension(20, false, &tlv(2, number)),
    ]);
    let entries = sequence(&revoked.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let body =
        sequence(&[&tlv(2, &[1]), algorithm.1, issuer, &time(from)?, &time(to)?, &entries, &tlv(0xa0, &extensions)]);
    signed(&body, algorithm, signer)
}

/// An entry of a CRL: `serial` was revoked at `at`.
///
/// # Errors
/// When the date cannot be written.
pub fn revoked(serial: &[u8], at: Timestamp) -> Result<Vec<u8>, Failure> {
    Ok(sequence(&[&tlv(2, serial), &time(at)?]))
}

type Algorithm = (SignatureScheme, &'static [u8]);

/// The scheme that `signer` signs with and its AlgorithmIdentifier in DER (RFC 3279, RFC 5758, RFC 8410).
fn algorithm(signer: &Arc<dyn SigningKey>) -> Result<Algorithm, Failure> {
    const ALGORITHMS: [Algorithm; 4] = [
        (SignatureScheme::ECDSA_NISTP256_SHA256, &[0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]),
        (SignatureScheme::ECDSA_NISTP384_SHA384, &[0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3]),
        (SignatureScheme::ED25519, &[0x30, 5, 6, 3, 0x2b, 0x65, 0x70]),
        (SignatureScheme::RSA_PKCS1_SHA256, &[0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 11, 5, 0]),
    ];
    let found = ALGORITHMS.into_iter().find(|(scheme, _)| signer.choose_scheme(&[*scheme]).is_some());
    found.ok_or_else(|| Failure::new(FailureKind::Error, "the private key signs in no way that is known here"))
}

fn signed(body: &[u8], (scheme, algorithm): Algorithm, signer: &Arc<dyn SigningKey>) -> Result<Vec<u8>, Failure> {
    let failed = || Failure::new(FailureKind::Error, "the certificate could not be signed");
    let signature = signer.choose_scheme(&[scheme]).ok_or_else(failed)?.sign(body).map_err(|_| failed())?;
    let bits = tlv(3, &[&[0], signature.as_slice()].concat());
    Ok(sequence(&[body, algorithm, &bits]))
}

fn extension(id: u8, critical: bool, value: &[u8]) -> Vec<u8> {
    let flag: &[u8] = if critical { &[1, 1, 0xff] } else { &[] };
    sequence(&[&object(&[0x55, 0x1d, id]), flag, &tlv(4, value)])
}

/// UTCTime to 2049, GeneralizedTime from then on (RFC 5280, section 4.1.2.5).
fn time(at: Timestamp) -> Result<Vec<u8>, Failure> {
    let zoned = at.to_zoned(TimeZone::UTC);
    let (tag, format) =
        if (1950..2050).contains(&zoned.year()) { (0x17, "%y%m%d%H%M%SZ") } else { (0x18, "%Y%m%d%H%M%SZ") };
    let text = jiff::fmt::strtime::format(format, &zoned).map_err(|error| Failure::new(FailureKind::Error, error))?;
    Ok(tlv(tag, text.as_bytes()))
}

fn object(encoded: &[u8]) -> Vec<u8> {
    tlv(6, encoded)
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

/// Tag, length, value (X.690, section 8.1).
fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = value.len().to_be_bytes();
    let significant = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    match significant {
        [] => out.push(0),
        [short] if *short < 0x80 => out.push(*short),
        long => {
            out.push(0x80 | u8::try_from(long.len()).unwrap_or(8));
            out.extend_from_slice(long);
        }
    }
    out.extend_from_slice(value);
    out
}

#[cfg(test)]
mod tests {
    use x509_parser::prelude::{CertificateRevocationList, FromDer as _, X509Certificate};

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_written_is_what_others_read() {
        let (ca, leaf) = (Key::make().unwrap(), Key::make().unwrap());
        let (issuer, subject) = (name("an authority"), name("a client"));
        let public = public_key(ca.signing()).unwrap();
        let identifier = key_identifier(&public);
        let plan = Plan {
            subject: &subject,
            issuer: &issuer,
            issuer_key: Some(&identifier),
            dns_name: Some("gatepost-canary.invalid"),
            from: at("2026-01-02T03:04:05Z"),
            to: at("2051-01-02T03:04:05Z"),
            purpose: Purpose::Client,
        };
        let (der, serial) = issue(&plan, &public_key(leaf.signing()).unwrap(), ca.signing()).unwrap();
        let (rest, read) = X509Certificate::from_der(&der).unwrap();
        assert!(rest.is_empty());
        let authority =
            Plan { subject: &issuer, issuer_key: None, dns_name: None, purpose: Purpose::Authority, ..plan };
        let (root, _) = issue(&authority, &public, ca.signing()).unwrap();
        let (_, root) = X509Certificate::from_der(&root).unwrap();
        read.verify_signature(Some(root.public_key())).unwrap();
        root.verify_signature(None).unwrap();
        assert_eq!((read.issuer().as_raw(), root.subject().as_raw()), (issuer.as_slice(), issuer.as_slice()));
        assert_eq!((read.raw_serial(), read.subject().to_string().as_str()), (serial.as_slice(), "CN=a client"));
        assert_eq!(read.validity().not_before.timestamp(), plan.from.as_second());
        assert_eq!(read.validity().not_after.timestamp(), plan.to.as_second());
        let usage = read.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth && !usage.server_auth && !read.is_ca() && root.is_ca());
        assert!(read.key_usage().unwrap().unwrap().value.digital_signature());
        assert!(root.key_usage().unwrap().unwrap().value.key_cert_sign());
        let (server, _) = issue(&Plan { purpose: Purpose::Server, ..plan }, &public, ca.signing()).unwrap();
        let (_, server) = X509Certificate::from_der(&server).unwrap();
        let usage = server.extended_key_usage().unwrap().unwrap().value;
        assert!(!usage.client_auth && usage.server_auth);
        let entry = revoked(&serial, plan.from).unwrap();
        let list = revoke(&issuer, &identifier, &[entry], &[7], (plan.from, plan.to), ca.signing()).unwrap();
        let (rest, list) = CertificateRevocationList::from_der(&list).unwrap();
        assert!(rest.is_empty());
        list.verify_signature(root.public_key()).unwrap();
        assert_eq!(list.iter_revoked_certificates().next().unwrap().raw_serial(), serial);
        assert_eq!(list.crl_number().unwrap().to_string(), "7");
    }

    #[test]
    fn lengths_are_as_short_as_they_can_be() {
        assert_eq!(tlv(4, &[0; 127])[..2], [4, 127]);
        assert_eq!(tlv(4, &[0; 128])[..3], [4, 0x81, 128]);
        assert_eq!(tlv(4, &[0; 256])[..4], [4, 0x82, 1, 0]);
    }
}
