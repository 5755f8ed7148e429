//! Writes a ClientHello: one TLS version, the suites and groups that are offered, and the extensions that a survey asks about.
//!
//! Pure. What is written follows RFC 6101 (SSL 3.0), RFC 2246, 4346 and 5246 (TLS 1.0 to 1.2) and RFC 8446 (TLS 1.3). There is
//! no key in it: in TLS 1.3 no share is offered, which asks the server to choose a group (RFC 8446, section 4.2.8) and costs
//! neither side any arithmetic.

use gatepost_evidence::check::broker_transport_posture::TlsVersion;
use gatepost_evidence::check::broker_transport_posture::code::RENEGOTIATION_SCSV;

/// What is offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer<'a> {
    /// The one version.
    pub version: TlsVersion,
    /// Cipher suites, most wanted first.
    pub suites: &'a [u16],
    /// Key exchange groups, most wanted first.
    pub groups: &'a [u16],
    /// The name to ask for; none for an address (RFC 6066, section 3).
    pub server_name: Option<&'a str>,
    /// Protocols to offer by ALPN.
    pub protocols: &'a [&'a str],
    /// 32 random bytes.
    pub random: [u8; 32],
}

/// Signature schemes, modern and old, so that no certificate is out of reach (RFC 8446, section 4.2.3).
const SIGNATURES: [u16; 23] = [
    0x0403, 0x0503, 0x0603, 0x0807, 0x0808, 0x081a, 0x081b, 0x081c, 0x0804, 0x0805, 0x0806, 0x0809, 0x080a, 0x080b,
    0x0401, 0x0501, 0x0601, 0x0303, 0x0301, 0x0203, 0x0201, 0x0202, 0x0402,
];

/// The longest name that is sent.
const MAX_NAME: usize = 255;

impl Offer<'_> {
    /// The record that holds the ClientHello.
    #[must_use]
    pub fn record(&self) -> Vec<u8> {
        let ssl3 = self.version == TlsVersion::Ssl3;
        let tls13 = self.version == TlsVersion::Tls13;
        let mut hello = Vec::with_capacity(512);
        hello.extend(self.version.wire().min(TlsVersion::Tls12.wire()).to_be_bytes());
        hello.extend(self.random);
        // A session id that means nothing, as a client of TLS 1.3 sends for the sake of middleboxes (appendix D.4).
        let session: &[u8] = if tls13 { &self.random } else { &[] };
        vector8(&mut hello, session);
        vector16(&mut hello, |suites| {
            let signal = (ssl3).then_some(RENEGOTIATION_SCSV);
            suites.extend(self.suites.iter().copied().chain(signal).flat_map(u16::to_be_bytes));
        });
        // Compression is asked for where there is any: DEFLATE (RFC 3749), then none.
        vector8(&mut hello, if tls13 { &[0] } else { &[1, 0] });
        if !ssl3 {
            vector16(&mut hello, |extensions| self.extensions(extensions));
        }
        let version = if ssl3 { TlsVersion::Ssl3 } else { TlsVersion::Tls10 };
        let mut record = vec![22];
        record.extend(version.wire().to_be_bytes());
        vector16(&mut record, |fragment| {
            fragment.push(1);
            let length = u32::try_from(hello.len()).unwrap_or(u32::MAX).to_be_bytes();
            fragment.extend(&length[1..]);
            fragment.extend(&hello);
        });
        record
    }

    fn extensions(&self, out: &mut Vec<u8>) {
        let list16 = |out: &mut Vec<u8>, codes: &[u16]| {
            vector16(out, |list| list.extend(codes.iter().flat_map(|code| code.to_be_bytes())));
        };
        if let Some(name) = self.server_name.filter(|name| name.len() <= MAX_NAME) {
            extension(out, 0, |body| {
                vector16(body, |list| {
                    list.push(0);
                    vector16(list, |host| host.extend(name.as_bytes()));
                });
            });
        }
        extension(out, 10, |body| list16(body, self.groups));
        if self.version >= TlsVersion::Tls12 {
            extension(out, 13, |body| list16(body, &SIGNATURES));
        }
        if !self.protocols.is_empty() {
            extension(out, 16, |body| {
                vector16(body, |list| self.protocols.iter().for_each(|protocol| vector8(list, protocol.as_bytes())));
            });
        }
        if self.version == TlsVersion::Tls13 {
            extension(out, 43, |body| vector8(body, &TlsVersion::Tls13.wire().to_be_bytes()));
            extension(out, 51, |body| list16(body, &[]));
            extension(out, 45, |body| vector8(body, &[1]));
            return;
        }
        // What a ServerHello before TLS 1.3 may answer: point formats, OCSP, heartbeat, encrypt-then-MAC, extended master
        // secret, session ticket, secure renegotiation.
        extension(out, 11, |body| vector8(body, &[0, 1, 2]));
        extension(out, 5, |body| body.extend([1, 0, 0, 0, 0]));
        extension(out, 15, |body| body.push(1));
        extension(out, 22, |_| {});
        extension(out, 23, |_| {});
        extension(out, 35, |_| {});
        extension(out, 0xff01, |body| body.push(0));
    }
}

fn extension(out: &mut Vec<u8>, kind: u16, body: impl FnOnce(&mut Vec<u8>)) {
    out.extend(kind.to_be_bytes());
    vector16(out, body);
}

/// A vector with a length of one byte. Nothing longer is ever written here; it would be cut.
fn vector8(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
    out.push(length);
    out.extend(&bytes[..usize::from(length)]);
}

/// A vector with a length of two bytes, which all the tables there are do not fill.
fn vector16(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0, 0]);
    body(out);
    let length = u16::try_from(out.len() - start - 2).unwrap_or(u16::MAX);
    out[start..start + 2].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use tls_parser::{
        TlsExtension, TlsMessage, TlsMessageHandshake, parse_tls_client_hello_extensions, parse_tls_plaintext,
    };

    /// Another reader takes what is written here for what was meant.
    #[test]
    fn every_version_is_written_as_a_reader_reads_it() {
        for version in TlsVersion::ALL {
            let offer = Offer {
                version,
                suites: &[0xc02b, 0x1301],
                groups: &[29, 0x11ec],
                server_name: Some("broker.example"),
                protocols: &["mqtt"],
                random: [7; 32],
            };
            let bytes = offer.record();
            let (rest, record) = parse_tls_plaintext(&bytes).unwrap();
            assert!(rest.is_empty());
            let [TlsMessage::Handshake(TlsMessageHandshake::ClientHello(hello))] = record.msg.as_slice() else {
                panic!("{record:?}")
            };
            assert_eq!(hello.version.0, version.wire().min(0x0303));
            assert_eq!(hello.ciphers.len(), if version == TlsVersion::Ssl3 { 3 } else { 2 });
            let Some(bytes) = hello.ext else {
                assert_eq!(version, TlsVersion::Ssl3);
                continue;
            };
            let (rest, extensions) = parse_tls_client_hello_extensions(bytes).unwrap();
            assert!(rest.is_empty());
            let has = |wanted: &dyn Fn(&TlsExtension<'_>) -> bool| extensions.iter().any(wanted);
            assert!(has(&|found| matches!(found, TlsExtension::SNI(names) if names[0].1 == b"broker.example")));
            assert!(has(&|found| matches!(found, TlsExtension::EllipticCurves(groups) if groups[1].0 == 0x11ec)));
            assert!(has(&|found| matches!(found, TlsExtension::ALPN(names) if names == &[b"mqtt"])));
            let alone = has(&|found| matches!(found, TlsExtension::SupportedVersions(only) if only[0].0 == 0x0304));
            assert_eq!(alone, version == TlsVersion::Tls13);
            let signatures = has(&|found| matches!(found, TlsExtension::SignatureAlgorithms(_)));
            assert_eq!(signatures, version >= TlsVersion::Tls12);
        }
    }
}
