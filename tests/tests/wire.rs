//! What an upload costs on the link, with the real agent and the real sink: little when nothing changed, and never more than a
//! second try when the sink does not have what the agent thought it has.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use gatepost_tests::agent::Agent;
use gatepost_tests::lab::Lab;
use gatepost_tests::relay::{Relay, Sent};
use gatepost_tests::sink::{Sink, SinkInfo};
use gatepost_tests::spool::OpenSpool;

/// A sink behind a relay that keeps what is sent.
struct Far {
    sink: Sink,
    relay: Relay,
    info: SinkInfo,
}

impl Far {
    fn start(lab: &Lab, name: &str) -> Result<Self> {
        let sink = lab.start_plaintext_sink(name)?;
        let relay = Relay::start(sink.address())?;
        let info = SinkInfo { url: format!("http://{}", relay.address()), ca_file: sink.info().ca_file.clone() };
        Ok(Self { sink, relay, info })
    }

    fn upload(&self, gateway: &Gateway, count: usize) -> Result<Sent> {
        let said = gateway.agent.run(&["upload"])?.expect_code(0)?.stdout;
        ensure!(said.starts_with(&format!("{count} acknowledged, 0 refused")), "{said}");
        self.relay.next()
    }
}

struct Gateway {
    agent: Agent,
    state: PathBuf,
}

impl Gateway {
    /// Enrolled with `far`, with the state folder `name` whoever made it.
    fn enrolled(lab: &Lab, name: &str, far: &Far) -> Result<Self> {
        Self::enrolled_with(lab, name, far, "")
    }

    /// The same, with `telemetry` under [telemetry].
    fn enrolled_with(lab: &Lab, name: &str, far: &Far, telemetry: &str) -> Result<Self> {
        let state = lab.folder().join(name);
        let configuration = lab.agent_config(&state, Some(&far.info));
        let configuration = configuration.replace("[telemetry]\n", &format!("[telemetry]\n{telemetry}\n"));
        let agent = Agent::configured(&lab.folder().join(format!("{name}.toml")), &configuration)?;
        agent.enroll(&far.sink.enrolment_token()?)?.expect_code(0)?;
        ensure!(far.relay.next()?.head.starts_with("POST /v1/enrol "), "the first request is the enrolment");
        Ok(Self { agent, state })
    }

    fn audit(&self, bundle: &str) -> Result<()> {
        let code = self.agent.run(&["audit", "--bundle", bundle])?.code;
        ensure!(matches!(code, Some(0 | 1)), "an audit ended with {code:?}");
        Ok(())
    }
}

/// What the sink has of this gateway is what was signed, byte for byte.
fn kept_exactly(far: &Far, gateway: &Gateway) -> Result<()> {
    let id = gateway.agent.status()?["gateway"].as_str().context("no gateway")?.to_owned();
    let spool = OpenSpool::open(&gateway.state)?;
    let last = gateway.agent.status()?["acknowledged"].as_u64().context("no count")?;
    for seq in 1..=last {
        let kept = far.sink.api()?.get(&format!("/api/v1/gateways/{id}/runs/{seq}/envelope"))?;
        ensure!((kept.status, &kept.body) == (200, &spool.envelope(seq)?), "run {seq} is not what was signed");
    }
    Ok(())
}

#[test]
fn a_baseline_in_which_nothing_changed_takes_less_than_a_kibibyte() -> Result<()> {
    let lab = Lab::start()?;
    let far = Far::start(&lab, "sink")?;
    // Canaries are never unchanged: each has times of its own, which is what their evidence is.
    for (name, bundle, telemetry, limit) in [
        ("baseline", "audit-baseline", "", 1024),
        ("without", "field-self-audit", "canaries = 0", 1536),
        ("with", "field-self-audit", "", 3072),
    ] {
        let gateway = Gateway::enrolled_with(&lab, name, &far, telemetry)?;
        gateway.audit(bundle)?;
        let first = far.upload(&gateway, 1)?;
        assert_eq!(first.header("content-encoding"), Some("zstd"));
        let mut unchanged = Vec::new();
        for _ in 0..5 {
            gateway.audit(bundle)?;
            let sent = far.upload(&gateway, 1)?;
            assert_eq!(sent.header("content-encoding"), Some("dcz"));
            assert_eq!(sent.header("content-type"), Some("application/vnd.gatepost.envelopes"));
            assert!(sent.bytes() < limit, "{name}: {} bytes of head, {} of body", sent.head.len(), sent.body.len());
            unchanged.push((sent.head.len(), sent.body.len()));
        }
        println!("{name}: first {} + {} bytes, unchanged {unchanged:?}", first.head.len(), first.body.len());
        kept_exactly(&far, &gateway)?;
    }
    assert!(far.relay.is_quiet());
    Ok(())
}

#[test]
fn a_run_is_compressed_against_one_of_its_own_bundle() -> Result<()> {
    let lab = Lab::start()?;
    let far = Far::start(&lab, "sink")?;
    let gateway = Gateway::enrolled(&lab, "agent", &far)?;
    let bundles = ["field-self-audit", "certificate-hygiene"];
    for bundle in bundles {
        gateway.audit(bundle)?;
    }
    far.upload(&gateway, 2)?;
    let spool = OpenSpool::open(&gateway.state)?;
    // Each time the newest that the sink has is of the other bundle.
    for (bundle, like) in bundles.into_iter().zip(1..) {
        gateway.audit(bundle)?;
        let sent = far.upload(&gateway, 1)?;
        assert_eq!(sent.body[8..40], *spool.digest(like)?.as_bytes(), "{bundle}");
    }
    kept_exactly(&far, &gateway)
}

#[test]
fn a_sink_that_does_not_have_the_run_gets_the_same_without_at_once() -> Result<()> {
    let lab = Lab::start()?;
    let far = Far::start(&lab, "sink")?;
    let gateway = Gateway::enrolled(&lab, "agent", &far)?;
    gateway.audit("certificate-hygiene")?;
    far.upload(&gateway, 1)?;
    gateway.audit("certificate-hygiene")?;
    // The run that the agent knows to be there is lost.
    far.sink.forget_run(1)?;
    let against = far.upload(&gateway, 1)?;
    let without = far.relay.next()?;
    let coding = |sent: &Sent| sent.header("content-encoding").map(str::to_owned);
    assert_eq!((coding(&against), coding(&without)), (Some("dcz".into()), Some("zstd".into())));
    assert!(without.body.len() > against.body.len());
    // From then on it has one.
    gateway.audit("certificate-hygiene")?;
    assert_eq!(coding(&far.upload(&gateway, 1)?), Some("dcz".into()));
    assert!(far.relay.is_quiet());
    // A sink that never had any gets everything again, and nothing is taken to be there.
    let other = Far::start(&lab, "other")?;
    let gateway = Gateway::enrolled(&lab, "agent", &other)?;
    assert_eq!(coding(&other.upload(&gateway, 3)?), Some("zstd".into()));
    gateway.audit("certificate-hygiene")?;
    assert_eq!(coding(&other.upload(&gateway, 1)?), Some("dcz".into()));
    assert!(other.relay.is_quiet());
    Ok(())
}
