use std::error::Error as _;

use bytes::Bytes;
use domain::ArtifactRef;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION, WWW_AUTHENTICATE};
use reqwest::{Client, Method, Response, StatusCode, Url};
use serde::Deserialize;

use crate::guard::Guard;
use crate::login::{Challenge, sensitive};
use crate::{Limits, Login, RegistryError};

/// How much of an error or a token is read.
const MAX_WORDS: usize = 64 << 10;
/// How much of a registry's own words is repeated.
const SHOWN: usize = 200;
/// As far as content networks send one on.
const MAX_HOPS: usize = 4;

/// Asks one registry about one repository, and shows it who asks when it wants to know.
pub(crate) struct Session {
    http: Client,
    guard: Guard,
    reference: ArtifactRef,
    /// `https://REGISTRY/v2/REPOSITORY/`.
    base: Url,
    login: Option<Login>,
    /// `pull`, or `pull,push`.
    scope: &'static str,
    /// What the registry wanted to be shown.
    authorization: Option<HeaderValue>,
}

/// What is asked.
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    /// For people.
    pub(crate) what: &'a str,
    pub(crate) accept: Option<&'static str>,
    pub(crate) content: Option<(&'static str, Bytes)>,
}

/// A giver of tokens calls it one or the other, or gives it under both names.
#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

#[derive(Deserialize)]
struct Envelope {
    errors: Vec<Complaint>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Complaint {
    code: String,
    message: String,
}

impl Session {
    pub(crate) fn new(
        reference: &ArtifactRef,
        login: Option<Login>,
        scope: &'static str,
        limits: &Limits,
    ) -> Result<Self, RegistryError> {
        let guard = Guard::new(reference);
        let http = Client::builder()
            .user_agent(concat!("metaclaw/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .dns_resolver(guard.clone())
            .connect_timeout(limits.connect)
            .read_timeout(limits.idle)
            .build()
            .map_err(|error| RegistryError::Machine(root_cause(&error)))?;
        let scheme = if reference.is_loopback() { "http" } else { "https" };
        let base = format!("{scheme}://{}/v2/{}/", reference.registry(), reference.repository());
        let registry = reference.registry().to_owned();
        let bad = RegistryError::Protocol { registry, why: "its name makes no address" };
        let base = Url::parse(&base).map_err(|_| bad)?;
        let session = Session { http, guard, reference: reference.clone(), base, login, scope, authorization: None };
        session.check(&session.base)?;
        Ok(session)
    }

    pub(crate) fn registry(&self) -> String {
        self.reference.registry().to_owned()
    }

    /// Such as `manifests/1.0`.
    pub(crate) fn url(&self, path: &str) -> Result<Url, RegistryError> {
        self.base.join(path).map_err(|_| self.protocol("its name makes no address"))
    }

    /// Where an answer leads.
    pub(crate) fn location(&self, response: &Response) -> Result<Url, RegistryError> {
        let place = response.headers().get(LOCATION).and_then(|place| place.to_str().ok());
        let place = place.ok_or_else(|| self.protocol("it leads elsewhere and does not say where"))?;
        let url = response.url().join(place).map_err(|_| self.protocol("it leads to an address that is none"))?;
        self.check(&url)?;
        Ok(url)
    }

    pub(crate) fn protocol(&self, why: &'static str) -> RegistryError {
        RegistryError::Protocol { registry: self.registry(), why }
    }

    /// Asks once, and once more with what the registry wants to be shown. Any status is an answer but 401, and no redirect is
    /// followed.
    pub(crate) async fn ask(&mut self, ask: &Ask<'_>) -> Result<Response, RegistryError> {
        let response = self.send(ask).await?;
        // Nobody else learns who asks, or makes us ask for it.
        if response.status() != StatusCode::UNAUTHORIZED || !self.is_own(&ask.url) {
            return Ok(response);
        }
        self.authorize(&response).await?;
        let response = self.send(ask).await?;
        match response.status() {
            StatusCode::UNAUTHORIZED => Err(self.refused()),
            _ => Ok(response),
        }
    }

    /// As [`ask`](Session::ask), going on to where the answer is.
    pub(crate) async fn follow(&mut self, mut ask: Ask<'_>) -> Result<Response, RegistryError> {
        for _ in 0..MAX_HOPS {
            let response = self.ask(&ask).await?;
            if !matches!(response.status().as_u16(), 301..=303 | 307 | 308) {
                return Ok(response);
            }
            ask.url = self.location(&response)?;
        }
        Err(self.protocol("it leads from place to place and to no end"))
    }

    async fn send(&self, ask: &Ask<'_>) -> Result<Response, RegistryError> {
        let mut request = self.http.request(ask.method.clone(), ask.url.clone());
        if let Some(accept) = ask.accept {
            request = request.header(ACCEPT, accept);
        }
        if let (Some(authorization), true) = (&self.authorization, self.is_own(&ask.url)) {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        match &ask.content {
            Some((kind, bytes)) => request = request.header(CONTENT_TYPE, *kind).body(bytes.clone()),
            // Some registries insist on a length, even of nothing.
            None if ask.method == Method::POST => request = request.body(Bytes::new()),
            None => {}
        }
        request.send().await.map_err(|error| self.failed(&error, ask.what))
    }

    /// Whether a URL is the registry itself: the only place that learns who asks, beside one of its domain that gives tokens.
    fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.base.origin()
    }

    fn check(&self, url: &Url) -> Result<(), RegistryError> {
        self.guard.objection(url).map_or(Ok(()), |why| Err(self.place(url, why)))
    }

    fn place(&self, url: &Url, why: &'static str) -> RegistryError {
        let place = format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default());
        RegistryError::Place { registry: self.registry(), place, why }
    }

    /// It has seen what there is to show.
    fn refused(&self) -> RegistryError {
        self.login(if self.login.is_some() { "does not let this login in" } else { "wants a login" })
    }

    fn login(&self, why: impl Into<String>) -> RegistryError {
        RegistryError::Login { registry: self.registry(), why: why.into() }
    }

    async fn authorize(&mut self, response: &Response) -> Result<(), RegistryError> {
        let headers = response.headers().get_all(WWW_AUTHENTICATE);
        let headers: Vec<&str> = headers.iter().filter_map(|value| value.to_str().ok()).collect();
        let shown = self.login.as_ref().map(|login| login.header().ok_or(())).transpose();
        let shown = shown.map_err(|()| self.login("would be shown a login with characters that it cannot have"))?;
        self.authorization = Some(match Challenge::read(&headers) {
            None => return Err(self.protocol("it asks for a login and does not say how")),
            Some(Challenge::Basic) => shown.ok_or_else(|| self.login("wants a login"))?,
            Some(Challenge::Bearer { realm, service }) => self.token(&realm, service.as_deref(), shown).await?,
        });
        Ok(())
    }

    /// Gets a token for this repository from where the registry says. The login, if there is one, stays within its domain.
    async fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        login: Option<HeaderValue>,
    ) -> Result<HeaderValue, RegistryError> {
        let mut url = Url::parse(realm).map_err(|_| self.protocol("it has tokens at an address that is none"))?;
        self.check(&url)?;
        if login.is_some() && !self.guard.is_of_the_registry(&url) {
            return Err(self.place(&url, "outside its own domain, for a token: the login is not shown there"));
        }
        let scope = format!("repository:{}:{}", self.reference.repository(), self.scope);
        service.iter().for_each(|service| {
            url.query_pairs_mut().append_pair("service", service);
        });
        url.query_pairs_mut().append_pair("scope", &scope);
        let what = "a token";
        let mut request = self.http.get(url);
        if let Some(login) = login {
            request = request.header(AUTHORIZATION, login);
        }
        let response = request.send().await.map_err(|error| self.failed(&error, what))?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(self.refused());
            }
            _ => return Err(self.unexpected(response, what).await),
        }
        let body = self.body(response, MAX_WORDS, what).await?;
        let token = serde_json::from_slice::<Token>(&body).ok();
        let token = token.and_then(|given| given.token.or(given.access_token)).filter(|token| !token.is_empty());
        let header = token.and_then(|token| sensitive(&format!("Bearer {token}")));
        header.ok_or_else(|| self.protocol("what it gives as a token is none"))
    }

    /// A body of at most so many bytes.
    pub(crate) async fn body(&self, mut response: Response, most: usize, what: &str) -> Result<Vec<u8>, RegistryError> {
        let too_long = || RegistryError::TooLong { what: what.to_owned(), most };
        if response.content_length().is_some_and(|length| length > most as u64) {
            return Err(too_long());
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failed(&error, what))? {
            if chunk.len() > most - body.len() {
                return Err(too_long());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// The error for a status that is no success.
    pub(crate) async fn unexpected(&self, response: Response, what: &str) -> RegistryError {
        let (registry, what) = (self.registry(), what.to_owned());
        let status = response.status();
        let words = self.body(response, MAX_WORDS, "an error").await.map(|body| words(&body)).unwrap_or_default();
        match status {
            StatusCode::NOT_FOUND => RegistryError::NotFound { registry, what },
            StatusCode::FORBIDDEN => self.login(format!("does not allow it{words}")),
            _ => RegistryError::Status { registry, status: status.as_u16(), what, words },
        }
    }

    fn failed(&self, error: &reqwest::Error, what: &str) -> RegistryError {
        let (registry, what) = (self.registry(), what.to_owned());
        if error.is_connect() {
            let reason = if error.is_timeout() { "no connection in time".to_owned() } else { root_cause(error) };
            RegistryError::Unreachable { registry, reason }
        } else if error.is_timeout() {
            RegistryError::Timeout { registry, what }
        } else {
            RegistryError::Broken { what, reason: root_cause(error) }
        }
    }
}

/// What a registry says is wrong, as it may be shown to people; nothing when it is not in the protocol's form.
fn words(body: &[u8]) -> String {
    let Ok(Envelope { errors }) = serde_json::from_slice(body) else { return String::new() };
    let Some(first) = errors.into_iter().next() else { return String::new() };
    let text = if first.message.is_empty() { first.code } else { first.message };
    let text: String = text.chars().filter(|c| !c.is_control()).take(SHOWN).collect();
    if text.is_empty() { text } else { format!(" ({text})") }
}

/// The innermost cause: the outer ones repeat the address, which may hold what is nobody's business.
fn root_cause(error: &reqwest::Error) -> String {
    let Some(mut cause) = error.source() else { return "the request failed".to_owned() };
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
