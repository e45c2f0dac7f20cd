//! What a failed request means, and what to do. No message holds a key, or any part of one.

use std::time::Duration;

use domain::Secret;
use serde_json::Value;
use upstream::UpstreamError;

use super::Failure;

/// How much of a provider's own words is repeated, in characters.
const MAX_WORDS: usize = 200;
/// So many characters in a row of the key are a part of it.
const PART_OF_KEY: usize = 4;

/// What is wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// What happened, on which value.
    pub(crate) what: String,
    /// The remedy.
    pub(crate) remedy: String,
    /// Whether the setup may well be right all the same: the provider is busy or down at the moment.
    pub(crate) passing: bool,
}

impl Trouble {
    pub(crate) fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Trouble { what: what.into(), remedy: remedy.into(), passing: false }
    }

    fn passing(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Trouble { passing: true, ..Trouble::new(what, remedy) }
    }
}

/// What was asked for, of whom.
pub(super) struct About<'a> {
    pub(super) base: &'a str,
    pub(super) model: &'a str,
    pub(super) key: Option<&'a Secret>,
    /// The upstream's name.
    pub(super) provider: &'a str,
}

/// No answer within the limit.
pub(super) fn too_slow(limit: Duration) -> Trouble {
    Trouble::passing(
        format!("no answer within {} s", limit.as_secs()),
        "a large local model may still be loading: try again, or allow it more time with --timeout SECONDS",
    )
}

/// What a failure means.
pub(super) fn read(failure: &Failure, about: &About<'_>) -> Trouble {
    let About { base, model, .. } = about;
    match failure {
        Failure::Upstream(UpstreamError::Rejected { status, body, .. }) => rejected(*status, body, about),
        Failure::Upstream(UpstreamError::Unreachable { reason, .. }) => unreachable(reason, base),
        Failure::Upstream(UpstreamError::Forbidden { kind, .. }) => forbidden(kind, about),
        Failure::Upstream(UpstreamError::Timeout { .. }) => Trouble::passing(
            format!("{base} did not answer in time"),
            "try again; if it goes on, check the address, and that no firewall stands between",
        ),
        Failure::NoAnswer | Failure::Upstream(UpstreamError::Malformed { .. }) => Trouble::new(
            format!("{base} answered, but not as a chat API does"),
            "llm.api_base must be the address up to and including /v1 (a page for people answers otherwise)",
        ),
        Failure::Upstream(error) => match tls(&error.to_string(), base) {
            Some(trouble) => trouble,
            None => Trouble::new(
                format!("{base} did not speak as a chat API does ({error})"),
                "check that llm.api_base is the API's own address, with http or https as it wants",
            ),
        },
        Failure::Unusable(reason) => {
            Trouble::new(format!("the model {model} cannot be asked: {reason}"), "see `metaclaw config check`")
        }
    }
}

fn forbidden(kind: &str, about: &About<'_>) -> Trouble {
    let About { base, provider, .. } = about;
    let section = if *provider == "default" { "llm".to_owned() } else { format!("upstreams.{provider}") };
    let wide = if kind == "private" { "private" } else { "local" };
    Trouble::new(
        format!("the name in {base} leads to a {kind} address, and nothing says that this is meant"),
        format!(
            "if it is, set {section}.addresses to {wide}; if not, look after the name: somebody else answers for it"
        ),
    )
}

fn rejected(status: u16, body: &[u8], about: &About<'_>) -> Trouble {
    let About { base, model, key, provider } = about;
    let said = said(body, *key);
    let said = said.map(|words| format!(": {words:?}")).unwrap_or_default();
    let key_of = format!("the key of the upstream `{provider}`");
    match status {
        401 if key.is_none() => {
            Trouble::new(format!("{base} wants a key (401)"), "give it with --api-key env:NAME or file:PATH")
        }
        // A provider's own words on a bad key like to hold a part of it.
        401 => Trouble::new(
            format!("{base} does not know the key (401)"),
            format!("check {key_of}: is it complete, of this provider, and not revoked?"),
        ),
        402 => Trouble::new(
            format!("{base} wants to be paid (402)"),
            format!("add credit to the account that {key_of} belongs to"),
        ),
        403 => Trouble::new(
            format!("{base} does not let this key ask {model} (403)"),
            format!(
                "allow {key_of} to use the model, choose another one, or check that the provider serves this country"
            ),
        ),
        404 => Trouble::new(
            format!("{base} has no model {model}, or no chat API at this address (404){said}"),
            "check the model's name (--model), and that the address ends as the provider wants it, mostly in /v1",
        ),
        408 | 504 => Trouble::passing(format!("{base} was too slow ({status})"), "try again"),
        400 | 413 | 415 | 422 => Trouble::new(
            format!("{base} refuses the request ({status}){said}"),
            format!("check that {model} is a chat model that this provider has (--model)"),
        ),
        429 => Trouble::passing(
            format!("{base} takes no more requests from this key at the moment (429){said}"),
            "wait and try again; if it goes on, the account's quota or credit is used up",
        ),
        300..=399 => Trouble::new(
            format!("{base} sends requests elsewhere ({status}), and redirects are not followed"),
            "write the address that it leads to into llm.api_base",
        ),
        405 => Trouble::new(
            format!("{base} takes no chat requests (405)"),
            "check the address: it must be the API's own, mostly ending in /v1",
        ),
        500.. => Trouble::passing(
            format!("{base} is in trouble itself ({status}){said}"),
            "try again later; a local server's own log says more",
        ),
        _ => Trouble::new(format!("{base} refuses the request ({status}){said}"), "see the provider's documentation"),
    }
}

fn unreachable(reason: &str, base: &str) -> Trouble {
    let lower = reason.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if let Some(trouble) = tls(reason, base) {
        return trouble;
    }
    if has(&["lookup", "resolve", "name or service", "nodename", "dns"]) {
        return Trouble::new(
            format!("the name in {base} leads nowhere (DNS: {reason})"),
            "check the address for a typing error, and that this machine is online",
        );
    }
    if has(&["refused"]) {
        return Trouble::new(
            format!("nobody listens at {base} (connection refused)"),
            "start the server (`ollama serve`, LM Studio's server, …), or correct the port",
        );
    }
    if has(&["unreachable", "no route"]) {
        return Trouble::new(
            format!("there is no way to {base} ({reason})"),
            "check that this machine is online; proxy variables of the environment are not used",
        );
    }
    if has(&["timed out", "timeout", "deadline", "elapsed"]) {
        return Trouble::new(
            format!("{base} does not take the connection in time"),
            "check the address, and that no firewall stands between; proxy variables of the environment are not used",
        );
    }
    Trouble::new(format!("{base} cannot be reached ({reason})"), "check the address and the network")
}

fn tls(reason: &str, base: &str) -> Option<Trouble> {
    let lower = reason.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if has(&["invalidcontenttype", "corrupt message"]) {
        return Some(Trouble::new(
            format!("{base} does not speak TLS"),
            "write http:// instead of https:// in llm.api_base",
        ));
    }
    has(&["certificate", "unknownissuer", "tls", "handshake"]).then(|| {
        Trouble::new(
            format!("the certificate of {base} is not accepted ({reason})"),
            "check this machine's clock and its root certificates; where a proxy opens TLS, its certificate must be installed",
        )
    })
}

/// The provider's own words on what is wrong, unless they hold a part of the key.
fn said(body: &[u8], key: Option<&Secret>) -> Option<String> {
    let json: Value = serde_json::from_slice(body).ok()?;
    let places = ["/error/message", "/message", "/error", "/detail"];
    let words = places.iter().find_map(|place| json.pointer(place)?.as_str())?;
    let clean = crate::output::harmless(words).split_whitespace().collect::<Vec<_>>().join(" ");
    let leaks = key.is_some_and(|key| holds_a_part(&clean, key.expose()));
    (!clean.is_empty() && !leaks).then(|| clean.chars().take(MAX_WORDS).collect())
}

fn holds_a_part(text: &str, key: &str) -> bool {
    let key: Vec<char> = key.chars().collect();
    key.windows(PART_OF_KEY.min(key.len().max(1))).any(|part| text.contains(&part.iter().collect::<String>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_says_what_to_do() {
        let key = Secret::new("sk-canary-7f3a9c".into());
        let about =
            About { base: "https://api.example.org/v1", model: "some-model", key: Some(&key), provider: "default" };
        let name = || "default".to_owned();
        let status = |status| {
            let body = r#"{"error":{"message":"not for you"}}"#.into();
            Failure::Upstream(UpstreamError::Rejected { name: name(), status, body, retry_after: None })
        };
        let network =
            |reason: &str| Failure::Upstream(UpstreamError::Unreachable { name: name(), reason: reason.to_owned() });
        for (failure, what, remedy, passing) in [
            (status(401), "does not know the key", "is it complete", false),
            (status(402), "wants to be paid", "add credit", false),
            (status(403), "does not let this key ask some-model", "choose another", false),
            (status(404), "no model some-model", "/v1", false),
            (status(400), "\"not for you\"", "chat model", false),
            (status(422), "refuses the request (422)", "--model", false),
            (status(429), "no more requests", "quota", true),
            (status(500), "in trouble itself (500)", "try again later", true),
            (status(503), "(503): \"not for you\"", "try again later", true),
            (status(302), "sends requests elsewhere", "llm.api_base", false),
            (status(405), "takes no chat requests", "/v1", false),
            (status(418), "(418)", "documentation", false),
            (network("failed to lookup address information"), "leads nowhere", "typing error", false),
            (network("Connection refused (os error 111)"), "nobody listens", "ollama serve", false),
            (network("Network is unreachable (os error 101)"), "no way to", "online", false),
            (network("deadline has elapsed"), "in time", "firewall", false),
            (network("invalid peer certificate: Expired"), "certificate", "clock", false),
            (network("received corrupt message of type InvalidContentType"), "does not speak TLS", "http://", false),
            (network("what"), "cannot be reached (what)", "network", false),
            (
                Failure::Upstream(UpstreamError::Forbidden { name: name(), kind: "private" }),
                "private address",
                "set llm.addresses to private",
                false,
            ),
            (Failure::Upstream(UpstreamError::Timeout { name: name() }), "did not answer in time", "try again", true),
            (Failure::NoAnswer, "not as a chat API does", "/v1", false),
            (Failure::Unusable("odd".into()), "odd", "config check", false),
        ] {
            let trouble = read(&failure, &about);
            assert!(trouble.what.contains(what) && trouble.remedy.contains(remedy), "{failure:?}: {trouble:?}");
            assert_eq!(trouble.passing, passing, "{failure:?}");
        }
        let open = About { key: None, ..about };
        assert!(read(&status(401), &open).what.contains("wants a key"));
    }

    #[test]
    fn no_part_of_a_key_is_repeated() {
        let key = Secret::new("sk-canary-7f3a9c".into());
        for (words, said_again) in [
            ("Incorrect API key provided: sk-c*******3a9c", false),
            ("the key sk-canary-7f3a9c is wrong", false),
            ("ends in 3a9c", false),
            ("no such\u{1b}[2J model\n here", true),
        ] {
            let body = serde_json::json!({"error": {"message": words}}).to_string();
            assert_eq!(said(body.as_bytes(), Some(&key)).is_some(), said_again, "{words:?}");
        }
        let long = serde_json::json!({"message": "é".repeat(900)}).to_string();
        assert_eq!(said(long.as_bytes(), None).map(|s| s.chars().count()), Some(MAX_WORDS));
        assert_eq!(said(b"<html>", None), None);
    }
}
