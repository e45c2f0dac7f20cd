use std::time::{Duration, SystemTime};

use bytes::Bytes;
use protocol::Flaw;

/// Why an upstream cannot be used as configured.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The base address.
    #[error("upstream `{name}`: `api_base` {base:?} is not an http or https address: write it as https://host/v1")]
    Base {
        /// The upstream's name.
        name: String,
        /// As configured.
        base: String,
    },
    /// The address is nearer than config says.
    #[error(
        "upstream `{name}`: `api_base` is a {kind} address, which `addresses` does not allow: check the address, or `addresses`"
    )]
    Address {
        /// The upstream's name.
        name: String,
        /// The kind of address.
        kind: &'static str,
    },
    /// The key cannot be sent.
    #[error("upstream `{name}`: the API key holds characters that a header cannot carry: check for line breaks")]
    Key {
        /// The upstream's name.
        name: String,
    },
    /// TLS set-up failed.
    #[error("upstream `{name}`: the HTTP client could not be set up")]
    Client {
        /// The upstream's name.
        name: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
}

/// Why there is no answer. Messages name the upstream and never hold a key, a prompt or the provider's address.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No connection.
    #[error("upstream `{name}` cannot be reached: {reason}")]
    Unreachable {
        /// The upstream's name.
        name: String,
        /// What the network said.
        reason: String,
    },
    /// Its name leads to no address that is allowed.
    #[error("upstream `{name}` leads to a {kind} address, which its `addresses` in the configuration does not allow")]
    Forbidden {
        /// The upstream's name.
        name: String,
        /// The kind of address.
        kind: &'static str,
    },
    /// Nothing came in time.
    #[error("upstream `{name}` did not answer in time")]
    Timeout {
        /// The upstream's name.
        name: String,
    },
    /// The upstream said no, in its own words.
    #[error("upstream `{name}` answered with status {status}{}", advice(*status))]
    Rejected {
        /// The upstream's name.
        name: String,
        /// The status that the upstream sent.
        status: u16,
        /// Its body, at most 64 KiB of it.
        body: Bytes,
        /// `Retry-After` as it came.
        retry_after: Option<String>,
    },
    /// What came is no answer to a chat request.
    #[error("upstream `{name}` sent an answer that is not passed on: {flaw}")]
    Malformed {
        /// The upstream's name.
        name: String,
        /// What is wrong with it.
        flaw: Flaw,
    },
    /// The answer is packed, which nobody asked for; a small one may unfold to any size.
    #[error("upstream `{name}` sent an answer with a `Content-Encoding`, which this host does not take")]
    Encoded {
        /// The upstream's name.
        name: String,
    },
    /// It is to be asked with the client's own credential, and the client sent none.
    #[error(
        "upstream `{name}` is asked with the client's own credential, and none came: send it in `Authorization`, and this host's \
         key, if it wants one, in `x-metaclaw-key`"
    )]
    NoCredential {
        /// The upstream's name.
        name: String,
    },
    /// The upstream does not take the client's own credential.
    #[error("upstream `{name}` does not take the client's own credential: it answered with status {status}")]
    RefusedClient {
        /// The upstream's name.
        name: String,
        /// 401, 402 or 403.
        status: u16,
        /// Its body, at most 64 KiB of it.
        body: Bytes,
    },
    /// The answer broke off or was no HTTP.
    #[error("upstream `{name}` broke off: {reason}")]
    Broken {
        /// The upstream's name.
        name: String,
        /// What happened.
        reason: String,
    },
}

/// Words of providers about the host's key or account, which some send with a 400 or a 429. In lower case.
const ABOUT_THE_HOST: &[&str] = &[
    "api key",
    "api_key",
    "api-key",
    "apikey",
    "authentication",
    "unauthorized",
    "billing",
    "payment",
    "credit balance",
    "credits",
    "insufficient_quota",
    "insufficient balance",
    "exceeded your current quota",
];
/// How much of an answer is looked at for them.
const MAX_COMPLAINT: usize = 4 << 10;

impl UpstreamError {
    /// What became of the request in one word, for metrics.
    pub fn outcome(&self) -> &'static str {
        match self {
            UpstreamError::Unreachable { .. } | UpstreamError::Forbidden { .. } => "unreachable",
            UpstreamError::Timeout { .. } => "timeout",
            UpstreamError::Rejected { status: 429, .. } => "limited",
            UpstreamError::NoCredential { .. } | UpstreamError::RefusedClient { .. } => "rejected",
            UpstreamError::Rejected { status: 400..=499, .. } => "rejected",
            UpstreamError::Rejected { .. } => "failed",
            UpstreamError::Malformed { .. } | UpstreamError::Encoded { .. } => "malformed",
            UpstreamError::Broken { .. } => "broken",
        }
    }

    /// Whether the upstream refuses the host itself, for its key or its account.
    pub fn refuses_the_host(&self) -> bool {
        let UpstreamError::Rejected { status, body, .. } = self else { return false };
        let complains = || {
            let text = String::from_utf8_lossy(&body[..body.len().min(MAX_COMPLAINT)]).to_ascii_lowercase();
            ABOUT_THE_HOST.iter().any(|words| text.contains(words))
        };
        matches!(status, 401..=403) || (matches!(status, 400..=499) && complains())
    }

    /// Whether asking the same upstream again may help, and costs no more than the time.
    pub fn is_transient(&self) -> bool {
        match self {
            UpstreamError::Unreachable { .. } | UpstreamError::Broken { .. } => true,
            UpstreamError::Rejected { status: 408 | 429 | 500 | 502 | 503 | 504 | 529, .. } => !self.refuses_the_host(),
            _ => false,
        }
    }

    /// Whether another upstream may do better: all but a complaint about the client's own request.
    pub fn may_fall_back(&self) -> bool {
        match self {
            UpstreamError::Rejected { status: 400 | 409 | 413 | 415 | 422, .. } => self.refuses_the_host(),
            // Who cannot pay with a login of their own is not served on the host's account.
            UpstreamError::NoCredential { .. } | UpstreamError::RefusedClient { .. } => false,
            _ => true,
        }
    }

    /// Whether this speaks against the upstream, and not against the request or the host's own account and pace.
    pub(crate) fn is_its_fault(&self) -> bool {
        !matches!(
            self,
            UpstreamError::Rejected { status: 400..=499, .. }
                | UpstreamError::Malformed { flaw: Flaw::Error { status: Some(400..=499), .. }, .. }
                | UpstreamError::NoCredential { .. }
                | UpstreamError::RefusedClient { .. }
        )
    }

    /// For how long the upstream wants to be left alone.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        let UpstreamError::Rejected { retry_after: Some(text), .. } = self else { return None };
        let text = text.trim();
        let seconds = || text.parse().ok().map(Duration::from_secs);
        let until = || httpdate::parse_http_date(text).ok();
        seconds().or_else(|| Some(until()?.duration_since(SystemTime::now()).unwrap_or_default()))
    }
}

/// The innermost cause of an error, which is the part that says something; without the address, which may hold secrets.
pub(crate) fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    match cause.downcast_ref::<reqwest::Error>() {
        Some(own) if own.is_connect() => "connection failed".into(),
        Some(own) if own.is_body() || own.is_decode() => "the body broke off".into(),
        Some(_) => "the request failed".into(),
        None => cause.to_string(),
    }
}

/// What the operator can do about a status that speaks of the host itself.
fn advice(status: u16) -> &'static str {
    match status {
        401 | 403 => ": check its `api_key`, and what that key may do",
        402 => ": check the account that its `api_key` belongs to",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejected(status: u16, body: &'static str, retry_after: Option<&str>) -> UpstreamError {
        let body = Bytes::from_static(body.as_bytes());
        UpstreamError::Rejected { name: "u".into(), status, body, retry_after: retry_after.map(str::to_owned) }
    }

    #[test]
    fn each_failure_has_its_remedy() {
        let name = || "u".to_owned();
        for (error, again, elsewhere, its_fault) in [
            (UpstreamError::Unreachable { name: name(), reason: String::new() }, true, true, true),
            (UpstreamError::Broken { name: name(), reason: String::new() }, true, true, true),
            (UpstreamError::Forbidden { name: name(), kind: "private" }, false, true, true),
            (UpstreamError::Timeout { name: name() }, false, true, true),
            (UpstreamError::Malformed { name: name(), flaw: Flaw::Json }, false, true, true),
            (UpstreamError::Encoded { name: name() }, false, true, true),
            (rejected(500, "", None), true, true, true),
            (rejected(529, "", None), true, true, true),
            (rejected(501, "", None), false, true, true),
            (rejected(302, "", None), false, true, true),
            (rejected(408, "", None), true, true, false),
            (rejected(429, "slow down", None), true, true, false),
            (rejected(429, "insufficient_quota", None), false, true, false),
            (rejected(401, "", None), false, true, false),
            (rejected(404, "", None), false, true, false),
            (rejected(400, "max_tokens", None), false, false, false),
            (rejected(400, "API key not valid", None), false, true, false),
            (rejected(422, "", None), false, false, false),
            (UpstreamError::NoCredential { name: name() }, false, false, false),
            (UpstreamError::RefusedClient { name: name(), status: 401, body: Bytes::new() }, false, false, false),
        ] {
            let is = (error.is_transient(), error.may_fall_back(), error.is_its_fault());
            assert_eq!(is, (again, elsewhere, its_fault), "{error}");
        }
    }

    #[test]
    fn a_wait_is_seconds_or_a_date() {
        let ahead = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100));
        for (text, least, most) in [
            (Some("7"), Some(7), Some(7)),
            (Some(" 0 "), Some(0), Some(0)),
            (Some("Wed, 21 Oct 2015 07:28:00 GMT"), Some(0), Some(0)),
            (Some(ahead.as_str()), Some(90), Some(100)),
            (Some("soon"), None, None),
            (Some("-1"), None, None),
            (None, None, None),
        ] {
            let got = rejected(429, "", text).retry_after().map(|wait| wait.as_secs());
            assert!(got >= least && got <= most, "{text:?}: {got:?}");
        }
    }
}
