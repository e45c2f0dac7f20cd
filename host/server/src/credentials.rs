use axum::http::header::{AUTHORIZATION, HeaderName};
use axum::http::{HeaderMap, HeaderValue};

use crate::once::{Twice, once};

/// The host's own key header. It wins over the others, so that a client can send its provider's credential in `Authorization`
/// beside it. This and the next never go to an upstream.
pub(crate) const METACLAW_KEY: HeaderName = HeaderName::from_static("x-metaclaw-key");
/// Where Anthropic's clients and some gateways put a key.
pub(crate) const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

const BEARER: &[u8] = b"bearer ";

/// Why no key can be read from a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoKey {
    /// None is shown in a form that counts.
    Missing,
    /// There are two, and readers could differ on which one counts.
    Several,
}

/// The key that a request shows. Only headers count: a key in a path or a body ends up in logs and histories.
pub(crate) fn shown(headers: &HeaderMap) -> Result<&[u8], NoKey> {
    if let Some(own) = one(headers, &METACLAW_KEY)? {
        return Ok(own);
    }
    let bearer = one(headers, &AUTHORIZATION)?.map(|text| {
        let (scheme, key) = text.split_at_checked(BEARER.len()).unwrap_or_default();
        if scheme.eq_ignore_ascii_case(BEARER) { key } else { &[] }
    });
    match (bearer, one(headers, &API_KEY)?) {
        (Some(bearer), Some(other)) if bearer != other => Err(NoKey::Several),
        (bearer, other) => bearer.or(other).filter(|key| !key.is_empty()).ok_or(NoKey::Missing),
    }
}

fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a [u8]>, NoKey> {
    let value = once(headers, name).map_err(|Twice| NoKey::Several)?;
    Ok(value.map(HeaderValue::as_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_is_shown_in_one_of_three_ways() {
        let (own, bearer, api) = ("x-metaclaw-key", "authorization", "x-api-key");
        for (pairs, want) in [
            (&[][..], Err(NoKey::Missing)),
            (&[(own, "k")], Ok("k")),
            (&[(bearer, "Bearer k")], Ok("k")),
            (&[(bearer, "bEARER k")], Ok("k")),
            (&[(api, "k")], Ok("k")),
            (&[(own, "k"), (bearer, "Bearer provider"), (api, "third")], Ok("k")),
            (&[(bearer, "Bearer k"), (api, "k")], Ok("k")),
            (&[(bearer, "Bearer k"), (api, "other")], Err(NoKey::Several)),
            (&[(own, "k"), (own, "k")], Err(NoKey::Several)),
            (&[(bearer, "Bearer k"), (bearer, "Bearer k")], Err(NoKey::Several)),
            (&[(bearer, "Basic k")], Err(NoKey::Missing)),
            (&[(bearer, "Bearer ")], Err(NoKey::Missing)),
            (&[(bearer, "Bearer")], Err(NoKey::Missing)),
            (&[(bearer, "k")], Err(NoKey::Missing)),
            (&[(bearer, "Bearer k, Bearer l")], Ok("k, Bearer l")),
            (&[(bearer, "Bearer  k")], Ok(" k")),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, HeaderValue::from_static(value));
            }
            assert_eq!(shown(&headers), want.map(str::as_bytes), "{pairs:?}");
        }
    }
}
