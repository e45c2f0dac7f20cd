//! What chance would do by itself: the tests that a gate and a rollback decide by.

use std::collections::HashMap;

use store::Rewarded;

/// How many numbers there are, and what they are like.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Summary {
    pub(crate) count: u64,
    pub(crate) mean: f64,
    /// Of the population they were drawn from, as estimated.
    pub(crate) variance: f64,
}

impl Summary {
    pub(crate) fn of(numbers: &[f64]) -> Self {
        let count = numbers.len() as f64;
        let mean = numbers.iter().sum::<f64>() / count.max(1.0);
        let squares: f64 = numbers.iter().map(|number| (number - mean).powi(2)).sum();
        Summary { count: numbers.len() as u64, mean, variance: squares / (count - 1.0).max(1.0) }
    }
}

/// The mean reward of each group of answers that are not independent: those of one conversation, and those to one prompt. What is easy
/// or hard about it is the same for all of them, so that eight answers of a group say little more about an adapter than one.
pub(crate) fn independent(answers: &[Rewarded]) -> Vec<f64> {
    // Each answer points to an earlier one of its group, or to itself.
    let mut earlier: Vec<usize> = (0..answers.len()).collect();
    let first_of = |earlier: &[usize], mut at: usize| {
        while earlier[at] != at {
            at = earlier[at];
        }
        at
    };
    let (mut sessions, mut prompts) = (HashMap::new(), HashMap::new());
    for (at, answer) in answers.iter().enumerate() {
        let same_session = *sessions.entry(answer.session).or_insert(at);
        let same_prompt = answer.prompt_key.map_or(at, |key| *prompts.entry(key).or_insert(at));
        for other in [same_session, same_prompt] {
            let (one, other) = (first_of(&earlier, at), first_of(&earlier, other));
            earlier[one.max(other)] = one.min(other);
        }
    }
    let mut groups = vec![(0.0, 0u32); answers.len()];
    for (at, answer) in answers.iter().enumerate() {
        let (sum, count) = &mut groups[first_of(&earlier, at)];
        *sum += answer.reward;
        *count += 1;
    }
    groups.into_iter().filter(|(_, count)| *count > 0).map(|(sum, count)| sum / f64::from(count)).collect()
}

/// How likely at least so many losses among so many decided pairs are, when neither side is better. Ties say nothing and are left out
/// beforehand. One-sided and exact.
pub(crate) fn sign_test(wins: u64, losses: u64) -> f64 {
    let pairs = wins + losses;
    // In logarithms, for 2^-pairs and the coefficients leave f64's range long before the sum does.
    let mut coefficient = 0.0f64;
    let mut sum = 0.0;
    for k in 0..=pairs {
        if k > 0 {
            coefficient += ((pairs - k + 1) as f64).ln() - (k as f64).ln();
        }
        if k >= losses {
            sum += (coefficient - pairs as f64 * std::f64::consts::LN_2).exp();
        }
    }
    sum.min(1.0)
}

/// How likely a mean so far below the old one is, when both are drawn from the same: Welch's test, one-sided. 1 when there is nothing to
/// compare.
pub(crate) fn chance_of_fall(old: Summary, new: Summary) -> f64 {
    if old.count < 2 || new.count < 2 {
        return 1.0;
    }
    let (old_share, new_share) = (old.variance / old.count as f64, new.variance / new.count as f64);
    let spread = old_share + new_share;
    let fall = old.mean - new.mean;
    if spread <= f64::EPSILON {
        return if fall > 1e-6 { 0.0 } else { 1.0 };
    }
    let freedom = spread * spread
        / (old_share * old_share / (old.count - 1) as f64 + new_share * new_share / (new.count - 1) as f64);
    student_above(fall / spread.sqrt(), freedom)
}

/// The chance that Student's t with so many degrees of freedom is above `t`.
fn student_above(t: f64, freedom: f64) -> f64 {
    let tail = 0.5 * incomplete_beta(freedom / (freedom + t * t), freedom / 2.0, 0.5);
    if t >= 0.0 { tail } else { 1.0 - tail }
}

/// The regularised incomplete beta function, by Lentz's continued fraction.
fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    // The fraction converges fast on this side of the mean only.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(1.0 - x, b, a);
    }
    const TINY: f64 = 1e-300;
    let nonzero = |value: f64| if value.abs() < TINY { TINY } else { value };
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (1.0 - x).ln()).exp() / a;
    let mut c = 1.0;
    let mut d = 1.0 / nonzero(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for step in 1..300 {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut change = 1.0;
        for numerator in [even, odd] {
            d = 1.0 / nonzero(1.0 + numerator * d);
            c = nonzero(1.0 + numerator / c);
            change = d * c;
            fraction *= change;
        }
        if (change - 1.0).abs() < 1e-14 {
            break;
        }
    }
    front * fraction
}

/// The logarithm of the gamma function, by Lanczos' approximation, for positive numbers.
fn ln_gamma(x: f64) -> f64 {
    const PARTS: [f64; 8] = [
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    if x < 0.5 {
        return std::f64::consts::PI.ln() - (std::f64::consts::PI * x).sin().ln() - ln_gamma(1.0 - x);
    }
    let x = x - 1.0;
    let sum = PARTS.iter().zip(1..).fold(0.999_999_999_999_809_9, |sum, (part, i)| sum + part / (x + f64::from(i)));
    let t = x + 7.5;
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sign_test_is_the_binomial_one() {
        for (wins, losses, chance) in [
            (0, 0, 1.0),
            (5, 0, 1.0),
            (0, 5, 0.031_25),
            (2, 8, 0.054_687_5),
            (1, 9, 0.010_742_187_5),
            (4, 4, 0.636_718_75),
            (400, 600, 1.364_232e-10),
        ] {
            let found = sign_test(wins, losses);
            assert!((found - chance).abs() < 1e-6 * chance.max(1e-9), "{wins}:{losses} {found} instead of {chance}");
        }
    }

    /// Values of the tables of Student's distribution.
    #[test]
    fn students_tail_is_the_known_one() {
        for (t, freedom, chance) in [
            (0.0, 5.0, 0.5),
            (1.0, 1.0, 0.25),
            (2.015_048, 5.0, 0.05),
            (3.364_930, 5.0, 0.01),
            (-2.015_048, 5.0, 0.95),
            (2.763_769, 10.0, 0.01),
            (2.364_217, 100.0, 0.01),
            (1.644_854, 1e9, 0.05),
        ] {
            let found = student_above(t, freedom);
            assert!((found - chance).abs() < 1e-6, "t={t} with {freedom}: {found} instead of {chance}");
        }
    }

    #[test]
    fn answers_of_one_conversation_or_to_one_prompt_count_once() {
        let answer = |session: u128, prompt: Option<u8>, reward: f64| Rewarded {
            reward,
            session: uuid::Uuid::from_u128(session),
            prompt_key: prompt.map(|key| [key; 16]),
        };
        assert!(independent(&[]).is_empty());
        assert_eq!(independent(&[answer(1, None, 1.0), answer(2, None, 0.5)]), [1.0, 0.5]);
        assert_eq!(independent(&[answer(1, Some(1), 1.0), answer(1, Some(2), 0.5), answer(1, None, 0.0)]), [0.5]);
        assert_eq!(
            independent(&[answer(1, Some(7), 1.0), answer(2, Some(7), 0.0), answer(3, Some(8), -1.0)]),
            [0.5, -1.0]
        );
        // The last one joins what was two groups: by its conversation one, by its prompt the other.
        let chain =
            [answer(1, Some(1), 1.0), answer(2, Some(2), 0.0), answer(3, Some(3), 9.0), answer(1, Some(2), 0.5)];
        assert_eq!(independent(&chain), [0.5, 9.0]);
    }

    #[test]
    fn a_fall_is_told_from_chance() {
        let of = |count, mean, variance| Summary { count, mean, variance };
        assert!(chance_of_fall(of(8, 0.5, 0.1), of(8, -0.5, 0.1)) < 0.001);
        assert!(chance_of_fall(of(8, 0.5, 0.1), of(8, 0.4, 0.1)) > 0.2);
        assert!(chance_of_fall(of(8, -0.5, 0.1), of(8, 0.5, 0.1)) > 0.999);
        assert_eq!(chance_of_fall(of(8, 1.0, 0.0), of(8, -1.0, 0.0)), 0.0);
        assert_eq!(chance_of_fall(of(8, 1.0, 0.0), of(8, 1.0, 0.0)), 1.0);
        assert_eq!(chance_of_fall(of(1, 1.0, 0.0), of(8, -1.0, 0.0)), 1.0, "one sample says nothing");
        // t = 2.195775 with 12.035088 degrees of freedom, its density summed numerically.
        let chance = chance_of_fall(of(10, 3.0, 4.0), of(15, 1.5, 1.0));
        assert!((chance - 0.024_220).abs() < 1e-5, "{chance}");
    }
}
