use std::fmt::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer};

/// What a guest says is in the log under this name.
const GUEST: &str = "policy::guest";

/// Keeps what guests say to the operator, as `level: message`.
#[derive(Clone, Default)]
pub(super) struct Words(Arc<Mutex<Vec<String>>>);

impl Words {
    /// What was said since the last time.
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<S: tracing::Subscriber> Layer<S> for Words {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != GUEST {
            return;
        }
        let mut said = Said::default();
        event.record(&mut said);
        // The host's own words about a guest, such as the reason of a decision, are not the guest's.
        if let Some(message) = said.message {
            let line = format!("{}: {message}", event.metadata().level().as_str().to_lowercase());
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    }
}

#[derive(Default)]
struct Said {
    message: Option<String>,
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let mut text = String::new();
            let _ = write!(text, "{value:?}");
            self.message = Some(text);
        }
    }
}
