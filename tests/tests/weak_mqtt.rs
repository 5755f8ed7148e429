//! Each weakness of MQTT alone, on a real Mosquitto that is otherwise sound, and the findings that it alone makes: controls
//! `broker_transport_posture.packet_size_unlimited`, `client_id_takeover`, `websocket_foreign_origin`,
//! `credentials_over_plaintext`. A broker that is no Mosquitto makes `early_data_accepted` and `http_api_exposed`.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use gatepost_tests::brokers::agent;
use gatepost_tests::mosquitto::is_two_one;
use gatepost_tests::pki::{self, Identity, Pki};
use gatepost_tests::port::Port;
use gatepost_tests::process::{LIMIT, Program};
use gatepost_tests::tls;

/// A Mosquitto that is sound but for what a test does to it.
struct Site {
    folder: tempfile::TempDir,
    pki: Pki,
    tls: Port,
    other: Port,
}

impl Site {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let pki = Pki::create(&folder.path().join("pki"))?;
        Ok(Self { folder, pki, tls: Port::reserve()?, other: Port::reserve()? })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The lines of a TLS listener on `port` that demands certificates.
    fn listener(&self, port: &Port) -> String {
        let Pki { ca, crl, broker, .. } = &self.pki;
        format!(
            "listener {} 127.0.0.1\ncafile {}\ncrlfile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\n\
             use_identity_as_username true\n",
            port.address().port(),
            ca.display(),
            crl.display(),
            broker.certificate.display(),
            broker.key.display()
        )
    }

    /// The access control list of all its listeners.
    fn rights(&self) -> PathBuf {
        self.path().join("acl")
    }

    /// What its configuration says of rights, for a file that says something else of listeners.
    fn told_rights(&self) -> String {
        let port = self.tls.address().port();
        let rights = self.rights();
        format!("acl_file {}\nlistener {port} 127.0.0.1\nuse_identity_as_username true\n", rights.display())
    }

    /// Starts it: `general` lines, its listener, and `more` after it.
    fn start(&self, general: &str, more: &str) -> Result<Program> {
        let user = if nix::unistd::geteuid().is_root() { "user root\n" } else { "" };
        let rights = self.rights();
        let list = b"user gateway\ntopic readwrite gatepost/canary/#\nuser gatepost-canary\ntopic gatepost/foreign/#\n";
        pki::write(&rights, list, 0o600)?;
        let text = format!(
            "per_listener_settings true\nlog_dest stderr\n{user}{general}\n{}allow_anonymous false\nacl_file {}\n{more}",
            self.listener(&self.tls),
            rights.display()
        );
        let file = self.path().join("mosquitto.conf");
        pki::write(&file, text.as_bytes(), 0o600)?;
        let mut program = Program::start(&gatepost_tests::mosquitto::broker()?, ["-c".as_ref(), file.as_os_str()])?;
        program.wait_until("it runs", LIMIT, |lines| lines.iter().any(|line| line.ends_with(" running")))?;
        Ok(program)
    }

    /// The keys of the findings about the broker's transport, and of what could not be judged.
    fn findings(&self, more: &str) -> Result<(BTreeSet<String>, BTreeSet<String>)> {
        let Pki { ca, gateway, .. } = &self.pki;
        let broker = format!(
            "tls = [\"{}\"]\nca_file = {ca:?}\nclient_certificate = {:?}\nclient_key = {:?}\n{more}\n\
             [broker.battery]\nfolder = {:?}\n",
            self.tls.address(),
            gateway.certificate,
            gateway.key,
            self.pki.battery
        );
        findings(self.path(), &broker)
    }
}

fn findings(folder: &Path, broker: &str) -> Result<(BTreeSet<String>, BTreeSet<String>)> {
    let agent = agent(folder, "weak", broker)?;
    let report = agent.run(&["audit", "--bundle", "audit-baseline", "--format", "json"])?.json()?;
    let keys = |rows: &str| {
        let rows = report[rows].as_array().into_iter().flatten();
        let key = rows.filter_map(|row| row["key"].as_str()?.strip_prefix("broker_transport_posture."));
        key.map(str::to_owned).collect()
    };
    Ok((keys("findings"), keys("gaps")))
}

fn set(keys: &[&str]) -> BTreeSet<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

const SOUND: &str = "max_packet_size 1048576\n";

#[test]
fn a_sound_broker_has_no_finding_and_no_gap() -> Result<()> {
    let site = Site::new()?;
    let _broker = site.start(SOUND, "")?;
    assert_eq!(site.findings("")?, (set(&[]), set(&[])));
    Ok(())
}

#[test]
fn a_packet_without_a_limit_is_a_finding() -> Result<()> {
    let site = Site::new()?;
    let _broker = site.start("", "")?;
    // 2.1 has a limit of its own.
    let expected = if is_two_one()? { set(&[]) } else { set(&["packet_size_unlimited"]) };
    assert_eq!(site.findings("")?, (expected, set(&[])));
    Ok(())
}

#[test]
fn a_websocket_listener_that_takes_any_page_is_a_finding() -> Result<()> {
    let site = Site::new()?;
    // Without a CRL: here it is the upgrade that is looked at.
    let listener = site.listener(&site.other).replace(&format!("crlfile {}\n", site.pki.crl.display()), "");
    let more = format!("\n{listener}protocol websockets\nallow_anonymous false\n");
    let _broker = site.start(SOUND, &more)?;
    let websockets = format!("websockets = [\"wss://{}/mqtt\"]\n", site.other.address());
    assert_eq!(site.findings(&websockets)?, (set(&["websocket_foreign_origin"]), set(&[])));
    Ok(())
}

/// Two findings, since anonymous access is what makes the other possible; a listener that binds ids to names lets no
/// nameless client in.
#[test]
fn a_guest_that_takes_the_id_of_a_client_is_a_finding_of_its_own() -> Result<()> {
    let plain = |site: &Site| format!("plaintext = [\"{}\"]\n", site.other.address());
    let open = |site: &Site| {
        let (port, rights) = (site.other.address().port(), site.rights());
        format!("\nlistener {port} 127.0.0.1\nallow_anonymous true\nacl_file {}\n", rights.display())
    };
    let site = Site::new()?;
    let _broker = site.start(SOUND, &open(&site))?;
    let expected = set(&["anonymous_access", "client_id_takeover"]);
    assert_eq!(site.findings(&plain(&site))?, (expected, set(&[])));

    let site = Site::new()?;
    let _broker = site.start(SOUND, &format!("{}use_username_as_clientid true\n", open(&site)))?;
    assert_eq!(site.findings(&plain(&site))?.0, set(&[]));
    Ok(())
}

/// The broker's own file says that the listener is open to the network; it is dialled on loopback.
#[test]
fn a_plaintext_listener_that_judges_passwords_is_a_finding() -> Result<()> {
    let site = Site::new()?;
    let passwords = site.path().join("passwords");
    pki::write(&passwords, b"", 0o600)?;
    let port = site.other.address().port();
    let lines = format!("allow_anonymous false\npassword_file {}\n", passwords.display());
    let _broker = site.start(SOUND, &format!("\nlistener {port} 127.0.0.1\n{lines}"))?;
    let told = site.path().join("told.conf");
    let text = format!("{SOUND}{}listener {port}\n{lines}", site.told_rights());
    pki::write(&told, text.as_bytes(), 0o600)?;
    let (found, gaps) = site.findings(&format!("configuration_file = {told:?}\n"))?;
    assert_eq!((found, gaps), (set(&["credentials_over_plaintext", "plaintext_listener_exposed"]), set(&[])));
    Ok(())
}

/// As above: the broker's own file says who may come, and it is asked on loopback whether that is so.
#[test]
fn anybody_gets_in_from_the_network() -> Result<()> {
    let site = Site::new()?;
    let port = site.other.address().port();
    let lines = format!("allow_anonymous true\nacl_file {}\n", site.rights().display());
    let _broker = site.start(SOUND, &format!("\nlistener {port} 127.0.0.1\n{lines}"))?;
    let told = site.path().join("told.conf");
    let text = format!("{SOUND}{}listener {port}\n{lines}", site.told_rights());
    pki::write(&told, text.as_bytes(), 0o600)?;
    let (found, gaps) = site.findings(&format!("configuration_file = {told:?}\n"))?;
    let expected = set(&["anonymous_access_exposed", "client_id_takeover", "plaintext_listener_exposed"]);
    assert_eq!((found, gaps), (expected, set(&[])));
    Ok(())
}

/// What ends TLS in front of a broker may permit what Mosquitto does not: rustls, which refuses every CONNECT here.
fn gate(identity: &Identity, max_early_data: u32) -> Result<SocketAddr> {
    let mut config = (*tls::server(identity)?).clone();
    config.max_early_data_size = max_early_data;
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let config = Arc::clone(&config);
            std::thread::spawn(move || -> std::io::Result<()> {
                let session = rustls::ServerConnection::new(config).map_err(std::io::Error::other)?;
                let mut stream = rustls::StreamOwned::new(session, stream);
                let heard = stream.read(&mut [0; 4096])?;
                if heard > 0 {
                    stream.write_all(&[0x20, 2, 0, 5])?;
                }
                stream.conn.send_close_notify();
                stream.flush()
            });
        }
    });
    Ok(address)
}

#[test]
fn tickets_that_permit_early_data_are_a_finding() -> Result<()> {
    for (max_early_data, expected) in [
        (0, &["client_certificate_not_required"][..]),
        (16_384, &["client_certificate_not_required", "early_data_accepted"]),
    ] {
        let site = Site::new()?;
        let address = gate(&site.pki.broker, max_early_data)?;
        let (found, gaps) = findings(site.path(), &format!("tls = [\"{address}\"]\n"))?;
        assert_eq!((found, gaps), (set(expected), set(&[])));
    }
    Ok(())
}

/// The real one, of Mosquitto 2.1, on a WebSocket listener's neighbour; and origins, which 2.1 alone can tell.
#[test]
fn an_http_api_and_origins_of_2_1_are_seen_as_they_are() -> Result<()> {
    if !is_two_one()? {
        // 2.0 knows neither; `cargo xtask test --full` runs this with 2.1.
        return Ok(());
    }
    let api = Port::reserve()?;
    for (anybody, expected) in [("false", set(&[])), ("true", set(&["http_api_exposed"]))] {
        let site = Site::new()?;
        let listener = site.listener(&site.other).replace(&format!("crlfile {}\n", site.pki.crl.display()), "");
        let origins = "protocol websockets\nallow_anonymous false\nwebsockets_origin https://console.example\n";
        let port = api.address().port();
        let http = format!("listener {port}\nprotocol http_api\nallow_anonymous {anybody}\n");
        let _broker = site.start(SOUND, &format!("\n{listener}{origins}{http}"))?;
        let told = site.path().join("mosquitto.conf");
        let websockets = format!("websockets = [\"wss://{}/mqtt\"]\n", site.other.address());
        let found = site.findings(&format!("configuration_file = {told:?}\n{websockets}"))?;
        assert_eq!(found, (expected, set(&[])), "anybody: {anybody}");
    }
    Ok(())
}

/// Who refuses 3.1.1 for its level alone lets nobody in by that.
#[test]
fn anybody_gets_in_by_mqtt_5_alone() -> Result<()> {
    if !is_two_one()? {
        // 2.0 speaks every level everywhere.
        return Ok(());
    }
    let site = Site::new()?;
    let port = site.other.address().port();
    let rights = site.rights();
    let open = format!(
        "\nlistener {port} 127.0.0.1\naccept_protocol_versions 5\nallow_anonymous true\nacl_file {}\n",
        rights.display()
    );
    let _broker = site.start(SOUND, &open)?;
    let (found, _) = site.findings(&format!("plaintext = [\"{}\"]\n", site.other.address()))?;
    assert!(found.contains("anonymous_access"), "{found:?}");
    Ok(())
}

/// Where Debian's Mosquitto has none, what the API of 2.1 answers is answered by hand.
#[test]
fn an_http_api_open_to_the_network_is_a_finding() -> Result<()> {
    let site = Site::new()?;
    let _broker = site.start(SOUND, "")?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { break };
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let told = site.path().join("told.conf");
    let text = format!("{SOUND}{}listener {port}\nprotocol http_api\n", site.told_rights());
    fs::write(&told, text).context("no file")?;
    let (found, gaps) = site.findings(&format!("configuration_file = {told:?}\n"))?;
    assert_eq!((found, gaps), (set(&["http_api_exposed"]), set(&[])));
    Ok(())
}
