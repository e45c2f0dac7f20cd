//! Cutting a request body into pieces that come back.
//!
//! A client sends the whole conversation again with every turn. The body is cut at the commas of the top-level object
//! and at the elements of its arrays (messages, tools), each piece is stored once, and a turn keeps the pieces'
//! numbers. The pieces one after another *are* the body, byte for byte, wherever the cuts fall: so the scanner need
//! not understand JSON fully, and a body that is no JSON is simply one piece.

/// The shortest piece worth a row of its own, in bytes.
const SHORTEST: usize = 32;
/// The most pieces of one body; what follows is one piece.
const MOST: usize = 1 << 14;
/// The most numbers in a recipe that is read back; guards against a damaged one that claims billions.
const MOST_NUMBERS: usize = 1 << 20;

/// Where a piece ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Offset of the first byte after the piece.
    pub(crate) end: usize,
    /// What surrounds that place, so that cutting can go on from there.
    pub(crate) place: Place,
}

/// A place between two values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Place {
    /// Outside the object.
    #[default]
    Outside,
    /// Between the members of the top-level object.
    Object,
    /// Between the elements of an array that is a member of that object.
    Array,
}

/// Cuts `body[from..]`, which begins at a place of kind `place`. The last cut is always the end of the body, unless
/// nothing is left to cut.
pub(crate) fn cut(body: &[u8], from: usize, place: Place) -> Vec<Cut> {
    let mut cuts = Vec::new();
    let mut start = from;
    let mut at = from;
    let mut depth = match place {
        Place::Outside => 0_usize,
        Place::Object => 1,
        Place::Array => 2,
    };
    let mut in_array = place == Place::Array;
    let mut cut_at = |end: usize, place: Place| {
        if end - start >= SHORTEST && cuts.len() < MOST {
            cuts.push(Cut { end, place });
            start = end;
        }
    };
    while let Some(&byte) = body.get(at) {
        match byte {
            b'"' => {
                at = after_string(body, at + 1);
                continue;
            }
            b'{' | b'[' => {
                depth += 1;
                if depth == 2 {
                    in_array = byte == b'[';
                    if in_array {
                        cut_at(at + 1, Place::Array);
                    }
                }
            }
            b'}' | b']' => {
                if depth == 2 && in_array {
                    cut_at(at, Place::Array);
                }
                depth = depth.saturating_sub(1);
            }
            b',' if depth == 1 => cut_at(at, Place::Object),
            b',' if depth == 2 && in_array => cut_at(at, Place::Array),
            _ => {}
        }
        at += 1;
    }
    if start < body.len() {
        let place = match depth {
            1 => Place::Object,
            2 if in_array => Place::Array,
            _ => Place::Outside,
        };
        cuts.push(Cut { end: body.len(), place });
    }
    cuts
}

/// The offset after the string whose first byte is at `at`; the end of the body if it never ends.
fn after_string(body: &[u8], mut at: usize) -> usize {
    while let Some(rest) = body.get(at..) {
        match memchr::memchr2(b'"', b'\\', rest) {
            Some(found) if rest[found] == b'"' => return at + found + 1,
            Some(found) => at += found + 2,
            None => break,
        }
    }
    body.len()
}

/// How many bytes `a` and `b` have in common at their beginning.
pub(crate) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    /// Compared at once; the machine's `memcmp` does a block in well under a microsecond.
    const BLOCK: usize = 4096;
    let same = a.chunks(BLOCK).zip(b.chunks(BLOCK)).take_while(|(a, b)| a == b).map(|(a, _)| a.len()).sum::<usize>();
    let rest = a[same..].iter().zip(&b[same..]).take(BLOCK);
    same + rest.take_while(|(a, b)| a == b).count()
}

/// Writes numbers compactly: runs of consecutive ones as (first, how many), each a LEB128 number. A history that only
/// grows is one run, so a turn costs the same few bytes however long the conversation is.
pub(crate) fn encode(numbers: &[u32]) -> Vec<u8> {
    let mut out = Vec::new();
    for run in numbers.chunk_by(|a, b| a.checked_add(1) == Some(*b)) {
        leb128(u64::from(run[0]), &mut out);
        leb128(run.len() as u64, &mut out);
    }
    out
}

/// Reads what [`encode`] wrote; nothing if it is no such list.
pub(crate) fn decode(mut recipe: &[u8]) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    while !recipe.is_empty() {
        let first = read_leb128(&mut recipe)?;
        let count = usize::try_from(read_leb128(&mut recipe)?).ok()?;
        if count == 0 || count > MOST_NUMBERS - numbers.len() {
            return None;
        }
        let first = u32::try_from(first).ok()?;
        let last = first.checked_add(u32::try_from(count - 1).ok()?)?;
        numbers.extend(first..=last);
    }
    Some(numbers)
}

fn leb128(mut value: u64, out: &mut Vec<u8>) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            return out.push(low & 0x7f);
        }
        out.push(low | 0x80);
    }
}

fn read_leb128(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..35).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(body: &str) -> Vec<&str> {
        let mut start = 0;
        let cuts = cut(body.as_bytes(), 0, Place::Outside);
        cuts.iter().map(|cut| &body[std::mem::replace(&mut start, cut.end)..cut.end]).collect()
    }

    #[test]
    fn a_body_is_cut_at_messages_and_large_members() {
        let body = concat!(
            r#"{"model":"a-model-with-a-long-name","messages":["#,
            r#"{"role":"system","content":"be \"kind\", [always]"}"#,
            r#",{"role":"user","content":[{"type":"text","text":"a, b"}]}"#,
            r#"],"tools":[{"type":"function","function":{"name":"ls"}}"#,
            r#"],"stream":true,"temperature":0.25,"user":"somebody or other"}"#,
        );
        assert_eq!(
            texts(body),
            [
                r#"{"model":"a-model-with-a-long-name""#,
                r#","messages":[{"role":"system","content":"be \"kind\", [always]"}"#,
                r#",{"role":"user","content":[{"type":"text","text":"a, b"}]}"#,
                r#"],"tools":[{"type":"function","function":{"name":"ls"}}"#,
                r#"],"stream":true,"temperature":0.25"#,
                r#","user":"somebody or other"}"#,
            ]
        );
    }

    #[test]
    fn whatever_the_bytes_the_pieces_are_the_body() {
        let long = "x".repeat(100);
        let string = format!("\"{long}");
        let elements = format!("{{\"m\":[{}", "1,".repeat(1 << 20));
        for body in
            ["", "{", "]]]],,,,", "{\"a\":\"\\", "[[[[", "null", &long, &string, &elements, "{\"a\":[\"\\\"]\"]}"]
        {
            let cuts = cut(body.as_bytes(), 0, Place::Outside);
            assert!(cuts.is_sorted_by(|a, b| a.end < b.end), "{body:.40}");
            assert!(cuts.len() <= MOST + 1);
            assert_eq!(cuts.last().map_or(0, |cut| cut.end), body.len(), "{body:.40}");
        }
    }

    #[test]
    fn cutting_goes_on_from_any_cut_as_if_it_had_begun_at_the_front() {
        let messages: Vec<_> =
            (0..20).map(|i| format!(r#"{{"role":"user","content":"message number {i}"}}"#)).collect();
        let body = format!(r#"{{"model":"some-model","messages":[{}],"stream":true}}"#, messages.join(","));
        let all = cut(body.as_bytes(), 0, Place::Outside);
        for (i, at) in all.iter().enumerate() {
            assert_eq!(cut(body.as_bytes(), at.end, at.place), all[i + 1..]);
        }
    }

    #[test]
    fn common_prefixes_are_exact_at_every_length() {
        for len in [0, 1, 31, 4095, 4096, 4097, 9000] {
            let a = vec![7; len];
            let mut b = a.clone();
            b.extend([1, 2, 3]);
            assert_eq!(common_prefix(&a, &b), len);
            for differ in [0, len / 2, len.saturating_sub(1)].into_iter().filter(|at| *at < len) {
                b[differ] = 8;
                assert_eq!(common_prefix(&a, &b), differ);
                b[differ] = 7;
            }
        }
    }

    #[test]
    fn recipes_round_trip_and_a_growing_history_stays_small() {
        for numbers in [vec![], vec![0], vec![5, 6, 7, 1, 2, 300, 70_000], vec![u32::MAX, 0, u32::MAX]] {
            assert_eq!(decode(&encode(&numbers)), Some(numbers));
        }
        assert!(encode(&(0..5000).collect::<Vec<_>>()).len() <= 4);
        for damaged in [&[0x80][..], &[1], &[0, 0], &[0, 0xff, 0xff, 0xff, 0xff, 0x0f], &[0xff; 12]] {
            assert_eq!(decode(damaged), None, "{damaged:?}");
        }
    }
}
