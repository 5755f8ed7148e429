//! What the answers mean, question by question.

use super::*;
use crate::check::ingest_auth::{Check, Facts};
use crate::check::{Contract as _, Seen};

fn answer(status: u16) -> Look<Answer> {
    Look::Seen(Answer { status, headers: BTreeMap::new(), micros: 10, marks: Default::default(), body: None })
}

fn failed() -> Look<Answer> {
    Look::Failed(Failure::new(FailureKind::TimedOut, "as told"))
}

/// The facts of an edge that takes the right credentials and answers as said.
fn normalise(answers: &[(&str, Look<Answer>)]) -> (Facts, Unknown) {
    let answers = answers.iter().map(|(name, look)| ((*name).to_owned(), look.clone())).collect();
    let questions = Questions { limit: 60, made: 4, token: true, certificate: true, answers };
    let observation = Observation {
        url: "https://edge/v1".into(),
        requests: vec![Request { credentials: Credentials::Right, plaintext: false, answer: answer(202) }],
        questions: Some(Look::Seen(questions)),
        ..Observation::default()
    };
    let mut unknown = Unknown::default();
    let seen = Seen { at: "2026-03-01T10:00:00Z".parse().unwrap(), distrust: None };
    (Check::normalise(&observation, &seen, &mut unknown), unknown)
}

fn http(answers: &[(&str, Look<Answer>)]) -> (HttpFacts, Unknown) {
    let (facts, unknown) = normalise(answers);
    (facts.http.unwrap(), unknown)
}

#[test]
fn none_is_known_only_if_every_answer_is() {
    let (all, _) = http(&[("malformed.no_token", answer(401)), ("malformed.two", answer(400))]);
    assert_eq!(all.malformed_accepted, Some(vec![]));
    let (some, unknown) = http(&[("malformed.no_token", answer(401)), ("malformed.two", failed())]);
    assert_eq!(some.malformed_accepted, None);
    assert!(unknown.reason("/http/malformed_accepted").unwrap().contains("malformed.two: timed out"));
    let (one, _) = http(&[("malformed.no_token", answer(202)), ("malformed.two", failed())]);
    assert_eq!(one.malformed_accepted, Some(vec!["no_token".to_owned()]));
    let (nothing, unknown) = http(&[]);
    assert_eq!(nothing.malformed_accepted, None);
    assert!(unknown.reason("/http/malformed_accepted").unwrap().contains("not asked"));
}

#[test]
fn what_a_method_that_is_not_known_gets_is_a_refusal_and_a_broken_edge_is_not() {
    for (status, expected) in [(404, Some(0)), (501, Some(0)), (505, Some(0)), (301, Some(0)), (500, None), (429, None)]
    {
        let (facts, _) = http(&[("path.case", answer(status)), ("control.path", answer(404))]);
        assert_eq!(facts.paths_accepted.map(|paths| paths.len()), expected, "{status}");
    }
}

#[test]
fn an_edge_that_takes_everything_everywhere_says_nothing_by_taking_it() {
    let (facts, unknown) = http(&[("path.case", answer(202)), ("control.path", answer(202))]);
    assert_eq!(facts.paths_accepted, None);
    assert!(unknown.reason("/http/paths_accepted").unwrap().contains("nobody has given it"));
    let (facts, _) = http(&[("path.case", answer(202)), ("control.path", answer(404))]);
    assert_eq!(facts.paths_accepted, Some(vec!["case".to_owned()]));
    let (facts, _) = http(&[
        ("method.get", answer(200)),
        ("control.get", answer(200)),
        ("method.put", answer(202)),
        ("control.path", answer(404)),
    ]);
    assert_eq!(facts.methods_accepted, Some(vec!["put".to_owned()]));
}

#[test]
fn options_is_shown_and_not_counted() {
    let (facts, _) = http(&[
        ("method.options", answer(204)),
        ("method.head", answer(405)),
        ("method.put", answer(405)),
        ("control.get", answer(404)),
    ]);
    assert_eq!((facts.options_status, facts.methods_accepted), (Some(204), Some(vec![])));
}

#[test]
fn an_expired_token_has_to_be_supplied() {
    let (facts, unknown) = http(&[]);
    assert_eq!(facts.expired_accepted, None);
    assert!(unknown.reason("/http/expired_accepted").unwrap().contains("expired_token_file"));
    assert_eq!(http(&[("expired", answer(401))]).0.expired_accepted, Some(false));
    assert_eq!(http(&[("expired", answer(202))]).0.expired_accepted, Some(true));
}

#[test]
fn a_replay_is_told_by_another_status_or_by_its_name() {
    assert_eq!(http(&[("replay", answer(202))]).0.replay, Some(Replay::NotTold));
    assert_eq!(http(&[("replay", answer(409))]).0.replay, Some(Replay::Told));
    assert_eq!(http(&[("replay", answer(200))]).0.replay, Some(Replay::Told));
    let mut named = answer(202);
    if let Look::Seen(answer) = &mut named {
        answer.marks.insert(Mark::Duplicate);
    }
    assert_eq!(http(&[("replay", named)]).0.replay, Some(Replay::Told));
    let (facts, unknown) = http(&[("replay", answer(500))]);
    assert_eq!(facts.replay, None);
    assert!(unknown.reason("/http/replay").unwrap().contains("500"));
}

#[test]
fn a_limit_is_seen_by_its_headers_or_by_being_enforced() {
    assert_eq!(http(&[]).0.rate_limit, Some(RateLimit::None));
    assert_eq!(http(&[("path.case", answer(429))]).0.rate_limit, Some(RateLimit::Enforced));
    let mut told = answer(401);
    if let Look::Seen(answer) = &mut told {
        answer.headers.insert("ratelimit-policy".into(), "\"default\";q=100;w=60".into());
    }
    assert_eq!(http(&[("path.case", told)]).0.rate_limit, Some(RateLimit::Announced));
}

#[test]
fn marks_are_gathered_from_every_answer() {
    let mut leaky = answer(500);
    if let Look::Seen(answer) = &mut leaky {
        answer.marks = [Mark::StackJava, Mark::VersionInBody, Mark::Duplicate].into();
    }
    let (facts, _) = http(&[("error.event", leaky)]);
    assert_eq!(facts.stack_leaks, Some(vec![Mark::StackJava]));
    assert_eq!(facts.version_leaks, Some(vec![Mark::VersionInBody]));
}

#[test]
fn a_redirect_to_plaintext_counts_over_tls_alone() {
    let pointing = |place: &str| {
        let mut look = answer(307);
        if let Look::Seen(answer) = &mut look {
            answer.headers.insert("location".into(), place.into());
        }
        look
    };
    assert_eq!(http(&[("path.case", pointing("http://edge/"))]).0.redirects_to_plaintext, Some(true));
    assert_eq!(http(&[("path.case", pointing("https://edge/"))]).0.redirects_to_plaintext, Some(false));
    assert_eq!(
        http(&[("plaintext.x-forwarded-proto", pointing("http://edge/"))]).0.redirects_to_plaintext,
        Some(false)
    );
}

#[test]
fn a_redirect_that_a_header_takes_away_was_no_wall() {
    let believed = |status| http(&[("plaintext.x-forwarded-proto", answer(status))]).0.forwarded_proto_believed;
    assert_eq!([301, 401, 202, 503].map(believed), [Some(false), Some(true), Some(true), None]);
    assert_eq!(http(&[]).0.forwarded_proto_believed, None);
}

#[test]
fn client_certificates_are_a_matter_only_where_there_is_one() {
    let alert = Look::Failed(Failure::new(FailureKind::TlsAlert, "unknown_ca (48)"));
    let (facts, _) = normalise(&[("certificate.none", answer(400)), ("certificate.wrong", alert)]);
    let client = facts.client.unwrap();
    assert_eq!(client.without_certificate_accepted, Some(false));
    assert_eq!(client.wrong_certificate_accepted, Some(false));
}

#[test]
fn questions_that_were_not_asked_for_a_reason_are_unknown_for_that_reason() {
    let observation = Observation {
        questions: Some(Look::Failed(Failure::new(FailureKind::Closed, "silence"))),
        ..Observation::default()
    };
    let mut unknown = Unknown::default();
    let seen = Seen { at: "2026-03-01T10:00:00Z".parse().unwrap(), distrust: None };
    let facts = Check::normalise(&observation, &seen, &mut unknown);
    assert!(facts.http.is_some());
    assert!(unknown.reason("/http/paths_accepted").unwrap().contains("silence"));
}
