//! Whom the agent talks to and which way, with a real sink, a real proxy and servers in the sink's place: by pin, by CA or by
//! both, directly or through a proxy, and nobody who is not meant is told a byte.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use gatepost_tests::agent::{Agent, Finished};
use gatepost_tests::lab::Lab;
use gatepost_tests::peer::Peer;
use gatepost_tests::pki::{self, Identity, Leaf, foreign};
use gatepost_tests::process::LIMIT;
use gatepost_tests::proxy::{self, Proxy};
use gatepost_tests::sink::Sink;

/// An agent whose `[sink]` is `lines`; the state folder is that of `name`.
fn agent(lab: &Lab, name: &str, url: &str, lines: &str) -> Result<Agent> {
    let state = lab.folder().join(name);
    let text = lab.agent_config(&state, None) + &format!("\n[sink]\nurl = \"{url}\"\n{lines}\n");
    Agent::configured(&lab.folder().join(format!("{name}.toml")), &text)
}

fn ca(lab: &Lab) -> String {
    format!("ca_file = {:?}\n", lab.pki().ca)
}

fn pinned(pin: &str) -> String {
    format!("pin_sha256 = [\"{}=\", \"{pin}\"]\n", "A".repeat(43))
}

/// RFC 7469, appendix A: what openssl(1) says is the pin of a certificate.
fn pin(identity: &Identity) -> Result<String> {
    let script = "openssl x509 -in \"$1\" -pubkey -noout | openssl pkey -pubin -outform der \
                  | openssl dgst -sha256 -binary | openssl enc -base64";
    let output = Command::new("sh").args(["-c", script, "sh"]).arg(&identity.certificate).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn hands_over_one(agent: &Agent) -> Result<()> {
    agent.run(&["audit", "--bundle", "certificate-hygiene"])?.expect_code(0)?;
    let sent = agent.run(&["upload"])?.expect_code(0)?;
    ensure!(sent.stdout.starts_with("1 acknowledged, 0 refused"), "{sent:?}");
    Ok(())
}

fn localhost(from_day: i64, to_day: i64) -> Leaf<'static> {
    Leaf { common_name: "localhost", names: &["127.0.0.1"], usages: &[], from_day, to_day }
}

#[test]
fn a_pinned_sink_is_talked_to_and_one_with_another_key_is_told_nothing() -> Result<()> {
    let lab = Lab::start()?;
    let sink = lab.start_sink("sink")?;
    let pin = pin(&lab.pki().sink)?;
    // Whoever enrols by the CA learns the pin, and can copy the line.
    let known = agent(&lab, "agent", sink.url(), &ca(&lab))?;
    let said = known.enroll(&sink.enrolment_token()?)?.expect_code(0)?.stdout;
    let line = format!("pin_sha256 = [\"{pin}\"]\n");
    assert!(said.contains(&line), "{line} is not in {said}");
    let both = agent(&lab, "agent", sink.url(), &(ca(&lab) + &line))?;
    hands_over_one(&both)?;
    hands_over_one(&agent(&lab, "agent", sink.url(), &(ca(&lab) + &pinned(&pin)))?)?;

    // The CA vouches for it, and it is not the sink.
    let other = lab.pki().issue("other", &localhost(-1, 30))?;
    let peer = Peer::counting(&other)?;
    let url = format!("https://{}", peer.address());
    for (times, lines) in [(1, ca(&lab) + &line), (2, line.clone())] {
        let impostor = agent(&lab, "other", &url, &lines)?;
        let error = impostor.enroll("gpe_secret")?.expect_code(1)?.stderr;
        assert!(error.contains(&self::pin(&other)?) && error.contains("`sink.pin_sha256`"), "{error}");
        assert!(error.contains("nothing was sent"), "{error}");
        let seen = peer.wait_for(LIMIT, |seen| seen.closed == times)?;
        assert_eq!((seen.connections, seen.handshakes, seen.bytes), (times, 0, 0));
    }
    Ok(())
}

#[test]
fn a_pin_alone_is_the_whole_trust_and_with_a_ca_both_must_hold() -> Result<()> {
    let lab = Lab::start()?;
    // Of a CA that nobody knows, for another name, and long expired: only the key counts.
    let leaf =
        Leaf { common_name: "elsewhere", names: &["elsewhere.example"], usages: &[], from_day: -30, to_day: -10 };
    let own = foreign(lab.folder(), "own", &leaf)?;
    let sink = Sink::start_with(&lab.folder().join("sink"), lab.pki(), &own)?;
    let pin = pin(&own)?;
    for lines in [String::new(), ca(&lab), ca(&lab) + &pinned(&pin)] {
        let stranger = agent(&lab, "agent", sink.url(), &lines)?;
        let error = stranger.enroll("gpe_secret")?.expect_code(1)?.stderr;
        assert!(error.contains("`sink.ca_file`") && error.contains("nothing was sent"), "{error}");
    }
    let known = agent(&lab, "agent", sink.url(), &pinned(&pin))?;
    known.enroll(&sink.enrolment_token()?)?.expect_code(0)?;
    hands_over_one(&known)
}

/// What `file` holds, as the line that names it.
fn credentials(lab: &Lab, text: &str) -> Result<String> {
    let file = lab.folder().join("proxy.credentials");
    pki::write(&file, text.as_bytes(), 0o600)?;
    Ok(format!("proxy_credentials_file = {file:?}\n"))
}

fn fails_with(finished: Finished, words: &[&str]) -> Result<()> {
    let error = finished.expect_code(1)?.stderr;
    for word in words {
        ensure!(error.contains(word), "{word} is not in {error}");
    }
    ensure!(!error.contains("s3cret") && !error.contains("Basic"), "a secret is in {error}");
    Ok(())
}

#[test]
fn a_proxy_carries_what_it_cannot_read_and_only_for_whom_it_knows() -> Result<()> {
    let lab = Lab::start()?;
    let sink = lab.start_sink("sink")?;
    let proxy = Proxy::start(&lab.folder().join("proxy"))?;
    let through = format!("proxy = \"http://{}\"\n", proxy.address());
    let right = credentials(&lab, &format!("{}:{}\n", proxy::USER, proxy::PASSWORD))?;
    let way = ca(&lab) + &through + &right;
    let gateway = agent(&lab, "agent", sink.url(), &way)?;
    let said = gateway.enroll(&sink.enrolment_token()?)?.expect_code(0)?;
    hands_over_one(&gateway)?;
    let carried = format!("opening connection to {}", sink.address());
    let times = || proxy.log().matches(&carried).count();
    assert_eq!(times(), 2, "{}", proxy.log());
    assert!(!format!("{said:?}").contains(proxy::PASSWORD), "{said:?}");
    // The pin is seen through the proxy, and holds behind it.
    assert!(said.stdout.contains(&pin(&lab.pki().sink)?), "{said:?}");
    let peer = Peer::counting(&lab.pki().issue("other", &localhost(-1, 30))?)?;
    let pin_of_sink = pinned(&pin(&lab.pki().sink)?);
    let impostor = agent(&lab, "other", &format!("https://{}", peer.address()), &(way.clone() + &pin_of_sink))?;
    fails_with(impostor.enroll("gpe_secret")?, &["`sink.pin_sha256`", "nothing was sent"])?;
    assert_eq!(peer.wait_for(LIMIT, |seen| seen.closed == 1)?.bytes, 0);

    gateway.run(&["audit", "--bundle", "certificate-hygiene"])?.expect_code(0)?;
    let refused = ["proxy server responded 40", "`sink.proxy_credentials_file`", "1 runs stay in the spool"];
    fails_with(agent(&lab, "agent", sink.url(), &(ca(&lab) + &through))?.run(&["upload"])?, &refused)?;
    credentials(&lab, &format!("{}:s3cret-of-nobody", proxy::USER))?;
    let gateway = agent(&lab, "agent", sink.url(), &way)?;
    fails_with(gateway.run(&["upload"])?, &refused)?;
    credentials(&lab, "s3cret-without-a-name")?;
    fails_with(gateway.run(&["upload"])?, &["proxy.credentials", "a colon"])?;
    assert_eq!(times(), 2, "whoever was refused was not carried");
    // Where there is no proxy there is no way: nothing goes past it.
    let nobody = gatepost_tests::port::Port::reserve()?;
    let closed = ca(&lab) + &format!("proxy = \"http://{}\"\n", nobody.address());
    fails_with(agent(&lab, "agent", sink.url(), &closed)?.run(&["upload"])?, &["`sink.proxy`"])?;
    Ok(())
}

#[test]
fn a_socks_proxy_is_as_good() -> Result<()> {
    let lab = Lab::start()?;
    let sink = lab.start_sink("sink")?;
    let proxy = Proxy::start_socks()?;
    let right = credentials(&lab, &format!("{}:{}", proxy::USER, proxy::PASSWORD))?;
    for (times, scheme) in [(1, "socks5"), (3, "socks5h")] {
        let way = ca(&lab) + &format!("proxy = \"{scheme}://{}\"\n", proxy.address()) + &right;
        let gateway = agent(&lab, scheme, sink.url(), &way)?;
        gateway.enroll(&sink.enrolment_token()?)?.expect_code(0)?;
        hands_over_one(&gateway)?;
        let carried = format!("connected to 127.0.0.1:{}", sink.address().port());
        assert_eq!(proxy.log().matches(&carried).count(), times + 1, "{}", proxy.log());
    }
    credentials(&lab, &format!("{}:s3cret-of-nobody", proxy::USER))?;
    let way = ca(&lab) + &format!("proxy = \"socks5h://{}\"\n", proxy.address()) + &right;
    let refused = agent(&lab, "refused", sink.url(), &way)?;
    fails_with(refused.enroll("gpe_s3cret")?, &["`sink.proxy`"])
}

#[test]
fn the_environment_names_no_proxy() -> Result<()> {
    let lab = Lab::start()?;
    let sink = lab.start_sink("sink")?;
    let gateway = agent(&lab, "agent", sink.url(), &ca(&lab))?;
    gateway.enroll(&sink.enrolment_token()?)?.expect_code(0)?;
    gateway.run(&["audit", "--bundle", "certificate-hygiene"])?.expect_code(0)?;
    let nowhere: PathBuf = "http://127.0.0.1:1".into();
    let variables = ["ALL_PROXY", "HTTPS_PROXY", "https_proxy"].map(|name| (name, Path::new(&nowhere)));
    let mut upload = gateway.start_with(&["upload"], &variables)?;
    ensure!(upload.wait(LIMIT)?.success(), "{}", upload.log());
    assert_eq!(gateway.status()?["acknowledged"].as_u64().context("no count")?, 1);
    Ok(())
}
