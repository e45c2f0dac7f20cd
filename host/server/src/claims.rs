use agents::HeaderClaims;
use axum::http::HeaderMap;
use protocol::Claims;

use crate::error::HttpError;
use crate::once::{Twice, once};

/// What the headers say of the sender. A header counts only when it stands once: two of them, and readers could differ on who
/// speaks. OpenClaw's `clawrouter` provider has its own names for two of them, which count where ours is absent and must agree
/// with it where it is not.
pub(crate) fn claims(headers: &HeaderMap) -> Result<HeaderClaims, HttpError> {
    let agent_id = either(headers, "x-agent-id", "x-clawrouter-agent-id")?;
    let own_session = one(headers, "x-session-id")?;
    let session_id = either(headers, "x-session-id", "x-clawrouter-session-id")?;
    let turn_type = one(headers, "x-turn-type")?;
    // That provider knows no turn types, so that its silence says nothing of the turn; MetaClaw's own clients' silence does.
    let silent = turn_type.is_none() && own_session.is_none() && session_id.is_some();
    let fields = Claims {
        session_id,
        turn_type: if silent { Some("main".into()) } else { turn_type },
        session_done: one(headers, "x-session-done")?,
        memory_scope: one(headers, "x-memory-scope")?,
        user_id: one(headers, "x-user-id")?,
        workspace_id: one(headers, "x-workspace-id")?,
    };
    Ok(HeaderClaims { agent_id, session_key: one(headers, "x-session-key")?, fields })
}

fn either(headers: &HeaderMap, name: &'static str, alias: &'static str) -> Result<Option<String>, HttpError> {
    match (one(headers, name)?, one(headers, alias)?) {
        (Some(own), Some(other)) if !own.eq_ignore_ascii_case(&other) => Err(HttpError::Header(name)),
        (own, other) => Ok(own.or(other)),
    }
}

fn one(headers: &HeaderMap, name: &'static str) -> Result<Option<String>, HttpError> {
    let refused = || HttpError::Header(name);
    let value = once(headers, name).map_err(|Twice| refused())?;
    value.map(|value| str::from_utf8(value.as_bytes()).map(str::to_owned).map_err(|_| refused())).transpose()
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn clawrouters_names_stand_in_and_never_contradict() {
        let read = |pairs: &[(&'static str, &'static str)]| {
            let pairs = pairs.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)));
            let claims = claims(&pairs.collect()).ok()?;
            Some((claims.agent_id, claims.fields.session_id, claims.fields.turn_type))
        };
        let some = |text: &str| Some(text.to_owned());
        let (agent, session) = (("x-clawrouter-agent-id", "a"), ("x-clawrouter-session-id", "s"));
        assert_eq!(read(&[agent, session]), Some((some("a"), some("s"), some("main"))));
        assert_eq!(read(&[agent, session, ("x-turn-type", "side")]), Some((some("a"), some("s"), some("side"))));
        assert_eq!(read(&[agent, ("x-agent-id", "A")]), Some((some("A"), None, None)));
        assert_eq!(read(&[session, ("x-session-id", "s")]), Some((None, some("s"), None)));
        assert_eq!(read(&[agent, ("x-agent-id", "b")]), None);
        assert_eq!(read(&[session, ("x-session-id", "t")]), None);
    }
}
