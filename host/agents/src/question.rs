//! What the user's words mean: asked as the turn begins, needed when skills are chosen.

use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::TurnKind;
use skills::{Library, Meanings};
use tokio::sync::oneshot;

use crate::metrics::{EmbeddingLabels, Metrics};
use crate::registry::Agent;
use crate::views::{Meaning, TurnView};

/// So long a turn waits at most, `route` included; then its skills are found by words.
const PATIENCE: Duration = Duration::from_millis(25);
/// So much of the user's text is looked at: what is asked comes first.
pub(crate) const MAX_TEXT: usize = 4096;

/// A question on its way.
pub(crate) enum Asked {
    /// Nobody need say what it means, or nobody can.
    Not,
    /// It is found out in place.
    Quick(Arc<Meanings>),
    /// Somebody is at it.
    Waiting {
        /// What was asked.
        text: String,
        began: Instant,
        answer: oneshot::Receiver<Vec<f32>>,
    },
}

impl Asked {
    /// Asks, if the agent's skills are to be found by meaning and there is anybody to ask.
    pub(crate) fn about(
        view: &TurnView,
        agent: &Agent,
        library: &Library,
        meanings: Option<&Arc<Meanings>>,
        metrics: &Metrics,
    ) -> Self {
        let skills = &agent.config.skills;
        let wanted = view.kind == TurnKind::Main && skills.enabled && skills.retrieval.embeds() && !library.is_empty();
        let Some(meanings) = meanings.filter(|_| wanted) else { return Asked::Not };
        if meanings.embedder().is_quick() {
            return Asked::Quick(meanings.clone());
        }
        let mut text = view.request.user_text().into_owned();
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        let (tell, answer) = oneshot::channel();
        let began = Instant::now();
        // Who has gone away meanwhile need not be told.
        let taken = meanings.ask(&text, began + PATIENCE, |vector| drop(tell.send(vector)));
        if !taken {
            metrics.count_question("busy");
            return Asked::Not;
        }
        Asked::Waiting { text, began, answer }
    }

    /// Waits for the answer, within bounds.
    pub(crate) async fn answered(self, metrics: &Metrics) -> Meaning {
        let (text, began, answer) = match self {
            Asked::Not => return Meaning::Unknown,
            Asked::Quick(meanings) => return Meaning::Quick(meanings),
            Asked::Waiting { text, began, answer } => (text, began, answer),
        };
        match tokio::time::timeout_at((began + PATIENCE).into(), answer).await {
            Ok(Ok(vector)) => {
                metrics.count_question("in_time");
                metrics.question_seconds.observe(began.elapsed().as_secs_f64());
                Meaning::Known { text, vector }
            }
            _ => {
                metrics.count_question("late");
                Meaning::Unknown
            }
        }
    }
}

impl Metrics {
    fn count_question(&self, outcome: &'static str) {
        self.questions.get_or_create(&EmbeddingLabels { outcome }).inc();
    }
}
