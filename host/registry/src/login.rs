use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::Secret;
use http_auth::ChallengeRef;
use reqwest::header::HeaderValue;

/// A name and a password, or a token in its place.
#[derive(Clone, Debug)]
pub struct Login {
    /// The name.
    pub user: String,
    /// The password.
    pub password: Secret,
}

/// How a registry wants to be shown who asks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// By a token from there.
    Bearer { realm: String, service: Option<String> },
    /// By name and password.
    Basic,
}

impl Login {
    /// The value of `Authorization` for it; none when it holds what no header may.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        let pair = Secret::new(format!("{}:{}", self.user, self.password.expose()));
        sensitive(&format!("Basic {}", STANDARD.encode(pair.expose())))
    }
}

/// A header value that is kept out of logs.
pub(crate) fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

impl Challenge {
    /// The first one of a kind that is understood; a bearer's before any other.
    pub(crate) fn read(headers: &[&str]) -> Option<Challenge> {
        let all: Vec<ChallengeRef<'_>> =
            headers.iter().filter_map(|text| http_auth::parse_challenges(text).ok()).flatten().collect();
        let of = |scheme: &'static str| all.iter().find(move |c| c.scheme.eq_ignore_ascii_case(scheme));
        let bearer = of("bearer").and_then(|challenge| {
            let parameter = |wanted: &str| {
                let found = challenge.params.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
                found.map(|(_, value)| value.to_unescaped())
            };
            Some(Challenge::Bearer { realm: parameter("realm")?, service: parameter("service") })
        });
        bearer.or_else(|| of("basic").map(|_| Challenge::Basic))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_in_all_their_shapes() {
        let bearer = |realm: &str, service: Option<&str>| {
            Some(Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) })
        };
        for (headers, expected) in [
            (&[r#"Bearer realm="https://a/t",service="r",scope="x""#][..], bearer("https://a/t", Some("r"))),
            (&[r#"bearer REALM="https://a/\"t""#], bearer("https://a/\"t", None)),
            (&[r#"Basic realm="r""#, r#"Bearer realm="https://a""#], bearer("https://a", None)),
            (&[r#"Basic realm="r", Bearer realm="https://a""#], bearer("https://a", None)),
            (&[r#"Basic realm="r""#], Some(Challenge::Basic)),
            (&[r#"Bearer service="r""#], None),
            (&["Negotiate"], None),
            (&["\"", "=,=,="], None),
            (&[], None),
        ] {
            assert_eq!(Challenge::read(headers), expected, "{headers:?}");
        }
    }

    #[test]
    fn a_login_is_shown_to_nobody_but_its_registry() {
        let login = Login { user: "ada".to_owned(), password: Secret::new("s3cret".to_owned()) };
        assert!(!format!("{login:?}").contains("s3cret"));
        let header = login.header().unwrap();
        assert_eq!(header.as_bytes(), b"Basic YWRhOnMzY3JldA==");
        assert!(!format!("{header:?}").contains("YWRh"));
    }
}
