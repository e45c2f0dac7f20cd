//! Which samples can be trained on, and why the others cannot.

use domain::{Digest, SampledWith, TokenTrace};

use crate::backend::Facts;

/// Below this temperature nearly the same answer comes each time: there is nothing to compare, and its own probability is not the one
/// that it was drawn with.
const COLD: f32 = 0.3;

/// Why a sample that is kept out of training is kept.
pub(crate) struct Bounds<'a> {
    pub(crate) facts: &'a Facts,
    pub(crate) max_tokens: usize,
}

/// Whether a sample's tokens can be trained on; the error is the reason, for the operator.
pub(crate) fn check(tokens: Option<&TokenTrace>, bounds: &Bounds<'_>) -> Result<(), String> {
    let Some(trace) = tokens else {
        return Err("no tokens: the upstream gives none".to_owned());
    };
    let Bounds { facts, max_tokens } = bounds;
    if trace.prompt.is_empty() || trace.completion.is_empty() {
        return Err("no tokens: the prompt or the answer is empty".to_owned());
    }
    if trace.logprobs.len() != trace.completion.len() {
        return Err(format!("{} log-probabilities of {} tokens", trace.logprobs.len(), trace.completion.len()));
    }
    // A probability cannot be above 1, but for rounding.
    if let Some(wrong) = trace.logprobs.iter().find(|logprob| !logprob.is_finite() || **logprob > 1e-3) {
        return Err(format!("{wrong} is no log-probability"));
    }
    if let Some(token) = trace.prompt.iter().chain(&trace.completion).find(|token| **token as usize >= facts.vocab) {
        return Err(format!("token {token} is none of the model's {}", facts.vocab));
    }
    let (tokens, most) = (trace.prompt.len() + trace.completion.len(), (*max_tokens).min(facts.context));
    if tokens > most {
        return Err(format!("{tokens} tokens, more than {most}"));
    }
    settings(&trace.sampled_with, &facts.base)
}

/// Whether the log-probabilities that were kept are those that the answer was drawn with, near enough.
fn settings(sampled: &SampledWith, base: &Digest) -> Result<(), String> {
    if sampled.base.as_ref().is_some_and(|sampled| sampled != base) {
        return Err("sampled by another base model".to_owned());
    }
    if sampled.temperature.is_nan() || sampled.temperature < COLD {
        return Err(format!("sampled at temperature {}, below {COLD}", sampled.temperature));
    }
    if sampled.top_k == 1 {
        return Err("sampled with top_k 1: there was no choice".to_owned());
    }
    if sampled.penalized {
        return Err("sampled with a penalty: its log-probabilities are another distribution's".to_owned());
    }
    Ok(())
}

/// Whether a prompt is one of those that nobody trains on. It follows from the prompt alone, so that all answers to it are kept out.
pub(crate) fn is_held_out(prompt: &[u32], every: u64) -> bool {
    let bytes: Vec<u8> = prompt.iter().flat_map(|token| token.to_le_bytes()).collect();
    let digest = Digest::of(&bytes);
    every > 0 && u64::from_le_bytes(first(digest.as_bytes())).is_multiple_of(every)
}

fn first(bytes: &[u8; 32]) -> [u8; 8] {
    std::array::from_fn(|at| bytes[at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Normalisation;

    fn facts() -> Facts {
        let (base_name, base) = ("tiny".to_owned(), Digest::of(b"tiny"));
        Facts { base_name, base, vocab: 100, context: 64, normalisation: Normalisation::Sum }
    }

    fn trace() -> TokenTrace {
        let sampled_with = SampledWith { base: Some(Digest::of(b"tiny")), ..SampledWith::default() };
        TokenTrace { prompt: vec![1, 2, 3].into(), completion: vec![4, 99], logprobs: vec![-0.5, 0.0], sampled_with }
    }

    fn reason(change: impl Fn(&mut TokenTrace)) -> Result<(), String> {
        let mut trace = trace();
        change(&mut trace);
        check(Some(&trace), &Bounds { facts: &facts(), max_tokens: 32 })
    }

    #[test]
    fn what_was_sampled_as_it_should_be_passes() {
        assert_eq!(reason(|_| {}), Ok(()));
        assert_eq!(reason(|t| t.sampled_with.temperature = 0.3), Ok(()));
        assert_eq!(reason(|t| (t.sampled_with.top_p, t.sampled_with.top_k) = (0.9, 40)), Ok(()));
        assert_eq!(reason(|t| t.sampled_with.base = None), Ok(()), "nobody has said");
        assert_eq!(reason(|t| t.prompt = vec![1; 30].into()), Ok(()), "32 tokens");
    }

    #[test]
    fn degenerate_samples_are_refused_with_the_reason() {
        type Change = fn(&mut TokenTrace);
        let cases: [(&str, Change); 15] = [
            ("the prompt or the answer is empty", |t| t.prompt = [].into()),
            ("the prompt or the answer is empty", |t| (t.completion, t.logprobs) = (vec![], vec![])),
            ("1 log-probabilities of 2 tokens", |t| t.logprobs.truncate(1)),
            ("3 log-probabilities of 2 tokens", |t| t.logprobs.push(-1.0)),
            ("NaN is no log-probability", |t| t.logprobs[1] = f32::NAN),
            ("-inf is no log-probability", |t| t.logprobs[0] = f32::NEG_INFINITY),
            ("0.5 is no log-probability", |t| t.logprobs[0] = 0.5),
            ("token 100 is none of the model's 100", |t| t.completion[0] = 100),
            ("token 4000 is none", |t| t.prompt = vec![4000].into()),
            ("33 tokens, more than 32", |t| t.prompt = vec![1; 31].into()),
            ("temperature 0, below 0.3", |t| t.sampled_with.temperature = 0.0),
            ("temperature NaN", |t| t.sampled_with.temperature = f32::NAN),
            ("top_k 1", |t| t.sampled_with.top_k = 1),
            ("a penalty", |t| t.sampled_with.penalized = true),
            ("another base model", |t| t.sampled_with.base = Some(Digest::of(b"other"))),
        ];
        for (says, change) in cases {
            let reason = reason(change).unwrap_err();
            assert!(reason.contains(says), "{reason} says nothing of {says}");
        }
        let bounds = Bounds { facts: &facts(), max_tokens: 32 };
        assert!(check(None, &bounds).unwrap_err().contains("the upstream gives none"));
        let long = TokenTrace { prompt: vec![1; 63].into(), ..trace() };
        let bounds = Bounds { facts: &facts(), max_tokens: 1024 };
        assert_eq!(check(Some(&long), &bounds), Err("65 tokens, more than 64".to_owned()), "the model's own limit");
    }

    #[test]
    fn about_every_nth_prompt_is_held_out_and_always_the_same() {
        let held = (0..8000u32).filter(|token| is_held_out(&[5, *token], 8)).count();
        assert!((850..1150).contains(&held), "{held} of 8000");
        assert!((0..100u32).all(|token| !is_held_out(&[token], 0)), "0 is none");
        assert!((0..100u32).all(|token| is_held_out(&[token], 1)), "1 is all");
    }
}
