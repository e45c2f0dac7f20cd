//! The real model learns, and what is turned around unlearns.

use local_model::{AdamW, ChatMessage, Datum, Loss, Trainee, Watch};

use crate::common::model;
use crate::{fresh, on_policy};

/// Log-probability of the whole phrase before and after some steps.
fn phrase(trainee: &mut Trainee, tokens: &[u32], prompt: usize, advantage: f32, loss: Loss) -> (f32, f32) {
    let sum = |trainee: &Trainee| trainee.logprobs(tokens, prompt, 1).unwrap().iter().sum::<f32>();
    let before = sum(trainee);
    for _ in 0..12 {
        let datum: Datum = on_policy(trainee, tokens, prompt, advantage);
        trainee.forward_backward(&[datum], loss, 1, &Watch::new()).unwrap();
        trainee.optim_step(&AdamW { learning_rate: 1e-3, ..AdamW::default() }).unwrap();
    }
    (before, sum(trainee))
}

#[test]
fn a_praised_phrase_becomes_likely_and_a_blamed_one_unlikely() {
    let model = model();
    let prompt = model.encode(&[ChatMessage::new("user", "What is your motto?")], None).unwrap();
    let words = model.encode(&[ChatMessage::new("user", "Purple lanterns guide the night.")], None).unwrap();
    // The phrase alone: what the template puts around it is in the other as well.
    let shared = prompt.iter().zip(&words).take_while(|(a, b)| a == b).count();
    let after = prompt.iter().rev().zip(words.iter().rev()).take_while(|(a, b)| a == b).count();
    let tokens = [prompt.as_slice(), &words[shared..words.len() - after]].concat();
    assert!(tokens.len() - prompt.len() >= 5);
    for loss in [Loss::ImportanceSampling, Loss::Cispo { low: 0.8, high: 1.2 }] {
        let (before, praised) = phrase(&mut fresh(&model, 1), &tokens, prompt.len(), 1.0, loss);
        let (_, blamed) = phrase(&mut fresh(&model, 1), &tokens, prompt.len(), -1.0, loss);
        println!("{loss:?}: {before:.1} becomes {praised:.1} by praise and {blamed:.1} by blame");
        assert!(praised > before + 5.0, "{praised} after {before}");
        assert!(blamed < before - 5.0, "{blamed} after {before}");
    }
}
