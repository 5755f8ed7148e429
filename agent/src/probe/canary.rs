//! Names for what a probe leaves at a peer, so that whoever meets one in a log knows where it comes from.

use gatepost_evidence::look::{Failure, FailureKind};

use super::wire::hex;

/// `N` random bytes in hexadecimal.
///
/// # Errors
/// When the operating system has no random bytes.
pub fn random<const N: usize>() -> Result<String, Failure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Failure::new(FailureKind::Error, error))?;
    Ok(hex(&bytes))
}

/// A name such as `gatepost-canary-3fa90c`: 22 characters, since a server must take client ids of up to 23 (MQTT 3.1.1,
/// section 3.1.3.1), and never the same twice, since a client id that is in use would throw out its owner.
///
/// # Errors
/// As [`random`].
pub fn name() -> Result<String, Failure> {
    Ok(format!("gatepost-canary-{}", random::<3>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_marked_short_and_different() {
        let (one, two) = (name().unwrap(), name().unwrap());
        assert!(one.starts_with("gatepost-canary-") && one.len() <= 23, "{one}");
        assert_ne!(one, two);
    }
}
