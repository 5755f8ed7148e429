//! Everything that MQTT is asked about one listener, in order.
//!
//! First each protocol level on its own; then, with the newest that let us in, one session that pings, leaves and clears a
//! retained canary, and sends one large packet; two clients with one id; openings that must be refused; in plaintext, made-up
//! credentials; and, only if the operator wants it, a client that falls silent. A question that nobody answers in time ends the
//! others after the second.

use gatepost_evidence::check::broker_transport_posture::Connack;
use gatepost_evidence::check::broker_transport_posture::mqtt::{
    Announced, LargePacket, LevelOffer, Malformed, MalformedTrial, Mqtt, PacketEnd, Ping, Retained, Silence, Speaker,
};
use gatepost_evidence::look::{Failure, FailureKind, Look};
use tokio::time::{Duration, Instant};

use super::packet::{self, Connect, Level, Packet};
use super::session::{Login, Opening, Session};
use super::way::{MAX_CONNECTIONS, Tls, Way};
use super::{retained, takeover};
use crate::probe::canary;

/// The length of the large packet: much for a telemetry message, little for a gateway.
const LARGE: usize = 256 * 1024;
/// The session expiry that is asked for, in seconds: a day. It ends with DISCONNECT; should the connection break before,
/// nothing but its name is kept for that long.
const SESSION_EXPIRY: u32 = 86_400;
/// The keep alive of the client that falls silent, in seconds.
const SHORT_KEEP_ALIVE: u16 = 1;
/// How much longer than one and a half times its keep alive a silent client waits.
const GRACE: Duration = Duration::from_secs(6);

/// Asks everything. With `silence` a client falls silent, which takes some seconds.
pub async fn carry_out(way: &Way<'_>, silence: bool) -> Mqtt {
    let begin = Instant::now();
    let speaker = if matches!(way.tls, Tls::Client(_)) { Speaker::Client } else { Speaker::Anonymous };
    let mut mqtt = Mqtt {
        speaker,
        connections: 0,
        connection_limit: MAX_CONNECTIONS,
        millis: 0,
        levels: Vec::new(),
        announced: None,
        ping: None,
        large_packet: None,
        retained: None,
        takeover: None,
        takeover_without_credentials: None,
        silence: None,
        malformed: Vec::new(),
        made_up_credentials: None,
    };
    let mut newest = None;
    for level in Level::ALL {
        let answer = offer(way, level).await;
        if let Ok((Connack { code: 0, .. }, announced)) = &answer {
            newest = Some(level);
            mqtt.announced = (level == Level::V5).then(|| announced.clone());
        }
        mqtt.levels.push(LevelOffer { level: level.wire(), answer: answer.map(|(connack, _)| connack).into() });
    }
    if let Some(level) = newest {
        within(way, level, &mut mqtt).await;
        mqtt.takeover = Some(takeover::trial(way, way, level).await.into());
        mqtt.silence = Some(match silence {
            true => fall_silent(way, level).await.into(),
            false => Look::Failed(Failure::new(
                FailureKind::Error,
                "not tried, since it takes some seconds; set `try_keep_alive = true` in [broker]",
            )),
        });
    }
    for what in Malformed::ALL {
        let answer = malformed(way, what).await;
        mqtt.malformed.push(MalformedTrial { what, answer: answer.map_err(|failure| way.noted(failure)).into() });
    }
    if matches!(way.tls, Tls::None) {
        mqtt.made_up_credentials = Some(made_up(way).await.into());
    }
    mqtt.connections = way.made();
    mqtt.millis = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
    mqtt
}

/// One level on its own. MQTT 5 is asked for a session that stays and for no keep alive, to see what the server makes of it.
async fn offer(way: &Way<'_>, level: Level) -> Result<(Connack, Announced), Failure> {
    let id = canary::name()?;
    let mut session = Session::new(way.open().await?, level);
    let opening = match level {
        Level::V5 => Opening { client_id: &id, keep_alive: 0, session_expiry: Some(SESSION_EXPIRY) },
        _ => Opening::new(&id),
    };
    let answer = session.connect(&opening, way.login(), way.budget).await.map_err(|failure| way.noted(failure))?;
    if answer.0.code == 0 {
        session.leave(way.budget).await;
    }
    Ok(answer)
}

async fn enter(way: &Way<'_>, level: Level, opening: &Opening<'_>) -> Result<Session, Failure> {
    let mut session = Session::new(way.open().await?, level);
    let (connack, _) = session.connect(opening, way.login(), way.budget).await.map_err(|failure| way.noted(failure))?;
    match connack.code {
        0 => Ok(session),
        code => Err(Failure::new(FailureKind::Error, format_args!("the client was refused with code 0x{code:02x}"))),
    }
}

/// What one session can tell. The large packet comes last: it may be the end of it.
async fn within(way: &Way<'_>, level: Level, mqtt: &mut Mqtt) {
    let session = async {
        let id = canary::name()?;
        enter(way, level, &Opening::new(&id)).await
    };
    let mut session = match session.await {
        Ok(session) => session,
        Err(failure) => {
            mqtt.ping = Some(Look::Failed(failure.clone()));
            mqtt.retained = Some(Look::Failed(failure.clone()));
            mqtt.large_packet = Some(Look::Failed(failure));
            return;
        }
    };
    let ping: Result<Ping, Failure> = session.ping(way.budget, |_| {}).await;
    mqtt.ping = Some(ping.map_err(|failure| way.noted(failure)).into());
    mqtt.retained = Some(keep(way, &mut session, mqtt.announced.as_ref()).await.into());
    // A session that did not bear one of these is not the one to try the other in.
    let whole = [
        mqtt.ping.as_ref().is_some_and(|it| it.seen().is_some()),
        mqtt.retained.as_ref().is_some_and(|it| it.seen().is_some()),
    ];
    let session = if whole == [true, true] {
        Ok(session)
    } else {
        session.leave(way.budget).await;
        let again = async {
            let id = canary::name()?;
            enter(way, level, &Opening::new(&id)).await
        };
        again.await
    };
    mqtt.large_packet = Some(match session {
        Ok(session) => large(way, session).await.map_err(|failure| way.noted(failure)).into(),
        Err(failure) => Look::Failed(failure),
    });
}

async fn keep(way: &Way<'_>, session: &mut Session, announced: Option<&Announced>) -> Result<Retained, Failure> {
    let not = |words: &str| Err(Failure::new(FailureKind::Error, format_args!("not tried: {words}")));
    match announced {
        Some(Announced { retain_available: Some(false), .. }) => not("the server announces that it retains nothing"),
        Some(Announced { maximum_qos: Some(0), .. }) => not("the server takes no QoS 1"),
        _ => retained::trial(session, way).await.map_err(|failure| way.noted(failure)),
    }
}

async fn large(way: &Way<'_>, mut session: Session) -> Result<LargePacket, Failure> {
    let (level, id) = (session.level(), session.id());
    let packet = packet::large_unsubscribe(level, id, &retained::topic()?, LARGE);
    let bytes = u32::try_from(packet.len()).unwrap_or(u32::MAX);
    let ended = |end| Ok(LargePacket { bytes, end });
    // A connection that was gone before says nothing of the packet.
    session.ping(way.budget, |_| {}).await?;
    session.send(&packet, way.budget).await?;
    loop {
        match session.packet("the answer to a large packet", way.budget).await {
            Ok(Packet::Unsuback(answered)) if answered == id => {
                session.leave(way.budget).await;
                return ended(PacketEnd::Acknowledged);
            }
            Ok(Packet::Disconnect(code)) => return ended(PacketEnd::Disconnected(code)),
            Ok(_) => {}
            Err(failure) if failure.kind == FailureKind::Closed => return ended(PacketEnd::Closed),
            Err(failure) => return Err(failure),
        }
    }
}

/// Sends what is no sound opening. PINGREQ that is answered before any CONNECT counts as code 0.
async fn malformed(way: &Way<'_>, what: Malformed) -> Result<Connack, Failure> {
    let id = canary::name()?;
    let mut session = Session::new(way.open().await?, Level::V311);
    let sound = Connect::new(Level::V311, &id);
    let connect = match what {
        Malformed::ReservedFlag => Connect { reserved_flag: true, ..sound },
        Malformed::ProtocolName => Connect { protocol: Some(("GPST", 4)), ..sound },
        Malformed::ProtocolLevel => Connect { protocol: Some(("MQTT", 0x7f)), ..sound },
        Malformed::NoConnect => {
            let micros = session.ping(way.budget, |_| {}).await?.micros;
            return Ok(Connack { code: 0, micros });
        }
    };
    let (connack, _) = session.open(&connect.write(), way.budget).await?;
    if connack.code == 0 {
        session.leave(way.budget).await;
    }
    Ok(connack)
}

/// A user name and a password that are nobody's.
async fn made_up(way: &Way<'_>) -> Result<Connack, Failure> {
    let (id, password) = (canary::name()?, canary::random::<16>()?);
    let mut session = Session::new(way.open().await?, Level::V311);
    let login = Login::MadeUp(&id, &password);
    let answer = session.connect(&Opening::new(&id), login, way.budget).await;
    let (connack, _) = answer.map_err(|failure| way.noted(failure))?;
    if connack.code == 0 {
        session.leave(way.budget).await;
    }
    Ok(connack)
}

async fn fall_silent(way: &Way<'_>, level: Level) -> Result<Silence, Failure> {
    let id = canary::name()?;
    let opening = Opening { keep_alive: SHORT_KEEP_ALIVE, ..Opening::new(&id) };
    let mut session = enter(way, level, &opening).await?;
    let begin = Instant::now();
    let deadline = begin + Duration::from_millis(u64::from(SHORT_KEEP_ALIVE) * 1500) + GRACE;
    let millis = || u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
    loop {
        let ended = match session.linger(deadline, way.budget).await {
            Ok(None) => false,
            Ok(Some(Packet::Disconnect(_))) => true,
            Ok(Some(_)) => continue,
            Err(failure) if failure.kind == FailureKind::Closed => true,
            Err(failure) => return Err(failure),
        };
        let silence = Silence { keep_alive: SHORT_KEEP_ALIVE, millis: millis(), ended };
        if !ended {
            session.leave(way.budget).await;
        }
        return Ok(silence);
    }
}
