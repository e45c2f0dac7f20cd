use super::parameters::Parameters;
use super::{AdamW, Optim};
use crate::ModelError;
use crate::math::narrow;

/// What AdamW remembers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Moments {
    pub(crate) first: Parameters,
    pub(crate) second: Parameters,
    /// Steps taken.
    pub(crate) steps: u64,
}

impl AdamW {
    fn check(&self) -> Result<(), ModelError> {
        let numbers = [self.learning_rate, self.eps, self.weight_decay, self.clip_norm];
        let sound = numbers.iter().all(|x| x.is_finite() && *x >= 0.0);
        if sound && [self.beta1, self.beta2].iter().all(|beta| (0.0..1.0).contains(beta)) {
            return Ok(());
        }
        Err(ModelError::Training(format!("a setting of AdamW is out of its range: {self:?}")))
    }

    /// One step: PyTorch's AdamW, after `clip_grad_norm_`.
    pub(super) fn step(
        &self,
        parameters: &mut Parameters,
        gradients: &Parameters,
        moments: &mut Moments,
    ) -> Result<Optim, ModelError> {
        self.check()?;
        let grad_norm = norm(gradients);
        if !grad_norm.is_finite() {
            return Err(ModelError::Training("its gradients are not finite".to_owned()));
        }
        let limit = f64::from(self.clip_norm);
        let clipped = limit > 0.0 && grad_norm > limit;
        let shorten = if clipped { limit / (grad_norm + 1e-6) } else { 1.0 };

        moments.steps += 1;
        let (beta1, beta2) = (f64::from(self.beta1), f64::from(self.beta2));
        let steps = i32::try_from(moments.steps).unwrap_or(i32::MAX);
        let (left1, left2) = (1.0 - beta1.powi(steps), 1.0 - beta2.powi(steps));
        let rate = f64::from(self.learning_rate);
        let (decay, eps) = (1.0 - rate * f64::from(self.weight_decay), f64::from(self.eps));
        let mut moved = 0.0;
        let all = parameters.matrices_mut().zip(gradients.matrices());
        let remembered = moments.first.matrices_mut().zip(moments.second.matrices_mut());
        for ((parameters, gradients), (first, second)) in all.zip(remembered) {
            let each = parameters.iter_mut().zip(gradients).zip(first.iter_mut().zip(second));
            for ((parameter, gradient), (first, second)) in each {
                let gradient = f64::from(*gradient) * shorten;
                *first = narrow(beta1 * f64::from(*first) + (1.0 - beta1) * gradient);
                *second = narrow(beta2 * f64::from(*second) + (1.0 - beta2) * gradient * gradient);
                let step = f64::from(*first) / left1 / ((f64::from(*second) / left2).sqrt() + eps);
                let before = *parameter;
                *parameter = narrow(f64::from(before) * decay - rate * step);
                moved += f64::from(*parameter - before).powi(2);
            }
        }
        Ok(Optim { grad_norm, clipped, update_norm: moved.sqrt(), parameter_norm: norm(parameters) })
    }
}

/// The square root of the sum of all squares.
fn norm(parameters: &Parameters) -> f64 {
    parameters.matrices().flatten().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt()
}
