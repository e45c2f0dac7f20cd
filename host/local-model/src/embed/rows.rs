use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::ModelError;
use crate::gguf::Gguf;

/// A table of vectors that is looked up, never multiplied: rows of 16-bit numbers, one after the other.
pub(super) struct Rows {
    width: usize,
    values: Vec<f16>,
}

impl Rows {
    /// Reads the tensor `name`, which has `count` rows of `width` numbers.
    pub(super) fn read(gguf: &mut Gguf, name: &str, count: usize, width: usize) -> Result<Self, ModelError> {
        let tensor = gguf.tensor(name)?;
        let shape = tensor.shape().clone();
        if shape.dims() != [count, width] {
            return Err(gguf.error(format!("`{name}` is {shape:?} instead of {count} by {width}")));
        }
        let values = gguf.numbers_f16(name, &tensor)?;
        if width == 0 || values.len() / width != count {
            return Err(gguf.error(format!("`{name}` is not as large as {count} by {width}")));
        }
        Ok(Rows { width, values })
    }

    /// How long a row is.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Writes row `row` to `out`, which is as long as a row. False when there is no such row.
    pub(super) fn get(&self, row: u32, out: &mut [f32]) -> bool {
        let start = row as usize * self.width;
        let Some(row) = self.values.get(start..start + self.width) else { return false };
        row.convert_to_f32_slice(out);
        true
    }
}
