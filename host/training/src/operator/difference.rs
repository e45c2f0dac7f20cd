//! How far two adapters are from one another.

use std::collections::BTreeMap;

use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};

/// The numbers of an adapter, by the names that PEFT gives its matrices.
type Matrices = BTreeMap<String, Vec<f32>>;

/// Sums of squares over some matrices.
#[derive(Clone, Copy, Default)]
struct Sums {
    first: f64,
    second: f64,
    between: f64,
}

/// Compares the matrices of two adapters: all together, and by projection. No files: the model alone, which adds nothing.
pub(super) fn difference(first: &[(String, Vec<u8>)], second: &[(String, Vec<u8>)]) -> Result<Value, String> {
    let (first, second) = (matrices(first)?, matrices(second)?);
    let mut all = Sums::default();
    let mut by_projection: BTreeMap<&str, Sums> = BTreeMap::new();
    let names: std::collections::BTreeSet<&String> = first.keys().chain(second.keys()).collect();
    for name in names {
        let (a, b) = (first.get(name).map(Vec::as_slice), second.get(name).map(Vec::as_slice));
        let at =
            |matrix: Option<&[f32]>, place: usize| f64::from(matrix.and_then(|m| m.get(place)).copied().unwrap_or(0.0));
        let mut sums = Sums::default();
        for place in 0..a.map_or(0, <[f32]>::len).max(b.map_or(0, <[f32]>::len)) {
            let (a, b) = (at(a, place), at(b, place));
            sums.add(Sums { first: a * a, second: b * b, between: (a - b) * (a - b) });
        }
        all.add(sums);
        by_projection.entry(projection(name)).or_default().add(sums);
    }
    let projections: BTreeMap<&str, Value> =
        by_projection.into_iter().map(|(name, sums)| (name, sums.json())).collect();
    let mut value = all.json();
    value["projections"] = json!(projections);
    Ok(value)
}

impl Sums {
    fn add(&mut self, other: Sums) {
        self.first += other.first;
        self.second += other.second;
        self.between += other.between;
    }

    fn json(self) -> Value {
        json!({"norm_from": self.first.sqrt(), "norm_to": self.second.sqrt(), "distance": self.between.sqrt()})
    }
}

fn matrices(files: &[(String, Vec<u8>)]) -> Result<Matrices, String> {
    let Some((_, bytes)) = files.iter().find(|(name, _)| name == adapters::WEIGHTS_FILE) else {
        return Ok(Matrices::new());
    };
    let tensors = SafeTensors::deserialize(bytes).map_err(|error| format!("its matrices cannot be read: {error}"))?;
    let matrix = |(name, view): (String, safetensors::tensor::TensorView<'_>)| match view.dtype() {
        Dtype::F32 => {
            let (numbers, _) = view.data().as_chunks::<4>();
            Ok((name, numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()))
        }
        other => Err(format!("its matrix {name} is of {other:?}, and only F32 is compared")),
    };
    tensors.tensors().into_iter().map(matrix).collect()
}

/// `q_proj` of `base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight`.
fn projection(name: &str) -> &str {
    name.split('.').find(|part| part.ends_with("_proj")).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::TensorView;

    use super::*;

    fn files(matrices: &[(&str, &[f32])]) -> Vec<(String, Vec<u8>)> {
        let bytes: Vec<Vec<u8>> =
            matrices.iter().map(|(_, numbers)| numbers.iter().flat_map(|n| n.to_le_bytes()).collect()).collect();
        let views = matrices
            .iter()
            .zip(&bytes)
            .map(|((name, numbers), bytes)| (*name, TensorView::new(Dtype::F32, vec![numbers.len()], bytes).unwrap()));
        vec![(adapters::WEIGHTS_FILE.to_owned(), safetensors::serialize(views, None).unwrap())]
    }

    #[test]
    fn the_distance_is_that_of_all_matrices_together() {
        let one = files(&[("l.0.q_proj.lora_A.weight", &[3.0, 0.0]), ("l.0.up_proj.lora_A.weight", &[0.0, 4.0])]);
        let other = files(&[("l.0.q_proj.lora_A.weight", &[3.0, 4.0]), ("l.0.up_proj.lora_A.weight", &[3.0, 4.0])]);
        let found = difference(&one, &other).unwrap();
        assert_eq!((&found["norm_from"], &found["distance"]), (&json!(5.0), &json!(5.0)), "{found:#}");
        assert_eq!(found["projections"]["q_proj"], json!({"norm_from": 3.0, "norm_to": 5.0, "distance": 4.0}));
        assert_eq!(difference(&[], &one).unwrap()["distance"], json!(5.0), "the model alone is nothing");
        assert_eq!(difference(&one, &one).unwrap()["distance"], json!(0.0));
        let broken = vec![(adapters::WEIGHTS_FILE.to_owned(), vec![1, 2, 3])];
        assert!(difference(&broken, &one).unwrap_err().contains("cannot be read"));
    }
}
