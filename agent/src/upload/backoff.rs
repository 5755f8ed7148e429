//! How long to wait: capped exponential backoff with full jitter after a failure, so that gateways that lost the sink together
//! do not come back together, and a pause after a connection that handed over all it may. Pure: randomness is handed in.

use std::time::Duration;

/// The longest that the first retry waits.
const FIRST: Duration = Duration::from_secs(5);
/// The longest that any retry waits, unless the sink asks for more.
pub const CAP: Duration = Duration::from_secs(15 * 60);
/// The longest wait before everything is handed over again to a sink that breaks its log time and again.
pub const CAP_OVER: Duration = Duration::from_secs(6 * 3600);
/// The longest wait of all: a mistyped header must not silence a gateway for longer.
pub const LONGEST: Duration = Duration::from_secs(86_400);
/// The least that a pause between two connections is counted from.
pub const PAUSE: Duration = Duration::from_secs(10);

/// How long to wait before try `attempt` (0 is the first retry): uniformly between nothing and a bound that doubles from
/// 5 s to 15 min, chosen by `random`; never less than the sink `asked` for, and never more than a day.
#[must_use]
pub fn delay(attempt: u32, random: u64, asked: Option<Duration>) -> Duration {
    let asked = asked.unwrap_or_default().min(LONGEST);
    asked.saturating_add(within(attempt, random, CAP)).min(LONGEST)
}

/// How long to wait before everything is handed over again, the time before `times` times not being long ago: as [`delay`],
/// but up to 6 h, so that a sink that goes back and forth between two histories costs little.
#[must_use]
pub fn delay_over(times: u32, random: u64) -> Duration {
    within(times, random, CAP_OVER)
}

/// How long to leave the sink to others after a connection that was open for `open` and handed over all it may: once to
/// three times as long, counted as 10 s at least and 15 min at most. A sink that is slow, as one that many come back to, is
/// left alone for longer.
#[must_use]
pub fn pause(open: Duration, random: u64) -> Duration {
    let open = open.clamp(PAUSE, CAP);
    open.saturating_add(up_to(open.saturating_mul(2), random))
}

fn within(attempt: u32, random: u64, cap: Duration) -> Duration {
    up_to(FIRST.saturating_mul(1_u32.checked_shl(attempt).unwrap_or(u32::MAX)).min(cap), random)
}

fn up_to(bound: Duration, random: u64) -> Duration {
    let millis = u64::try_from(bound.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(random.checked_rem(millis.saturating_add(1)).unwrap_or(random))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(wait: impl Fn(u64) -> Duration) -> (Duration, Duration) {
        let waits = || (0..=2_000).map(|n| wait(n * 10_007));
        (waits().min().unwrap(), waits().max().unwrap())
    }

    #[test]
    fn the_bound_doubles_and_is_capped() {
        let bound = |attempt| bounds(|random| delay(attempt, random, None)).1;
        assert!(bound(0) <= FIRST && bound(0) > FIRST / 2);
        assert!(bound(1) <= FIRST * 2 && bound(1) > FIRST);
        for attempt in [8, 31, 32, 1_000] {
            assert!(bound(attempt) <= CAP && bound(attempt) > CAP / 2);
        }
    }

    #[test]
    fn the_sink_may_ask_for_more_but_not_for_ever() {
        let (least, most) = bounds(|random| delay(0, random, Some(Duration::from_secs(90))));
        assert!(least >= Duration::from_secs(90) && most <= Duration::from_secs(95), "{least:?} {most:?}");
        assert_eq!(delay(0, 7, Some(Duration::MAX)), LONGEST);
        assert_eq!(delay(9, 7, Some(LONGEST)), LONGEST, "not sooner than it asked, though nothing is left to spread");
    }

    #[test]
    fn starting_over_time_and_again_is_spread_further() {
        assert!(bounds(|random| delay_over(0, random)).1 <= FIRST);
        let (_, most) = bounds(|random| delay_over(100, random));
        assert!(most <= CAP_OVER && most > CAP_OVER / 2);
    }

    #[test]
    fn a_slow_connection_is_followed_by_a_long_pause() {
        for (open, least) in [(0, 10), (1, 10), (60, 60), (100_000, 900)] {
            let bound = Duration::from_secs(least);
            let (shortest, longest) = bounds(|random| pause(Duration::from_secs(open), random));
            assert!(shortest >= bound && longest <= bound * 3 && longest > bound * 2, "{shortest:?} {longest:?}");
        }
    }
}
