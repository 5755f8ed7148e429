//! Canaries through real brokers that are well, and through ones that lose, double, delay, reorder, forget or loop: each
//! makes exactly its own finding, and the counts are right to the message.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use gatepost_evidence::check::telemetry_integrity::{Check, Facts, FlowFacts, Observation, Protocol};
use gatepost_evidence::check::{Contract as _, Seen, Unknown};
use gatepost_evidence::look::Bytes;
use gatepost_tests::agent::Agent;
use gatepost_tests::lab::Lab;
use gatepost_tests::mqtt::Client;
use gatepost_tests::telemetry::{Fate, Frame, Kind, Mosquitto, Relay};
use rumqttc::Connect;
use serde_json::Value;
use tempfile::TempDir;

/// Canaries of each QoS on each path.
const EACH: u64 = 10;
const NONE: &[&str] = &[];

/// What an audit of the canaries said.
struct Audited {
    /// `finding[subject]`, sorted, without the check and the target, which are always the same.
    findings: Vec<String>,
    gaps: Vec<String>,
    observation: Observation,
    facts: Facts,
    unknown: Unknown,
    /// What was signed, as text.
    evidence: String,
}

impl Audited {
    fn flow(&self, name: &str) -> &FlowFacts {
        self.facts.flows.get(name).unwrap_or_else(|| panic!("{name} in {:?}", self.facts))
    }

    fn lost(&self) -> BTreeMap<&str, Option<u64>> {
        self.facts.flows.iter().map(|(name, flow)| (name.as_str(), flow.lost)).collect()
    }
}

fn ids(rows: &Value) -> Vec<String> {
    let id = |row: &Value| {
        let key = row["key"].as_str().unwrap().strip_prefix("telemetry_integrity.").unwrap();
        format!("{key}[{}]", row["subject"].as_str().unwrap().strip_prefix("broker/").unwrap_or("broker"))
    };
    let mut ids: Vec<_> = rows.as_array().unwrap().iter().map(id).collect();
    ids.sort();
    ids
}

fn audit(agent: &Agent) -> Result<Audited> {
    let finished = agent.run(&["audit", "--bundle", "telemetry-integrity", "--format", "json"])?;
    let report = finished.json()?;
    let envelope = agent.run(&["show", "--envelope"])?.expect_code(0)?.json()?;
    let payload: Bytes = serde_json::from_value(envelope["payload"].clone())?;
    let statement: Value = serde_json::from_slice(&payload.0)?;
    let record = &statement["predicate"]["records"][0];
    assert_eq!(record["status"], "observed", "{record}");
    let observation: Observation = serde_json::from_value(record["observation"].clone())?;
    let mut unknown = Unknown::default();
    let seen = Seen { at: "2026-11-22T08:00:00Z".parse()?, distrust: None };
    let facts = Check::normalise(&observation, &seen, &mut unknown);
    let evidence = String::from_utf8(payload.0)?;
    let (findings, gaps) = (ids(&report["findings"]), ids(&report["gaps"]));
    Ok(Audited { findings, gaps, observation, facts, unknown, evidence })
}

/// An agent that knows of the broker at `address` and nothing else; `further` stands under [telemetry].
fn agent(folder: &Path, address: SocketAddr, further: &str) -> Result<Agent> {
    let text = format!(
        "[state]\ndirectory = {:?}\n[broker]\nplaintext = [\"{address}\"]\n[telemetry]\n{further}\n",
        folder.join("agent")
    );
    Agent::configured(&folder.join("gatepost.toml"), &text)
}

/// A broker with `configuration`, a relay under `rule` in front of it, and what an audit through both says.
fn through(configuration: &str, rule: impl FnMut(&Frame<'_>) -> Fate + Send + 'static) -> Result<Audited> {
    let folder = tempfile::tempdir()?;
    let broker = Mosquitto::start(&folder.path().join("broker"), configuration)?;
    let relay = Relay::start(broker.address(), rule)?;
    audit(&agent(folder.path(), relay.address(), "")?)
}

/// A rule that gives `fate` to the canaries with these marks on their way to the subscriber.
fn on(marks: &'static [&'static str], fate: Fate) -> impl FnMut(&Frame<'_>) -> Fate + Send + 'static {
    move |frame| {
        let meant = !frame.up && matches!(frame.kind, Kind::Publish(_));
        // The closing quote, so that 1 is not 10.
        let marked = |mark: &&str| frame.has(&format!("{mark}\""));
        if meant && marks.iter().any(marked) { fate } else { Fate::Pass }
    }
}

fn nothing_lost(audited: &Audited) {
    assert!(audited.lost().values().all(|lost| *lost == Some(0)), "{:?}", audited.facts);
}

#[test]
fn everything_arrives_once_in_order_on_the_lab() -> Result<()> {
    let mut lab = Lab::start()?;
    lab.harden()?;
    let text = lab.agent_config(&lab.folder().join("agent"), None);
    let audited = audit(&Agent::configured(&lab.folder().join("gatepost.toml"), &text)?)?;
    assert_eq!((&audited.findings[..], &audited.gaps[..]), (&[][..], &[][..]), "{:#?}", audited.facts);
    assert_eq!(audited.facts.protocol, Some(Protocol::V5));
    for name in ["live-qos0", "live-qos1", "live-qos2", "session-qos1", "session-qos2", "ingest-qos1"] {
        let flow = audited.flow(name);
        assert_eq!((flow.sent, flow.arrived, flow.lost), (Some(EACH), Some(EACH), Some(0)), "{name}: {flow:?}");
        assert_eq!((flow.duplicated, flow.reordered, flow.downgraded), (Some(0), Some(0), Some(0)), "{name}: {flow:?}");
        let acknowledged = (flow.qos > 0).then_some(EACH);
        assert_eq!(flow.acknowledged, acknowledged, "{name}: {flow:?}");
    }
    assert_eq!(audited.facts.session_removed, Some(true));
    Ok(())
}

#[test]
fn nothing_of_the_canaries_is_left_at_the_broker() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut broker = Mosquitto::start(&folder.path().join("broker"), "persistence true")?;
    nothing_lost(&audit(&agent(folder.path(), broker.address(), "")?)?);
    broker.restart()?;
    let store = std::fs::read(folder.path().join("broker/store/mosquitto.db"))?;
    let left = |words: &str| store.windows(words.len()).any(|window| window == words.as_bytes());
    assert!(!left("gatepost"), "a session or a message is left in the broker's store");
    Ok(())
}

#[test]
fn what_a_relay_loses_is_missing_to_the_message() -> Result<()> {
    let audited = through("", on(&[".live.1.3", ".live.1.7", ".live.0.10"], Fate::Lose))?;
    assert_eq!(audited.findings, ["acknowledged_lost[live-qos1]", "qos0_lost[live-qos0]"]);
    assert_eq!((audited.flow("live-qos1").lost, audited.flow("live-qos0").lost), (Some(2), Some(1)));
    assert_eq!((audited.flow("live-qos1").acknowledged, audited.flow("live-qos2").lost), (Some(EACH), Some(0)));
    Ok(())
}

#[test]
fn an_acknowledgement_that_never_comes_is_missing_and_the_message_is_not() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let broker = Mosquitto::start(&folder.path().join("broker"), "")?;
    let mut lost = false;
    // The first PUBACK of all: that of a canary of QoS 1 on the path `live`.
    let relay = Relay::start(broker.address(), move |frame| {
        let first = !lost && !frame.up && frame.bytes[0] == 0x40;
        lost |= first;
        if first { Fate::Lose } else { Fate::Pass }
    })?;
    let audited = audit(&agent(folder.path(), relay.address(), "wait = \"1s\"")?)?;
    assert_eq!(audited.findings, ["unacknowledged[live-qos1]"], "{:#?}", audited.facts);
    let flow = audited.flow("live-qos1");
    assert_eq!((flow.unacknowledged, flow.arrived, flow.lost), (Some(1), Some(EACH), Some(0)));
    Ok(())
}

#[test]
fn what_a_relay_doubles_is_counted_to_the_message() -> Result<()> {
    let audited = through("", on(&[".live.0.1", ".live.0.2", ".session.1.5"], Fate::Double))?;
    assert_eq!(audited.findings, ["duplicated[live-qos0]", "duplicated[session-qos1]"]);
    assert_eq!((audited.flow("live-qos0").duplicated, audited.flow("session-qos1").duplicated), (Some(2), Some(1)));
    nothing_lost(&audited);
    Ok(())
}

#[test]
fn what_a_relay_swaps_is_out_of_order() -> Result<()> {
    let audited = through("", on(&[".session.1.4"], Fate::Swap))?;
    assert_eq!(audited.findings, ["reordered[session-qos1]"]);
    assert_eq!(audited.flow("session-qos1").reordered, Some(1));
    nothing_lost(&audited);
    Ok(())
}

#[test]
fn what_a_relay_holds_back_is_late() -> Result<()> {
    let audited = through("", on(&[".session.1.1"], Fate::Late(Duration::from_millis(1_200))))?;
    // What waits behind it in the same connection is late with it, but for what was sent when most of that time was over.
    let (first, behind) = audited.findings.split_first().unwrap();
    assert_eq!(first, "delayed[session-qos1]");
    assert!(behind.iter().all(|one| one == "delayed[session-qos2]"), "{behind:?}");
    assert!(audited.flow("session-qos1").max_micros > Some(1_200_000), "{:?}", audited.facts);
    assert!(audited.flow("live-qos1").max_micros < Some(1_000_000), "{:?}", audited.facts);
    nothing_lost(&audited);
    Ok(())
}

/// A broker that is restarted once, when `when` says so of a packet.
fn restarted(
    configuration: &str,
    mut when: impl FnMut(&Frame<'_>) -> bool + Send + 'static,
) -> Result<(Audited, TempDir)> {
    let folder = tempfile::tempdir()?;
    let broker = Mosquitto::start(&folder.path().join("broker"), configuration)?;
    let address = broker.address();
    let broker = Arc::new(Mutex::new(broker));
    let (restarting, mut done) = (broker.clone(), false);
    let relay = Relay::start(address, move |frame| {
        if !done && when(frame) {
            done = true;
            restarting.lock().unwrap().restart().unwrap();
        }
        Fate::Pass
    })?;
    let audited = audit(&agent(folder.path(), relay.address(), "")?)?;
    Ok((audited, folder))
}

/// True when a client connects with the very CONNECT that was the first of all: the subscriber, coming back.
fn coming_back() -> impl FnMut(&Frame<'_>) -> bool + Send + 'static {
    let mut first: Option<Vec<u8>> = None;
    move |frame| {
        if frame.kind != Kind::Connect {
            return false;
        }
        match &first {
            Some(first) => first == frame.bytes,
            None => {
                first = Some(frame.bytes.to_vec());
                false
            }
        }
    }
}

#[test]
fn a_broker_that_keeps_its_store_loses_nothing_over_a_restart_while_the_subscriber_is_away() -> Result<()> {
    let (audited, _folder) = restarted("persistence true", coming_back())?;
    assert_eq!(audited.findings, NONE);
    for name in ["session-qos1", "session-qos2"] {
        let flow = audited.flow(name);
        assert_eq!((flow.acknowledged, flow.arrived, flow.lost), (Some(EACH), Some(EACH), Some(0)), "{name}");
    }
    Ok(())
}

#[test]
fn a_broker_without_a_store_forgets_what_it_acknowledged() -> Result<()> {
    let (audited, _folder) = restarted("persistence false", coming_back())?;
    assert_eq!(audited.findings, ["session_forgotten[session-qos1]", "session_forgotten[session-qos2]"]);
    for name in ["session-qos1", "session-qos2"] {
        let flow = audited.flow(name);
        assert_eq!((flow.acknowledged, flow.arrived, flow.lost), (Some(EACH), Some(0), Some(EACH)), "{name}");
    }
    Ok(())
}

#[test]
fn a_restart_under_the_canaries_breaks_connections_and_loses_nothing_that_was_acknowledged() -> Result<()> {
    let middle = |frame: &Frame<'_>| frame.up && frame.has(".live.1.5\"");
    let (audited, _folder) = restarted("persistence true", middle)?;
    let broken = ["connections_break[live-qos0]", "connections_break[live-qos1]", "connections_break[live-qos2]"];
    assert_eq!(audited.findings, broken, "{:#?}", audited.facts);
    let flow = audited.flow("live-qos1");
    assert_eq!(flow.sent, Some(EACH));
    assert_eq!((flow.lost, audited.flow("live-qos2").lost), (Some(0), Some(0)), "{:#?}", audited.observation);
    assert!(flow.unacknowledged >= Some(1), "the one that met the restart: {flow:?}");
    Ok(())
}

#[test]
fn a_subscriber_that_is_cut_off_in_the_middle_gets_the_rest_of_its_session() -> Result<()> {
    let mut cut = false;
    let audited = through("persistence true", move |frame| {
        let first = !cut && !frame.up && matches!(frame.kind, Kind::Publish(_)) && frame.has(".live.1.5\"");
        cut |= first;
        if first { Fate::Cut } else { Fate::Pass }
    })?;
    // What was on its way without a receipt may be gone with the connection.
    let found: Vec<_> = audited.findings.iter().filter(|finding| *finding != "qos0_lost[live-qos0]").collect();
    let broken = ["connections_break[live-qos0]", "connections_break[live-qos1]", "connections_break[live-qos2]"];
    assert_eq!(found, broken.each_ref(), "{:#?}", audited.facts);
    for name in ["live-qos1", "live-qos2"] {
        let flow = audited.flow(name);
        assert_eq!((flow.acknowledged, flow.arrived, flow.lost), (Some(EACH), Some(EACH), Some(0)), "{name}");
    }
    Ok(())
}

#[test]
fn two_bridges_double_everything_beyond_them() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let beyond = Mosquitto::start(&folder.path().join("beyond"), "")?;
    let bridge = |name: &str| {
        let address = beyond.address();
        format!("connection {name}\naddress {address}\ntopic gatepost/canary/# out 2\nnotifications false\n")
    };
    let text = format!("{}{}", bridge("one"), bridge("two"));
    let mut broker = Mosquitto::start(&folder.path().join("broker"), &text)?;
    for name in ["one", "two"] {
        broker.wait_for(&format!("Received CONNACK on connection local.{}.{name}", hostname()))?;
    }
    let further = format!("bridged_url = \"mqtt://{}\"", beyond.address());
    let audited = audit(&agent(folder.path(), broker.address(), &further)?)?;
    assert_eq!(
        audited.findings,
        ["duplicated[bridge-qos0]", "duplicated[bridge-qos1]", "duplicated[bridge-qos2]"],
        "{:#?}\n{}",
        audited.facts,
        beyond.log()
    );
    for name in ["bridge-qos0", "bridge-qos1", "bridge-qos2"] {
        assert_eq!((audited.flow(name).duplicated, audited.flow(name).lost), (Some(EACH), Some(0)), "{name}");
    }
    Ok(())
}

#[test]
fn a_bridge_with_qos_0_does_not_honour_what_was_published_with_more() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let beyond = Mosquitto::start(&folder.path().join("beyond"), "")?;
    let bridge = format!("connection one\naddress {}\ntopic gatepost/canary/# out 0\n", beyond.address());
    let mut broker = Mosquitto::start(&folder.path().join("broker"), &bridge)?;
    broker.wait_for("Received CONNACK on connection")?;
    let further = format!("bridged_url = \"mqtt://{}\"", beyond.address());
    let audited = audit(&agent(folder.path(), broker.address(), &further)?)?;
    assert_eq!(audited.findings, ["qos_not_honoured[bridge-qos1]", "qos_not_honoured[bridge-qos2]"]);
    assert_eq!(audited.flow("bridge-qos2").downgraded, Some(EACH));
    nothing_lost(&audited);
    Ok(())
}

fn hostname() -> String {
    nix::unistd::gethostname().unwrap().into_string().unwrap()
}

#[test]
fn a_loop_of_bridges_is_a_storm_and_the_listening_ends() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let back = Mosquitto::start(&folder.path().join("back"), "")?;
    let topic = "topic gatepost/canary/# out 2\nnotifications false\n";
    let mut broker = Mosquitto::start(
        &folder.path().join("broker"),
        &format!("connection there\naddress {}\n{topic}", back.address()),
    )?;
    let mut third = Mosquitto::start(
        &folder.path().join("third"),
        &format!(
            "connection from\naddress {}\ntopic gatepost/canary/# in 2\nnotifications false\n\
             connection back\naddress {}\n{topic}",
            back.address(),
            broker.address()
        ),
    )?;
    broker.wait_for("Received CONNACK")?;
    third.wait_for(&format!("Received SUBACK from local.{}.from", hostname()))?;
    third.wait_for(&format!("Received CONNACK on connection local.{}.back", hostname()))?;
    let audited = audit(&agent(folder.path(), broker.address(), "")?)?;
    assert_eq!(
        audited.findings,
        ["message_storm[live-qos0]", "message_storm[live-qos1]", "message_storm[live-qos2]"],
        "{:#?}",
        audited.facts
    );
    Ok(())
}

#[test]
fn a_listener_that_takes_qos_1_at_most_does_not_honour_qos_2() -> Result<()> {
    let audited = through("max_qos 1", |_| Fate::Pass)?;
    assert_eq!(audited.findings, ["qos_not_honoured[live-qos2]", "qos_not_honoured[session-qos2]"]);
    assert_eq!(audited.flow("live-qos1").lost, Some(0));
    Ok(())
}

#[test]
fn access_control_that_lets_no_canary_through_is_unknown_and_no_loss() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let rights = folder.path().join("acl");
    std::fs::write(&rights, "topic readwrite telemetry/#\n")?;
    std::fs::set_permissions(&rights, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let broker = Mosquitto::start(&folder.path().join("broker"), &format!("acl_file {}", rights.display()))?;
    let audited = audit(&agent(folder.path(), broker.address(), "wait = \"1s\"")?)?;
    assert_eq!(audited.findings, NONE, "{:#?}", audited.facts);
    assert!(audited.gaps.contains(&"acknowledged_lost[live-qos1]".to_owned()), "{:?}", audited.gaps);
    let reason = audited.unknown.reason("/flows/live-qos1/lost").unwrap();
    assert!(reason.contains("refuses canaries (NotAuthorized)"), "{reason}");
    Ok(())
}

#[test]
fn a_broker_that_knows_mqtt_3_1_1_only_is_spoken_to_in_it() -> Result<()> {
    // The protocol level stands behind the fixed header and the name (MQTT 5, section 3.1.2.2).
    let audited = through("persistence true", |frame| match frame.kind {
        Kind::Connect if frame.bytes[8] == 5 => Fate::Cut,
        _ => Fate::Pass,
    })?;
    assert_eq!((audited.facts.protocol, &audited.findings[..]), (Some(Protocol::V311), &[][..]));
    nothing_lost(&audited);
    assert_eq!(audited.facts.session_removed, Some(true));
    Ok(())
}

#[test]
fn what_the_gateway_service_drops_is_lost_on_the_way_to_the_edge() -> Result<()> {
    let mut lab = Lab::start()?;
    lab.harden()?;
    // The edge demands the token; the service sends none, tries once and keeps nothing.
    let file = lab.service().configuration_file();
    let text = std::fs::read_to_string(file)?;
    let careless = text
        .replace("require_auth = true", "require_auth = false")
        .replace("enabled = true", "enabled = false")
        .replace("limit = 8", "limit = 0");
    gatepost_tests::pki::write(file, careless.as_bytes(), 0o640)?;
    let text = lab.agent_config(&lab.folder().join("agent"), None);
    let text = text.replace("[telemetry]\n", "[telemetry]\nwait = \"2s\"\n");
    let audited = audit(&Agent::configured(&lab.folder().join("gatepost.toml"), &text)?)?;
    assert_eq!(audited.findings, ["acknowledged_lost[ingest-qos1]"], "{:#?}", audited.facts);
    let flow = audited.flow("ingest-qos1");
    assert_eq!((flow.acknowledged, flow.arrived, flow.lost), (Some(EACH), Some(0), Some(EACH)));
    Ok(())
}

#[test]
fn an_edge_that_keeps_one_twice_and_one_too_early_is_seen_to_the_message() -> Result<()> {
    let mut lab = Lab::start()?;
    lab.harden()?;
    lab.ingest().keep_canaries(|kept, event| match kept.len() {
        2 => kept.extend([event.clone(), event]),
        6 => kept.insert(5, event),
        _ => kept.push(event),
    });
    let text = lab.agent_config(&lab.folder().join("agent"), None);
    let audited = audit(&Agent::configured(&lab.folder().join("gatepost.toml"), &text)?)?;
    assert_eq!(audited.findings, ["duplicated[ingest-qos1]", "reordered[ingest-qos1]"], "{:#?}", audited.facts);
    let flow = audited.flow("ingest-qos1");
    assert_eq!((flow.arrived, flow.duplicated, flow.reordered, flow.lost), (Some(EACH), Some(1), Some(1), Some(0)));
    Ok(())
}

#[test]
fn an_edge_that_does_not_tell_is_unknown() -> Result<()> {
    let mut lab = Lab::start()?;
    lab.harden()?;
    let text = lab.agent_config(&lab.folder().join("agent"), None);
    let text =
        text.replace("/v1/canaries/{run}", "/v1/nothing").replace("[telemetry]\n", "[telemetry]\nwait = \"1s\"\n");
    let audited = audit(&Agent::configured(&lab.folder().join("gatepost.toml"), &text)?)?;
    assert_eq!(audited.findings, NONE);
    assert!(audited.gaps.contains(&"acknowledged_lost[ingest-qos1]".to_owned()), "{:?}", audited.gaps);
    assert!(audited.unknown.reason("/flows/ingest-qos1/lost").unwrap().contains("status 404"));
    Ok(())
}

const PASSIVE: &str = "canaries = 0\npassive = true\npassive_time = \"1s\"\ntopics = [\"telemetry/#\"]\n\
                       [[devices.device]]\nid = \"stm32-01\"\nendpoint = \"127.0.0.1:1\"\n\
                       [[devices.device]]\nid = \"stm32-02\"\nendpoint = \"127.0.0.1:1\"\n";

/// Publishes and is thrown out until `enough`; gives how many messages were acknowledged.
async fn busy(broker: SocketAddr, enough: &AtomicBool) -> Result<u64> {
    let mut published = 0;
    let mut device = Client::accepted(broker, None, Connect::new("stm32-01")).await?;
    while !enough.load(Ordering::SeqCst) {
        device.publish("telemetry/stm32-01/t", b"a reading of nobody's business").await?;
        published += 1;
        let twin = || Client::accepted(broker, None, Connect::new("twin"));
        drop((twin().await?, twin().await?));
    }
    Ok(published)
}

#[test]
fn silence_staleness_and_shared_ids_are_counted_and_no_payload_is_kept() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let broker = Mosquitto::start(&folder.path().join("broker"), "log_dest topic")?;
    let address = broker.address();
    let mut stale = std::process::Command::new("mosquitto_pub");
    let port = address.port().to_string();
    stale.args(["-h", "127.0.0.1", "-p", &port, "-r", "-t", "telemetry/stm32-02/old", "-m", "stale"]);
    assert!(stale.status()?.success());
    let enough = Arc::new(AtomicBool::new(false));
    let publishing = {
        let enough = enough.clone();
        std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(busy(address, &enough))
        })
    };
    let audited = audit(&agent(folder.path(), address, PASSIVE)?);
    enough.store(true, Ordering::SeqCst);
    let (published, audited) = (publishing.join().unwrap()?, audited?);
    let expected = ["device_silent[stm32-02]", "retained_only[telemetry/stm32-02/old]", "shared_client_id[twin]"];
    assert_eq!(audited.findings, expected, "{:#?}", audited.facts);
    let heard = audited.facts.devices["stm32-01"].messages.unwrap();
    assert!((1..=published).contains(&heard), "{heard} of {published}");
    assert!(!audited.evidence.contains("nobody's business") && !audited.evidence.contains("stale"));
    Ok(())
}

#[test]
fn a_log_that_is_not_published_leaves_shared_ids_unknown() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let broker = Mosquitto::start(&folder.path().join("broker"), "")?;
    let audited = audit(&agent(folder.path(), broker.address(), PASSIVE)?)?;
    assert_eq!((audited.gaps, audited.findings.len()), (vec!["shared_client_id[broker]".to_owned()], 2));
    assert!(audited.unknown.reason("/shared_client_ids").unwrap().contains("$SYS/broker/log/N"));
    Ok(())
}
