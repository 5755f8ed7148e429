//! When to try again: capped exponential backoff with full jitter, so that gateways that lost the sink together do not come
//! back together. Pure: randomness is handed in.

use std::time::Duration;

/// The longest that the first retry waits.
const FIRST: Duration = Duration::from_secs(5);
/// The longest that any retry waits, unless the sink asks for more.
const CAP: Duration = Duration::from_secs(15 * 60);

/// How long to wait before try `attempt` (0 is the first retry): uniformly between nothing and a bound that doubles from
/// 5 s to 15 min, chosen by `random`; never less than the sink asked for.
#[must_use]
pub fn delay(attempt: u32, random: u64, asked: Option<Duration>) -> Duration {
    let bound = FIRST.saturating_mul(1_u32.checked_shl(attempt).unwrap_or(u32::MAX)).min(CAP);
    let millis = u64::try_from(bound.as_millis()).unwrap_or(u64::MAX);
    // One day at most, whatever the sink asks for: a mistyped header must not silence a gateway.
    let asked = asked.unwrap_or_default().min(Duration::from_secs(86_400));
    Duration::from_millis(random % (millis + 1)) + asked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_and_is_capped() {
        let bound = |attempt| (0..=2_000).map(|n| delay(attempt, n * 977, None)).max().unwrap();
        assert!(bound(0) <= FIRST && bound(0) > FIRST / 2);
        assert!(bound(1) <= FIRST * 2 && bound(1) > FIRST);
        for attempt in [8, 31, 32, 1_000] {
            assert!(bound(attempt) <= CAP && bound(attempt) > CAP / 2);
        }
    }

    #[test]
    fn the_sink_may_ask_for_more_but_not_for_ever() {
        assert!(delay(0, 0, Some(Duration::from_secs(90))) >= Duration::from_secs(90));
        assert!(delay(0, 0, Some(Duration::MAX)) <= Duration::from_secs(86_400));
    }
}
