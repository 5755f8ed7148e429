//! A blocking HTTP client for the lab: trusts the lab's CA, answers every status as an answer, and never waits for ever.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use gatepost_evidence::batch::{CONTENT_TYPE, Encoded};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::tls;

/// An HTTP answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// The body, as text.
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Errors
    /// When it is not JSON; the body is in the error.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_str(&self.body).with_context(|| format!("status {}, not JSON: {}", self.status, self.body))
    }
}

/// A client with its pool of connections.
#[derive(Clone)]
pub struct Client(ureq::Agent);

impl Client {
    /// A client that trusts the certificates in `ca`.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn new(ca: &Path) -> Result<Self> {
        let roots = tls::certificates(ca)?;
        let roots: Vec<_> = roots.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(tls::provider())
            .root_certs(RootCerts::Specific(Arc::new(roots)))
            .build();
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(10)))
            .max_redirects(0)
            .proxy(None)
            .build();
        Ok(Self(config.new_agent()))
    }

    /// GET, with a bearer token if there is one.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn get(&self, url: &str, token: Option<&str>) -> Result<Answer, ureq::Error> {
        let mut request = self.0.get(url);
        if let Some(token) = token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        answer(request.call()?)
    }

    /// POST of JSON, with a bearer token if there is one.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn post(&self, url: &str, token: Option<&str>, body: &str) -> Result<Answer, ureq::Error> {
        let mut request = self.0.post(url).header("Content-Type", "application/json");
        if let Some(token) = token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        answer(request.send(body)?)
    }

    /// Signs in by the form at `url` and gives the session's cookie.
    ///
    /// # Errors
    /// When there is no answer, or the token is refused.
    pub fn sign_in(&self, url: &str, token: &str) -> Result<String> {
        let request = self.0.post(url).header("Content-Type", "application/x-www-form-urlencoded");
        let response = request.send(format!("token={token}"))?;
        let cookie = response.headers().get("set-cookie").and_then(|value| value.to_str().ok());
        let cookie = cookie.and_then(|cookie| cookie.split(';').next()).map(str::to_owned);
        cookie.with_context(|| format!("signing in was answered with {}", response.status()))
    }

    /// GET of a page, in the session of `cookie`.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn get_with_cookie(&self, url: &str, cookie: &str) -> Result<Answer, ureq::Error> {
        answer(self.0.get(url).header("Cookie", cookie).call()?)
    }

    /// POST of a batch of envelopes, as an agent uploads them.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn upload(&self, url: &str, batch: &Encoded) -> Result<Answer, ureq::Error> {
        let request = self.0.post(url).header("Content-Type", CONTENT_TYPE);
        answer(request.header("Content-Encoding", batch.encoding).send(&batch.body)?)
    }
}

fn answer(mut response: ureq::http::Response<ureq::Body>) -> Result<Answer, ureq::Error> {
    Ok(Answer { status: response.status().as_u16(), body: response.body_mut().read_to_string()? })
}
