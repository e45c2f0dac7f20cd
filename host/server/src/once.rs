use axum::http::header::AsHeaderName;
use axum::http::{HeaderMap, HeaderValue};

/// A header that stands more than once: readers could differ on which one counts.
#[derive(Debug)]
pub(crate) struct Twice;

/// The value of a header that may stand once or not at all.
pub(crate) fn once(headers: &HeaderMap, name: impl AsHeaderName) -> Result<Option<&HeaderValue>, Twice> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(_), Some(_)) => Err(Twice),
        (value, _) => Ok(value),
    }
}
