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
