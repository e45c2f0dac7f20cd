use domain::Secret;

use crate::load::Reader;
use crate::providers::{Auth, Preset};
use crate::upstreams::BaseUrl;
use crate::yaml::quote;

/// How a key is sent when nothing else is said: as `Authorization: Bearer KEY`.
const BEARER: &str = "authorization";
/// Headers that say how a request is framed and what it is; a key has no place in them.
const TAKEN: &[&str] = &[
    "accept",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// What an upstream is shown, and how.
pub(crate) struct Credential {
    pub(crate) auth: Auth,
    pub(crate) api_key: Option<Secret>,
    pub(crate) key_header: String,
}

/// Reads what belongs to the credential of the upstream at `prefix`, and refuses what would leak it.
pub(crate) fn build(prefix: &str, preset: &Preset, base: &BaseUrl, reader: &mut Reader<'_>) -> Credential {
    let key = |name: &str| format!("{prefix}.{name}");
    let (auth_key, secret_key, header_key, base_key) =
        (key("auth"), key("api_key"), key("key_header"), key("api_base"));
    let auth = match reader.text(&auth_key).as_deref() {
        Some("forward") => Auth::Forward,
        Some("none") => Auth::None,
        _ => Auth::Key,
    };
    let api_key = reader.secret(&secret_key);
    let has_key = reader.settings.mentions(&secret_key);
    let place = reader.place(&auth_key);
    match auth {
        Auth::Key => {
            if preset.needs_key && !has_key {
                let message = format!("{} answers nobody without a key", preset.name);
                reader.report.warning(&secret_key, None, message, format!("set {secret_key} to env:NAME or file:PATH"));
            }
            if api_key.is_some() && base.is_open_road() {
                let message = format!("the key goes to {base} unencrypted");
                reader.report.warning(&base_key, reader.place(&base_key), message, "use https");
            }
        }
        Auth::Forward if has_key => {
            let message = "the client's own credential goes up, and yet there is a key";
            let remedy = format!("remove {secret_key}, or make a second upstream with it");
            reader.report.error(&auth_key, place, message, remedy);
        }
        Auth::None if has_key => {
            let message = "no credential goes up, and yet there is a key";
            reader.report.error(&auth_key, place, message, format!("remove {secret_key}, or {auth_key}"));
        }
        Auth::Forward if base.is_open_road() => {
            let message = format!("the client's own credential would go to {base} unencrypted");
            reader.report.error(&auth_key, place, message, format!("use https in {base_key}"));
        }
        Auth::Forward | Auth::None => {}
    }
    Credential { auth, api_key: api_key.filter(|_| auth == Auth::Key), key_header: header(&header_key, reader) }
}

fn header(key: &str, reader: &mut Reader<'_>) -> String {
    let Some(name) = reader.text(key).map(|name| name.to_ascii_lowercase()) else { return BEARER.to_owned() };
    let fits = name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if fits && !TAKEN.contains(&name.as_str()) {
        return name;
    }
    let message = format!("{} is no header that can carry a key", quote(&name));
    reader.report.error(key, reader.place(key), message, "write its name, such as x-api-key, or remove this");
    BEARER.to_owned()
}
