//! Vectors in 8 bits, and what a question has to do with each of many.

/// Numbers worked on side by side.
const LANES: usize = 16;

/// One vector of length 1: `values * scale`. A cosine is off by a thousandth or two, and takes a quarter of the memory.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Vector {
    pub(crate) scale: f32,
    pub(crate) values: Box<[i8]>,
}

/// The vectors of a library's skills, by position, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Table {
    dims: usize,
    /// The score that the best skill must reach.
    threshold: f32,
    values: Vec<i8>,
    /// 0 for a skill whose vector is not known yet.
    scales: Vec<f32>,
    complete: bool,
}

impl Vector {
    pub(crate) fn of(vector: &[f32]) -> Self {
        let largest = vector.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        let scale = largest / 127.0;
        #[expect(clippy::cast_possible_truncation, reason = "within -127 to 127 by the scale")]
        let round = |x: &f32| if scale > 0.0 { (x / scale).round() as i8 } else { 0 };
        Vector { scale, values: vector.iter().map(round).collect() }
    }
}

impl Table {
    /// The vectors in order, none where it is not known.
    pub(crate) fn of<'a>(dims: usize, threshold: f32, vectors: impl Iterator<Item = Option<&'a Vector>>) -> Self {
        let mut table = Table { dims, threshold, complete: true, ..Table::default() };
        for vector in vectors {
            match vector.filter(|vector| vector.values.len() == dims) {
                Some(vector) => {
                    table.values.extend_from_slice(&vector.values);
                    table.scales.push(vector.scale);
                }
                None => {
                    table.values.resize(table.values.len() + dims, 0);
                    table.scales.push(0.0);
                    table.complete = false;
                }
            }
        }
        table
    }

    /// Whether every skill's vector is known.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete
    }

    pub(crate) fn dims(&self) -> usize {
        self.dims
    }

    /// How many bytes its numbers take.
    pub(crate) fn size(&self) -> usize {
        self.values.len() + size_of_val(self.scales.as_slice())
    }

    pub(crate) fn threshold(&self) -> f32 {
        self.threshold
    }

    /// The cosine of each skill with a question; none where the skill's vector is not known. Nothing when the question's
    /// vector is another model's.
    pub(crate) fn cosines(&self, question: &[f32]) -> Vec<Option<f32>> {
        if question.len() != self.dims || self.dims == 0 {
            return vec![None; self.scales.len()];
        }
        let rows = self.values.chunks_exact(self.dims).zip(&self.scales);
        rows.map(|(row, scale)| (*scale > 0.0).then(|| dot(row, question) * scale)).collect()
    }

    /// One skill's vector.
    pub(crate) fn row(&self, at: usize) -> Option<Vec<f32>> {
        let scale = *self.scales.get(at).filter(|scale| **scale > 0.0)?;
        Some(self.values[at * self.dims..][..self.dims].iter().map(|x| f32::from(*x) * scale).collect())
    }
}

fn dot(row: &[i8], question: &[f32]) -> f32 {
    let (rows, row_rest) = row.as_chunks::<LANES>();
    let (questions, question_rest) = question.as_chunks::<LANES>();
    let mut sums = [0.0f32; LANES];
    for (row, question) in rows.iter().zip(questions) {
        for lane in 0..LANES {
            sums[lane] += f32::from(row[lane]) * question[lane];
        }
    }
    let rest: f32 = row_rest.iter().zip(question_rest).map(|(x, q)| f32::from(*x) * q).sum();
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(seed: usize, dims: usize) -> Vec<f32> {
        let numbers: Vec<f32> = (0..dims).map(|i| ((seed * 7919 + i * 104_729) % 2003) as f32 / 1001.5 - 1.0).collect();
        let length = numbers.iter().map(|x| x * x).sum::<f32>().sqrt();
        numbers.iter().map(|x| x / length).collect()
    }

    #[test]
    fn eight_bits_are_enough_for_a_cosine() {
        for dims in [1, 15, 256, 384] {
            let vectors: Vec<Vec<f32>> = (0..50).map(|seed| unit(seed, dims)).collect();
            let packed: Vec<Vector> = vectors.iter().map(|vector| Vector::of(vector)).collect();
            let table = Table::of(dims, 0.0, packed.iter().map(Some));
            let question = unit(1000, dims);
            for (vector, cosine) in vectors.iter().zip(table.cosines(&question)) {
                let exact: f32 = vector.iter().zip(&question).map(|(a, b)| a * b).sum();
                assert!((cosine.unwrap() - exact).abs() < 5e-3, "{dims}: {cosine:?} {exact}");
            }
        }
    }

    #[test]
    fn what_is_not_known_has_no_cosine() {
        let (a, zero) = (Vector::of(&[0.6, 0.8]), Vector::of(&[0.0, 0.0]));
        let table = Table::of(2, 0.3, [Some(&a), None, Some(&zero), Some(&Vector::of(&[1.0]))].into_iter());
        assert!(!table.is_complete());
        let cosines = table.cosines(&[0.6, 0.8]);
        assert!((cosines[0].unwrap() - 1.0).abs() < 0.01 && cosines[1..].iter().all(Option::is_none));
        assert!(table.cosines(&[1.0]).iter().all(Option::is_none), "another model's question");
        assert!(table.row(0).is_some() && table.row(1).is_none() && table.row(9).is_none());
    }
}
