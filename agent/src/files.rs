//! Reading files that others wrote: bounded in size, with the failure as data.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use gatepost_evidence::look::{Bytes, Failure, FailureKind};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use crate::secret::Secret;

/// The most bytes that are read of any one file.
pub const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// What an I/O error is, as a failed look at `path`.
#[must_use]
pub fn failure(path: &Path, error: &io::Error) -> Failure {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => FailureKind::NotFound,
        io::ErrorKind::PermissionDenied => FailureKind::Denied,
        io::ErrorKind::TimedOut => FailureKind::TimedOut,
        _ => FailureKind::Error,
    };
    Failure::new(kind, format_args!("{}: {error}", path.display()))
}

/// The content of `path`, at most [`MAX_FILE_BYTES`]. Only regular files are read, so a FIFO or a device cannot block.
///
/// # Errors
/// When it cannot be opened, is not a regular file, or is too large.
pub fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let metadata = std::fs::metadata(path).map_err(|error| failure(path, &error))?;
    if !metadata.is_file() {
        return Err(Failure::new(FailureKind::Error, format_args!("{} is not a regular file", path.display())));
    }
    let file = File::open(path).map_err(|error| failure(path, &error))?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| failure(path, &error))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let detail = format!("{} has more than {MAX_FILE_BYTES} bytes", path.display());
        return Err(Failure::new(FailureKind::TooLarge, detail));
    }
    Ok(bytes)
}

/// The content of `path` as text; bytes that are not UTF-8 are replaced.
///
/// # Errors
/// As [`read`].
pub fn read_text(path: &Path) -> Result<String, Failure> {
    Ok(String::from_utf8_lossy(&read(path)?).into_owned())
}

/// A secret kept in a file of its own, without the white space around it.
///
/// # Errors
/// As [`read`], or when nothing is in the file.
pub fn read_secret(path: &Path) -> Result<Secret, Failure> {
    let text = read_text(path)?;
    match text.trim() {
        "" => Err(Failure::new(FailureKind::Unparseable, format_args!("{} is empty", path.display()))),
        text => Ok(Secret::new(text)),
    }
}

/// The certificates in `path`: PEM (any number) or one in DER.
///
/// # Errors
/// As [`read`], or when there is none. DER is taken as it is: whether it parses is for the facts to say.
pub fn read_certificates(path: &Path) -> Result<Vec<Bytes>, Failure> {
    let bytes = read(path)?;
    // A DER certificate is a SEQUENCE; PEM is text.
    if bytes.first() == Some(&0x30) {
        return Ok(vec![Bytes(bytes)]);
    }
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => {
            Ok(certificates.into_iter().map(|der| Bytes(der.to_vec())).collect())
        }
        Ok(_) => Err(Failure::new(FailureKind::Unparseable, format_args!("{} holds no certificate", path.display()))),
        Err(error) => Err(Failure::new(FailureKind::Unparseable, format_args!("{}: {error}", path.display()))),
    }
}

/// The revocation lists in `path`: PEM (any number) or one in DER.
///
/// # Errors
/// As [`read`], or when there is none. DER is taken as it is.
pub fn read_revocation_lists(path: &Path) -> Result<Vec<Bytes>, Failure> {
    let bytes = read(path)?;
    if bytes.first() == Some(&0x30) {
        return Ok(vec![Bytes(bytes)]);
    }
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
    match lists {
        Ok(lists) if !lists.is_empty() => Ok(lists.into_iter().map(|der| Bytes(der.as_ref().to_vec())).collect()),
        _ => {
            let detail = format!("{} holds no revocation list in PEM or DER", path.display());
            Err(Failure::new(FailureKind::Unparseable, detail))
        }
    }
}

/// The private key in `path`, PEM (PKCS #8, PKCS #1 or SEC 1).
///
/// # Errors
/// As [`read`], or when there is none.
pub fn read_private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Failure> {
    let bytes = read(path)?;
    // The parser's error could quote the file; say only that it is not a key.
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
        // PKCS #8 says so in its label, the older forms in a header (RFC 1421, section 4.6.1.1).
        let encrypted = ["-----BEGIN ENCRYPTED PRIVATE KEY-----", "Proc-Type: 4,ENCRYPTED"];
        if encrypted.iter().any(|mark| bytes.windows(mark.len()).any(|window| window == mark.as_bytes())) {
            let detail = format!("{} holds an encrypted private key, which is not opened here", path.display());
            return Failure::new(FailureKind::Error, detail);
        }
        Failure::new(FailureKind::Unparseable, format_args!("{} holds no private key in PEM", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_fail_has_its_kind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert_eq!(read(&path).unwrap_err().kind, FailureKind::NotFound);
        assert_eq!(read(folder.path()).unwrap_err().kind, FailureKind::Error);
        std::fs::write(&path, vec![b'x'; MAX_FILE_BYTES as usize + 1]).unwrap();
        assert_eq!(read(&path).unwrap_err().kind, FailureKind::TooLarge);
        std::fs::write(&path, "no pem here").unwrap();
        assert_eq!(read_certificates(&path).unwrap_err().kind, FailureKind::Unparseable);
        let error = read_private_key(&path).unwrap_err();
        assert_eq!((error.kind, error.detail.contains("no pem here")), (FailureKind::Unparseable, false));
        for encrypted in [
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMIIB\n-----END EC PRIVATE KEY-----\n",
        ] {
            std::fs::write(&path, encrypted).unwrap();
            let error = read_private_key(&path).unwrap_err();
            assert!(error.kind == FailureKind::Error && error.detail.contains("encrypted"), "{error}");
        }
        std::fs::write(&path, " \n").unwrap();
        assert_eq!(read_secret(&path).unwrap_err().kind, FailureKind::Unparseable);
    }

    #[test]
    fn pem_and_der_are_both_read() {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["a".into()]).unwrap();
        let (pem, der) = (folder.path().join("pem"), folder.path().join("der"));
        std::fs::write(&pem, format!("{}{}", made.cert.pem(), made.cert.pem())).unwrap();
        std::fs::write(&der, made.cert.der()).unwrap();
        assert_eq!(read_certificates(&pem).unwrap().len(), 2);
        assert_eq!(read_certificates(&der).unwrap()[0].0, made.cert.der().to_vec());
    }
}
