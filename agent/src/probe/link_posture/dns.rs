//! Asks each resolver for itself: for the names that the gateway depends on, and for one that does not exist.
//!
//! The system's own resolver asks whichever server answers and keeps to itself who said what. Each question is asked over UDP, at
//! most [`ATTEMPTS`] times, and once over TCP where the answer was cut short. Only what comes from the server that was asked, to the
//! question that was asked, is an answer; the rest is counted and bounded.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use gatepost_evidence::check::link_posture::dns::{Answer, Dns, NameServer, Question};
use gatepost_evidence::look::{Failure, FailureKind};
use nix::net::if_::if_nametoindex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::packet::{Reply, question, reply};
use crate::config::Config;
use crate::http;
use crate::probe::wire::micros_since;

/// The most resolvers that are asked.
pub const MAX_SERVERS: usize = 4;
/// The most names that each is asked for, the made-up one aside.
pub const MAX_NAMES: usize = 8;
/// How often a question is asked over UDP.
pub const ATTEMPTS: usize = 2;
/// How long an answer may take, each time.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// The most packets to a question that are no answers to it.
const MAX_STRAYS: u32 = 64;
/// The largest packet of UDP that is read, and the largest answer over TCP.
const MAX_PACKET: usize = 4096;
/// Where name servers listen.
const PORT: u16 = 53;

/// Asks `resolvers` for the names of `config`.
pub(super) async fn ask(config: &Config, resolvers: &[String]) -> Dns {
    let made_up = format!("gatepost-{:08x}.{}", crate::upload::random() & 0xffff_ffff, config.link.absent_domain);
    let mut names = names(config);
    names.push(made_up.clone());
    let mut looks = JoinSet::new();
    for (place, server) in resolvers.iter().take(MAX_SERVERS).enumerate() {
        for (number, name) in names.iter().enumerate() {
            let (server, name) = (server.clone(), name.clone());
            looks.spawn(async move {
                let answer = ask_once(&server, &name).await.into();
                (place, number, Question { name, answer })
            });
        }
    }
    let mut found = looks.join_all().await;
    found.sort_by_key(|(place, number, _)| (*place, *number));
    let of = |wanted: usize| found.iter().filter(move |(place, ..)| *place == wanted).map(|(.., asked)| asked.clone());
    let servers = resolvers.iter().take(MAX_SERVERS).enumerate();
    let servers =
        servers.map(|(place, server)| NameServer { address: server.clone(), questions: of(place).collect() }).collect();
    let not_asked = u32::try_from(resolvers.len().saturating_sub(MAX_SERVERS)).unwrap_or(u32::MAX);
    Dns { made_up, servers, not_asked }
}

/// The names that the gateway depends on, each once: of ingest edge and sink, and those of `[link] names`.
fn names(config: &Config) -> Vec<String> {
    let urls = [config.ingest.as_ref().map(|ingest| &ingest.url), config.sink.as_ref().map(|sink| &sink.url)];
    let hosts = urls.into_iter().flatten().filter_map(|url| super::host_and_port(url)).map(|(host, _)| host);
    let mqtt = config.ingest_mqtt.as_ref().and_then(|mqtt| mqtt.address.rsplit_once(':'));
    let mqtt = mqtt.map(|(host, _)| host.to_owned());
    let mut names: Vec<String> = Vec::new();
    for name in hosts.chain(mqtt).chain(config.link.names.iter().cloned()) {
        let is_address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
        if !is_address && name != "localhost" && !names.contains(&name) && names.len() < MAX_NAMES {
            names.push(name);
        }
    }
    names
}

async fn ask_once(server: &str, name: &str) -> Result<Answer, Failure> {
    ask_at(address(server)?, name).await
}

/// `192.0.2.53`, `2001:db8::53`, and what a router announces of itself: `fe80::1%eth0`, with the interface by name or number.
fn address(server: &str) -> Result<SocketAddr, Failure> {
    let no_address =
        || Failure::new(FailureKind::Unparseable, format_args!("{server} is no address that can be asked"));
    let Some((host, interface)) = server.split_once('%') else {
        return Ok(SocketAddr::new(server.parse().map_err(|_| no_address())?, PORT));
    };
    let host: Ipv6Addr = host.parse().map_err(|_| no_address())?;
    let scope = interface.parse().or_else(|_| if_nametoindex(interface)).map_err(|error| {
        Failure::new(FailureKind::Unreachable, format_args!("{server}: there is no interface {interface}: {error}"))
    })?;
    Ok(SocketAddrV6::new(host, PORT, 0, scope).into())
}

async fn ask_at(server: SocketAddr, name: &str) -> Result<Answer, Failure> {
    let [low, high, ..] = crate::upload::random().to_le_bytes();
    let asked = question(u16::from_be_bytes([high, low]), name)
        .ok_or_else(|| Failure::new(FailureKind::Error, format_args!("{name} cannot be asked for")))?;
    let begin = Instant::now();
    let mut strays = 0;
    let answer = |code, addresses: Vec<Ipv4Addr>, strays, tcp| Answer {
        code,
        addresses: addresses.iter().map(ToString::to_string).collect(),
        micros: micros_since(begin),
        tcp,
        strays,
    };
    match over_udp(server, &asked, &mut strays).await? {
        Reply::Answer(code, addresses) => Ok(answer(code, addresses, strays, false)),
        Reply::Truncated => match over_tcp(server, &asked).await? {
            Reply::Answer(code, addresses) => Ok(answer(code, addresses, strays, true)),
            Reply::Broken(why) => Err(broken(server, why)),
            Reply::Stray | Reply::Truncated => Err(broken(server, "over TCP came no answer to the question")),
        },
        Reply::Broken(why) => Err(broken(server, why)),
        Reply::Stray => Err(broken(server, "nothing but answers to other questions came")),
    }
}

fn broken(server: SocketAddr, why: &str) -> Failure {
    Failure::new(FailureKind::Protocol, format_args!("{}: {why}", server.ip()))
}

async fn over_udp(server: SocketAddr, asked: &[u8], strays: &mut u32) -> Result<Reply, Failure> {
    let failed = |error: std::io::Error| Failure::new(http::io_kind(&error), format_args!("{}: {error}", server.ip()));
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await.map_err(failed)?;
    // From then on the kernel gives only what comes from there, and tells when nobody listens.
    socket.connect(server).await.map_err(failed)?;
    let mut packet = [0; MAX_PACKET];
    for _ in 0..ATTEMPTS {
        socket.send(asked).await.map_err(failed)?;
        let until = Instant::now() + PATIENCE;
        while let Ok(received) = timeout_at(until, socket.recv(&mut packet)).await {
            let length = received.map_err(failed)?;
            match reply(packet.get(..length).unwrap_or_default(), asked) {
                Reply::Stray if *strays == MAX_STRAYS => return Ok(Reply::Stray),
                Reply::Stray => *strays += 1,
                other => return Ok(other),
            }
        }
    }
    if *strays > 0 {
        return Ok(Reply::Stray);
    }
    let waited = ATTEMPTS as u64 * PATIENCE.as_secs();
    Err(Failure::new(FailureKind::TimedOut, format_args!("{} did not answer within {waited} s", server.ip())))
}

/// The same with two bytes of length before question and answer (RFC 7766, section 8).
async fn over_tcp(server: SocketAddr, asked: &[u8]) -> Result<Reply, Failure> {
    let failed =
        |error: std::io::Error| Failure::new(http::io_kind(&error), format_args!("{} over TCP: {error}", server.ip()));
    let exchange = async {
        let mut stream = TcpStream::connect(server).await.map_err(failed)?;
        let length = u16::try_from(asked.len()).unwrap_or_default().to_be_bytes();
        stream.write_all(&[&length[..], asked].concat()).await.map_err(failed)?;
        let length = usize::from(stream.read_u16().await.map_err(failed)?);
        if length > MAX_PACKET {
            let detail = format!("{}: an answer of {length} bytes over TCP", server.ip());
            return Err(Failure::new(FailureKind::TooLarge, detail));
        }
        let mut packet = vec![0; length];
        stream.read_exact(&mut packet).await.map_err(failed)?;
        Ok(reply(&packet, asked))
    };
    match timeout_at(Instant::now() + PATIENCE, exchange).await {
        Ok(result) => result,
        Err(_) => {
            let detail = format!("{} did not answer over TCP within {} s", server.ip(), PATIENCE.as_secs());
            Err(Failure::new(FailureKind::TimedOut, detail))
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A server that answers each question with what `make` makes of it.
    async fn server(make: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
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
        address
    }

    fn says(asked: &[u8], flags: [u8; 2], records: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = asked.to_vec();
        (bytes[2], bytes[3], bytes[7]) = (flags[0], flags[1], records);
        bytes.extend(rest);
        bytes
    }

    const ADDRESS: &[u8] = &[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 7];

    #[tokio::test]
    async fn answers_to_other_questions_are_counted_and_not_believed() {
        let address = server(|asked| {
            let mut other = says(asked, [0x81, 0x80], 1, ADDRESS);
            other[0] ^= 1;
            vec![other.clone(), vec![1, 2, 3], other, says(asked, [0x81, 0x83], 0, &[])]
        })
        .await;
        let answer = ask_at(address, "edge.example").await.unwrap();
        assert_eq!((answer.code, answer.addresses.len(), answer.strays, answer.tcp), (3, 0, 3, false));
    }

    #[tokio::test]
    async fn a_flood_of_other_answers_ends() {
        let address = server(|asked| vec![vec![0; asked.len()]; 500]).await;
        let failure = ask_at(address, "edge.example").await.unwrap_err();
        assert_eq!((failure.kind, failure.detail.contains("other questions")), (FailureKind::Protocol, true));
    }

    #[tokio::test]
    async fn a_broken_answer_is_a_failed_look() {
        let address = server(|asked| vec![says(asked, [0x81, 0x80], 9, ADDRESS)]).await;
        let failure = ask_at(address, "edge.example").await.unwrap_err();
        assert_eq!(failure.to_string(), "not the protocol: 127.0.0.1: a record breaks off in its name");
    }

    #[tokio::test]
    async fn what_was_cut_short_is_asked_for_over_tcp() {
        let address = server(|asked| vec![says(asked, [0x83, 0x80], 0, &[])]).await;
        let listener = TcpListener::bind(address).await.unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let length = stream.read_u16().await.unwrap();
            let mut asked = vec![0; usize::from(length)];
            stream.read_exact(&mut asked).await.unwrap();
            let answer = says(&asked, [0x81, 0x80], 1, ADDRESS);
            stream.write_u16(u16::try_from(answer.len()).unwrap()).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        });
        let answer = ask_at(address, "edge.example").await.unwrap();
        assert_eq!((answer.addresses.as_slice(), answer.tcp), (&["192.0.2.7".to_owned()][..], true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_server_and_a_closed_port_are_data() {
        let address = server(|_| Vec::new()).await;
        assert_eq!(ask_at(address, "edge.example").await.unwrap_err().kind, FailureKind::TimedOut);
        let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert_eq!(ask_at(closed, "edge.example").await.unwrap_err().kind, FailureKind::Refused);
        assert_eq!(ask_once("fe80::1%none", "edge.example").await.unwrap_err().kind, FailureKind::Unreachable);
        assert_eq!(ask_once("127.0.0.1%lo", "edge.example").await.unwrap_err().kind, FailureKind::Unparseable);
        assert_eq!(super::address("fe80::1%lo").unwrap(), super::address("fe80::1%1").unwrap());
        assert_eq!(ask_at(closed, "a..b").await.unwrap_err().kind, FailureKind::Error);
    }
}
