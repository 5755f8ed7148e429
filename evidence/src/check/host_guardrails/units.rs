//! Services: which have failed or keep being restarted, and how far those of gateway and broker are fenced in.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::take;
use crate::check::Unknown;
use crate::look::Look;

/// What was seen of services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Units {
    /// Units that failed or were restarted, and those that are watched, as systemctl(1) `show` tells them.
    pub units: Look<Vec<Unit>>,
    /// Names of units that are watched: the broker's, the gateway service's, the agent's.
    pub watched: Vec<String>,
    /// Files that log somebody in on a console without asking.
    pub autologin: Look<Vec<String>>,
}

/// One unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unit {
    /// Its name.
    pub name: String,
    /// Its properties.
    pub properties: BTreeMap<String, String>,
}

/// Facts about services.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnitsFacts {
    /// Units that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<Vec<String>>,
    /// By unit that was restarted by systemd: how often since it was last started by hand or boot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarts: Option<BTreeMap<String, RestartFacts>>,
    /// By watched unit that is loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watched: Option<BTreeMap<String, UnitFacts>>,
    /// A shell of root opens on a console without a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub debug_shell: Option<bool>,
    /// Files that log somebody in on a console without asking.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autologin: Option<Vec<String>>,
}

/// How often a unit was restarted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RestartFacts {
    /// By systemd, since it was last started by hand or boot.
    pub count: u64,
    /// It waits for the next restart.
    pub waiting: bool,
}

/// How far a unit is fenced in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnitFacts {
    /// It runs.
    pub active: bool,
    /// It is root.
    pub root: bool,
    /// Fences that it lacks, of those that every service can live with.
    pub missing: Vec<String>,
}

/// Properties that are asked for.
pub const PROPERTIES: &[&str] = &[
    "Id",
    "LoadState",
    "ActiveState",
    "SubState",
    "Result",
    "NRestarts",
    "UnitFileState",
    "User",
    "DynamicUser",
    "NoNewPrivileges",
    "ProtectSystem",
    "ProtectHome",
    "PrivateTmp",
    "PrivateDevices",
    "ProtectKernelModules",
    "ProtectKernelTunables",
    "ProtectControlGroups",
    "RestrictSUIDSGID",
];

/// Fences, with the values that count as absent.
const FENCES: [(&str, &[&str]); 9] = [
    ("NoNewPrivileges", &["no", ""]),
    ("ProtectSystem", &["no", ""]),
    ("ProtectHome", &["no", ""]),
    ("PrivateTmp", &["no", ""]),
    ("PrivateDevices", &["no", ""]),
    ("ProtectKernelModules", &["no", ""]),
    ("ProtectKernelTunables", &["no", ""]),
    ("ProtectControlGroups", &["no", ""]),
    ("RestrictSUIDSGID", &["no", ""]),
];

pub(super) fn facts(seen: &Option<Units>, enabled: Option<&Vec<String>>, unknown: &mut Unknown) -> Option<UnitsFacts> {
    let seen = seen.as_ref()?;
    let units = take(&seen.units, &["/units/failed", "/units/restarts", "/units/watched"], "", unknown);
    let autologin = take(&seen.autologin, &["/units/autologin"], "root", unknown);
    if enabled.is_none() {
        unknown.because("/units/debug_shell", "the units that are switched on could not be listed");
    }
    Some(UnitsFacts {
        failed: units.map(|units| {
            let failed = |unit: &&Unit| property(unit, "ActiveState") == "failed";
            units.iter().filter(failed).map(|unit| unit.name.clone()).collect()
        }),
        restarts: units.map(|units| {
            let restarts = units.iter().filter_map(|unit| {
                let count = property(unit, "NRestarts").parse().unwrap_or(0);
                let waiting = property(unit, "SubState") == "auto-restart";
                (count > 0 || waiting).then(|| (unit.name.clone(), RestartFacts { count, waiting }))
            });
            restarts.collect()
        }),
        watched: units.map(|units| {
            let watched = units
                .iter()
                .filter(|unit| seen.watched.contains(&unit.name) && property(unit, "LoadState") == "loaded");
            watched.map(|unit| (unit.name.clone(), fences(unit))).collect()
        }),
        debug_shell: enabled.map(|units| units.iter().any(|unit| unit == "debug-shell.service")),
        autologin: autologin.cloned(),
    })
}

fn property<'a>(unit: &'a Unit, name: &str) -> &'a str {
    unit.properties.get(name).map(String::as_str).unwrap_or_default()
}

fn fences(unit: &Unit) -> UnitFacts {
    let user = property(unit, "User");
    let missing = FENCES.iter().filter(|(name, absent)| absent.contains(&property(unit, name)));
    UnitFacts {
        active: matches!(property(unit, "ActiveState"), "active" | "activating" | "reloading"),
        root: matches!(user, "" | "root" | "0") && property(unit, "DynamicUser") != "yes",
        missing: missing.map(|(name, _)| (*name).to_owned()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(name: &str, properties: &[(&str, &str)]) -> Unit {
        let properties = properties.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Unit { name: name.into(), properties }
    }

    #[test]
    fn failures_restarts_and_fences_are_told_apart() {
        let seen = Units {
            units: Look::Seen(vec![
                unit("a.service", &[("ActiveState", "failed"), ("LoadState", "loaded")]),
                unit("b.service", &[("ActiveState", "activating"), ("SubState", "auto-restart"), ("NRestarts", "9")]),
                unit(
                    "mosquitto.service",
                    &[
                        ("ActiveState", "active"),
                        ("LoadState", "loaded"),
                        ("User", "mosquitto"),
                        ("ProtectSystem", "full"),
                    ],
                ),
            ]),
            watched: vec!["mosquitto.service".into(), "gateway.service".into()],
            autologin: Look::Seen(vec![]),
        };
        let enabled = vec!["debug-shell.service".to_owned()];
        let facts = facts(&Some(seen), Some(&enabled), &mut Unknown::default()).unwrap();
        assert_eq!(facts.failed, Some(vec!["a.service".into()]));
        assert_eq!(facts.restarts.unwrap()["b.service"], RestartFacts { count: 9, waiting: true });
        let watched = facts.watched.unwrap();
        assert_eq!(watched.len(), 1);
        let broker = &watched["mosquitto.service"];
        assert!(broker.active && !broker.root && !broker.missing.contains(&"ProtectSystem".to_owned()));
        assert_eq!(broker.missing.len(), FENCES.len() - 1);
        assert_eq!(facts.debug_shell, Some(true));
    }
}
