//! Asks the time servers that the gateway's own time service uses, each once (SNTP: RFC 5905, section 14).

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gatepost_evidence::check::link_posture::time::{Time, TimeAnswer, TimeServer};
use gatepost_evidence::look::{Failure, FailureKind, Look};
use tokio::net::{UdpSocket, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::packet::{TimeReply, offset_and_delay, time_question, time_reply};
use super::time_servers::Servers;
use crate::http;

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

#[cfg(test)]
mod tests {
    use super::*;

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
