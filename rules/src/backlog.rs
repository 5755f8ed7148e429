//! The backlog: what to fix first, one item per failing control, drafted from an assessment.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::assess::{Assessment, Outcome};
use crate::pack::{Control, Pack, Severity};

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BacklogItem {
    /// Its place, from 1.
    pub rank: u64,
    /// The failing control.
    pub key: String,
    /// Its title.
    pub title: String,
    /// Its severity.
    pub severity: Severity,
    /// The part of the path it belongs to.
    pub domain: String,
    /// The subjects it fails for.
    pub subjects: Vec<String>,
    /// Why it matters.
    pub why: String,
    /// What to do.
    pub remediation: String,
    /// How to see that it was done.
    pub verify: String,
}

/// The backlog of `assessment`, worst severity first, then the control that fails for most subjects, then by key.
///
/// `pack` should be the one that judged; a control that it does not have keeps its title and has empty texts.
#[must_use]
pub fn backlog(assessment: &Assessment, pack: &Pack) -> Vec<BacklogItem> {
    let mut items: BTreeMap<&str, BacklogItem> = BTreeMap::new();
    for row in assessment.rows.iter().filter(|row| row.outcome == Outcome::Fail) {
        let item = items.entry(&row.key).or_insert_with(|| {
            let control = pack.control(&row.key);
            let text = |of: fn(&Control) -> &String| control.map(of).cloned().unwrap_or_default();
            BacklogItem {
                rank: 0,
                key: row.key.clone(),
                title: row.title.clone(),
                severity: row.severity,
                domain: text(|control| &control.domain),
                subjects: Vec::new(),
                why: text(|control| &control.why),
                remediation: text(|control| &control.remediation),
                verify: text(|control| &control.verify),
            }
        });
        item.subjects.push(row.subject.clone());
    }
    let mut items: Vec<BacklogItem> = items.into_values().collect();
    items.sort_by_key(|item| (Reverse(item.severity), Reverse(item.subjects.len())));
    (1..).zip(&mut items).for_each(|(rank, item)| item.rank = rank);
    items
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{broker, ingest, judge, plain_listener, run};

    #[test]
    fn the_worst_comes_first_then_the_most_then_the_key() {
        let lan = |host: u8| plain_listener(&format!("192.168.4.{host}:1883"), Some(5));
        let open = plain_listener("10.0.0.9:1883", Some(0));
        let assessment = judge(&run(vec![ingest(true), broker(vec![lan(1), lan(2), open])]));
        let items = backlog(&assessment, &Pack::builtin());
        let told: Vec<_> = items.iter().map(|item| (item.rank, item.key.as_str(), item.subjects.len())).collect();
        assert_eq!(
            told,
            [
                (1, "broker_transport_posture.anonymous_access_exposed", 1),
                (2, "broker_transport_posture.plaintext_listener_exposed", 3),
                (3, "ingest_auth.insecure_transport", 1),
                (4, "ingest_auth.unauthenticated_ingest_allowed", 1),
            ]
        );
        assert!(items.iter().all(|item| !item.remediation.is_empty() && !item.verify.is_empty()));
        assert_eq!(items[1].subjects[0], "broker/10.0.0.9:1883");
        assert_eq!(items[2].domain, "ingest");
    }

    #[test]
    fn what_passes_is_not_in_it() {
        assert_eq!(backlog(&judge(&run(vec![ingest(false)])), &Pack::builtin()), []);
    }
}
