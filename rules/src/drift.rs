//! Fact drift: what differs in the facts themselves, whether or not a control cares.
//!
//! Only records that were observed on both sides are compared: what could not be seen has not drifted.

use std::collections::{BTreeMap, BTreeSet};

use gatepost_evidence::check::{Beside, find, normalise_beside, segment};
use gatepost_evidence::run::Run;
use serde_json::Value;

use crate::compare::FactChange;

/// The facts that differ between two runs, in the order of check, target and pointer; volatile ones are left out.
pub(crate) fn facts(before: &Run, after: &Run) -> Vec<FactChange> {
    let mut changes = Vec::new();
    let (around_old, around_new) = (Beside::of(before), Beside::of(after));
    for old in &before.records {
        let same = |new: &&_| {
            let new: &gatepost_evidence::run::Record = new;
            (&new.check, &new.target) == (&old.check, &old.target)
        };
        let Some(new) = after.records.iter().find(same) else { continue };
        let old_facts = normalise_beside(before, old, &around_old);
        let (Ok(old_facts), Ok(new_facts)) = (old_facts, normalise_beside(after, new, &around_new)) else { continue };
        let volatile = find(&old.check).map(|check| check.volatile).unwrap_or_default();
        let (old_leaves, new_leaves) = (leaves(&old_facts.facts), leaves(&new_facts.facts));
        let pointers: BTreeSet<&String> = old_leaves.keys().chain(new_leaves.keys()).collect();
        for pointer in pointers {
            let (before, after) = (old_leaves.get(pointer).copied(), new_leaves.get(pointer).copied());
            if before != after && !volatile.iter().any(|pattern| covers(pattern, pointer)) {
                changes.push(FactChange {
                    check: old.check.clone(),
                    target: old.target.name.clone(),
                    pointer: pointer.clone(),
                    before: before.cloned(),
                    after: after.cloned(),
                });
            }
        }
    }
    changes.sort_by(|a, b| (&a.check, &a.target, &a.pointer).cmp(&(&b.check, &b.target, &b.pointer)));
    changes
}

/// Everything in `facts` that is not an object, by JSON pointer. A list is one value.
fn leaves(facts: &Value) -> BTreeMap<String, &Value> {
    fn collect<'a>(value: &'a Value, pointer: String, leaves: &mut BTreeMap<String, &'a Value>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    collect(value, format!("{pointer}/{}", segment(name)), leaves);
                }
            }
            Value::Null => {}
            leaf => {
                leaves.insert(pointer, leaf);
            }
        }
    }
    let mut all = BTreeMap::new();
    collect(facts, String::new(), &mut all);
    all
}

/// Whether `pattern`, in which `*` is any one segment, names `pointer` or a place above it.
fn covers(pattern: &str, pointer: &str) -> bool {
    let mut segments = pointer.split('/');
    pattern.split('/').all(|wanted| segments.next().is_some_and(|segment| wanted == "*" || wanted == segment))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_star_is_one_segment() {
        for (pattern, pointer, covered) in [
            ("/answer_micros", "/answer_micros", true),
            ("/listeners/*/connect_micros", "/listeners/127.0.0.1:1883/connect_micros", true),
            ("/listeners/*/connect_micros", "/listeners/a/open", false),
            ("/listeners/*/connect_micros", "/listeners/connect_micros", false),
            ("/peers/*", "/peers/sink/failures", true),
        ] {
            assert_eq!(covers(pattern, pointer), covered, "{pattern} {pointer}");
        }
    }

    #[test]
    fn lists_are_whole_and_keys_are_escaped() {
        let facts = json!({"a": {"x/y": [1, 2]}, "b": null, "c": {}});
        assert_eq!(leaves(&facts), BTreeMap::from([("/a/x~1y".to_owned(), &json!([1, 2]))]));
    }
}
