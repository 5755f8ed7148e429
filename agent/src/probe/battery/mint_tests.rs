//! What is minted, as others read it.

use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;

use super::*;

fn now() -> Timestamp {
    "2026-06-01T12:00:00Z".parse().unwrap()
}

fn authority() -> Authority {
    let key = Key::make().unwrap();
    let public = certificate::public_key(key.signing()).unwrap();
    let name = certificate::name("a CA");
    let plan = Plan {
        subject: &name,
        issuer: &name,
        issuer_key: None,
        dns_name: None,
        from: now(),
        to: now() + DAY,
        purpose: Purpose::Authority,
    };
    let (der, _) = certificate::issue(&plan, &public, key.signing()).unwrap();
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.private()));
    let other = Key::make().unwrap();
    let other = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(other.private()));
    let refused = |der: &[u8], key: &PrivateKeyDer<'_>| Authority::new(der, key).err().unwrap().detail;
    assert!(refused(&der, &other).contains("not that of the CA's"));
    let (leaf, _) = certificate::issue(&Plan { purpose: Purpose::Client, ..plan }, &public, key.signing()).unwrap();
    assert!(refused(&leaf, &private).contains("not one of a CA"));
    Authority::new(&der, &private).unwrap()
}

fn serials(crl: &str) -> (Vec<Vec<u8>>, String) {
    let der = super::crl(crl.as_bytes()).unwrap();
    let (_, list) = CertificateRevocationList::from_der(&der.0).unwrap();
    let serials = list.iter_revoked_certificates().map(|entry| entry.raw_serial().to_vec()).collect();
    (serials, list.crl_number().unwrap().to_string())
}

#[test]
fn each_member_is_what_it_is_called() {
    let minted = authority().mint(&Revocation::New, 100, now()).unwrap();
    assert_eq!(minted.members.iter().map(|(member, _)| *member).collect::<Vec<_>>(), Member::SUPPLIED);
    for (member, pem) in &minted.members {
        let der = rustls_pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let (_, read) = X509Certificate::from_der(&der).unwrap();
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
        let public = certificate::public_key(&certificate::signing_key(&key).unwrap()).unwrap();
        assert_eq!(read.public_key().raw, public, "{member}");
        let at = |time: Timestamp| x509_parser::time::ASN1Time::from_timestamp(time.as_second()).unwrap();
        let valid = read.validity().is_valid_at(at(now()));
        assert_eq!(valid, !matches!(member, Member::Expired | Member::NotYetValid), "{member}");
        let usage = read.extended_key_usage().unwrap().unwrap().value;
        assert_eq!(
            (usage.client_auth, usage.server_auth),
            (*member != Member::ServerOnly, *member == Member::ServerOnly)
        );
        assert!(read.subject().to_string().starts_with("CN=gatepost-canary"), "{}", read.subject());
    }
    let none = authority().mint(&Revocation::None, 100, now()).unwrap();
    assert!(none.crl.is_none() && none.members.iter().all(|(member, _)| *member != Member::Revoked));
}

#[test]
fn a_crl_keeps_what_stood_on_the_one_before() {
    let authority = authority();
    let mut before = authority.mint(&Revocation::New, 100, now()).unwrap().crl.unwrap();
    for number in 2..=300_u32 {
        if (3..127).contains(&number) || (130..254).contains(&number) {
            // Each costs an entry; the borders of a byte are what matters.
            let (entries, _) = (super::entries(&super::crl(before.as_bytes()).unwrap().0).unwrap(), ());
            let digits = number.to_be_bytes();
            let digits = if number > 127 { &digits[2..] } else { &digits[3..] };
            let der =
                certificate::revoke(&authority.name, &[1], &entries, digits, (now(), now() + DAY), &authority.signing);
            before = pem("X509 CRL", &der.unwrap());
            continue;
        }
        let present = super::crl(before.as_bytes()).unwrap().0;
        let after = authority.mint(&Revocation::After(present), 100, now()).unwrap().crl.unwrap();
        let ((old, _), (new, told)) = (serials(&before), serials(&after));
        assert_eq!((&new[..old.len()], new.len()), (&old[..], old.len() + 1));
        assert_eq!(told, number.to_string());
        before = after;
    }
    let strangers = self::authority();
    let failure = strangers.mint(&Revocation::After(super::crl(before.as_bytes()).unwrap().0), 1, now()).err().unwrap();
    assert!(failure.detail.contains("not this CA's"), "{failure}");
}
