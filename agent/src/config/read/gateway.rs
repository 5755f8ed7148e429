//! `[gateway]`, `[state]` and `[schedule]`: what the agent is called, what it keeps, and when it looks.

use std::path::PathBuf;
use std::time::Duration;

use crate::bundle;
use crate::config::table::Table;
use crate::config::{Gateway, Schedule, State};
use crate::spool::Bounds;

/// The shortest time that runs may be kept.
const SHORTEST_AGE: Duration = Duration::from_secs(3_600);

pub(super) fn gateway(mut table: Table<'_>, default: Gateway) -> Gateway {
    let gateway = Gateway { name: table.string("name").unwrap_or(default.name), labels: table.texts("labels") };
    if gateway.name.chars().count() > 100 || gateway.name.chars().any(char::is_control) {
        table.object("name", "is longer than 100 characters or has control characters in it");
    }
    table.finish();
    gateway
}

pub(super) fn state(mut table: Table<'_>, default: State) -> State {
    // Not a file that must be there: the agent makes it.
    let directory = table.string("directory").map(PathBuf::from).unwrap_or(default.directory);
    if !directory.is_absolute() {
        table.object("directory", "is not an absolute path");
    }
    let max_age = table.duration("max_age").unwrap_or(default.max_age);
    if max_age < SHORTEST_AGE {
        table.object("max_age", "is less than an hour; evidence would go before anybody could look at it");
    }
    let max_bytes = table.whole("max_bytes").unwrap_or(default.max_bytes);
    if max_bytes < Bounds::LEAST_BYTES {
        table.object(
            "max_bytes",
            format!("is less than {}, which is little more than one large run", Bounds::LEAST_BYTES),
        );
    }
    table.finish();
    State { directory, max_age, max_bytes }
}

pub(super) fn schedule(mut table: Table<'_>, default: Schedule) -> Schedule {
    let schedule = Schedule {
        every: table.duration("every").unwrap_or(default.every),
        jitter: table.duration("jitter").unwrap_or(default.jitter),
        bundle: table.string("bundle").unwrap_or(default.bundle),
    };
    if schedule.every.is_zero() {
        table.object("every", "is zero");
    }
    if bundle::find(&schedule.bundle).is_none() {
        let names: Vec<_> = bundle::all().iter().map(|bundle| bundle.name.as_str()).collect();
        table.object("bundle", format!("{:?} is not a bundle; there are {}", schedule.bundle, names.join(", ")));
    }
    table.finish();
    schedule
}

#[cfg(test)]
mod tests {
    use super::super::tests::{mistakes, read};

    #[test]
    fn the_spool_is_bounded_within_reason() {
        let read = |text: &str| read(text).state;
        let state = read("[state]\nmax_age = \"90d\"\nmax_bytes = 16777216\n");
        assert_eq!((state.max_age.as_secs(), state.max_bytes), (90 * 86_400, 16 << 20));
        assert_eq!((read("").max_age.as_secs(), read("").max_bytes), (30 * 86_400, 64 << 20));
        let found = mistakes("[state]\nmax_age = \"5m\"\nmax_bytes = 1000\n");
        assert!(found[0].starts_with("2:state.max_age: is less than an hour"), "{found:#?}");
        assert!(found[1].starts_with("3:state.max_bytes: is less than 4194304"), "{found:#?}");
        for wrong in ["\"64M\"", "-1", "1.5", "99999999999999999999"] {
            let found = mistakes(&format!("[state]\nmax_bytes = {wrong}\n"));
            assert!(found[0].starts_with("2:state.max_bytes: is "), "{found:#?}");
        }
    }
}
