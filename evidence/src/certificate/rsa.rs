//! RSA keys that can be broken from the certificate alone.
//!
//! Each test is exact: what it reports can be turned into the private key, or is no key at all. Each is bounded, since the
//! numbers come from strangers: moduli above [`MAX_BITS`] are not tested. `docs/certificates.md` says what the tests are
//! and what they are not.

use std::sync::LazyLock;

use num_bigint::BigUint;

use super::key::KeyWeakness;

/// Larger moduli are not tested: none is in use, and a certificate of a megabyte must not cost a minute.
pub const MAX_BITS: u64 = 16_384;
/// Steps of Fermat's method: primes that differ only in their last hundred bits or so are found in the first.
const FERMAT_STEPS: u32 = 100;
/// Factors are looked for up to here, as the largest exponent in use is: a number with smaller ones is a damaged key.
const SMALL: u32 = 65_537;
/// The primes up to this bound are those whose product Infineon's library of 2012 to 2017 built its primes on, for moduli
/// of 512 to 960 bits; the products for larger moduli are multiples of it, so that this one tells for all (CVE-2017-15361).
const ROCA_BOUND: u32 = 167;
/// The generator of that library.
const ROCA_GENERATOR: u32 = 65_537;

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RsaKey {
    /// The modulus.
    pub modulus: BigUint,
    /// The public exponent.
    pub exponent: BigUint,
}

/// The weaknesses of `key`, or `None` when it is too large to be tested.
pub fn weaknesses(key: &RsaKey) -> Option<Vec<KeyWeakness>> {
    let RsaKey { modulus, exponent } = key;
    if modulus.bits() > MAX_BITS || exponent.bits() > MAX_BITS {
        return None;
    }
    let one = BigUint::from(1u32);
    let mut found = Vec::new();
    if *exponent == one {
        found.push(KeyWeakness::ExponentOne);
    } else if !exponent.bit(0) || exponent >= modulus {
        found.push(KeyWeakness::Malformed);
    }
    if modulus.bits() < 16 {
        // Nothing below has a meaning for a number of two digits.
        found.push(KeyWeakness::SmallFactor);
        return Some(found);
    }
    if has_small_factor(modulus) {
        found.push(KeyWeakness::SmallFactor);
    } else if has_close_primes(modulus) {
        found.push(KeyWeakness::ClosePrimes);
    }
    if is_roca(modulus) {
        found.push(KeyWeakness::Roca);
    }
    if has_small_private_exponent(key) {
        found.push(KeyWeakness::SmallPrivateExponent);
    }
    Some(found)
}

/// Every prime up to `bound`, by Eratosthenes.
fn primes(bound: u32) -> Vec<u32> {
    let size = bound as usize + 1;
    let mut composite = vec![false; size];
    let mut found = Vec::new();
    for number in 2..size {
        if !composite[number] {
            found.push(number as u32);
            (number * number..size).step_by(number).for_each(|multiple| composite[multiple] = true);
        }
    }
    found
}

fn product(numbers: &[BigUint]) -> BigUint {
    match numbers {
        [] => BigUint::from(1u32),
        [one] => one.clone(),
        _ => {
            let (left, right) = numbers.split_at(numbers.len() / 2);
            product(left) * product(right)
        }
    }
}

/// The greatest common divisor, by Euclid.
pub(super) fn gcd(a: &BigUint, b: &BigUint) -> BigUint {
    let (mut a, mut b) = (a.clone(), b.clone());
    while b.bits() > 0 {
        let rest = &a % &b;
        a = b;
        b = rest;
    }
    a
}

fn has_small_factor(modulus: &BigUint) -> bool {
    static PRODUCT: LazyLock<BigUint> =
        LazyLock::new(|| product(&primes(SMALL).into_iter().map(BigUint::from).collect::<Vec<_>>()));
    gcd(modulus, &(&*PRODUCT % modulus)).bits() > 1
}

/// Fermat's method for a bounded number of steps: with `a` the middle of two factors, `a * a - modulus` is a square.
fn has_close_primes(modulus: &BigUint) -> bool {
    let mut middle = modulus.sqrt();
    if &middle * &middle < *modulus {
        middle += 1u32;
    }
    let mut rest = &middle * &middle - modulus;
    for _ in 0..=FERMAT_STEPS {
        if is_square(&rest) {
            return true;
        }
        // (a + 1) ^ 2 = a ^ 2 + 2 a + 1
        rest += &middle * 2u32 + 1u32;
        middle += 1u32;
    }
    false
}

fn is_square(number: &BigUint) -> bool {
    // Of the residues of 256, 44 are squares; most numbers are told by these alone.
    static SQUARES: LazyLock<[bool; 256]> = LazyLock::new(|| {
        let mut squares = [false; 256];
        (0..256usize).for_each(|root| squares[root * root % 256] = true);
        squares
    });
    let low = number.iter_u32_digits().next().unwrap_or(0) & 0xff;
    if !SQUARES[low as usize] {
        return false;
    }
    let root = number.sqrt();
    &root * &root == *number
}

/// Whether the modulus is a power of the generator modulo the product of the first primes, as all moduli of that library
/// are and one of 2^154 others is (Nemec et al., "The Return of Coppersmith's Attack", 2017).
///
/// It is one exactly if that holds for each prime power of the generator's order (Pohlig and Hellman).
fn is_roca(modulus: &BigUint) -> bool {
    struct Group {
        product: BigUint,
        order: BigUint,
        parts: Vec<u32>,
    }
    static GROUP: LazyLock<Group> = LazyLock::new(|| {
        let primes = primes(ROCA_BOUND);
        let mut parts: Vec<(u32, u32)> = Vec::new();
        for prime in primes.iter().filter(|prime| !ROCA_GENERATOR.is_multiple_of(**prime)) {
            for (factor, power) in factors(order(ROCA_GENERATOR, *prime)) {
                match parts.iter_mut().find(|(known, _)| *known == factor) {
                    Some((_, most)) => *most = power.max(*most),
                    None => parts.push((factor, power)),
                }
            }
        }
        let parts: Vec<u32> = parts.into_iter().map(|(_, power)| power).collect();
        let big = |numbers: &[u32]| numbers.iter().copied().map(BigUint::from).collect::<Vec<_>>();
        Group { product: product(&big(&primes)), order: product(&big(&parts)), parts }
    });
    let Group { product, order, parts } = &*GROUP;
    let one = BigUint::from(1u32);
    let element = modulus % product;
    if element.modpow(order, product) != one {
        return false;
    }
    parts.iter().all(|part| {
        let exponent = order / part;
        let (generator, element) =
            (BigUint::from(ROCA_GENERATOR).modpow(&exponent, product), element.modpow(&exponent, product));
        let mut power = one.clone();
        (0..*part).any(|_| {
            let found = power == element;
            power = &power * &generator % product;
            found
        })
    })
}

/// The order of `element` modulo `prime`.
fn order(element: u32, prime: u32) -> u32 {
    let mut power = element % prime;
    let mut order = 1;
    while power != 1 {
        power = power * (element % prime) % prime;
        order += 1;
    }
    order
}

/// The prime factors of `number`, each with the power of it that divides `number`.
fn factors(mut number: u32) -> Vec<(u32, u32)> {
    let mut found = Vec::new();
    let mut factor = 2;
    while number > 1 {
        let mut power = 1;
        while number.is_multiple_of(factor) {
            number /= factor;
            power *= factor;
        }
        if power > 1 {
            found.push((factor, power));
        }
        factor += 1;
    }
    found
}

/// Wiener's attack: a private exponent below the fourth root of the modulus is a denominator of the continued fraction of
/// `exponent / modulus`. Only a public exponent of unusual size can have such a counterpart.
fn has_small_private_exponent(key: &RsaKey) -> bool {
    if key.exponent.bits() <= 32 || key.exponent >= key.modulus {
        return false;
    }
    let message = BigUint::from(2u32);
    let sealed = message.modpow(&key.exponent, &key.modulus);
    let (mut a, mut b) = (key.exponent.clone(), key.modulus.clone());
    let (mut before, mut denominator) = (BigUint::from(1u32), BigUint::default());
    while b.bits() > 0 && denominator.bits() <= key.modulus.bits() / 4 + 1 {
        let quotient = &a / &b;
        let next = &quotient * &denominator + &before;
        before = denominator;
        denominator = next;
        let rest = &a % &b;
        a = b;
        b = rest;
        if denominator.bits() > 1 && sealed.modpow(&denominator, &key.modulus) == message {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> BigUint {
        BigUint::parse_bytes(text.as_bytes(), 10).unwrap()
    }

    fn is_prime(number: &BigUint) -> bool {
        let one = BigUint::from(1u32);
        [2u32, 3, 5, 7, 11].iter().all(|base| BigUint::from(*base).modpow(&(number - &one), number) == one)
    }

    fn prime_from(mut number: BigUint) -> BigUint {
        number.set_bit(0, true);
        while !is_prime(&number) {
            number += 2u32;
        }
        number
    }

    fn found(modulus: &BigUint, exponent: u32) -> Vec<KeyWeakness> {
        weaknesses(&RsaKey { modulus: modulus.clone(), exponent: exponent.into() }).unwrap()
    }

    /// Two primes of 512 bits that nothing is wrong with.
    fn sound() -> (BigUint, BigUint) {
        let digits = |seed: u8| {
            let bytes: Vec<u8> =
                (0..64u8).map(|i| crate::id::Digest::of(&[seed, i]).as_bytes()[0] | 0x80 >> i.min(7)).collect();
            prime_from(BigUint::from_bytes_be(&bytes))
        };
        (digits(1), digits(2))
    }

    #[test]
    fn a_sound_key_has_no_weakness() {
        let (p, q) = sound();
        assert_eq!(found(&(&p * &q), 65_537), []);
        assert_eq!(found(&(&p * &q), 3), []);
    }

    #[test]
    fn exponents_that_are_none() {
        let (p, q) = sound();
        let modulus = &p * &q;
        assert_eq!(found(&modulus, 1), [KeyWeakness::ExponentOne]);
        assert_eq!(found(&modulus, 65_536), [KeyWeakness::Malformed]);
        let too_large = RsaKey { exponent: &modulus + 2u32, modulus };
        assert_eq!(weaknesses(&too_large).unwrap(), [KeyWeakness::Malformed]);
    }

    #[test]
    fn close_primes_and_a_square() {
        let (p, _) = sound();
        let next = prime_from(&p + (BigUint::from(1u32) << 200));
        assert_eq!(found(&(&p * &next), 65_537), [KeyWeakness::ClosePrimes]);
        assert_eq!(found(&(&p * &p), 65_537), [KeyWeakness::ClosePrimes]);
        let far = prime_from(&p + (BigUint::from(1u32) << 400));
        assert_eq!(found(&(&p * &far), 65_537), []);
    }

    #[test]
    fn small_factors_up_to_the_bound() {
        let (p, _) = sound();
        for factor in [2u32, 3, 65_521, 65_537] {
            assert_eq!(found(&(&p * factor), 17), [KeyWeakness::SmallFactor], "{factor}");
        }
        assert_eq!(found(&(&p * 65_539u32), 17), []);
    }

    #[test]
    fn the_group_of_the_fingerprint_is_the_published_one() {
        // Of the paper's tool: the product of the primes up to 167 has 220 bits, and a prime of the library is
        // k * product + generator ^ a mod product.
        let product = product(&primes(ROCA_BOUND).into_iter().map(BigUint::from).collect::<Vec<_>>());
        assert_eq!(product.bits(), 220);
        let prime = |mut k: u64, a: u32| loop {
            let candidate = &product * k + BigUint::from(ROCA_GENERATOR).modpow(&a.into(), &product);
            if is_prime(&candidate) {
                return candidate;
            }
            k += 1;
        };
        let modulus = prime(0x9e37_79b9_7f4a_7c15, 1_000_003) * prime(0xbf58_476d_1ce4_e5b9, 77_777);
        assert!(found(&modulus, 65_537).contains(&KeyWeakness::Roca));
        assert!(!is_roca(&(modulus + 2u32)));
    }

    #[test]
    fn a_small_private_exponent_is_found() {
        let (p, q) = sound();
        let one = BigUint::from(1u32);
        let (modulus, phi) = (&p * &q, (&p - &one) * (&q - &one));
        let private = prime_from(number("340282366920938463463374607431768211507"));
        let exponent = private.modinv(&phi).unwrap();
        let key = RsaKey { modulus, exponent };
        assert_eq!(weaknesses(&key).unwrap(), [KeyWeakness::SmallPrivateExponent]);
    }

    #[test]
    fn what_is_too_large_is_not_tested_and_what_is_tiny_is_weak() {
        let large = RsaKey { modulus: (BigUint::from(1u32) << 20_000) + 1u32, exponent: 3u32.into() };
        assert_eq!(weaknesses(&large), None);
        for tiny in 0..300u32 {
            assert!(found(&tiny.into(), 3).contains(&KeyWeakness::SmallFactor), "{tiny}");
        }
    }
}
