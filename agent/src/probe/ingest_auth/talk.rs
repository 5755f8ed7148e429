//! The dialogue with an edge that speaks HTTP: the first requests, then the questions, in an order in which nothing can have
//! been answered from what came before.
//!
//! An edge that takes events from anybody is not asked how it could be brought to; one that asks to slow down, or that twice
//! does not answer in time, is left alone but for the requests that stand on their own.

use std::collections::BTreeMap;

use gatepost_evidence::check::broker_transport_posture::resumption::Resumption;
use gatepost_evidence::check::ingest_auth::questions::Questions;
use gatepost_evidence::check::ingest_auth::{Answer, Credentials, Request};
use gatepost_evidence::look::{Failure, FailureKind, Look};

use super::ask::{Honest, bearer};
use super::client::{Client, Files, Message, host};
use super::session::{self, Session, Speak};
use super::{Edge, Limits, MAX_REQUESTS, Secrets};
use crate::config::Ingest;
use crate::probe::wire::Budget;
use crate::probe::{Missed, canary};
use crate::secret::Secret;

/// The dialogue with one edge.
pub(super) struct Talk<'a> {
    pub(super) edge: &'a Edge,
    pub(super) ingest: &'a Ingest,
    pub(super) files: &'a Files,
    pub(super) secrets: &'a Secrets,
    pub(super) budget: &'a Budget,
    pub(super) limits: Limits,
}

/// What has been asked so far.
#[derive(Default)]
struct Asked {
    made: u32,
    /// Questions in a row that had no answer in time.
    silent: u32,
    /// Why nothing more is asked.
    stop: Option<Failure>,
    answers: BTreeMap<String, Look<Answer>>,
}

/// What came of it.
pub(super) struct Talked {
    /// The answers to the first requests.
    pub(super) requests: Vec<Request>,
    /// Those to the questions.
    pub(super) questions: Option<Look<Questions>>,
    /// What the tickets of a session tell.
    pub(super) resumption: Option<Look<Resumption>>,
}

impl Talk<'_> {
    /// Sends everything.
    pub(super) async fn all(&self) -> Result<Talked, Missed> {
        let token = self.secrets.token.as_ref().and_then(|token| token.as_ref().ok());
        let certificate = self.files.identity.is_some();
        let nowhere = format!("/{}", canary::name()?);
        let query = self.edge.url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let path = self.edge.url.path();
        let expired = self.secrets.expired.as_ref().and_then(|token| token.as_ref().ok());
        let honest = Honest { path, query: &query, nowhere: &nowhere, token, expired, certificate };
        let client = Client { url: &self.edge.url, files: self.files, budget: self.budget, limit: self.limits.request };
        let mut requests = Vec::new();
        let mut asked = Asked::default();
        let mut put = |credentials, plaintext, answer: Result<Answer, Failure>| {
            requests.push(Request { credentials, plaintext, answer: answer.into() });
        };

        let none = asked.send(&client, &honest.post(event()?)).await;
        let made_up = Secret::new(canary::random::<16>()?);
        let message = Message { authorization: Some(bearer(&made_up)), ..honest.post(event()?) };
        let wrong = asked.send(&client, &honest.beside_a_token(message)).await;
        let answers = none.is_ok() || wrong.is_ok() || refused_in_tls(&none);
        let open = none.as_ref().is_ok_and(Answer::takes);
        put(Credentials::None, false, none.clone());
        put(Credentials::Wrong, false, wrong);

        let thorough = self.ingest.thorough && answers;
        if thorough && !open {
            for (name, message) in honest.questions(event)? {
                asked.ask(&client, name, &message).await;
            }
            if let Some(Err(failure)) = &self.secrets.expired {
                asked.answers.insert("expired".into(), Look::Failed(failure.clone()));
            }
        }
        if thorough {
            asked.ask(&client, "error.event".into(), &honest.broken_event()).await;
        }
        // The right ones last, so that nothing before them can have been answered from what they left in a cache.
        let last = event()?;
        let keyed = |message: Message| Message { fields: vec![("idempotency-key", key_of(&last))], ..message };
        if let Some(Err(failure)) = &self.secrets.token {
            put(Credentials::Right, false, Err(failure.clone()));
        } else if let Some(right) = honest.right(last.clone()).map(keyed) {
            let answer = asked.send(&client, &right).await;
            let taken = answer.as_ref().is_ok_and(Answer::takes);
            put(Credentials::Right, false, answer);
            if thorough && taken {
                if !open {
                    asked.ask(&client, "cached".into(), &keyed(honest.post(last.clone()))).await;
                }
                asked.ask(&client, "replay".into(), &right).await;
            }
        }
        if let Some(url) = &self.edge.plaintext_url {
            let client = Client { url, ..client };
            let target = url.path_and_query().map_or("/", |rest| rest.as_str()).to_owned();
            let plain = |fields| Ok::<_, Missed>(Message { target: target.clone(), fields, ..honest.post(event()?) });
            let answer = asked.send(&client, &plain(Vec::new())?).await;
            let redirected = answer.as_ref().is_ok_and(|answer| (300..400).contains(&answer.status));
            put(Credentials::None, true, answer);
            if thorough && redirected {
                let believed = plain(vec![("x-forwarded-proto", "https".to_owned())])?;
                asked.ask(&client, "plaintext.x-forwarded-proto".into(), &believed).await;
            }
        }
        let secure = self.edge.url.scheme_str() == Some("https");
        let resumption = match &none {
            _ if !self.ingest.thorough || !secure => None,
            Err(failure) if !answers => Some(Look::Failed(failure.clone())),
            _ => self.resumption(&mut asked, &client, Message::head(nowhere)).await.transpose().map(Look::from),
        };
        let questions = match (self.ingest.thorough, answers, none) {
            (false, _, _) => None,
            (true, false, Err(failure)) => Some(Look::Failed(failure)),
            (true, _, _) => Some(Look::Seen(Questions {
                limit: MAX_REQUESTS,
                made: asked.made,
                token: self.secrets.token.is_some(),
                certificate,
                answers: asked.answers,
            })),
        };
        Ok(Talked { requests, questions, resumption })
    }

    /// A session with its tickets, over which `message` is sent, unless the edge is to be left alone.
    async fn resumption(
        &self,
        asked: &mut Asked,
        client: &Client<'_>,
        message: Message,
    ) -> Result<Option<Resumption>, Failure> {
        if let Some(failure) = &asked.stop {
            return Err(failure.clone());
        }
        let knock = Knock { client, message, made: &mut asked.made };
        session::resumption(&client.address(), &host(&self.edge.url), self.files, self.budget, knock).await
    }
}

/// A request that is there to be answered.
struct Knock<'a> {
    client: &'a Client<'a>,
    message: Message,
    made: &'a mut u32,
}

impl Speak for Knock<'_> {
    async fn speak(&mut self, session: Session) -> Result<(), Failure> {
        *self.made += 1;
        self.client.over(session, &self.message).await
    }
}

/// A server that wants a client certificate may say so in TLS: it answers, though not by HTTP.
fn refused_in_tls(answer: &Result<Answer, Failure>) -> bool {
    answer.as_ref().is_err_and(|failure| failure.kind == FailureKind::TlsAlert)
}

impl Asked {
    /// Sends, whatever was answered before.
    async fn send(&mut self, client: &Client<'_>, message: &Message) -> Result<Answer, Failure> {
        self.made += 1;
        let answer = client.send(message).await;
        match &answer {
            Ok(Answer { status: 429, .. }) => self.stop_for("429"),
            Ok(Answer { status: 503, headers, .. }) if headers.contains_key("retry-after") => self.stop_for("503"),
            Err(failure) if failure.kind == FailureKind::TimedOut => {
                self.silent += 1;
                if self.silent >= 2 && self.stop.is_none() {
                    let detail = "not asked: two requests before had no answer in time";
                    self.stop = Some(Failure::new(FailureKind::TimedOut, detail));
                }
            }
            _ => self.silent = 0,
        }
        answer
    }

    fn stop_for(&mut self, status: &str) {
        let detail = format!("not asked: the edge had answered {status} and was left alone");
        self.stop.get_or_insert_with(|| Failure::new(FailureKind::Denied, detail));
    }

    /// Asks a question, unless the edge is to be left alone.
    async fn ask(&mut self, client: &Client<'_>, name: String, message: &Message) {
        let answer = match &self.stop {
            Some(failure) => Err(failure.clone()),
            None if self.made >= MAX_REQUESTS => {
                Err(Failure::new(FailureKind::Error, format_args!("not asked: all {MAX_REQUESTS} requests were made")))
            }
            None => self.send(client, message).await,
        };
        self.answers.insert(name, answer.into());
    }
}

/// A canary event with an id of its own.
fn event() -> Result<String, Failure> {
    Ok(serde_json::json!({"type": "gatepost.canary", "id": canary::name()?}).to_string())
}

/// The id in a canary event.
fn key_of(event: &str) -> String {
    let event: serde_json::Value = serde_json::from_str(event).unwrap_or_default();
    event["id"].as_str().unwrap_or_default().to_owned()
}
