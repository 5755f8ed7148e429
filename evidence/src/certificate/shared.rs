//! RSA keys of many certificates that share a prime: made by devices that had no randomness when they made their keys
//! (Heninger et al., "Mining Your Ps and Qs", 2012). Whoever has the certificates has the keys.
//!
//! No certificate alone shows it, so this is for who has those of a whole fleet. The greatest common divisor of each
//! modulus with the product of all others is found by a product tree and a remainder tree (Bernstein, 2004): quasi-linear,
//! where all pairs would be quadratic.

use std::collections::{BTreeMap, BTreeSet};

use num_bigint::BigUint;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::key;
use super::rsa::{MAX_BITS, gcd};

/// Common factors of fewer bits make a damaged key, which shows by itself.
const MIN_FACTOR_BITS: u64 = 32;

/// The modulus of an RSA key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Modulus(BigUint);

impl Modulus {
    /// The modulus of the key in the certificate `der`, if that is RSA and not larger than any in use.
    #[must_use]
    pub fn of_certificate(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let modulus = key::modulus(certificate.public_key())?;
        (MIN_FACTOR_BITS..=MAX_BITS).contains(&modulus.bits()).then_some(Self(modulus))
    }

    /// The number with these big-endian bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(BigUint::from_bytes_be(bytes))
    }
}

/// The groups of different `moduli` that have a prime in common, as places in `moduli`, each group sorted. Equal moduli are
/// one and the same key, which is another matter; each of their places is in the group.
#[must_use]
pub fn share_a_prime(moduli: &[Modulus]) -> Vec<Vec<usize>> {
    let mut places: BTreeMap<&BigUint, Vec<usize>> = BTreeMap::new();
    for (place, Modulus(modulus)) in moduli.iter().enumerate().filter(|(_, modulus)| modulus.0.bits() > 1) {
        places.entry(modulus).or_default().push(place);
    }
    let numbers: Vec<BigUint> = places.keys().map(|number| (*number).clone()).collect();
    let suspects: Vec<&BigUint> = numbers
        .iter()
        .zip(common(&numbers))
        .filter(|(_, factor)| factor.bits() >= MIN_FACTOR_BITS)
        .map(|(one, _)| one)
        .collect();
    let mut groups: BTreeMap<BigUint, BTreeSet<usize>> = BTreeMap::new();
    for (at, one) in suspects.iter().enumerate() {
        for other in &suspects[at + 1..] {
            let factor = gcd(one, other);
            if factor.bits() >= MIN_FACTOR_BITS {
                let members = [one, other].into_iter().filter_map(|modulus| places.get(modulus)).flatten().copied();
                groups.entry(factor).or_default().extend(members);
            }
        }
    }
    let mut groups: Vec<Vec<usize>> = groups.into_values().map(|members| members.into_iter().collect()).collect();
    groups.sort();
    groups.dedup();
    groups
}

/// For each of `numbers` what it has in common with the product of all the others.
fn common(numbers: &[BigUint]) -> Vec<BigUint> {
    if numbers.is_empty() {
        return Vec::new();
    }
    // The tree of products, leaves first.
    let mut tree = vec![numbers.to_vec()];
    while let Some(level) = tree.last().filter(|level| level.len() > 1) {
        let above = level.chunks(2).map(|pair| pair.iter().product()).collect();
        tree.push(above);
    }
    // Down again: the product of all modulo the square of each.
    let mut rest = tree.pop().unwrap_or_default();
    while let Some(level) = tree.pop() {
        rest = level.iter().enumerate().map(|(at, number)| &rest[at / 2] % (number * number)).collect();
    }
    numbers.iter().zip(rest).map(|(number, rest)| gcd(number, &(rest / number))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Primes of 61 and 62 bits.
    const PRIMES: [u64; 7] = [
        2_305_843_009_213_693_951,
        2_305_843_009_213_693_921,
        2_305_843_009_213_693_907,
        2_305_843_009_213_693_723,
        2_305_843_009_213_693_693,
        2_305_843_009_213_693_669,
        4_611_686_018_427_387_847,
    ];

    fn modulus(p: usize, q: usize) -> Modulus {
        Modulus(BigUint::from(PRIMES[p]) * PRIMES[q])
    }

    #[test]
    fn those_that_share_are_found_and_the_others_are_not() {
        assert_eq!(share_a_prime(&[]), Vec::<Vec<usize>>::new());
        assert_eq!(share_a_prime(&[modulus(0, 1)]), Vec::<Vec<usize>>::new());
        assert_eq!(share_a_prime(&[modulus(0, 1), modulus(2, 3), modulus(4, 5)]), Vec::<Vec<usize>>::new());
        assert_eq!(share_a_prime(&[modulus(0, 1), modulus(2, 3), modulus(1, 4)]), [[0, 2]]);
        // Three on one prime, and a fourth that shares its other prime with one of them.
        let all = [modulus(0, 1), modulus(0, 2), modulus(5, 6), modulus(0, 3), modulus(3, 4)];
        assert_eq!(share_a_prime(&all), [vec![0, 1, 3], vec![3, 4]]);
    }

    #[test]
    fn the_same_key_twice_is_no_shared_prime() {
        assert_eq!(share_a_prime(&[modulus(0, 1), modulus(0, 1)]), Vec::<Vec<usize>>::new());
        assert_eq!(share_a_prime(&[modulus(0, 1), modulus(0, 1), modulus(1, 2)]), [[0, 1, 2]]);
    }

    #[test]
    fn small_common_factors_are_no_shared_primes() {
        let three = |q: usize| Modulus(BigUint::from(PRIMES[q]) * 3u32);
        assert_eq!(
            share_a_prime(&[three(0), three(1), Modulus::from_bytes(&[0]), Modulus::from_bytes(&[])]),
            Vec::<Vec<usize>>::new()
        );
    }

    #[test]
    fn the_trees_agree_with_all_pairs() {
        // Every subset of the products of two of the primes that a few bits choose.
        let pairs: Vec<(usize, usize)> = (0..7).flat_map(|p| (p + 1..7).map(move |q| (p, q))).collect();
        for seed in 0..200u32 {
            let chosen: Vec<_> =
                pairs.iter().enumerate().filter(|(at, _)| (seed.wrapping_mul(2_654_435_761) >> at) & 1 == 1).collect();
            let numbers: Vec<BigUint> = chosen.iter().map(|(_, (p, q))| modulus(*p, *q).0).collect();
            let shares: Vec<bool> = common(&numbers).iter().map(|factor| factor.bits() > 1).collect();
            let expected: Vec<bool> = (0..numbers.len())
                .map(|at| (0..numbers.len()).any(|other| other != at && gcd(&numbers[at], &numbers[other]).bits() > 1))
                .collect();
            assert_eq!(shares, expected, "{seed}");
        }
    }
}
