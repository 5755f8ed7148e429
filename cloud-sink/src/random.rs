//! Secrets made of the operating system's randomness, and their comparison.
//!
//! A secret is 32 random bytes in unpadded URL-safe base64 behind a prefix that tells what it is for. Only its SHA-256 is
//! kept where that is enough, and comparison is of digests, in constant time.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gatepost_evidence::id::Digest;

/// A new secret that begins with `prefix`.
///
/// # Errors
/// When the operating system gives no randomness.
pub fn secret(prefix: &str) -> Result<String, getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// Whether `offered` is the secret with this digest; takes as long whatever the answer.
#[must_use]
pub fn matches(offered: &str, digest: &Digest) -> bool {
    let offered = Digest::of(offered.as_bytes());
    let difference = offered.as_bytes().iter().zip(digest.as_bytes()).fold(0, |sum, (a, b)| sum | (a ^ b));
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_differ_and_match_only_themselves() {
        let (one, two) = (secret("t_").unwrap(), secret("t_").unwrap());
        assert_ne!(one, two);
        assert_eq!(one.len(), 2 + 43);
        assert!(matches(&one, &Digest::of(one.as_bytes())));
        assert!(!matches(&two, &Digest::of(one.as_bytes())));
        assert!(!matches("", &Digest::of(one.as_bytes())));
    }
}
