//! Asks the time servers that the gateway's own time service uses, each once (SNTP: RFC 5905, section 14), and looks for a clock
//! that runs on without power.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gatepost_evidence::check::link_posture::time::{Time, TimeAnswer, TimeServer};
use gatepost_evidence::look::{Failure, FailureKind, Look};
use tokio::net::{UdpSocket, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::packet::{TimeReply, offset_and_delay, time_question, time_reply};
use crate::config::Config;
use crate::http;
use crate::probe::host::root::Root;
use crate::probe::host::{if_there, shorten, snippets};

/// The most servers that are asked.
pub const MAX_SERVERS: usize = 3;
/// How long one may take, the resolution of its name included.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// The most packets that are no answers to the question.
const MAX_STRAYS: usize = 64;
/// Where time servers listen.
const PORT: u16 = 123;
/// Seconds from 1900 to 1970.
const EPOCH: u64 = 2_208_988_800;

/// Which servers there are, and where that is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Servers {
    pub(super) source: Option<String>,
    pub(super) names: Result<Vec<String>, Failure>,
}

/// The servers of `[link] time_servers`, or else those of the host's time service.
pub(super) fn servers(root: &Root, config: &Config) -> Servers {
    if !config.link.time_servers.is_empty() {
        return Servers { source: Some("configuration".into()), names: Ok(config.link.time_servers.clone()) };
    }
    for find in [chrony, timesyncd, ntpd] {
        match find(root) {
            Ok(Some((source, names))) => return Servers { source: Some(source), names: Ok(names) },
            Ok(None) => {}
            Err(failure) => return Servers { source: None, names: Err(failure) },
        }
    }
    Servers { source: None, names: Ok(Vec::new()) }
}

type Found = Result<Option<(String, Vec<String>)>, Failure>;

/// The words behind `server`, `pool` or `servers` (chrony.conf(5), ntp.conf(5), ntpd.conf(5)).
fn listed(root: &Root, files: &[PathBuf]) -> Found {
    let (mut source, mut names) = (None, Vec::new());
    for file in files {
        let Some(text) = if_there(root.read_text(file))? else { continue };
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            if let (Some("server" | "servers" | "pool" | "peer"), Some(name)) = (words.next(), words.next()) {
                names.push(shorten(name));
                source.get_or_insert_with(|| file.display().to_string());
            }
        }
    }
    Ok(source.map(|source| (source, names)))
}

fn chrony(root: &Root) -> Found {
    let mut files = vec![PathBuf::from("/etc/chrony/chrony.conf")];
    for (folder, ending) in
        [("/etc/chrony/conf.d", ".conf"), ("/etc/chrony/sources.d", ".sources"), ("/run/chrony-dhcp", ".sources")]
    {
        files.extend(snippets(root, Path::new(folder), ending)?);
    }
    listed(root, &files)
}

fn ntpd(root: &Root) -> Found {
    listed(root, &["/etc/ntpsec/ntp.conf", "/etc/ntp.conf", "/etc/openntpd/ntpd.conf"].map(PathBuf::from))
}

/// systemd-timesyncd (timesyncd.conf(5)): `NTP=`, what the network gave out, or the fallback, which stands as a comment in the
/// file that it comes with.
fn timesyncd(root: &Root) -> Found {
    let main = PathBuf::from("/etc/systemd/timesyncd.conf");
    let mut files = vec![main];
    for folder in
        ["/usr/lib/systemd/timesyncd.conf.d", "/run/systemd/timesyncd.conf.d", "/etc/systemd/timesyncd.conf.d"]
    {
        files.extend(snippets(root, Path::new(folder), ".conf")?);
    }
    let (mut source, mut names) = (None, Vec::new());
    let mut fallback: Option<(PathBuf, Vec<String>)> = None;
    for file in files {
        let Some(text) = if_there(root.read_text(&file))? else { continue };
        for line in text.lines().map(str::trim) {
            let listed = |value: &str| value.split_ascii_whitespace().map(shorten).collect::<Vec<_>>();
            if let Some(value) = line.strip_prefix("NTP=") {
                // An empty one forgets those before it.
                if value.trim().is_empty() {
                    names.clear();
                }
                names.extend(listed(value));
                source = Some(file.clone());
            } else if let Some(value) = line.trim_start_matches('#').strip_prefix("FallbackNTP=") {
                fallback = Some((file.clone(), listed(value)));
            }
        }
    }
    if names.is_empty()
        && let Some(text) = if_there(root.read_text(Path::new("/run/systemd/netif/state")))?
    {
        let given = text.lines().filter_map(|line| line.strip_prefix("NTP=")).flat_map(str::split_ascii_whitespace);
        names.extend(given.map(shorten));
        source = Some(PathBuf::from("/run/systemd/netif/state"));
    }
    if names.is_empty()
        && root.exists(Path::new("/run/systemd/timesync"))?
        && let Some((file, listed)) = fallback
    {
        (source, names) = (Some(file), listed);
    }
    let source = source.filter(|_| !names.is_empty());
    Ok(source.map(|source| (source.display().to_string(), names)))
}

/// What the machine has, and, where the servers may be asked, what they say.
pub(super) async fn ask(servers: Servers, clocks: Result<Vec<String>, Failure>, board: Result<bool, Failure>) -> Time {
    let answers = match servers.names {
        Ok(names) => Look::Seen(ask_all(&names).await),
        Err(failure) => Look::Failed(failure),
    };
    Time { source: servers.source, servers: answers, clocks: clocks.into(), board: board.into() }
}

async fn ask_all(names: &[String]) -> Vec<TimeServer> {
    let mut unique: Vec<&String> = Vec::new();
    for name in names {
        if !unique.contains(&name) && unique.len() < MAX_SERVERS {
            unique.push(name);
        }
    }
    let mut looks = JoinSet::new();
    for (place, name) in unique.into_iter().cloned().enumerate() {
        looks.spawn(async move {
            let answer = ask_one(&name).await.into();
            (place, TimeServer { address: name, answer })
        });
    }
    let mut found = looks.join_all().await;
    found.sort_by_key(|(place, _)| *place);
    found.into_iter().map(|(_, server)| server).collect()
}

async fn ask_one(name: &str) -> Result<TimeAnswer, Failure> {
    let until = Instant::now() + PATIENCE;
    match timeout_at(until, exchange(name)).await {
        Ok(result) => result,
        Err(_) => {
            let detail = format!("{name} did not answer within {} s", PATIENCE.as_secs());
            Err(Failure::new(FailureKind::TimedOut, detail))
        }
    }
}

async fn exchange(name: &str) -> Result<TimeAnswer, Failure> {
    let failed = |error: std::io::Error| Failure::new(http::io_kind(&error), format_args!("{name}: {error}"));
    let has_port = name.rsplit_once(':').is_some_and(|(host, port)| !host.contains(':') && port.parse::<u16>().is_ok());
    let address = match (has_port, name.contains(':')) {
        (true, _) => name.to_owned(),
        (false, true) => format!("[{}]:{PORT}", name.trim_start_matches('[').trim_end_matches(']')),
        (false, false) => format!("{name}:{PORT}"),
    };
    let unresolved = |error: std::io::Error| Failure::new(FailureKind::Unreachable, format_args!("{name}: {error}"));
    let resolved = lookup_host(&address).await.map_err(unresolved)?.next();
    let server =
        resolved.ok_or_else(|| Failure::new(FailureKind::Unreachable, format_args!("{name} has no address")))?;
    let socket = match server.is_ipv4() {
        true => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await,
        false => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).await,
    }
    .map_err(failed)?;
    socket.connect(server).await.map_err(failed)?;
    let nonce = crate::upload::random().to_be_bytes();
    let (asked, begin) = (now(), Instant::now());
    socket.send(&time_question(nonce)).await.map_err(failed)?;
    let mut packet = [0; 512];
    for _ in 0..MAX_STRAYS {
        let length = socket.recv(&mut packet).await.map_err(failed)?;
        let elapsed = units(begin.elapsed());
        if let Some(reply) = time_reply(packet.get(..length).unwrap_or_default(), nonce) {
            return Ok(answer(&reply, asked, elapsed));
        }
    }
    Err(Failure::new(FailureKind::Protocol, format_args!("{name}: nothing but packets that are no answer came")))
}

fn answer(reply: &TimeReply, asked: u64, elapsed: u64) -> TimeAnswer {
    // Who sends a word instead of the time has no time to compare with.
    let (offset_micros, delay_micros) = match reply.stratum {
        0 => (0, 0),
        _ => offset_and_delay(reply, asked, elapsed),
    };
    TimeAnswer { leap: reply.leap, stratum: reply.stratum, kiss: reply.kiss.clone(), offset_micros, delay_micros }
}

/// Units of 2^-32 seconds.
fn units(duration: Duration) -> u64 {
    let parts = (u64::from(duration.subsec_nanos()) << 32) / 1_000_000_000;
    (duration.as_secs() << 32).wrapping_add(parts)
}

/// The gateway's clock, in units of 2^-32 seconds since 1900.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    units(since).wrapping_add(EPOCH << 32)
}

/// Names of the clocks in sysfs that run on without power.
pub(super) fn clocks(root: &Root) -> Result<Vec<String>, Failure> {
    let folder = Path::new("/sys/class/rtc");
    let names = if_there(root.list(folder))?.unwrap_or_default();
    // Where there is no sysfs at all nothing can be said.
    if names.is_empty() && !root.exists(Path::new("/sys/class"))? {
        return Err(Failure::new(FailureKind::NotFound, "/sys/class is not there"));
    }
    let name = |name: &String| root.word(&folder.join(name).join("name")).unwrap_or_else(|_| shorten(name));
    Ok(names.iter().take(8).map(name).collect())
}

/// Whether a device tree describes the machine.
pub(super) fn board(root: &Root) -> Result<bool, Failure> {
    root.exists(Path::new("/proc/device-tree/model"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::host::tests::{config, snapshot};

    fn found(files: &[(&str, &str)]) -> (Option<String>, Vec<String>) {
        let folder = snapshot(files);
        let servers = servers(&Root::new(folder.path()), &config(folder.path()));
        (servers.source, servers.names.unwrap())
    }

    #[test]
    fn the_servers_are_those_of_the_time_service() {
        let debian = "[Time]\n#NTP=\n#FallbackNTP=0.debian.pool.ntp.org 1.debian.pool.ntp.org\n";
        let conf = ("etc/systemd/timesyncd.conf", debian);
        assert_eq!(found(&[conf]), (None, vec![]));
        let runs = found(&[conf, ("run/systemd/timesync/synchronized", "")]);
        assert_eq!(runs.0.as_deref(), Some("/etc/systemd/timesyncd.conf"));
        assert_eq!(runs.1, ["0.debian.pool.ntp.org", "1.debian.pool.ntp.org"]);
        let network = found(&[conf, ("run/systemd/netif/state", "OPER_STATE=routable\nNTP=192.168.1.1\n")]);
        assert_eq!(network.1, ["192.168.1.1"]);
        let drop_in = ("etc/systemd/timesyncd.conf.d/site.conf", "[Time]\nNTP=\nNTP=time.site\n");
        assert_eq!(found(&[("etc/systemd/timesyncd.conf", "NTP=old.site\n"), drop_in]).1, ["time.site"]);
        let chrony = [
            ("etc/chrony/chrony.conf", "pool 2.debian.pool.ntp.org iburst\n#server no\nsourcedir /run/chrony-dhcp\n"),
            ("run/chrony-dhcp/eth0.sources", "server 192.168.1.1 iburst\n"),
            conf,
        ];
        assert_eq!(found(&chrony).1, ["2.debian.pool.ntp.org", "192.168.1.1"]);
        assert_eq!(found(&[("etc/openntpd/ntpd.conf", "servers pool.ntp.org\n")]).1, ["pool.ntp.org"]);
    }

    async fn server(make: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> String {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut packet = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut packet).await {
                for answer in make(&packet[..length]) {
                    socket.send_to(&answer, from).await.unwrap();
                }
            }
        });
        address.to_string()
    }

    fn says(asked: &[u8], ahead_seconds: i64) -> Vec<u8> {
        let mut bytes = vec![0; 48];
        (bytes[0], bytes[1]) = (0x24, 2);
        bytes[24..32].copy_from_slice(&asked[40..48]);
        let time = now().wrapping_add_signed(ahead_seconds << 32).to_be_bytes();
        bytes[32..40].copy_from_slice(&time);
        bytes[40..48].copy_from_slice(&time);
        bytes
    }

    #[tokio::test]
    async fn the_offset_is_how_far_the_server_is_ahead() {
        for ahead in [0, 3600, -86_400] {
            let answer = ask_one(&server(move |asked| vec![says(asked, ahead)]).await).await.unwrap();
            let error = (answer.offset_micros - ahead * 1_000_000).unsigned_abs();
            assert!(error <= answer.delay_micros + 1_000, "{ahead}: {answer:?}");
            assert_eq!((answer.stratum, answer.leap), (2, 0));
        }
    }

    #[tokio::test]
    async fn rubbish_is_no_time() {
        let noise = server(|asked| vec![vec![0xff; 48], asked.to_vec(), vec![], says(asked, 7)]).await;
        assert!(ask_one(&noise).await.unwrap().offset_micros > 6_000_000);
        let only_noise = server(|_| vec![vec![0x24; 48]; MAX_STRAYS + 1]).await;
        assert_eq!(ask_one(&only_noise).await.unwrap_err().kind, FailureKind::Protocol);
        assert_eq!(ask_one("gatepost.invalid").await.unwrap_err().kind, FailureKind::Unreachable);
    }
}
