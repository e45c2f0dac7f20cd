//! A safetensors file taken apart, so that it can be put together wrongly.

use serde_json::{Map, Value, json};

pub(crate) struct SafetensorsFile {
    pub(crate) header: Map<String, Value>,
    pub(crate) data: Vec<u8>,
}

impl SafetensorsFile {
    pub(crate) fn open(bytes: &[u8]) -> Self {
        let (length, rest) = bytes.split_first_chunk().unwrap();
        let (header, data) = rest.split_at(usize::try_from(u64::from_le_bytes(*length)).unwrap());
        SafetensorsFile { header: serde_json::from_slice(header).unwrap(), data: data.to_vec() }
    }

    pub(crate) fn close(&self) -> Vec<u8> {
        with_header(&serde_json::to_vec(&self.header).unwrap(), &self.data)
    }

    /// The entry of the first tensor whose name holds `part`.
    pub(crate) fn entry(&mut self, part: &str) -> &mut Value {
        self.header.iter_mut().find(|(name, _)| name.contains(part)).unwrap().1
    }

    fn range(&mut self, part: &str) -> std::ops::Range<usize> {
        let of = |i: usize, entry: &Value| usize::try_from(entry["data_offsets"][i].as_u64().unwrap()).unwrap();
        let entry = self.entry(part);
        of(0, entry)..of(1, entry)
    }

    /// Writes over the beginning of a tensor.
    pub(crate) fn overwrite(&mut self, part: &str, bytes: &[u8]) {
        let start = self.range(part).start;
        self.data[start..start + bytes.len()].copy_from_slice(bytes);
    }

    /// Adds a tensor at the end.
    pub(crate) fn append(&mut self, name: &str, dtype: &str, shape: &[usize], bytes: &[u8]) {
        let start = self.data.len();
        self.data.extend_from_slice(bytes);
        let entry = json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, self.data.len()] });
        self.header.insert(name.to_owned(), entry);
    }

    /// Takes a tensor out, with its numbers.
    pub(crate) fn remove(&mut self, part: &str) {
        let range = self.range(part);
        let name = self.header.keys().find(|name| name.contains(part)).unwrap().clone();
        self.header.remove(&name);
        self.data.drain(range.clone());
        for entry in self.header.values_mut() {
            if entry["data_offsets"][0].as_u64().is_some_and(|start| start >= range.end as u64) {
                for i in 0..2 {
                    entry["data_offsets"][i] = (entry["data_offsets"][i].as_u64().unwrap() - range.len() as u64).into();
                }
            }
        }
    }

    /// Every number as 16 bits, by what turns one into its bytes.
    pub(crate) fn narrowed(&self, dtype: &str, narrow: impl Fn(f32) -> [u8; 2]) -> Vec<u8> {
        let mut header = self.header.clone();
        for (_, entry) in header.iter_mut().filter(|(name, _)| *name != "__metadata__") {
            entry["dtype"] = dtype.into();
            for i in 0..2 {
                entry["data_offsets"][i] = (entry["data_offsets"][i].as_u64().unwrap() / 2).into();
            }
        }
        let numbers = self.data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
        SafetensorsFile { header, data: numbers.flat_map(narrow).collect() }.close()
    }
}

pub(crate) fn with_header(header: &[u8], data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header, data].concat()
}
