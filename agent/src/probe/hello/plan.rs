//! What is offered next, and when a list is at its end.
//!
//! Suites are found by offering many, leaving out what was chosen, and offering the rest, until the server refuses. Before
//! TLS 1.3 they are offered in parts of at most [`PART`], since some servers do not take longer lists. Groups are found in the
//! same way; but before TLS 1.3 a server with an elliptic curve certificate refuses clients that do not offer the curve of
//! its certificate (RFC 8422, section 5.1.1), so groups that were found are offered again behind the others.

use gatepost_evidence::check::broker_transport_posture::TlsVersion;
use gatepost_evidence::check::broker_transport_posture::code::{
    Code, FALLBACK_SCSV, GROUPS, Properties, SUITES, properties, suite_name,
};
use gatepost_evidence::check::broker_transport_posture::survey::{Alpn, Answer, OrderTrial, Survey, VersionSurvey};
use gatepost_evidence::look::{Failure, FailureKind, Look};

use super::answer::{Hello, Reply};
use super::offer::Offer;
use super::{Asking, INTERNAL_ERROR};

/// The most suites of one offer.
const PART: usize = 120;
/// The alert of a server that does not speak the version, whatever the suites (RFC 5246, section 7.2.2).
const PROTOCOL_VERSION: u8 = 70;
/// Alerts that are no refusal, or would be the same for the next part: close_notify, internal_error, user_canceled.
const NO_USE: [u8; 3] = [0, INTERNAL_ERROR, 90];

/// Makes all the offers of a survey, newest version first.
pub(super) async fn carry_out(mut asking: Asking<'_>) -> Result<Survey, Failure> {
    let mut versions = Vec::new();
    for version in TlsVersion::ALL.into_iter().rev() {
        let survey = asking.version(version).await;
        versions.insert(0, survey);
    }
    let failed = |survey: &VersionSurvey| match (&survey.end, survey.suites.is_empty()) {
        (Look::Failed(failure), true) => Some(failure.clone()),
        _ => None,
    };
    // Newest first, so that the reason is that of the offer that was made first.
    let failures: Vec<Failure> = versions.iter().rev().filter_map(failed).collect();
    if failures.len() == versions.len()
        && let Some(first) = failures.into_iter().next()
    {
        return Err(first);
    }
    asking.groups(&mut versions).await;
    let fallback = asking.fallback(&versions).await;
    let alpn = asking.alpn(&versions).await;
    Ok(Survey {
        connections: asking.made,
        connection_limit: asking.bounds.connections,
        millis: 0,
        versions,
        fallback,
        alpn,
    })
}

fn of(code: u16) -> Option<Properties> {
    properties(&suite_name(Code(code)))
}

/// The suites that `version` may have, in parts; those of the usual ciphers first.
fn parts(version: TlsVersion) -> Vec<Vec<u16>> {
    let fits = |name: &str, suite: Properties| match version {
        TlsVersion::Tls13 => suite.tls13,
        TlsVersion::Tls12 => !suite.tls13,
        // What came with TLS 1.2 may not be negotiated before it (RFC 5246, section A.5), but for pre-shared keys (RFC 5487).
        _ => {
            let later = suite.aead || name.ends_with("_SHA256") || name.ends_with("_SHA384");
            !suite.tls13 && (!later || (suite.shared_key && !suite.aead))
        }
    };
    let usual = |name: &str| {
        let ciphers = ["_AES_", "_CHACHA20_", "_RC4_", "DES_", "_NULL_", "_DES40_", "_RC2_", "_IDEA_"];
        ciphers.iter().any(|cipher| name.contains(cipher)) && !properties(name).is_some_and(|suite| suite.shared_key)
    };
    let known = SUITES.iter().filter(|(_, name)| properties(name).is_some_and(|suite| fits(name, suite)));
    let (mut first, rest): (Vec<_>, Vec<_>) = known.partition(|(_, name)| usual(name));
    first.extend(rest);
    first.chunks(PART).map(|part| part.iter().map(|(code, _)| *code).collect()).collect()
}

/// The groups that `version` may have. Before TLS 1.3 curves alone: finite field groups would change which suites are chosen
/// (RFC 7919, section 4).
fn groups(version: TlsVersion) -> Vec<u16> {
    const USUAL: [u16; 5] = [29, 23, 24, 25, 30];
    let fits = |code: u16| match version {
        TlsVersion::Tls13 => code > 30,
        _ => code <= 28,
    };
    let rest = GROUPS.iter().map(|(code, _)| *code).filter(|code| fits(*code) && !USUAL.contains(code));
    USUAL.into_iter().chain(rest).collect()
}

fn offer<'a>(version: TlsVersion, suites: &'a [u16], groups: &'a [u16]) -> Offer<'a> {
    Offer { version, suites, groups, server_name: None, protocols: &[], random: [0; 32] }
}

fn add(survey: &mut VersionSurvey, hello: Hello) {
    survey.extensions.extend(hello.extensions.into_iter().map(Code));
    survey.compression.insert(hello.compression);
    survey.session_id |= hello.session_id;
    survey.downgrade_mark |= hello.downgrade_mark;
    if let Some(group) = hello.dh
        && !survey.dh.contains(&group)
    {
        survey.dh.push(group);
        survey.dh.sort();
    }
}

/// What a reply to an offer of suites means.
enum Turn {
    /// The server chose this suite.
    Chose(Hello),
    /// The server chose this suite and could not go on with it.
    Stumbled(u16),
    /// Nothing of this part is left.
    End(Answer),
    /// Nothing of any part is left, or nothing more is to be learnt.
    Stop(Look<Answer>),
}

fn turn(reply: Result<Reply, Failure>, version: TlsVersion, offered: &[u16]) -> Turn {
    let reply = match reply {
        Ok(reply) => reply,
        Err(failure) => return Turn::Stop(Look::Failed(failure)),
    };
    match (reply.answer, reply.hello) {
        (Answer::Hello { .. }, Some(hello)) if hello.version != version.wire() => Turn::Stop(Look::Seen(reply.answer)),
        (Answer::Hello { .. }, Some(hello)) if offered.contains(&hello.suite) => Turn::Chose(hello),
        (Answer::Hello { suite, .. }, _) => {
            let detail = format!("the server chose suite 0x{suite}, which was not offered");
            Turn::Stop(Look::Failed(Failure::new(FailureKind::Protocol, detail)))
        }
        (Answer::Alert { .. }, Some(hello)) if offered.contains(&hello.suite) => Turn::Stumbled(hello.suite),
        (Answer::Alert { description, .. }, _) if description == PROTOCOL_VERSION || NO_USE.contains(&description) => {
            Turn::Stop(Look::Seen(reply.answer))
        }
        (answer, _) => Turn::End(answer),
    }
}

impl Asking<'_> {
    /// The suites of one version, and which side's order counts.
    async fn version(&mut self, version: TlsVersion) -> VersionSurvey {
        let nothing = Failure::new(FailureKind::Error, "the server chose every suite there is");
        let mut survey = VersionSurvey {
            version,
            suites: Vec::new(),
            end: Look::Failed(nothing),
            order: None,
            groups: Vec::new(),
            groups_end: None,
            dh: Vec::new(),
            extensions: Default::default(),
            compression: Default::default(),
            session_id: false,
            downgrade_mark: false,
        };
        let groups = groups(version);
        let mut pair = None;
        'parts: for mut part in parts(version) {
            let before = survey.suites.len();
            while !part.is_empty() {
                let reply = self.ask(&offer(version, &part, &groups)).await;
                match turn(reply, version, &part) {
                    Turn::Chose(hello) => {
                        part.retain(|code| *code != hello.suite);
                        survey.suites.push(Code(hello.suite));
                        add(&mut survey, hello);
                    }
                    Turn::Stumbled(suite) => part.retain(|code| *code != suite),
                    Turn::End(answer) => {
                        survey.end = Look::Seen(answer);
                        break;
                    }
                    Turn::Stop(answer) => {
                        survey.end = answer;
                        pair = pair.or_else(|| two(&survey.suites[before..]));
                        break 'parts;
                    }
                }
            }
            pair = pair.or_else(|| two(&survey.suites[before..]));
        }
        if let Some((first, last)) = pair {
            survey.order = Some(self.order(version, first, last, &groups).await);
        }
        survey
    }

    /// `first` was chosen while both stood in the offer; they are offered again, `last` before it.
    async fn order(&mut self, version: TlsVersion, first: u16, last: u16, groups: &[u16]) -> OrderTrial {
        let reply = self.ask(&offer(version, &[last, first], groups)).await;
        OrderTrial {
            offered: vec![Code(last), Code(first)],
            before: Code(first),
            answer: reply.map(|reply| reply.answer).into(),
        }
    }

    /// The groups of TLS 1.3 and of the newest version before it with elliptic curves.
    async fn groups(&mut self, versions: &mut [VersionSurvey]) {
        let curves = |survey: &VersionSurvey| {
            survey.version < TlsVersion::Tls13
                && survey.version > TlsVersion::Ssl3
                && survey.suites.iter().any(|code| of(code.0).is_some_and(|suite| suite.ecdhe))
        };
        let older = versions.iter().rev().find(|survey| curves(survey)).map(|survey| survey.version);
        for survey in versions.iter_mut() {
            if survey.version == TlsVersion::Tls13 && !survey.suites.is_empty() {
                let suites: Vec<u16> = survey.suites.iter().map(|code| code.0).collect();
                let (found, end) = self.groups_of(TlsVersion::Tls13, &suites, false).await;
                (survey.groups, survey.groups_end) = (found, Some(end));
            } else if Some(survey.version) == older {
                let curves = survey.suites.iter().map(|code| code.0);
                let suites: Vec<u16> = curves.filter(|code| of(*code).is_some_and(|suite| suite.ecdhe)).collect();
                let (found, end) = self.groups_of(survey.version, &suites, true).await;
                (survey.groups, survey.groups_end) = (found, Some(end));
            }
        }
    }

    async fn groups_of(&mut self, version: TlsVersion, suites: &[u16], again: bool) -> (Vec<Code>, Look<Answer>) {
        let mut left = groups(version);
        let mut found: Vec<u16> = Vec::new();
        let end = loop {
            // The rest alone; if need be the rest before all that was found, and before each of it.
            let mut behind: Vec<Vec<u16>> = vec![Vec::new()];
            if again && !found.is_empty() {
                behind.insert(0, found.clone());
                behind.extend(found.iter().filter(|_| found.len() > 1).map(|code| vec![*code]));
            }
            let mut news = None;
            let mut last = Look::Failed(Failure::new(FailureKind::Error, "the server chose every group there is"));
            for known in behind.into_iter().filter(|_| !left.is_empty()) {
                let offered: Vec<u16> = left.iter().copied().chain(known).collect();
                match self.ask(&offer(version, suites, &offered)).await {
                    Ok(reply) => {
                        let group = reply.hello.as_ref().and_then(|hello| hello.group);
                        let chosen = matches!(reply.answer, Answer::Hello { .. });
                        last = match group {
                            _ if !chosen => Look::Seen(reply.answer),
                            Some(group) if offered.contains(&group) => Look::Seen(reply.answer),
                            _ => {
                                let named = group.map_or_else(|| "none".into(), |group| format!("0x{}", Code(group)));
                                let detail = format!("of the groups that were offered the server named {named}");
                                Look::Failed(Failure::new(FailureKind::Protocol, detail))
                            }
                        };
                        news = group.filter(|group| chosen && left.contains(group));
                    }
                    Err(failure) => last = Look::Failed(failure),
                }
                if news.is_some() || last.failure().is_some() {
                    break;
                }
            }
            let Some(group) = news else { break last };
            left.retain(|code| *code != group);
            found.push(group);
        };
        (found.into_iter().map(Code).collect(), end)
    }

    /// A version below the best, offered as a client does that believes it had to fall back.
    async fn fallback(&mut self, versions: &[VersionSurvey]) -> Option<Look<Answer>> {
        let mut accepted = versions.iter().rev().filter(|survey| !survey.suites.is_empty());
        accepted.next()?;
        let lower = accepted.next()?;
        let suites: Vec<u16> = lower.suites.iter().map(|code| code.0).chain([FALLBACK_SCSV]).collect();
        let reply = self.ask(&offer(lower.version, &suites, &groups(lower.version))).await;
        Some(reply.map(|reply| reply.answer).into())
    }

    async fn alpn(&mut self, versions: &[VersionSurvey]) -> Option<Look<Alpn>> {
        let fits = |survey: &&VersionSurvey| {
            !survey.suites.is_empty() && !matches!(survey.version, TlsVersion::Tls13 | TlsVersion::Ssl3)
        };
        let newest = versions.iter().rev().find(fits)?;
        let suites: Vec<u16> = newest.suites.iter().map(|code| code.0).collect();
        let groups = groups(newest.version);
        let offer = Offer { protocols: &["mqtt", "http/1.1"], ..offer(newest.version, &suites, &groups) };
        let reply = self.ask(&offer).await.map(|reply| {
            let protocol = reply.hello.and_then(|hello| hello.protocol);
            Alpn { answer: reply.answer, protocol }
        });
        Some(reply.into())
    }
}

/// The first and the last of `chosen`, if they tell whose order counts. ChaCha20 does not: servers may give way to clients
/// that want it first, whatever their order is.
fn two(chosen: &[Code]) -> Option<(u16, u16)> {
    let plain = || chosen.iter().filter(|code| !suite_name(**code).contains("CHACHA20"));
    let (first, last) = (plain().next()?, plain().next_back()?);
    (first != last).then_some((first.0, last.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_is_offered_in_some_version_and_no_offer_is_too_long() {
        let offered = |version| parts(version).concat();
        let both = [offered(TlsVersion::Tls12), offered(TlsVersion::Tls13)].concat();
        assert_eq!(both.len(), SUITES.len());
        for version in TlsVersion::ALL {
            assert!(parts(version).iter().all(|part| part.len() <= PART));
            let groups = groups(version);
            assert!(groups.contains(&29) && groups.contains(&0x11ec) == (version == TlsVersion::Tls13));
        }
        assert!(!offered(TlsVersion::Tls11).contains(&0xc02f));
        assert!(offered(TlsVersion::Ssl3).contains(&0x0004));
    }

    #[test]
    fn chacha_says_nothing_of_whose_order_counts() {
        assert_eq!(two(&[Code(0xcca9), Code(0xc02b)]), None);
        assert_eq!(two(&[Code(0xcca9), Code(0xc02c), Code(0xc02b)]), Some((0xc02c, 0xc02b)));
    }
}
