use std::sync::Arc;

use crate::math::{GROUP, LANES, Lanes, accumulate, softmax};

/// Positions in one page.
const PAGE: usize = 32;

/// How large one position is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KvShape {
    pub(crate) layers: usize,
    /// Key and value heads.
    pub(crate) heads: usize,
    /// Numbers in one head: a multiple of 16.
    pub(crate) head_dim: usize,
}

/// The keys and values of one token sequence, in pages that are added as it grows. A copy shares its pages until one
/// side writes to them.
///
/// Within a page and head, keys lie as [16 positions] for each dimension and values as [16 dimensions] for each
/// position, so that scores and sums are both taken without crossing lanes.
#[derive(Clone)]
pub(crate) struct KvCache {
    shape: KvShape,
    pages: Vec<Arc<Page>>,
    len: usize,
}

/// Which tokens a row's token sees.
#[derive(Clone, Copy)]
pub(crate) enum Sight {
    /// Row `i` stands at position `first + i` and sees itself and what is before it.
    Before {
        /// The first row's position.
        first: usize,
    },
    /// All that the cache counts as present.
    All,
}

#[derive(Clone)]
struct Page {
    keys: Box<[Lanes]>,
    values: Box<[Lanes]>,
}

impl KvShape {
    /// Bytes that one page takes, keys and values of all layers.
    pub(crate) fn page_bytes(self) -> usize {
        2 * self.layers * self.heads * self.head_lanes() * size_of::<Lanes>()
    }

    /// Bytes that one token takes.
    pub(crate) fn token_bytes(self) -> usize {
        self.page_bytes() / PAGE
    }

    /// Registers that one head's keys (or values) take in one page.
    fn head_lanes(self) -> usize {
        PAGE * self.head_dim / LANES
    }
}

impl KvCache {
    pub(crate) fn new(shape: KvShape) -> Self {
        KvCache { shape, pages: Vec::new(), len: 0 }
    }

    /// Tokens it holds.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Memory it holds, pages shared with others included.
    pub(crate) fn bytes(&self) -> usize {
        self.pages.len() * self.shape.page_bytes()
    }

    /// Forgets all but the first `len` tokens.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        self.pages.truncate(self.len.div_ceil(PAGE));
    }

    /// Makes room for `count` more tokens, whose keys and values [`Self::store`] then writes.
    pub(crate) fn reserve(&mut self, count: usize) {
        let lanes = self.shape.layers * self.shape.heads * self.shape.head_lanes();
        let empty = || vec![[0.0; LANES]; lanes].into_boxed_slice();
        while self.pages.len() * PAGE < self.len + count {
            self.pages.push(Arc::new(Page { keys: empty(), values: empty() }));
        }
    }

    /// Counts `count` tokens, written in every layer, as present.
    pub(crate) fn commit(&mut self, count: usize) {
        self.len += count;
    }

    /// Writes one token's keys and values (all heads, one after another) at `position` of `layer`.
    pub(crate) fn store(&mut self, layer: usize, position: usize, keys: &[f32], values: &[f32]) {
        let (shape, slot) = (self.shape, position % PAGE);
        let page = Arc::make_mut(&mut self.pages[position / PAGE]);
        for head in 0..shape.heads {
            let start = (layer * shape.heads + head) * shape.head_lanes();
            let key = &keys[head * shape.head_dim..][..shape.head_dim];
            let panel = &mut page.keys[start + slot / LANES * shape.head_dim..][..shape.head_dim];
            for (lanes, k) in panel.iter_mut().zip(key) {
                lanes[slot % LANES] = *k;
            }
            let value = values[head * shape.head_dim..][..shape.head_dim].as_chunks().0;
            for (i, v) in value.iter().enumerate() {
                page.values[start + i * PAGE + slot] = *v;
            }
        }
    }

    /// Attention of several tokens in `layer`. Each row has `heads` query heads, which share this cache's heads evenly.
    pub(crate) fn attend(&self, layer: usize, sight: Sight, queries: &[f32], heads: usize, out: &mut [f32]) {
        let shape = self.shape;
        let shared = heads / shape.heads;
        let width = heads * shape.head_dim;
        let rows = queries.len() / width;
        let mut scores: [Vec<f32>; GROUP] = Default::default();
        for head in 0..shape.heads {
            // All queries that read this head: each row has `shared` of them.
            let query = |i: usize| (i / shared) * width + (head * shared + i % shared) * shape.head_dim;
            let count = rows * shared;
            for start in (0..count).step_by(GROUP) {
                // A short group repeats its last query rather than have code of its own.
                let picked: [usize; GROUP] = std::array::from_fn(|m| (start + m).min(count - 1));
                let visible = picked.map(|i| match sight {
                    Sight::Before { first } => first + i / shared + 1,
                    Sight::All => self.len,
                });
                let x = picked.map(|i| &queries[query(i)..][..shape.head_dim]);
                self.score(layer, head, x, visible, &mut scores);
                let scale = scores.each_mut().map(|scores| softmax(scores));
                // What a token does not see has no weight, and neither has what the last page does not hold yet.
                let whole_pages = visible[GROUP - 1].next_multiple_of(PAGE);
                scores.iter_mut().for_each(|scores| scores.resize(whole_pages, 0.0));
                let weights = scores.each_ref().map(Vec::as_slice);
                for chunk in 0..shape.head_dim / LANES {
                    let sums = self.mix(layer, head, chunk, weights);
                    for m in 0..GROUP.min(count - start) {
                        let to = &mut out[query(start + m) + chunk * LANES..][..LANES];
                        to.iter_mut().zip(sums[m]).for_each(|(to, sum)| *to = sum * scale[m]);
                    }
                }
            }
        }
    }

    /// Scaled products of each query with the keys that it sees.
    fn score(
        &self,
        layer: usize,
        head: usize,
        x: [&[f32]; GROUP],
        visible: [usize; GROUP],
        scores: &mut [Vec<f32>; GROUP],
    ) {
        let shape = self.shape;
        let scale = 1.0 / (shape.head_dim as f32).sqrt();
        let longest = visible[GROUP - 1];
        scores.iter_mut().for_each(Vec::clear);
        for block in 0..longest.div_ceil(LANES) {
            let page = &self.pages[block * LANES / PAGE];
            let start = (layer * shape.heads + head) * shape.head_lanes();
            let panel = &page.keys[start + block % (PAGE / LANES) * shape.head_dim..][..shape.head_dim];
            let mut sums = [[0.0; LANES]; GROUP];
            accumulate(panel, x, &mut sums);
            for m in 0..GROUP {
                scores[m].extend(sums[m].map(|sum| sum * scale));
            }
        }
        for m in 0..GROUP {
            scores[m].truncate(visible[m]);
        }
    }

    /// Sixteen dimensions of the values, weighted. All `weights` have the same length, a number of whole pages.
    fn mix(&self, layer: usize, head: usize, chunk: usize, weights: [&[f32]; GROUP]) -> [Lanes; GROUP] {
        let shape = self.shape;
        let start = (layer * shape.heads + head) * shape.head_lanes() + chunk * PAGE;
        let mut sums = [[0.0; LANES]; GROUP];
        for (i, page) in self.pages[..weights[0].len() / PAGE].iter().enumerate() {
            accumulate(&page.values[start..][..PAGE], weights.map(|w| &w[i * PAGE..][..PAGE]), &mut sums);
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: usize, len: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7919 + seed * 104_729) as f32 * 0.123).sin()).collect()
    }

    #[test]
    fn attention_equals_its_definition_however_the_rows_are_grouped() {
        let (heads, shape) = (6, KvShape { layers: 2, heads: 2, head_dim: 32 });
        let (count, kv_width, width) = (75, 2 * 32, 6 * 32);
        let (keys, values, queries) = (noise(1, count * kv_width), noise(2, count * kv_width), noise(3, count * width));
        let mut cache = KvCache::new(shape);
        cache.reserve(count);
        for i in 0..count {
            cache.store(1, i, &keys[i * kv_width..][..kv_width], &values[i * kv_width..][..kv_width]);
        }
        cache.commit(count);
        let mut together = vec![0.0; count * width];
        cache.attend(1, Sight::Before { first: 0 }, &queries, heads, &mut together);

        for i in 0..count {
            let mut alone = vec![0.0; width];
            cache.attend(1, Sight::Before { first: i }, &queries[i * width..][..width], heads, &mut alone);
            assert_eq!(alone, together[i * width..][..width], "row {i} depends on its neighbours");
            for head in 0..heads {
                let (q, kv) = (&queries[i * width + head * 32..][..32], head / 3 * 32);
                let at = |of: &[f32], t: usize, d: usize| f64::from(of[t * kv_width + kv + d]);
                let weights: Vec<f64> = (0..=i)
                    .map(|t| (0..32).map(|d| f64::from(q[d]) * at(&keys, t, d)).sum::<f64>() / 32f64.sqrt())
                    .map(f64::exp)
                    .collect();
                let sum: f64 = weights.iter().sum();
                for d in 0..32 {
                    let want: f64 = weights.iter().enumerate().map(|(t, w)| w / sum * at(&values, t, d)).sum();
                    assert!((f64::from(alone[head * 32 + d]) - want).abs() < 1e-5);
                }
            }
        }
        let mut all = vec![0.0; width];
        cache.attend(1, Sight::All, &queries[74 * width..], heads, &mut all);
        assert_eq!(all, together[74 * width..], "the last one sees all");
        let copy = cache.clone();
        cache.store(1, 0, &[9.0; 64], &[9.0; 64]);
        let mut after = vec![0.0; width];
        copy.attend(1, Sight::Before { first: 74 }, &queries[74 * width..], heads, &mut after);
        assert_eq!(after, together[74 * width..], "a copy changed with its original");

        assert_eq!(cache.bytes(), 3 * shape.page_bytes());
        cache.truncate(33);
        assert_eq!((cache.len(), cache.bytes()), (33, 2 * shape.page_bytes()));
    }
}
