use bytes::Bytes;

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
