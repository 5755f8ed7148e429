//! Three days without an uplink: nothing is lost, and the sink's pages show what happened. The real agent and the real sink,
//! under a clock that the test turns.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use gatepost_tests::agent::Agent;
use gatepost_tests::clock::Clock;
use gatepost_tests::lab::Lab;
use gatepost_tests::process::LIMIT;
use gatepost_tests::sink::{Api, Sink};
use jiff::Timestamp;
use serde_json::Value;

const HOUR: Duration = Duration::from_secs(3600);
/// Hours in which everything works.
const BEFORE: u64 = 6;
/// Hours without an uplink.
const OUTAGE: u64 = 72;

/// A gateway that looks every hour.
struct Field {
    lab: Lab,
    clock: Clock,
    sink: Sink,
    api: Api,
    agent: Agent,
    gateway: String,
}

impl Field {
    /// An enrolled gateway; `more` goes into its configuration's table `[state]`.
    fn start(more: &str) -> Result<Self> {
        let lab = Lab::start()?;
        let clock = Clock::start(lab.folder())?;
        let sink = lab.start_sink_under("sink", &clock)?;
        let state = lab.folder().join("gateway");
        let configuration =
            lab.agent_config(&state, Some(sink.info())).replace("[state]\n", &format!("[state]\n{more}"));
        let agent = Agent::configured(&lab.folder().join("gatepost.toml"), &configuration)?.under(&clock);
        agent.enroll(&sink.enrolment_token()?)?.expect_code(0)?;
        let gateway = agent.status()?["gateway"].as_str().context("no id")?.to_owned();
        Ok(Self { api: sink.api()?, lab, clock, sink, agent, gateway })
    }

    /// An hour passes, and the gateway looks; what it saw is signed and on its disk.
    fn audit(&mut self) -> Result<()> {
        self.clock.forward(HOUR)?;
        self.agent.run(&["audit", "--bundle", "certificate-hygiene", "--fail-on", "critical"])?.expect_code(0)?;
        Ok(())
    }

    fn online(&mut self) -> Result<()> {
        self.audit()?;
        self.agent.run(&["upload"])?.expect_code(0)?;
        Ok(())
    }

    /// The outage. Every try to hand over fails, and says how much waits.
    fn offline(&mut self) -> Result<()> {
        self.sink.stop()?;
        for hour in 1..=OUTAGE {
            self.audit()?;
            if hour % 24 == 1 {
                let refused = self.agent.run(&["upload"])?.expect_code(1)?;
                assert!(refused.stderr.contains("in the spool"), "{refused:?}");
            }
        }
        self.sink.start_again()
    }

    fn path(&self, rest: &str) -> String {
        format!("/api/v1/gateways/{}{rest}", self.gateway)
    }

    /// Every run that the sink has, by its place: when it was made and when it arrived.
    fn arrived(&self) -> Result<BTreeMap<u64, (Timestamp, Timestamp)>> {
        let mut runs = BTreeMap::new();
        let mut below = None;
        loop {
            let more = below.map_or_else(String::new, |below: u64| format!("?below={below}"));
            let page = self.api.json(&self.path(&format!("/runs{more}")))?;
            for run in page["runs"].as_array().context("no runs")? {
                let time = |member: &str| run[member].as_str().unwrap().parse::<Timestamp>().unwrap();
                let times = (time("started_at"), time("received_at"));
                assert!(runs.insert(run["seq"].as_u64().unwrap(), times).is_none(), "a run is listed twice");
                assert_ne!(run["link"], "gap", "{run}");
            }
            below = page["next"].as_u64();
            if below.is_none() {
                return Ok(runs);
            }
        }
    }

    /// Waits until the newest run is judged: the page says nothing of a posture before.
    fn judged(&self) -> Result<()> {
        let path = self.path(&format!("/runs/{}", BEFORE + OUTAGE));
        let deadline = Instant::now() + LIMIT;
        loop {
            match self.api.get(&path)?.status {
                202 if Instant::now() < deadline => std::thread::yield_now(),
                200 => return Ok(()),
                status => anyhow::bail!("{path} was answered with {status}"),
            }
        }
    }

    /// The gateway's page; also kept where `GATEPOST_PAGES` says, for somebody to look at.
    fn page(&self, name: &str) -> Result<String> {
        self.judged()?;
        let page = self.sink.page(&format!("/gateways/{}", self.gateway))?;
        assert_eq!(page.status, 200, "{}", page.body);
        if let Some(folder) = std::env::var_os("GATEPOST_PAGES") {
            let style = self.sink.page("/style.css")?.body;
            let alone =
                page.body.replace("<link rel=\"stylesheet\" href=\"/style.css\">", &format!("<style>{style}</style>"));
            std::fs::write(std::path::Path::new(&folder).join(format!("{name}.html")), alone)?;
        }
        Ok(page.body)
    }

    fn events(&self) -> Result<Vec<Value>> {
        Ok(self.api.json(&self.path("/timeline"))?["events"].as_array().context("no events")?.clone())
    }

    /// What an auditor makes of the bundle that the sink exports.
    fn audited(&self) -> Result<String> {
        let bundle = self.lab.folder().join("sink.tar.zst");
        let file = bundle.to_str().unwrap();
        self.sink.run(&["export", "--gateway", &self.gateway, "--output", file])?.expect_code(0)?;
        Ok(self.agent.run(&["verify", file, "--gateway", &self.gateway])?.expect_code(0)?.stdout)
    }
}

#[test]
fn three_days_without_an_uplink_lose_nothing_and_show() -> Result<()> {
    let mut field = Field::start("")?;
    for _ in 0..BEFORE {
        field.online()?;
    }
    field.offline()?;
    let sent = field.agent.run(&["upload"])?.expect_code(0)?;
    assert!(sent.stdout.starts_with("72 acknowledged, 0 refused"), "{sent:?}");
    let again = field.agent.run(&["upload"])?.expect_code(0)?;
    assert!(again.stdout.starts_with("0 acknowledged, 0 refused"), "each arrives once: {again:?}");

    let runs = field.arrived()?;
    assert!(runs.keys().copied().eq(1..=BEFORE + OUTAGE), "{:?}", runs.keys());
    let view = field.api.json(&field.path(""))?;
    let nothing = Value::Array(Vec::new());
    for what in ["chain_gaps", "buried", "quarantined"] {
        assert_eq!(view[what], nothing, "{what}");
    }
    // The clocks are the gateway's and the sink's own: made hour by hour, arrived together.
    let late = |seq: u64| runs[&seq].1.duration_since(runs[&seq].0).as_hours();
    assert_eq!([late(6), late(7), late(78)], [0, 71, 0]);

    let events = field.events()?;
    assert_eq!(events.len(), 1, "{events:?}");
    let outage = &events[0];
    assert_eq!(
        (&outage["kind"], &outage["runs"], &outage["first"], &outage["last"]),
        (&"offline".into(), &72.into(), &7.into(), &78.into())
    );
    let said = outage["text"].as_str().unwrap();
    assert!(said.starts_with("Offline from ") && said.ends_with(": 72 runs arrived at once after 3 d."), "{said}");
    let page = field.page("outage")?;
    assert!(page.contains(said) && page.contains("<path class=\"offline\""), "{page}");
    assert!(page.contains("No run is missing"), "{page}");
    assert!(!page.contains("unaccounted for"), "{page}");
    let audited = field.audited()?;
    assert!(audited.contains("1 to 78 follow each other without a gap"), "{audited}");
    Ok(())
}

#[test]
fn what_an_outage_pushed_out_of_the_spool_is_shown_with_its_cause() -> Result<()> {
    let mut field = Field::start("max_age = \"24h\"\n")?;
    for _ in 0..BEFORE {
        field.online()?;
    }
    field.offline()?;
    field.agent.run(&["upload"])?.expect_code(0)?;
    field.agent.run(&["upload"])?.expect_code(0)?;

    let runs = field.arrived()?;
    let view = field.api.json(&field.path(""))?;
    assert_eq!(view["chain_gaps"], Value::Array(Vec::new()), "nothing goes in silence: {view:#}");
    let buried = view["buried"].as_array().context("no list")?;
    assert_eq!(buried.len(), 1, "{view:#}");
    let (from, to) = (buried[0]["from"].as_u64().unwrap(), buried[0]["to"].as_u64().unwrap());
    assert_eq!((from, &buried[0]["cause"]), (BEFORE + 1, &"too_old".into()));
    assert_eq!(buried[0]["runs"].as_u64(), Some(to - from + 1));
    assert!(runs.keys().copied().eq((1..from).chain(to + 1..=BEFORE + OUTAGE)), "{:?} and {from} to {to}", runs.keys());
    assert!(to - from + 1 > 40 && runs.len() > 24, "a day is kept: {from} to {to}");

    let events = field.events()?;
    let kinds: Vec<_> = events.iter().map(|event| event["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["offline", "evicted"], "{events:?}");
    let page = field.page("evicted")?;
    for event in &events {
        assert!(page.replace("&#39;", "'").contains(event["text"].as_str().unwrap()), "{page}");
    }
    assert!(page.contains("<path class=\"evicted\"") && page.contains("<path class=\"offline\""), "{page}");
    assert!(page.contains("they waited longer than the gateway keeps runs"), "{page}");
    let audited = field.audited()?;
    assert!(audited.contains(&format!("runs {from} to {to} are gone: too_old")), "{audited}");
    Ok(())
}
