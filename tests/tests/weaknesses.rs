//! Each weakness of a TLS listener alone, on a real server, and the findings that it alone makes.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result};
use gatepost_tests::agreement::scanners::agent;
use gatepost_tests::agreement::servers::{Keys, Server, WEAKENED};

/// Findings that every one of these servers makes: it asks for no certificate, being no broker at all.
const ALWAYS: &str = "client_certificate_not_required";

fn findings(server: &Server, keys: &Keys, folder: &Path) -> Result<(BTreeSet<String>, BTreeSet<String>)> {
    let running = server.start(keys)?;
    let agent = agent(running.port.address(), folder)?;
    let report = agent.run(&["audit", "--bundle", "audit-baseline", "--format", "json"])?.json()?;
    let keys = |rows: &str| {
        let rows = report[rows].as_array().into_iter().flatten();
        let key = rows.filter_map(|row| row["key"].as_str()?.strip_prefix("broker_transport_posture."));
        key.map(str::to_owned).collect()
    };
    Ok((keys("findings"), keys("gaps")))
}

#[test]
fn each_weakness_alone_makes_its_own_findings_and_no_others() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let keys = Keys::make(&folder.path().join("keys"))?;
    std::thread::scope(|scope| {
        let looks: Vec<_> = WEAKENED
            .iter()
            .map(|(server, expected)| (server, expected, scope.spawn(|| findings(server, &keys, folder.path()))))
            .collect();
        for (server, expected, look) in looks {
            let (found, gaps) = look.join().unwrap().with_context(|| server.name)?;
            let expected: BTreeSet<String> = expected.iter().chain(&[ALWAYS]).map(|key| (*key).to_owned()).collect();
            assert_eq!(found, expected, "{}", server.name);
            // Nothing of the survey is hidden; what MQTT would say is, since these servers do not speak it.
            let of_mqtt = ["anonymous_access", "client_id_takeover", "malformed_connect", "packet_size", "early_data"];
            let told_by_mqtt = |key: &str| of_mqtt.iter().any(|begin| key.starts_with(begin));
            let hidden: Vec<_> = gaps.iter().filter(|key| !told_by_mqtt(key)).collect();
            assert!(hidden.is_empty(), "{}: {hidden:?}", server.name);
        }
        Ok(())
    })
}
