//! Elliptic curves by name, and whether a point lies on one of NIST's (SP 800-186, SEC 2).

use num_bigint::BigUint;

use super::key::KeyWeakness;

/// A named curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Curve {
    /// Its usual name.
    pub(super) name: &'static str,
    oid: &'static str,
    /// Size of its field in bits.
    pub(super) bits: i64,
    /// The field's prime and the coefficient b, hexadecimal; a is -3. Only of those that points are tried on.
    equation: Option<(&'static str, &'static str)>,
}

const fn curve(name: &'static str, oid: &'static str, bits: i64) -> Curve {
    Curve { name, oid, bits, equation: None }
}

const CURVES: &[Curve] = &[
    Curve {
        name: "P-256",
        oid: "1.2.840.10045.3.1.7",
        bits: 256,
        equation: Some((
            "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff",
            "5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b",
        )),
    },
    Curve {
        name: "P-384",
        oid: "1.3.132.0.34",
        bits: 384,
        equation: Some((
            "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000ffffffff",
            "b3312fa7e23ee7e4988e056be3f82d19181d9c6efe8141120314088f5013875ac656398d8a2ed19d2a85c8edd3ec2aef",
        )),
    },
    Curve {
        name: "P-521",
        oid: "1.3.132.0.35",
        bits: 521,
        equation: Some((
            "1ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff\
             ffffffffffffffffffffffffffffffff",
            "51953eb9618e1c9a1f929a21a0b68540eea2da725b99b315f3b8b489918ef109e156193951ec7e937b1652c0bd3bb1bf073\
             573df883d2c34f1ef451fd46b503f00",
        )),
    },
    curve("P-192", "1.2.840.10045.3.1.1", 192),
    curve("P-224", "1.3.132.0.33", 224),
    curve("secp256k1", "1.3.132.0.10", 256),
    curve("brainpoolP256r1", "1.3.36.3.3.2.8.1.1.7", 256),
    curve("brainpoolP384r1", "1.3.36.3.3.2.8.1.1.11", 384),
    curve("brainpoolP512r1", "1.3.36.3.3.2.8.1.1.13", 512),
    curve("secp160r1", "1.3.132.0.8", 160),
    curve("secp112r1", "1.3.132.0.6", 112),
];

/// The curve with this OID.
pub(super) fn find(oid: &str) -> Option<&'static Curve> {
    CURVES.iter().find(|curve| curve.oid == oid)
}

impl Curve {
    /// What is wrong with the point that `data` encodes (SEC 1, section 2.3.3). None where that is not tried: on other
    /// curves, and for compressed points, where half of all numbers are one.
    pub(super) fn weaknesses(&self, data: &[u8]) -> Option<Vec<KeyWeakness>> {
        let (prime, b) = self.equation?;
        let width = usize::try_from(self.bits).ok()?.div_ceil(8);
        let point = match data {
            [4, point @ ..] if point.len() == 2 * width => point,
            [2 | 3, x @ ..] if x.len() == width => return None,
            _ => return Some(vec![KeyWeakness::Malformed]),
        };
        let prime = BigUint::parse_bytes(prime.as_bytes(), 16)?;
        let b = BigUint::parse_bytes(b.as_bytes(), 16)?;
        let (x, y) = point.split_at(width);
        let (x, y) = (BigUint::from_bytes_be(x), BigUint::from_bytes_be(y));
        if x >= prime || y >= prime {
            return Some(vec![KeyWeakness::Malformed]);
        }
        // y^2 = x^3 - 3x + b, written without a negative number.
        let right = (&x * &x * &x + &b) % &prime;
        let left = (&y * &y + &x * 3u32) % &prime;
        Some(if left == right { Vec::new() } else { vec![KeyWeakness::NotOnCurve] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generators_lie_on_their_curves_and_their_neighbours_do_not() {
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
        };
        let p256 = hex(concat!(
            "04",
            "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
            "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
        ));
        let curve = find("1.2.840.10045.3.1.7").unwrap();
        assert_eq!(curve.weaknesses(&p256), Some(vec![]));
        let mut moved = p256.clone();
        *moved.last_mut().unwrap() ^= 1;
        assert_eq!(curve.weaknesses(&moved), Some(vec![KeyWeakness::NotOnCurve]));
        assert_eq!(curve.weaknesses(&p256[..64]), Some(vec![KeyWeakness::Malformed]));
        let mut compressed = p256[..33].to_vec();
        compressed[0] = 2;
        assert_eq!(curve.weaknesses(&compressed), None);
        assert_eq!(curve.weaknesses(&[4; 65]).unwrap().len(), 1);
        assert_eq!(curve.weaknesses(&[0xff; 65]), Some(vec![KeyWeakness::Malformed]));
    }

    #[test]
    fn real_keys_lie_on_their_curves() {
        use rcgen::PublicKeyData as _;
        use x509_parser::prelude::FromDer as _;
        for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384] {
            let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
            let spki = key.subject_public_key_info();
            let (_, info) = x509_parser::x509::SubjectPublicKeyInfo::from_der(&spki).unwrap();
            let facts = super::super::key::Key::of(&info);
            assert_eq!(facts.weaknesses, Some(vec![]), "{facts:?}");
        }
    }
}
