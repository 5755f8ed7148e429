//! Bundles: which checks are run together. They are data, in `bundles.toml` beside the crate's manifest.

use std::sync::OnceLock;

use gatepost_evidence::run::BundleRef;
use serde::Deserialize;

/// A named list of checks.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// Its name, such as `audit-baseline`.
    pub name: String,
    /// Semantic version of this list.
    pub version: String,
    /// What it is for, in a line.
    pub purpose: String,
    /// The checks, by id.
    pub checks: Vec<String>,
}

impl Bundle {
    /// How a run names it.
    #[must_use]
    pub fn reference(&self) -> BundleRef {
        BundleRef { name: self.name.clone(), version: self.version.clone() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    bundle: Vec<Bundle>,
}

/// Every bundle this version ships with.
pub fn all() -> &'static [Bundle] {
    static BUNDLES: OnceLock<Vec<Bundle>> = OnceLock::new();
    // A test parses the file and looks up every check in it.
    BUNDLES.get_or_init(|| {
        toml::from_str::<File>(include_str!("../bundles.toml")).map(|file| file.bundle).unwrap_or_default()
    })
}

/// The bundle called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static Bundle> {
    all().iter().find(|bundle| bundle.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_of_every_bundle_exists_and_the_field_audit_has_them_all() {
        let names: std::collections::BTreeSet<&str> = all().iter().map(|bundle| bundle.name.as_str()).collect();
        assert!(!names.is_empty() && names.len() == all().len(), "a name is there twice: {names:?}");
        for bundle in all() {
            for check in &bundle.checks {
                assert!(gatepost_evidence::check::find(check).is_some(), "{} in {}", check, bundle.name);
            }
        }
        assert_eq!(find("field-self-audit").unwrap().checks.len(), gatepost_evidence::check::CHECKS.len());
    }
}
