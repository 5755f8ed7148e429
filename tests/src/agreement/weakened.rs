//! Sound TLS servers with one weakness each, and what follows from it: findings of `broker_transport_posture` where it is a
//! broker's listener, and of `ingest_auth` where it is an ingest edge's.

use super::servers::{Server, openssl, tlslite};

/// A server with what is found of its TLS.
pub struct Weakened {
    /// The server.
    pub server: Server,
    /// As a broker's listener.
    pub at_broker: &'static [&'static str],
    /// As an ingest edge; nothing where the server answers no requests that could be an upload.
    pub at_ingest: Option<&'static [&'static str]>,
}

const fn weak(server: Server, at_broker: &'static [&'static str]) -> Weakened {
    Weakened { server, at_broker, at_ingest: None }
}

const fn both(server: Server, at_broker: &'static [&'static str], at_ingest: &'static [&'static str]) -> Weakened {
    Weakened { server, at_broker, at_ingest: Some(at_ingest) }
}

/// A sound server's suites with these behind them, in the server's order; TLS 1.2 and 1.3.
macro_rules! suites {
    ($name:literal, $suites:literal) => {
        openssl(
            $name,
            "p256",
            &["-no_tls1", "-no_tls1_1", "-serverpref", "-cipher", concat!("ECDHE+AESGCM:", $suites, ":@SECLEVEL=0")],
        )
    };
}

/// All of them.
pub const WEAKENED: &[Weakened] = &[
    weak(openssl("nothing", "p256", &[]), &[]),
    both(tlslite("nothing, tlslite", "nothing"), &[], &[]),
    both(
        tlslite("SSL 3.0", "ssl3"),
        // SSL 3.0 has neither elliptic curves nor a version 1.0 that is not its successor's.
        &["no_forward_secrecy", "ssl3_accepted", "tls10_or_tls11_accepted"],
        &["no_forward_secrecy", "ssl3_accepted", "tls10_or_tls11_accepted"],
    ),
    weak(openssl("TLS 1.0 and 1.1", "p256", &["-cipher", "ECDHE+AES:@SECLEVEL=0"]), &["tls10_or_tls11_accepted"]),
    both(
        tlslite("TLS 1.1 alone", "tls11-alone"),
        &["tls10_or_tls11_accepted", "tls12_or_13_missing"],
        &["tls10_or_tls11_accepted", "tls12_or_13_missing"],
    ),
    both(tlslite("no TLS 1.3", "no-tls13"), &["tls13_missing"], &["tls13_missing"]),
    weak(suites!("NULL", "eNULL+ECDHE"), &["null_suite_accepted"]),
    weak(suites!("anonymous", "AECDH+AES"), &["anonymous_suite_accepted"]),
    weak(
        openssl(
            "anonymous, client's order",
            "p256",
            &["-no_tls1", "-no_tls1_1", "-cipher", "ECDHE+AESGCM:AECDH+AES:@SECLEVEL=0"],
        ),
        &["anonymous_suite_accepted", "client_order_with_weak_suites"],
    ),
    both(tlslite("RC4", "rc4"), &["rc4_suite_accepted"], &["weak_suite_accepted"]),
    both(tlslite("3DES", "3des"), &["small_block_suite_accepted"], &["weak_suite_accepted"]),
    weak(openssl("static RSA", "rsa", &["-cipher", "ECDHE+AESGCM:AES128-GCM-SHA256"]), &["no_forward_secrecy"]),
    weak(openssl("CBC alone", "p256", &["-cipher", "ECDHE-ECDSA-AES128-SHA256"]), &["cbc_only"]),
    weak(
        openssl(
            "DH 1024",
            "rsa",
            &["-no_tls1", "-no_tls1_1", "-dhparam", "dh1024.pem", "-cipher", "ECDHE+AESGCM:DHE+AESGCM:@SECLEVEL=0"],
        ),
        &["weak_dh_group"],
    ),
    weak(
        openssl(
            "a weak curve",
            "rsa",
            &["-no_tls1", "-no_tls1_1", "-groups", "X25519:P-192", "-cipher", "ECDHE+AESGCM:@SECLEVEL=0"],
        ),
        &["weak_group_accepted"],
    ),
    both(
        tlslite("no secure renegotiation", "no-secure-renegotiation"),
        &["insecure_renegotiation"],
        &["insecure_renegotiation"],
    ),
    both(tlslite("static RSA, tlslite", "static-rsa"), &["no_forward_secrecy"], &["no_forward_secrecy"]),
    both(tlslite("DH 1024, tlslite", "dh1024"), &["weak_dh_group"], &["weak_dh_group"]),
    both(tlslite("heartbeat", "heartbeat"), &["heartbeat"], &["heartbeat"]),
    both(
        tlslite("no extended master secret", "no-extended-master-secret"),
        &["no_extended_master_secret"],
        &["no_extended_master_secret"],
    ),
    both(
        tlslite("fallback taken", "no-fallback"),
        // Without an old version there is nothing to fall back to.
        &["no_fallback_protection", "tls10_or_tls11_accepted"],
        &["no_fallback_protection", "tls10_or_tls11_accepted"],
    ),
];
