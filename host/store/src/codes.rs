//! How values are written in columns: states as words, times as microseconds, tokens as little-endian bytes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use domain::{DecisionSource, EndReason, RewardSource, SampleState, TurnKind, TurnOutcome};

/// A state that a text column names. The words are part of the schema: a change needs a migration.
pub(crate) trait Code: Copy + 'static {
    const ALL: &'static [Self];

    fn code(self) -> &'static str;

    fn read(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|value| value.code() == text)
    }
}

impl Code for TurnKind {
    const ALL: &'static [Self] = &[TurnKind::Main, TurnKind::Side];

    fn code(self) -> &'static str {
        match self {
            TurnKind::Main => "main",
            TurnKind::Side => "side",
        }
    }
}

impl Code for DecisionSource {
    const ALL: &'static [Self] =
        &[DecisionSource::Policy, DecisionSource::Builtin, DecisionSource::Previous, DecisionSource::Breaker];

    fn code(self) -> &'static str {
        match self {
            DecisionSource::Policy => "policy",
            DecisionSource::Builtin => "builtin",
            DecisionSource::Previous => "previous",
            DecisionSource::Breaker => "breaker",
        }
    }
}

impl Code for TurnOutcome {
    const ALL: &'static [Self] =
        &[TurnOutcome::Complete, TurnOutcome::Refused, TurnOutcome::Cancelled, TurnOutcome::Failed];

    fn code(self) -> &'static str {
        match self {
            TurnOutcome::Complete => "complete",
            TurnOutcome::Refused => "refused",
            TurnOutcome::Cancelled => "cancelled",
            TurnOutcome::Failed => "failed",
        }
    }
}

impl Code for EndReason {
    const ALL: &'static [Self] = &[EndReason::Header, EndReason::Idle, EndReason::Shutdown];

    fn code(self) -> &'static str {
        match self {
            EndReason::Header => "header",
            EndReason::Idle => "idle",
            EndReason::Shutdown => "shutdown",
        }
    }
}

impl Code for SampleState {
    const ALL: &'static [Self] = &SampleState::ALL;

    fn code(self) -> &'static str {
        self.as_str()
    }
}

impl Code for RewardSource {
    const ALL: &'static [Self] = &[RewardSource::Policy, RewardSource::Judge, RewardSource::Feedback];

    fn code(self) -> &'static str {
        self.as_str()
    }
}

/// Microseconds since 1970; a clock before that counts as 1970.
pub(crate) fn micros(time: SystemTime) -> i64 {
    span(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// Microseconds of a span, at most `i64::MAX`.
pub(crate) fn span(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// The time that [`micros`] wrote.
pub(crate) fn time(micros: i64) -> SystemTime {
    UNIX_EPOCH + duration(micros)
}

/// The span that [`span`] wrote; a negative one, which only damage could leave, is zero.
pub(crate) fn duration(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

/// A count as a column holds it, at most `i64::MAX`.
pub(crate) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Token ids as little-endian bytes.
pub(crate) fn token_bytes(tokens: &[u32]) -> Vec<u8> {
    tokens.iter().flat_map(|token| token.to_le_bytes()).collect()
}

/// The tokens that [`token_bytes`] wrote.
pub(crate) fn tokens(bytes: &[u8]) -> Option<Vec<u32>> {
    let (words, rest) = bytes.as_chunks::<4>();
    rest.is_empty().then(|| words.iter().copied().map(u32::from_le_bytes).collect())
}

/// Log probabilities as little-endian bytes.
pub(crate) fn logprob_bytes(logprobs: &[f32]) -> Vec<u8> {
    logprobs.iter().flat_map(|logprob| logprob.to_le_bytes()).collect()
}

/// The log probabilities that [`logprob_bytes`] wrote.
pub(crate) fn logprobs(bytes: &[u8]) -> Option<Vec<f32>> {
    let (words, rest) = bytes.as_chunks::<4>();
    rest.is_empty().then(|| words.iter().copied().map(f32::from_le_bytes).collect())
}
