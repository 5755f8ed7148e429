//! The mark that a canary carries, `<run>.<path>.<qos>.<number>`, and how it is found again in whatever text an edge answers.
//!
//! Pure. Text is somebody else's: only marks of the present run are taken, and nothing else of it is kept.

use gatepost_evidence::check::telemetry_integrity::Path;

/// Which canary.
pub type Key = (Path, u8, u32);

/// The canary that carries `mark`, if it is one of this look.
pub fn key(run: &str, mark: &str) -> Option<Key> {
    let mut parts = mark.strip_prefix(run)?.strip_prefix('.')?.split('.');
    let name = parts.next()?;
    let path = [Path::Live, Path::Session, Path::Bridge, Path::Ingest].into_iter().find(|path| path.name() == name)?;
    let (qos, number) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    parts.next().is_none().then_some((path, qos, number))
}

/// The canaries of `run` to the ingest edge whose marks stand in `text`, in their order.
pub fn marks(run: &str, text: &str) -> Vec<Key> {
    let own = |(at, _): (usize, &str)| {
        let rest = &text[at..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(rest.len());
        key(run, rest[..end].trim_end_matches('.'))
    };
    text.match_indices(run).filter_map(own).filter(|key| key.0 == Path::Ingest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canaries_of_this_look_are_taken() {
        assert_eq!(key("3fa9", "3fa9.live.1.17"), Some((Path::Live, 1, 17)));
        for other in ["3fa8.live.1.17", "3fa9.live.1", "3fa9.live.1.17.2", "3fa9.dead.1.17", "3fa9.live.x.1", ""] {
            assert_eq!(key("3fa9", other), None, "{other}");
        }
    }

    #[test]
    fn marks_are_found_whatever_is_around_them() {
        let text = r#"[{"topic":"gatepost/canary/3fa9/ingest/qos1","payload":{"gatepost_canary":"3fa9.ingest.1.2"}},
            "{\"gatepost_canary\":\"3fa9.ingest.1.1\"}", 3fa9.ingest.1.12, 3fa9.live.1.1, 3fa8.ingest.1.1 3fa9.ingest.1.2."#;
        let numbers: Vec<u32> = marks("3fa9", text).into_iter().map(|(_, _, number)| number).collect();
        assert_eq!(numbers, [2, 1, 12, 2]);
    }
}
