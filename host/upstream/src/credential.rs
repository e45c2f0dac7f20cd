use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderMap, HeaderValue};

/// Where Anthropic's clients put their key.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What a client itself logs in with at its provider, by the header that it came in. It goes to the upstreams that are configured
/// to be asked with it, in the same header, and nowhere else: it is neither logged nor kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credential {
    authorization: Option<HeaderValue>,
    api_key: Option<HeaderValue>,
}

impl Credential {
    /// From `Authorization` and `x-api-key`, as they came.
    pub fn new(authorization: Option<&HeaderValue>, api_key: Option<&HeaderValue>) -> Self {
        let hidden = |value: &HeaderValue| {
            let mut value = value.clone();
            value.set_sensitive(true);
            value
        };
        Credential { authorization: authorization.map(hidden), api_key: api_key.map(hidden) }
    }

    /// Adds it to a request; false when there is none.
    pub(crate) fn show(&self, headers: &mut HeaderMap) -> bool {
        for (name, value) in [(AUTHORIZATION, &self.authorization), (API_KEY, &self.api_key)] {
            headers.extend(value.clone().map(|value| (name, value)));
        }
        self.authorization.is_some() || self.api_key.is_some()
    }
}

/// The header for a configured key; none when the two make no header.
pub(crate) fn of_key(header: &str, key: &str) -> Option<(HeaderName, HeaderValue)> {
    let header = HeaderName::try_from(header).ok()?;
    let text = if header == AUTHORIZATION { format!("Bearer {key}") } else { key.to_owned() };
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some((header, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_never_shown_to_a_person() {
        let value = HeaderValue::from_static("Bearer canary");
        let credential = Credential::new(Some(&value), Some(&value));
        let mut headers = HeaderMap::new();
        assert!(credential.show(&mut headers) && !Credential::default().show(&mut HeaderMap::new()));
        assert_eq!((headers["authorization"].as_bytes(), headers.len()), (&b"Bearer canary"[..], 2));
        let key = of_key("x-api-key", "canary").unwrap();
        assert_eq!((key.0.as_str(), key.1.as_bytes()), ("x-api-key", &b"canary"[..]));
        assert_eq!(of_key("authorization", "canary").unwrap().1.as_bytes(), b"Bearer canary");
        assert!(of_key("x y", "canary").is_none() && of_key("x-api-key", "can\nary").is_none());
        assert!(!format!("{credential:?} {headers:?} {key:?}").contains("canary"));
    }
}
