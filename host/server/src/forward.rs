use axum::http::HeaderMap;
use upstream::Credential;

use crate::credentials::METACLAW_KEY;
use crate::error::HttpError;
use crate::once::{Twice, once};

/// What the client itself logs in with at its provider. `open`: this host wants no key, so that no header holds one; otherwise the
/// client's login counts only beside this host's key in a header of its own, and is not that key again.
pub(crate) fn credential(headers: &HeaderMap, open: bool) -> Result<Credential, HttpError> {
    let own = headers.get(METACLAW_KEY).map(|key| key.as_bytes());
    if own.is_none() && !open {
        return Ok(Credential::default());
    }
    let theirs = |name: &'static str| match once(headers, name) {
        Ok(value) => Ok(value.filter(|value| own.is_none_or(|own| !value.as_bytes().ends_with(own)))),
        Err(Twice) => Err(HttpError::Header(name)),
    };
    Ok(Credential::new(theirs("authorization")?, theirs("x-api-key")?))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_what_is_meant_for_the_provider_is_taken() {
        let (own, login, api) = ("x-metaclaw-key", "authorization", "x-api-key");
        for (open, pairs, want) in [
            (true, &[][..], Some(vec![])),
            (true, &[(login, "Bearer theirs")], Some(vec![(login, "Bearer theirs")])),
            (true, &[(login, "theirs"), (api, "k")], Some(vec![(login, "theirs"), (api, "k")])),
            (true, &[(login, "a"), (login, "b")], None),
            (true, &[(api, "a"), (api, "a")], None),
            (false, &[(login, "Bearer ours")], Some(vec![])),
            (false, &[(api, "ours")], Some(vec![])),
            (false, &[(own, "ours"), (login, "Bearer theirs")], Some(vec![(login, "Bearer theirs")])),
            (false, &[(own, "ours"), (login, "Bearer ours")], Some(vec![])),
            (false, &[(own, "ours"), (api, "ours")], Some(vec![])),
            (false, &[(own, "ours")], Some(vec![])),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, HeaderValue::from_static(value));
            }
            let wanted = want.map(|pairs: Vec<(&str, &'static str)>| {
                let value = |name: &str| {
                    pairs.iter().find(|(n, _)| *n == name).map(|(_, value)| HeaderValue::from_static(value))
                };
                Credential::new(value(login).as_ref(), value(api).as_ref())
            });
            assert_eq!(credential(&headers, open).ok(), wanted, "{open} {pairs:?}");
        }
    }
}
