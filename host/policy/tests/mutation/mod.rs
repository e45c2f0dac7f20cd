//! Mutants of WebAssembly binaries: of their bytes, and of their structure with the lengths kept right.
#![allow(clippy::cast_possible_truncation, reason = "bytes are made of larger numbers")]

use std::ops::Range;

use wasm_encoder::{Encode as _, RawSection};

/// Numbers that are the same again for the same seed (SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    fn range(&mut self, length: usize, longest: usize) -> Range<usize> {
        let start = self.below(length + 1);
        start..(start + self.below(longest + 1)).min(length)
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

/// One to four changes of a binary. `others` is what strange parts are taken from.
pub(crate) fn mutant(original: &[u8], others: &[&[u8]], random: &mut Random) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for _ in 0..1 + random.below(4) {
        bytes = match random.below(4) {
            0 => scramble(bytes, others, random),
            _ => restructure(&bytes, others, random).unwrap_or_else(|| scramble(bytes, others, random)),
        };
    }
    bytes
}

/// Changes bytes, wherever they are.
fn scramble(mut bytes: Vec<u8>, others: &[&[u8]], random: &mut Random) -> Vec<u8> {
    const EXTREMES: [u8; 8] = [0, 1, 0x0b, 0x3f, 0x7f, 0x80, 0xfe, 0xff];
    if bytes.is_empty() {
        return random.bytes(8);
    }
    let at = random.below(bytes.len());
    match random.below(9) {
        0..3 => bytes[at] ^= 1 << random.below(8),
        3 => bytes[at] = EXTREMES[random.below(EXTREMES.len())],
        4 => bytes[at] = bytes[at].wrapping_add(1),
        5 => {
            let range = random.range(bytes.len(), 32);
            bytes.drain(range);
        }
        6 => {
            let range = random.range(bytes.len(), 64);
            let copy = bytes[range].to_vec();
            bytes.splice(at..at, copy);
        }
        7 => {
            let other = others[random.below(others.len())];
            let strange = other[random.range(other.len(), 64)].to_vec();
            let end = (at + strange.len()).min(bytes.len());
            bytes.splice(at..end, strange);
        }
        _ if random.one_in(4) => bytes.truncate(at),
        _ => bytes.splice(at..at, vec![0xff; 5]).for_each(drop),
    }
    bytes
}

/// A section: its number, and what is in it.
type Section = (u8, Vec<u8>);

/// Changes one section, or their order, on some level; none when these bytes have no sections.
fn restructure(bytes: &[u8], others: &[&[u8]], random: &mut Random) -> Option<Vec<u8>> {
    let (header, mut sections) = sections(bytes)?;
    if sections.is_empty() {
        return None;
    }
    let at = random.below(sections.len());
    let is_component = header[6] == 1;
    let nested = is_component && matches!(sections[at].0, 1 | 4);
    match random.below(10) {
        _ if nested && !random.one_in(4) => sections[at].1 = restructure(&sections[at].1, others, random)?,
        0 => drop(sections.remove(at)),
        1 => sections.insert(at, sections[at].clone()),
        2 => {
            let with = random.below(sections.len());
            sections.swap(at, with);
        }
        3 => {
            let strangers = self::sections(others[random.below(others.len())]).map(|(_, s)| s).unwrap_or_default();
            if let Some(stranger) = strangers.get(random.below(strangers.len().max(1))) {
                sections.insert(at, stranger.clone());
            }
        }
        4 => sections[at].0 = random.below(14) as u8,
        _ if sections[at].0 == 10 && !is_component => {
            sections[at].1 = change_function(&sections[at].1, others, random)?
        }
        _ => sections[at].1 = scramble(std::mem::take(&mut sections[at].1), others, random),
    }
    let mut whole = header;
    for (id, data) in &sections {
        whole.push(*id);
        RawSection { id: *id, data }.encode(&mut whole);
    }
    Some(whole)
}

/// A binary's first eight bytes and its sections.
fn sections(bytes: &[u8]) -> Option<(Vec<u8>, Vec<Section>)> {
    let (header, mut rest) = bytes.split_at_checked(8).filter(|(header, _)| header.starts_with(b"\0asm"))?;
    let mut sections = Vec::new();
    while let Some((id, after)) = rest.split_first() {
        let (length, after) = read_leb(after)?;
        let (content, after) = after.split_at_checked(length)?;
        sections.push((*id, content.to_vec()));
        rest = after;
    }
    Some((header.to_vec(), sections))
}

/// Changes one function of a code section.
fn change_function(code: &[u8], others: &[&[u8]], random: &mut Random) -> Option<Vec<u8>> {
    let (count, mut rest) = read_leb(code)?;
    let chosen = random.below(count.max(1));
    let mut changed = leb(count);
    for function in 0..count {
        let (length, after) = read_leb(rest)?;
        let (body, after) = after.split_at_checked(length)?;
        let body = if function == chosen { scramble(body.to_vec(), others, random) } else { body.to_vec() };
        changed.extend(leb(body.len()));
        changed.extend(body);
        rest = after;
    }
    Some(changed)
}

fn read_leb(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut number = 0;
    for (at, byte) in bytes.iter().enumerate().take(5) {
        number |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((number, &bytes[at + 1..]));
        }
    }
    None
}

pub(crate) fn leb(number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    number.encode(&mut bytes);
    bytes
}
