use agents::{FeedbackStatus, Rated};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use bytes::Bytes;
use domain::TurnId;
use serde::Deserialize;

use crate::chat::{BODY_TIME, read};
use crate::claims::claims;
use crate::error::{HttpError, json};
use crate::state::App;

/// The largest feedback, in bytes.
const MAX_BODY: usize = 16 << 10;
/// The most skills that one names.
const MAX_SKILLS: usize = 32;

/// Feedback as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    turn: String,
    reward: Option<f32>,
    rating: Option<Rating>,
    #[serde(default)]
    skills: Vec<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Rating {
    Up,
    Down,
}

/// `POST /v1/feedback`: how good a turn was, and which skills helped. Saying it twice does no harm; saying it otherwise takes the
/// place of what was said.
pub(crate) async fn give(State(app): State<App>, request: Request) -> Response<Body> {
    match take(&app, request).await {
        Ok(status) => json(StatusCode::OK, serde_json::to_vec(&status).unwrap_or_default().into()),
        Err(error) => error.into_response(),
    }
}

async fn take(app: &App, request: Request) -> Result<FeedbackStatus, HttpError> {
    let (head, body) = request.into_parts();
    let caller = app.access.admit(&head.headers)?;
    let claims = claims(&head.headers)?;
    let body = tokio::time::timeout(BODY_TIME, read(body, &head.headers, MAX_BODY)).await;
    let rated = rated(&body.map_err(|_| HttpError::SlowBody)??)?;
    Ok(app.host.give_feedback(caller.agents().map(|own| &**own), &claims, rated).await?)
}

fn rated(body: &Bytes) -> Result<Rated, HttpError> {
    let wrong = HttpError::Feedback;
    let written: Written = serde_json::from_slice(body).map_err(|error| wrong(error.to_string()))?;
    // An id that is none is that of no turn.
    let turn: TurnId = written.turn.parse().map_err(|_| HttpError::NoTurn)?;
    let reward = match (written.reward, written.rating) {
        (Some(_), Some(_)) => return Err(wrong("both `reward` and `rating` are given".to_owned())),
        (Some(reward), None) if !(-1.0..=1.0).contains(&reward) => {
            return Err(wrong(format!("`reward` is {reward}")));
        }
        (None, Some(Rating::Up)) => Some(1.0),
        (None, Some(Rating::Down)) => Some(-1.0),
        (reward, None) => reward,
    };
    if reward.is_none() && written.skills.is_empty() {
        return Err(wrong("it says nothing of the turn".to_owned()));
    }
    if written.skills.len() > MAX_SKILLS {
        return Err(wrong(format!("it names {} skills", written.skills.len())));
    }
    let mut skills = written.skills;
    skills.sort();
    skills.dedup();
    Ok(Rated { turn, reward, skills })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURN: &str = "01990000-0000-7000-8000-000000000000";

    #[test]
    fn what_is_said_is_read_or_refused_with_the_reason() {
        let read = |rest: &str| {
            let body = format!("{{\"turn\":\"{TURN}\"{rest}}}");
            let read = rated(&Bytes::from(body));
            read.map(|rated| (rated.reward, rated.skills.join(" "))).map_err(|error| error.to_string())
        };
        let good = |reward, skills: &str| Ok((reward, skills.to_owned()));
        assert_eq!(read(r#","reward":0.5"#), good(Some(0.5), ""));
        assert_eq!(read(r#","reward":-1,"skills":["b","a","b"]"#), good(Some(-1.0), "a b"));
        assert_eq!(read(r#","rating":"up""#), good(Some(1.0), ""));
        assert_eq!(read(r#","rating":"down""#), good(Some(-1.0), ""));
        assert_eq!(read(r#","skills":["a"]"#), good(None, "a"));
        let many = |count: usize| {
            format!(",\"skills\":{}", serde_json::json!((0..count).map(|i| format!("s{i:02}")).collect::<Vec<_>>()))
        };
        assert!(read(&many(MAX_SKILLS)).is_ok());
        for (rest, why) in [
            ("", "says nothing of the turn"),
            (r#","reward":1.01"#, "`reward` is 1.01"),
            (r#","reward":null"#, "says nothing of the turn"),
            (r#","reward":"good""#, "invalid type"),
            (r#","reward":1,"rating":"up""#, "both `reward` and `rating`"),
            (r#","rating":"meh""#, "unknown variant `meh`, expected `up` or `down`"),
            (r#","raiting":"up""#, "unknown field `raiting`, expected one of `turn`, `reward`, `rating`, `skills`"),
            (&many(MAX_SKILLS + 1), "names 33 skills"),
        ] {
            let said = read(rest).unwrap_err();
            assert!(said.contains(why) && said.contains("\"reward\": -1 to 1"), "{rest}: {said}");
        }
        assert!(matches!(rated(&Bytes::from_static(b"{\"turn\":\"x\",\"reward\":1}")), Err(HttpError::NoTurn)));
        assert!(rated(&Bytes::from_static(b"")).is_err());
    }
}
