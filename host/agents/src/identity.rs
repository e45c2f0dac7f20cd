use domain::{AgentId, AgentName, InvalidAgentName, InvalidSessionId, SessionId, TurnKind};
use protocol::Claims;

/// What a request's headers claim. A claim is not yet an identity: [`Identity::settle`] checks it.
#[derive(Clone, Debug, Default)]
pub struct HeaderClaims {
    /// `X-Agent-Id`
    pub agent_id: Option<String>,
    /// `X-Session-Key`
    pub session_key: Option<String>,
    /// The headers for which the body has a field as well: `X-Session-Id`, `X-Turn-Type`, `X-Session-Done` and the rest.
    pub fields: Claims,
}

/// Who speaks, in which conversation, and as what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The agent; `_default` when none was named.
    pub agent: AgentId,
    /// The session, when the client named one.
    pub session: Option<SessionId>,
    /// `main` or `side`.
    pub kind: TurnKind,
    /// Whether this turn is the session's last.
    pub session_done: bool,
    /// Where the conversation happens, in the client's words: sessions that follow one another share it.
    pub session_key: Option<String>,
    /// Which memories the turn may see.
    pub scope: MemoryScope,
}

/// The client's wishes for the memory scope, checked and bounded. The memory layer adds the agent, so that no wish
/// reaches another agent's memories.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryScope {
    /// An explicit scope, which wins over the others.
    pub explicit: Option<String>,
    /// The user.
    pub user: Option<String>,
    /// The workspace.
    pub workspace: Option<String>,
}

/// Why a claim is refused. Each names the header, the value and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// `X-Agent-Id`
    #[error("X-Agent-Id {0:?} names no agent: {1}")]
    Agent(String, #[source] InvalidAgentName),
    /// The header names an agent that the key does not speak for. Whether there is one of that name is not said.
    #[error("the key does not speak for the agent that X-Agent-Id names: use a key of that agent, or name another")]
    Foreign,
    /// The key speaks for several agents, and the request does not say which.
    #[error("the key speaks for several agents: say which in X-Agent-Id")]
    WhichOne,
    /// `X-Session-Id`
    #[error("X-Session-Id {0:?} names no session: {1}")]
    Session(String, #[source] InvalidSessionId),
    /// The request is about a session, and names none.
    #[error("X-Session-Id is missing: it says which session")]
    NoSession,
    /// `X-Turn-Type`
    #[error("X-Turn-Type {0:?} is unknown: use `main` or `side`")]
    TurnType(String),
    /// `X-Session-Key`, `X-Memory-Scope`, `X-User-Id` or `X-Workspace-Id`.
    #[error("{0} must be 1 to {MAX_SCOPE} printable characters")]
    Scope(&'static str),
}

const MAX_SCOPE: usize = 256;
/// How much of a refused value is repeated to the client.
const SHOWN: usize = 80;

impl Identity {
    /// Turns claims into an identity, by MetaClaw's rules: a header wins over the body's field of that name; a turn with a
    /// session id and no type is a `side` turn, for only a plugin that knows both may ask for injection in a session.
    ///
    /// `owners` are the agents whose key the client showed. Then the key says who may speak, and a header can only choose among
    /// them; with a key of one agent it need not.
    pub fn settle(owners: Option<&[AgentId]>, claims: &HeaderClaims, body: &Claims) -> Result<Self, IdentityError> {
        let agent = agent(owners, claims)?;
        let headers = &claims.fields;
        let session = given(&headers.session_id, &body.session_id)
            .map(|text| text.parse::<SessionId>().map_err(|e| IdentityError::Session(shown(text), e)))
            .transpose()?;
        let kind = match given(&headers.turn_type, &body.turn_type).map(str::to_ascii_lowercase).as_deref() {
            Some("main") => TurnKind::Main,
            Some("side") => TurnKind::Side,
            Some(other) => return Err(IdentityError::TurnType(shown(other))),
            None if session.is_some() => TurnKind::Side,
            None => TurnKind::Main,
        };
        let session_done = given(&headers.session_done, &body.session_done).is_some_and(is_yes);
        let scope = MemoryScope {
            explicit: bounded("X-Memory-Scope", &headers.memory_scope, &body.memory_scope)?,
            user: bounded("X-User-Id", &headers.user_id, &body.user_id)?,
            workspace: bounded("X-Workspace-Id", &headers.workspace_id, &body.workspace_id)?,
        };
        let session_key = bounded("X-Session-Key", &claims.session_key, &None)?;
        Ok(Identity { agent, session, kind, session_done, session_key, scope })
    }
}

fn agent(owners: Option<&[AgentId]>, claims: &HeaderClaims) -> Result<AgentId, IdentityError> {
    let named = match &claims.agent_id {
        None => None,
        Some(text) => {
            let name: Result<AgentName, _> = text.parse();
            Some(AgentId::Named(name.map_err(|e| IdentityError::Agent(shown(text), e))?))
        }
    };
    match (owners, named) {
        (Some(owners), Some(named)) if owners.contains(&named) => Ok(named),
        (Some(_), Some(_)) => Err(IdentityError::Foreign),
        (Some([only]), None) => Ok(only.clone()),
        // Its holder may do so, for no header can name this one.
        (Some(owners), None) if owners.contains(&AgentId::Default) => Ok(AgentId::Default),
        (Some(_), None) => Err(IdentityError::WhichOne),
        (None, named) => Ok(named.unwrap_or(AgentId::Default)),
    }
}

/// The header's value, else the body's; an empty one counts as absent, as in MetaClaw.
fn given<'a>(header: &'a Option<String>, body: &'a Option<String>) -> Option<&'a str> {
    [header, body].into_iter().flatten().map(|t| t.trim()).find(|t| !t.is_empty())
}

fn bounded(
    name: &'static str,
    header: &Option<String>,
    body: &Option<String>,
) -> Result<Option<String>, IdentityError> {
    match given(header, body) {
        Some(text) if text.chars().count() > MAX_SCOPE || text.chars().any(char::is_control) => {
            Err(IdentityError::Scope(name))
        }
        text => Ok(text.map(str::to_owned)),
    }
}

fn is_yes(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on")
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderClaims {
        let get = |name: &str| pairs.iter().find(|p| p.0 == name).map(|p| p.1.to_owned());
        let fields = Claims {
            session_id: get("session"),
            turn_type: get("type"),
            session_done: get("done"),
            memory_scope: get("scope"),
            user_id: get("user"),
            workspace_id: get("workspace"),
        };
        HeaderClaims { agent_id: get("agent"), session_key: get("key"), fields }
    }

    fn settle(pairs: &[(&str, &str)]) -> Result<Identity, IdentityError> {
        Identity::settle(None, &headers(pairs), &Claims::default())
    }

    #[test]
    fn turn_type_follows_metaclaw() {
        for (pairs, kind) in [
            (&[][..], TurnKind::Main),
            (&[("session", "s")], TurnKind::Side),
            (&[("session", "s"), ("type", "main")], TurnKind::Main),
            (&[("session", "s"), ("type", "SIDE")], TurnKind::Side),
            (&[("session", ""), ("type", "")], TurnKind::Main),
            (&[("agent", "a")], TurnKind::Main),
        ] {
            assert_eq!(settle(pairs).unwrap().kind, kind, "{pairs:?}");
        }
        assert_eq!(settle(&[("type", "main,side")]), Err(IdentityError::TurnType("main,side".into())));
    }

    #[test]
    fn headers_win_over_the_body() {
        let body = Claims {
            session_id: Some("b".into()),
            turn_type: Some("main".into()),
            session_done: Some("yes".into()),
            ..Default::default()
        };
        let identity = Identity::settle(None, &headers(&[("session", "h")]), &body).unwrap();
        assert_eq!(
            (identity.session.unwrap().as_str(), identity.kind, identity.session_done),
            ("h", TurnKind::Main, true)
        );
        let identity = Identity::settle(None, &headers(&[("type", "side"), ("done", "no")]), &body).unwrap();
        assert_eq!(
            (identity.session.unwrap().as_str(), identity.kind, identity.session_done),
            ("b", TurnKind::Side, false)
        );
    }

    #[test]
    fn no_claim_becomes_a_reserved_or_foreign_agent() {
        assert_eq!(settle(&[]).unwrap().agent, AgentId::Default);
        assert_eq!(settle(&[("agent", "A")]).unwrap().agent.as_str(), "a");
        for bad in ["", " ", "../x", "_shared", "_default", "a,b", "é", &"a".repeat(65)] {
            assert!(matches!(settle(&[("agent", bad)]), Err(IdentityError::Agent(..))), "{bad:?}");
        }
        assert!(matches!(settle(&[("user", "a\nb")]), Err(IdentityError::Scope("X-User-Id"))));
        assert!(matches!(settle(&[("scope", &"x".repeat(257))]), Err(IdentityError::Scope(_))));
    }

    #[test]
    fn a_key_says_who_speaks() {
        let id = |name: &str| AgentId::from_trusted(name).unwrap();
        let with = |owners: &[&str], pairs: &[(&str, &str)]| {
            let owners: Vec<AgentId> = owners.iter().map(|name| id(name)).collect();
            Identity::settle(Some(&owners), &headers(pairs), &Claims::default()).map(|i| i.agent)
        };
        for (owners, named, agent) in [
            (&["a"][..], None, Ok(id("a"))),
            (&["a"], Some("A"), Ok(id("a"))),
            (&["a"], Some("b"), Err(IdentityError::Foreign)),
            (&["_default"], None, Ok(AgentId::Default)),
            (&["_default"], Some("b"), Err(IdentityError::Foreign)),
            (&["a", "b"], Some("b"), Ok(id("b"))),
            (&["a", "b"], Some("c"), Err(IdentityError::Foreign)),
            (&["a", "b"], None, Err(IdentityError::WhichOne)),
            (&["_default", "a"], None, Ok(AgentId::Default)),
            (&["_default", "a"], Some("a"), Ok(id("a"))),
            (&[], None, Err(IdentityError::WhichOne)),
        ] {
            let pairs: Vec<_> = named.map(|name| ("agent", name)).into_iter().collect();
            assert_eq!(with(owners, &pairs), agent, "{owners:?} {named:?}");
        }
        assert!(matches!(with(&["a"], &[("agent", "../x")]), Err(IdentityError::Agent(..))));
    }
}
