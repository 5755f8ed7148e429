//! Certificate files as evidence: read so that broken ones are on the record and private keys never are.
//!
//! What is read here is signed and sent away. A file that holds something else under a certificate's name, above all a
//! private key, is therefore a failed look; only bytes that stand where a certificate stands are recorded, even when they
//! do not parse, because what is wrong with them is for the facts to say.

use std::path::Path;

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
