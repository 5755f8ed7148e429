//! The part of the battery that only the owner of the broker's CA can make: five certificates that are worth as little as
//! they can be.
//!
//! Meant for the machine that has the CA's key: what is handed on to a gateway has no CA key in it. Every certificate has a
//! name that nothing else has, ending in `.invalid` (RFC 2606). The one that is not yet valid will be for one day in 2099;
//! the sound one is as good as what the broker grants to its name.

use std::sync::Arc;

use base64::Engine as _;
use gatepost_evidence::check::broker_transport_posture::battery::Member;
use gatepost_evidence::look::{Bytes, Failure, FailureKind};
use jiff::{SignedDuration, Timestamp};
use rustls::sign::SigningKey;
use rustls_pki_types::PrivateKeyDer;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{CertificateRevocationList, FromDer as _, X509Certificate};

use super::certificate::{self, Key, Plan, Purpose};

/// One day.
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Whom the broker trusts to vouch for its clients, with the key to do so.
pub struct Authority {
    name: Vec<u8>,
    key_identifier: Option<Vec<u8>>,
    public: Vec<u8>,
    signing: Arc<dyn SigningKey>,
}

/// What becomes of revocation.
pub enum Revocation {
    /// Nobody revokes: there is no revoked certificate.
    None,
    /// The CA has no CRL yet.
    New,
    /// The CA's present CRL, DER.
    After(Vec<u8>),
}

/// A battery: file names and their content, PEM.
pub struct Minted {
    /// One per member: the certificate and its key.
    pub members: Vec<(Member, String)>,
    /// The CRL with the revoked one on it.
    pub crl: Option<String>,
}

impl Authority {
    /// The CA with this certificate and key.
    ///
    /// # Errors
    /// When the certificate cannot be read, is no CA's, or the key is another.
    pub fn new(der: &[u8], key: &PrivateKeyDer<'_>) -> Result<Self, Failure> {
        let wrong = |words: &str| Failure::new(FailureKind::Unparseable, words);
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| wrong("the CA's certificate is none"))?;
        if !certificate.is_ca() {
            return Err(wrong("the CA's certificate is not one of a CA (basic constraints)"));
        }
        let signing = certificate::signing_key(key)?;
        let public = certificate::public_key(&signing)?;
        if public != certificate.public_key().raw {
            return Err(wrong("the key is not that of the CA's certificate"));
        }
        let identifier = certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0.to_vec()),
            _ => None,
        });
        Ok(Self { name: certificate.subject().as_raw().to_vec(), key_identifier: identifier, public, signing })
    }

    /// Makes a battery that is good for `days` from `now`.
    ///
    /// # Errors
    /// When a key cannot be made, or the present CRL is not the CA's.
    pub fn mint(&self, revocation: &Revocation, days: u16, now: Timestamp) -> Result<Minted, Failure> {
        let end = now + DAY * i32::from(days);
        let far = |text: &str| text.parse::<Timestamp>().map_err(|error| Failure::new(FailureKind::Error, error));
        let (mut members, mut crl) = (Vec::new(), None);
        for member in Member::SUPPLIED {
            let (from, to) = match member {
                Member::Expired => (now - DAY * 30, now - SignedDuration::from_hours(1)),
                Member::NotYetValid => (far("2099-01-01T00:00:00Z")?, far("2099-01-02T00:00:00Z")?),
                _ => (now - DAY, end),
            };
            let purpose = if member == Member::ServerOnly { Purpose::Server } else { Purpose::Client };
            if member == Member::Revoked && matches!(revocation, Revocation::None) {
                continue;
            }
            let (pem, serial) = self.member(member, from, to, purpose)?;
            members.push((member, pem));
            if member == Member::Revoked {
                crl = Some(self.revoke(revocation, &serial, now, end)?);
            }
        }
        Ok(Minted { members, crl })
    }

    fn member(
        &self,
        member: Member,
        from: Timestamp,
        to: Timestamp,
        purpose: Purpose,
    ) -> Result<(String, Vec<u8>), Failure> {
        let common_name = match member {
            Member::Canary => "gatepost-canary".to_owned(),
            other => format!("gatepost-canary-{}", other.name().replace('_', "-")),
        };
        let key = Key::make()?;
        let plan = Plan {
            subject: &certificate::name(&common_name),
            issuer: &self.name,
            issuer_key: self.key_identifier.as_deref(),
            dns_name: Some(&format!("{common_name}.invalid")),
            from,
            to,
            purpose,
        };
        let (der, serial) = certificate::issue(&plan, &certificate::public_key(key.signing())?, &self.signing)?;
        Ok((pem("CERTIFICATE", &der) + &pem("PRIVATE KEY", key.private()), serial))
    }

    fn revoke(
        &self,
        revocation: &Revocation,
        serial: &[u8],
        now: Timestamp,
        end: Timestamp,
    ) -> Result<String, Failure> {
        let (mut entries, number) = match revocation {
            Revocation::After(der) => self.present(der)?,
            _ => (Vec::new(), vec![1]),
        };
        entries.push(certificate::revoked(serial, now)?);
        let identifier = self.key_identifier.clone().unwrap_or_else(|| certificate::key_identifier(&self.public));
        // A broker whose clock is behind should take it, too.
        let dates = (now - DAY, end);
        let der = certificate::revoke(&self.name, &identifier, &entries, &number, dates, &self.signing)?;
        Ok(pem("X509 CRL", &der))
    }

    /// The entries of the CA's present CRL as they stand there, and the number of the next one.
    fn present(&self, der: &[u8]) -> Result<(Vec<Vec<u8>>, Vec<u8>), Failure> {
        let wrong = |words: &str| Failure::new(FailureKind::Unparseable, words);
        let (_, list) = CertificateRevocationList::from_der(der).map_err(|_| wrong("the present CRL is none"))?;
        let (_, public) = x509_parser::x509::SubjectPublicKeyInfo::from_der(&self.public)
            .map_err(|_| wrong("the CA's public key cannot be read"))?;
        if list.issuer().as_raw() != self.name || list.verify_signature(&public).is_err() {
            return Err(wrong("the present CRL is not this CA's"));
        }
        let entries = entries(der).ok_or_else(|| wrong("the present CRL cannot be read"))?;
        if entries.len() != list.iter_revoked_certificates().count() {
            return Err(wrong("the present CRL cannot be read"));
        }
        let mut number = list.crl_number().map_or_else(|| vec![0], |number| [&[0], &number.to_bytes_be()[..]].concat());
        for byte in number.iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                break;
            }
        }
        // As short as DER has it, and positive.
        while number.len() > 1 && number[0] == 0 && number[1] < 0x80 {
            number.remove(0);
        }
        Ok((entries, number))
    }
}

/// The entries of a CRL, each as it stands there (RFC 5280, section 5.1). `der` is known to be a CRL.
fn entries(der: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (_, list, _) = element(der)?;
    let (_, mut body, _) = element(list)?;
    // Version, algorithm, issuer and the two dates, of which the first and the last may be missing.
    let mut dates = 0;
    loop {
        let Some((tag, content, rest)) = element(body) else { return Some(Vec::new()) };
        body = rest;
        match tag {
            0x17 | 0x18 => dates += 1,
            0x30 if dates > 0 => {
                let (mut entries, mut left) = (Vec::new(), content);
                while let Some((_, _, rest)) = element(left) {
                    entries.push(left[..left.len() - rest.len()].to_vec());
                    left = rest;
                }
                return Some(entries);
            }
            _ if dates > 0 => return Some(Vec::new()),
            _ => {}
        }
    }
}

/// The first element of `der`: its tag, its content, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first & 0x80 != 0 {
        let (digits, after) =
            rest.split_at_checked(usize::from(first & 0x7f)).filter(|(digits, _)| digits.len() <= 4)?;
        length = digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
        rest = after;
    }
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// `der` in PEM, lines of 64.
#[must_use]
pub fn pem(label: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        out.push_str(&String::from_utf8_lossy(line));
        out.push('\n');
    }
    out + &format!("-----END {label}-----\n")
}

/// The CRL in `bytes`, PEM or DER.
///
/// # Errors
/// When there is none.
pub fn crl(bytes: &[u8]) -> Result<Bytes, Failure> {
    use rustls_pki_types::{CertificateRevocationListDer, pem::PemObject as _};
    if bytes.first() == Some(&0x30) {
        return Ok(Bytes(bytes.to_vec()));
    }
    let read = CertificateRevocationListDer::from_pem_slice(bytes);
    let read =
        read.map_err(|_| Failure::new(FailureKind::Unparseable, "the file of the CRL holds none in PEM or DER"))?;
    Ok(Bytes(read.as_ref().to_vec()))
}

#[cfg(test)]
#[path = "mint_tests.rs"]
mod tests;
