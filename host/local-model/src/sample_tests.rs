use super::*;

/// Logits of the given probabilities, with a long improbable tail.
fn logits(shares: &[f32]) -> Vec<f32> {
    let mut logits: Vec<f32> = shares.iter().map(|share| share.ln()).collect();
    logits.extend((0..1000).map(|i| -30.0 - i as f32 * 1e-3));
    logits
}

/// How often each of the first tokens is drawn, out of 4000.
fn histogram(settings: &Sampling, shares: &[f32]) -> Vec<f32> {
    let mut sampler = Sampler::new(Sampling { seed: Some(7), ..settings.clone() });
    let mut counts = vec![0.0; shares.len()];
    for _ in 0..4000 {
        let (token, logprob) = sampler.next(&mut logits(shares));
        counts[token as usize] += 1.0 / 4000.0;
        assert!((logprob - shares[token as usize].ln()).abs() < 1e-3, "the log-probability must be the raw one");
    }
    counts
}

#[test]
fn draws_follow_the_settings() {
    let shares = [0.1, 0.5, 0.15, 0.25];
    let plain = Sampling::default();
    let cases = [
        (plain.clone(), [0.1, 0.5, 0.15, 0.25]),
        (Sampling { top_k: 2, ..plain.clone() }, [0.0, 2.0 / 3.0, 0.0, 1.0 / 3.0]),
        (Sampling { top_p: 0.74, ..plain.clone() }, [0.0, 2.0 / 3.0, 0.0, 1.0 / 3.0]),
        (Sampling { top_p: 0.76, ..plain.clone() }, [0.0, 0.5 / 0.9, 0.15 / 0.9, 0.25 / 0.9]),
        (Sampling { top_k: 3, top_p: 0.5, ..plain.clone() }, [0.0, 1.0, 0.0, 0.0]),
        (Sampling { temperature: 0.5, ..plain }, [0.01 / 0.345, 0.25 / 0.345, 0.0225 / 0.345, 0.0625 / 0.345]),
        (Sampling::greedy(), [0.0, 1.0, 0.0, 0.0]),
    ];
    for (settings, want) in cases {
        let got = histogram(&settings, &shares);
        for (got, want) in got.iter().zip(want) {
            assert!((got - want).abs() < 0.03, "{settings:?} gave {got} instead of {want}");
        }
    }
}

#[test]
fn a_seed_repeats_and_no_seed_does_not() {
    let run = |seed| {
        let mut sampler = Sampler::new(Sampling { seed, ..Sampling::default() });
        (0..40).map(|_| sampler.next(&mut logits(&[0.25; 4])).0).collect::<Vec<_>>()
    };
    assert_eq!(run(Some(1)), run(Some(1)));
    assert_ne!(run(Some(1)), run(Some(2)));
    assert_ne!(run(None), run(None));
}

#[test]
fn penalties_discourage_repetition_but_leave_the_log_probability_raw() {
    let shares = [0.6, 0.4];
    let mut sampler = Sampler::new(Sampling { presence_penalty: 1.0, ..Sampling::greedy() });
    let drawn: Vec<_> = (0..3).map(|_| sampler.next(&mut logits(&shares))).collect();
    assert_eq!(drawn.iter().map(|d| d.0).collect::<Vec<_>>(), [0, 1, 0]);
    for (token, logprob) in drawn {
        assert!((logprob - shares[token as usize].ln()).abs() < 1e-5);
    }
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let plain = Sampling::default();
    let cases = [
        (Sampling { temperature: -1.0, ..plain.clone() }, "temperature is -1, but must be from 0 to 5"),
        (Sampling { temperature: f32::NAN, ..plain.clone() }, "temperature is NaN, but must be from 0 to 5"),
        (Sampling { top_p: 0.0, ..plain.clone() }, "top_p is 0, but must be above 0 and at most 1"),
        (Sampling { frequency_penalty: 3.0, ..plain.clone() }, "frequency_penalty is 3, but must be from -2 to 2"),
        (Sampling { max_tokens: Some(0), ..plain.clone() }, "max_tokens is 0, but must be at least 1"),
        (
            Sampling { stop: vec![String::new()], ..plain },
            "a stop text's length is 0, but must be from 1 to 1024 bytes",
        ),
    ];
    for (settings, want) in cases {
        assert_eq!(settings.check().unwrap_err().to_string(), want);
    }
    assert!(Sampling::greedy().check().is_ok());
}
