//! Certificate files as evidence: read so that broken ones are on the record and private keys never are.
//!
//! What is read here is signed and sent away. A file that holds something else under a certificate's name, above all a
//! private key, is therefore a failed look; only bytes that stand where a certificate stands are recorded, even when they
//! do not parse, because what is wrong with them is for the facts to say.

use std::path::Path;

use gatepost_evidence::id::Digest;
use gatepost_evidence::look::{Bytes, Failure, FailureKind};

use crate::files;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// The certificates in `path`, PEM (any number) or one in DER, whether or not they parse.
///
/// # Errors
/// When it cannot be read, or holds nothing that could be a certificate.
pub fn read(path: &Path) -> Result<Vec<Bytes>, Failure> {
    match files::read_certificates(path) {
        Ok(certificates) if certificates.iter().all(|der| begins_like_one(&der.0)) => Ok(certificates),
        Ok(_) => Err(Failure::new(FailureKind::Unparseable, format_args!("{} holds no certificate", path.display()))),
        Err(failure) if failure.kind == FailureKind::Unparseable => broken(path).ok_or(failure),
        Err(failure) => Err(failure),
    }
}

/// The most bytes of revocation lists that are recorded for a broker, or for the devices. With those of two ingest edges they have
/// room in a run beside everything else.
pub const MAX_LIST_BYTES: usize = 128 * 1024;
/// The most bytes of revocation lists that are recorded for an ingest edge.
pub const MAX_EDGE_LIST_BYTES: usize = 48 * 1024;

/// The revocation lists in `path`, PEM (any number) or one in DER, of at most `most` bytes.
///
/// # Errors
/// When it cannot be read, holds anything else, or more than that.
pub fn read_lists(path: &Path, most: usize) -> Result<Vec<Bytes>, Failure> {
    let lists = files::read_revocation_lists(path)?;
    if !lists.iter().all(|der| gatepost_evidence::certificate::revocation::is_list(&der.0)) {
        // It might be anything under that name, and what is recorded is sent away.
        return Err(Failure::new(
            FailureKind::Unparseable,
            format_args!("{} holds no revocation list", path.display()),
        ));
    }
    if lists.iter().map(|der| der.0.len()).sum::<usize>() > most {
        let detail = format!(
            "{} has more than {most} bytes of revocation lists; name the lists of the target's own issuers alone",
            path.display()
        );
        return Err(Failure::new(FailureKind::TooLarge, detail));
    }
    Ok(lists)
}

/// SHA-256 of the SubjectPublicKeyInfo that belongs to the private key in `path`, PEM. The key itself is forgotten.
///
/// # Errors
/// When it cannot be read, holds no key, or one of a kind whose public half cannot be told here.
pub fn key_fingerprint(path: &Path) -> Result<Digest, Failure> {
    let key = files::read_private_key(path)?;
    let public = rustls::crypto::ring::sign::any_supported_type(&key).ok();
    let public = public.as_ref().and_then(|key| key.public_key());
    let unknown = || {
        let detail = format!("{} holds a private key of a kind whose public half cannot be told here", path.display());
        Failure::new(FailureKind::Error, detail)
    };
    public.map(|info| Digest::of(info.as_ref())).ok_or_else(unknown)
}

/// What stands in the first certificate section of a PEM file that does not decode.
fn broken(path: &Path) -> Option<Vec<Bytes>> {
    let text = files::read_text(path).ok()?;
    let (_, section) = text.split_once(BEGIN)?;
    let section = section.split_once(END).map_or(section, |(section, _)| section);
    // Without an end whatever follows would be taken along: up to the next marker only.
    let section = section.split("-----").next()?.trim();
    (!section.is_empty()).then(|| vec![Bytes(section.as_bytes().to_vec())])
}

/// Whether `der` begins as a certificate does: a sequence that holds a sequence that holds a version or a serial number
/// (RFC 5280, section 4.1). Keys (RFC 5915, RFC 5958, RFC 8017) and PKCS #12 files do not.
fn begins_like_one(der: &[u8]) -> bool {
    const SEQUENCE: u8 = 0x30;
    let enter = |bytes: &[u8]| -> Option<Vec<u8>> {
        let (tag, rest) = bytes.split_first()?;
        let (length, rest) = rest.split_first()?;
        let skipped = if *length < 0x80 { 0 } else { usize::from(length & 0x7f) };
        (*tag == SEQUENCE).then(|| rest.get(skipped..).map(<[u8]>::to_vec))?
    };
    let first = enter(der).and_then(|inner| enter(&inner)).and_then(|inner| inner.first().copied());
    matches!(first, Some(0xa0 | 0x02))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_bytes(bytes: &[u8]) -> Result<Vec<Bytes>, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, bytes).unwrap();
        read(&path)
    }

    #[test]
    fn broken_certificates_are_recorded() {
        let made = rcgen::generate_simple_self_signed(vec!["a".into()]).unwrap();
        let der = made.cert.der();
        assert_eq!(read_bytes(der).unwrap()[0].0, der.to_vec());
        let cut = &der[..der.len() / 2];
        assert_eq!(read_bytes(cut).unwrap()[0].0, cut);
        let garbled = made.cert.pem().replace("MII", "*II");
        assert!(!read_bytes(garbled.as_bytes()).unwrap()[0].0.is_empty());
    }

    #[test]
    fn of_a_private_key_its_public_half_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
            let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
            let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
            std::fs::write(&path, key.serialize_pem()).unwrap();
            let fingerprint = key_fingerprint(&path).unwrap();
            assert_eq!(gatepost_evidence::certificate::public_key(certificate.der()), Some(fingerprint));
        }
        std::fs::write(&path, "garbage").unwrap();
        assert_eq!(key_fingerprint(&path).unwrap_err().kind, FailureKind::Unparseable);
        let pem = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        std::fs::write(&path, pem).unwrap();
        assert_eq!(key_fingerprint(&path).unwrap_err().kind, FailureKind::Error);
    }

    #[test]
    fn only_revocation_lists_are_taken_for_such() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("crl");
        for wrong in [rcgen::KeyPair::generate().unwrap().serialize_der(), b"garbage".to_vec(), Vec::new()] {
            std::fs::write(&path, wrong).unwrap();
            assert_eq!(read_lists(&path, MAX_LIST_BYTES).unwrap_err().kind, FailureKind::Unparseable);
        }
    }

    #[test]
    fn private_keys_are_not() {
        let key = rcgen::KeyPair::generate().unwrap();
        let secret = key.serialize_pem();
        let body = secret.lines().nth(1).unwrap();
        assert_eq!(read_bytes(&key.serialize_der()).unwrap_err().kind, FailureKind::Unparseable);
        assert_eq!(read_bytes(secret.as_bytes()).unwrap_err().kind, FailureKind::Unparseable);
        assert_eq!(read_bytes(b"\x00\x01garbage").unwrap_err().kind, FailureKind::Unparseable);
        for broken in
            [format!("{BEGIN}\n*\n{secret}"), format!("{BEGIN}\n{secret}"), format!("{secret}{BEGIN}\n*\n{END}")]
        {
            let recorded = format!(
                "{:?}",
                read_bytes(broken.as_bytes())
                    .map(|all| all.iter().map(|der| String::from_utf8_lossy(&der.0).into_owned()).collect::<Vec<_>>())
            );
            assert!(!recorded.contains(body), "{recorded}");
        }
    }
}
