//! What an audit costs beside a bare TLS handshake with the same broker, and what its run costs on the link.

use std::path::Path;

use anyhow::{Context as _, Result};
use gatepost_tests::agent::Agent;
use gatepost_tests::lab::Lab;
use gatepost_tests::relay::{Relay, Sent};
use gatepost_tests::sink::SinkInfo;

use crate::measure::{Took, measure, median};

/// One `audit-baseline` beside one TLS handshake by openssl(1) with the same broker.
pub fn audit(lab: &Lab, agent: &Agent, runs: usize) -> Result<()> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let path = |path: &Path| path.to_str().map(str::to_owned).context("a path is not UTF-8");
    let (binary, configuration) = (path(agent.binary())?, path(agent.configuration())?);
    let audit =
        words(&[&binary, "audit", "--bundle", "audit-baseline", "--format", "json", "--config", &configuration]);
    let pki = lab.pki();
    let (address, ca) = (lab.broker().tls_address().to_string(), path(&pki.ca)?);
    let (certificate, key) = (path(&pki.gateway.certificate)?, path(&pki.gateway.key)?);
    let handshake =
        words(&["openssl", "s_client", "-connect", &address, "-CAfile", &ca, "-cert", &certificate, "-key", &key]);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..=runs {
        let (a, b) = (measure(&audit)?, measure(&handshake)?);
        // The first round warms caches up.
        if round > 0 {
            ours.push(a);
            theirs.push(b);
        }
    }
    println!("\naudit-baseline (audit) beside openssl s_client (handshake)");
    let row = |name: &str, unit: &str, of: fn(&Took) -> f64| {
        let ratio = ours.iter().zip(&theirs).map(|(a, b)| of(a) / of(b)).collect();
        let (a, b) = (median(ours.iter().map(of).collect()), median(theirs.iter().map(of).collect()));
        println!("  {name:<12} audit {a:>8.1} {unit:<4} handshake {b:>8.1} {unit:<4} ratio {:.1}", median(ratio));
    };
    row("wall", "ms", |took| took.wall * 1e3);
    row("cpu", "ms", |took| took.cpu * 1e3);
    row("peak memory", "MiB", |took| took.mebibytes);
    Ok(())
}

/// Bytes of HTTP that hand over a run in which nothing changed, beside those for the first one.
pub fn link(lab: &Lab, runs: usize) -> Result<()> {
    println!("\nbytes of HTTP to hand over one run, TLS not counted");
    for bundle in ["audit-baseline", "field-self-audit"] {
        let sink = lab.start_plaintext_sink(&format!("link-{bundle}"))?;
        let relay = Relay::start(sink.address())?;
        let info = SinkInfo { url: format!("http://{}", relay.address()), ca_file: sink.info().ca_file.clone() };
        let configuration = lab.agent_config(&lab.folder().join(bundle), Some(&info));
        let agent = Agent::configured(&lab.folder().join(format!("{bundle}.toml")), &configuration)?;
        agent.enroll(&sink.enrolment_token()?)?.expect_code(0)?;
        relay.next()?;
        let mut sent = Vec::new();
        for _ in 0..=runs {
            agent.run(&["audit", "--bundle", bundle])?;
            agent.run(&["upload"])?.expect_code(0)?;
            sent.push(relay.next()?);
        }
        let first = sent.remove(0);
        let of = |bytes: fn(&Sent) -> usize| median(sent.iter().map(|sent| bytes(sent) as f64).collect());
        let (head, body) = (of(|sent| sent.head.len()), of(|sent| sent.body.len()));
        let ratio = of(Sent::bytes) / first.bytes() as f64;
        println!("  {bundle:<17} first {:>6}   unchanged {head:.0} + {body:.0}   ratio {ratio:.2}", first.bytes());
    }
    Ok(())
}
