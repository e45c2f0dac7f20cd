use super::reference::Reference;
use super::{data, tiny, trainee};
use crate::train::{Loss, Watch};

/// What the loss is without training's own arithmetic. (The ratio that `cispo` takes as given cannot be had by
/// differences; PyTorch's gradients are its measure.)
fn loss_of(loss: Loss, now: f64, then: f64, advantage: f64) -> f64 {
    let ratio = (now - then).exp();
    match loss {
        Loss::CrossEntropy => -advantage * now,
        Loss::Ppo { low, high } => -(ratio * advantage).min(ratio.max(f64::from(low)).min(f64::from(high)) * advantage),
        _ => -ratio * advantage,
    }
}

#[test]
fn gradients_are_the_differences_of_an_own_forward_pass_in_64_bits() {
    let model = tiny();
    for (loss, step) in
        [(Loss::CrossEntropy, 1e-5), (Loss::ImportanceSampling, 1e-5), (Loss::Ppo { low: 0.8, high: 1.2 }, 1e-6)]
    {
        let mut trainee = trainee(&model, 4);
        let data = data(&trainee, &[(3, 20), (70, 11), (1, 5)]);
        let report = trainee.forward_backward(&data, loss, 1, &Watch::new()).unwrap();
        let reference = Reference::new(&trainee);
        let total = |moved| -> f64 {
            let of = |datum: &crate::Datum| -> f64 {
                let now = reference.logprobs(&trainee.parameters, moved, &datum.tokens, datum.prompt);
                let drawn = datum.logprobs.iter().zip(&datum.advantages);
                now.iter().zip(drawn).map(|(now, (then, a))| loss_of(loss, *now, f64::from(*then), f64::from(*a))).sum()
            };
            data.iter().map(of).sum()
        };
        let plain = total((0, 0, 0.0));
        assert!((report.loss - plain).abs() < 1e-4 * plain.abs().max(1.0), "{loss:?}: {} or {plain}", report.loss);
        for (index, matrix) in trainee.gradients.matrices().enumerate() {
            let largest = matrix.iter().fold(0.0f32, |most, x| most.max(x.abs()));
            for pick in 0..3 {
                let place = (index * 31 + pick * 7919) % matrix.len();
                let moved = |by| total((index, place, by));
                let want = (moved(step) - moved(-step)) / (2.0 * step);
                let got = f64::from(matrix[place]);
                let allowed = 5e-4 * want.abs().max(0.05 * f64::from(largest));
                assert!((got - want).abs() <= allowed, "{loss:?}, matrix {index}[{place}]: {got} instead of {want}");
            }
        }
    }
}

#[test]
fn memory_and_threads_change_no_bit() {
    let model = tiny();
    let mut plain = trainee(&model, 8);
    let data = data(&plain, &[(5, 40), (90, 30), (1, 100), (2, 2)]);
    let loss = Loss::Cispo { low: 0.8, high: 1.2 };
    let report = plain.forward_backward(&data, loss, 1, &Watch::new()).unwrap();
    assert!(report.clipped > 0.1 && report.clipped < 0.9, "{report:?}");
    for (budget, threads) in [(0, 1), (usize::MAX, 2), (0, 3)] {
        let mut other = trainee(&model, 8);
        other.keep_at_most(budget);
        assert_eq!(other.forward_backward(&data, loss, threads, &Watch::new()).unwrap(), report);
        assert!(other.gradients == plain.gradients, "{budget} bytes, {threads} threads");
    }
}

#[test]
fn examples_add_up_whether_they_come_together_or_one_by_one() {
    let model = tiny();
    let mut together = trainee(&model, 8);
    let data = data(&together, &[(5, 40), (90, 30), (1, 100), (2, 2)]);
    let loss = Loss::ImportanceSampling;
    let report = together.forward_backward(&data, loss, 1, &Watch::new()).unwrap();
    let mut apart = trainee(&model, 8);
    for (datum, logprobs) in data.iter().zip(&report.logprobs) {
        let alone = apart.forward_backward(std::slice::from_ref(datum), loss, 1, &Watch::new()).unwrap();
        assert_eq!(&alone.logprobs[0], logprobs, "a neighbour in the batch changes nothing");
        assert_eq!(&apart.logprobs(&datum.tokens, datum.prompt, 2).unwrap(), logprobs);
    }
    for (together, apart) in together.gradients.matrices().zip(apart.gradients.matrices()) {
        let size: f32 = together.iter().map(|x| x * x).sum::<f32>().sqrt();
        let off: f32 = together.iter().zip(apart).map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt();
        assert!(off <= 1e-5 * size, "{off} of {size}");
    }
}
