//! Each weakness of TLS alone, on a real server, and the findings that it alone makes: `broker_transport_posture` of a broker's
//! listener, `ingest_auth` of an ingest edge.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result};
use gatepost_rules::pack::Pack;
use gatepost_tests::agent::Agent;
use gatepost_tests::agreement::scanners::{agent, agent_of_ingest, survey};
use gatepost_tests::agreement::servers::{HYBRID, Keys, SERVERS, Server};
use gatepost_tests::agreement::weakened::{WEAKENED, Weakened};

/// What these servers are beside their TLS: they ask for no certificate, being no broker at all.
const NO_BROKER: &str = "client_certificate_not_required";

/// Controls of `ingest_auth` that are about TLS; what it says of credentials is not asked of servers that have none.
fn of_ingest_tls() -> BTreeSet<String> {
    let of_tls = |fact: &String| fact.starts_with("/transport/tls") || fact.starts_with("/transport/resumption");
    let pack = Pack::builtin();
    let controls = pack.controls().iter().filter(|control| control.facts().iter().any(of_tls));
    controls.filter_map(|control| control.key.strip_prefix("ingest_auth.").map(str::to_owned)).collect()
}

#[test]
fn hybrid_key_exchange_is_told_where_a_server_speaks_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let keys = Keys::make(&folder.path().join("keys"))?;
    let post_quantum = |server: &Server| -> Result<(Vec<String>, Option<bool>)> {
        let running = server.start(&keys)?;
        let (survey, facts) = survey(running.address, folder.path())?;
        let groups = survey.versions.iter().flat_map(|version| &version.groups).map(ToString::to_string).collect();
        Ok((groups, facts.tls.and_then(|tls| tls.post_quantum)))
    };
    let (groups, told) = post_quantum(&HYBRID)?;
    // X25519MLKEM768 in IANA's registry of TLS supported groups.
    assert!(groups.iter().any(|code| code == "11ec"), "{groups:?}");
    assert_eq!(told, Some(true));
    let alone = SERVERS.iter().find(|server| server.name == "openssl, P-384 alone").unwrap();
    let (groups, told) = post_quantum(alone)?;
    assert_eq!(told, Some(false), "{groups:?}");
    Ok(())
}

/// What was found, and what could not be told, as `check.control`.
type Told = BTreeSet<String>;

fn ask(agent: &Agent) -> Result<(Told, Told)> {
    let report = agent.run(&["audit", "--bundle", "audit-baseline", "--format", "json"])?.json()?;
    let keys = |rows: &str| {
        let rows = report[rows].as_array().into_iter().flatten();
        rows.filter_map(|row| row["key"].as_str()).map(str::to_owned).collect()
    };
    Ok((keys("findings"), keys("gaps")))
}

/// One after the other, since such servers talk to one client at a time.
fn look(weakened: &Weakened, keys: &Keys, folder: &Path) -> Result<(Told, Told)> {
    let running = weakened.server.start(keys)?;
    let (mut found, mut gaps) = ask(&agent(running.address, folder)?)?;
    found.retain(|key| key.starts_with("broker_transport_posture."));
    gaps.retain(|key| key.starts_with("broker_transport_posture."));
    if weakened.at_ingest.is_some() {
        let (at_ingest, hidden_at_ingest) = ask(&agent_of_ingest(running.address, folder)?)?;
        found.extend(at_ingest.into_iter().filter(|key| key.starts_with("ingest_auth.")));
        gaps.extend(hidden_at_ingest.into_iter().filter(|key| key.starts_with("ingest_auth.")));
    }
    Ok((found, gaps))
}

fn of<'k>(check: &str, keys: &'k Told) -> BTreeSet<&'k str> {
    keys.iter().filter_map(|key| key.strip_prefix(check)?.strip_prefix('.')).collect()
}

#[test]
fn each_weakness_alone_makes_its_own_findings_and_no_others() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let keys = Keys::make(&folder.path().join("keys"))?;
    let of_tls = of_ingest_tls();
    std::thread::scope(|scope| {
        let looks: Vec<_> =
            WEAKENED.iter().map(|weakened| (weakened, scope.spawn(|| look(weakened, &keys, folder.path())))).collect();
        for (weakened, look) in looks {
            let name = weakened.server.name;
            let (found, gaps) = look.join().unwrap().context(name)?;
            let mut at_broker = of("broker_transport_posture", &found);
            // Whether one is asked for cannot be told of a server that rustls cannot finish a handshake with.
            let asks_for_none = at_broker.remove(NO_BROKER);
            assert!(asks_for_none || of("broker_transport_posture", &gaps).contains(NO_BROKER), "{name}");
            assert_eq!(at_broker, weakened.at_broker.iter().copied().collect(), "{name}, as a broker");
            let at_ingest = of("ingest_auth", &found);
            let at_ingest: BTreeSet<&str> = at_ingest.into_iter().filter(|key| of_tls.contains(*key)).collect();
            if let Some(expected) = weakened.at_ingest {
                assert_eq!(at_ingest, expected.iter().copied().collect(), "{name}, as an ingest edge");
            }
            // Nothing of the survey is hidden; what MQTT would say is, since these servers do not speak it.
            let of_mqtt = ["anonymous_access", "client_id_takeover", "malformed_connect", "packet_size", "early_data"];
            let hidden: Vec<_> = of("broker_transport_posture", &gaps)
                .into_iter()
                .filter(|key| *key != NO_BROKER && !of_mqtt.iter().any(|begin| key.starts_with(begin)))
                .collect();
            assert!(hidden.is_empty(), "{name}: {hidden:?}");
            let gaps = of("ingest_auth", &gaps);
            let hidden: Vec<_> = gaps.into_iter().filter(|key| of_tls.contains(*key)).collect();
            let hidden = if weakened.at_ingest.is_some() { hidden } else { Vec::new() };
            assert!(hidden.is_empty(), "{name}, as an ingest edge: {hidden:?}");
        }
        Ok(())
    })
}
