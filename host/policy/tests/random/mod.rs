//! Valid modules of random code: it divides by zero, reads out of bounds, calls itself for ever, takes memory, spins.
#![allow(clippy::cast_possible_truncation, reason = "bytes are made of larger numbers")]

use wasm_encoder::{Module, RawSection};

use crate::mutation::{Random, leb};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    I32,
    I64,
    F32,
    F64,
}
use Type::{F32, F64, I32, I64};

const TYPES: [Type; 4] = [I32, I64, F32, F64];
/// Each function has some locals of each type, in this order.
const LOCALS: usize = 3;
const NO_RESULT: u8 = 0x40;

impl Type {
    fn byte(self) -> u8 {
        0x7f - self as u8
    }
}

/// A core module that imports and exports nothing. Mostly it has a start function, which runs its others, each of which
/// returns one number.
pub(crate) fn random_module(random: &mut Random) -> Vec<u8> {
    let results: Vec<Type> = (0..1 + random.below(6)).map(|_| TYPES[random.below(4)]).collect();
    let mut types = leb(TYPES.len() + 1);
    for ty in TYPES {
        types.extend([0x60, 0, 1, ty.byte()]);
    }
    types.extend([0x60, 0, 0]);
    let start = results.len();
    let mut functions = leb(start + 1);
    functions.extend(results.iter().map(|ty| *ty as u8));
    functions.push(TYPES.len() as u8);

    let mut code = leb(start + 1);
    for result in results.iter().copied().map(Some).chain([None]) {
        let mut body = Body { random, results: &results, bytes: leb(TYPES.len()), labels: 0 };
        for ty in TYPES {
            body.bytes.extend([LOCALS as u8, ty.byte()]);
        }
        body.statements(5);
        match result {
            Some(ty) => body.value(ty, 5),
            None => (0..start).for_each(|function| body.bytes.extend([&[0x10][..], &leb(function), &[0x1a]].concat())),
        }
        body.bytes.push(0x0b);
        let bytes = body.bytes;
        code.extend(leb(bytes.len()));
        code.extend(bytes);
    }

    let mut sections = vec![(1, types), (3, functions), (5, vec![1, 0, 1]), (8, leb(start)), (10, code)];
    if random.below(4) == 0 {
        // Nobody calls anything: the policy around it is loaded, and asked.
        sections.remove(3);
    }
    let mut module = Module::new();
    for (id, data) in &sections {
        module.section(&RawSection { id: *id, data });
    }
    module.finish()
}

/// A function's body that is being written.
struct Body<'a> {
    random: &'a mut Random,
    results: &'a [Type],
    bytes: Vec<u8>,
    /// Blocks that are open here: those that can be left or begun again.
    labels: usize,
}

impl Body<'_> {
    fn op(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    fn statements(&mut self, depth: usize) {
        for _ in 0..self.random.below(4) {
            self.statement(depth);
        }
    }

    fn statement(&mut self, depth: usize) {
        let ty = TYPES[self.random.below(4)];
        let choices = if depth == 0 { 4 } else { 8 };
        match self.random.below(choices) {
            0 | 1 => {
                self.value(ty, depth);
                let local = self.local(ty);
                self.op(&[0x21, local]);
            }
            2 => {
                self.value(I32, depth.min(1));
                self.value(ty, depth);
                // A store of this type, with an offset.
                self.op(&[0x36 + ty as u8, 0]);
                let offset = self.random.below(70_000);
                self.bytes.extend(leb(offset));
            }
            3 => {
                self.value(ty, depth);
                self.op(&[0x1a]);
            }
            4 | 5 => {
                let kind = [0x02, 0x03, 0x04][self.random.below(3)];
                if kind == 0x04 {
                    self.value(I32, depth - 1);
                }
                self.op(&[kind, NO_RESULT]);
                self.labels += 1;
                self.statements(depth - 1);
                if self.random.below(3) == 0 {
                    self.value(I32, depth - 1);
                    let label = self.random.below(self.labels);
                    self.op(&[0x0d]);
                    self.bytes.extend(leb(label));
                }
                self.labels -= 1;
                self.op(&[0x0b]);
            }
            6 => {
                for _ in 0..3 {
                    self.value(I32, depth - 1);
                }
                let op: &[u8] = if self.random.below(2) == 0 { &[0xfc, 10, 0, 0] } else { &[0xfc, 11, 0] };
                self.op(op);
            }
            _ => self.statements(depth - 1),
        }
    }

    /// Leaves one value of this type.
    fn value(&mut self, ty: Type, depth: usize) {
        let choices = if depth == 0 { 2 } else { 10 };
        match self.random.below(choices) {
            0 => self.constant(ty),
            1 => {
                let local = self.local(ty);
                self.op(&[0x20, local]);
            }
            2 => {
                // Its smaller neighbours are conversions that can trap.
                let (from, op) = match (ty, self.random.below(3)) {
                    (I32, 0) => (F32, 0xa8),
                    (I32, 1) => (F64, 0xaa),
                    (I32, _) => (I64, 0xa7),
                    (I64, 0) => (F32, 0xae),
                    (I64, 1) => (F64, 0xb0),
                    (I64, _) => (I32, 0xac),
                    (F32, 0) => (I32, 0xb2),
                    (F32, 1) => (F64, 0xb6),
                    (F32, _) => (I64, 0xb4),
                    (F64, 0) => (I32, 0xb7),
                    (F64, 1) => (F32, 0xbb),
                    (F64, _) => (I64, 0xb9),
                };
                self.value(from, depth - 1);
                self.op(&[op]);
            }
            3 => {
                let (first, count) = match ty {
                    I32 => (0x67, 3),
                    I64 => (0x79, 3),
                    F32 => (0x8b, 7),
                    F64 => (0x99, 7),
                };
                let op = first + self.random.below(count) as u8;
                self.value(ty, depth - 1);
                self.op(&[op]);
            }
            4 if ty == I32 => {
                // A comparison of any type.
                let of = TYPES[self.random.below(4)];
                let (first, count) = [(0x46, 10), (0x51, 10), (0x5b, 6), (0x61, 6)][of as usize];
                let op = first + self.random.below(count) as u8;
                self.value(of, depth - 1);
                self.value(of, depth - 1);
                self.op(&[op]);
            }
            4..7 => {
                let (first, count) = [(0x6a, 15), (0x7c, 15), (0x92, 7), (0xa0, 7)][ty as usize];
                let op = first + self.random.below(count) as u8;
                self.value(ty, depth - 1);
                self.value(ty, depth - 1);
                self.op(&[op]);
            }
            7 => {
                self.value(I32, depth - 1);
                self.op(&[0x28 + ty as u8, 0]);
                let offset = self.random.below(70_000);
                self.bytes.extend(leb(offset));
            }
            8 => {
                self.value(I32, depth - 1);
                self.op(&[0x04, ty.byte()]);
                self.labels += 1;
                self.value(ty, depth - 1);
                self.op(&[0x05]);
                self.value(ty, depth - 1);
                self.labels -= 1;
                self.op(&[0x0b]);
            }
            _ if ty == I32 && self.random.below(4) == 0 => {
                self.value(I32, 0);
                self.op(&[0x40, 0]);
            }
            _ => match self.results.iter().position(|result| *result == ty) {
                // Often one that calls it in turn.
                Some(function) if self.random.below(3) == 0 => {
                    self.op(&[0x10]);
                    self.bytes.extend(leb(function));
                }
                _ => {
                    self.value(ty, depth - 1);
                    self.value(ty, depth - 1);
                    self.value(I32, depth - 1);
                    self.op(&[0x1b]);
                }
            },
        }
    }

    fn constant(&mut self, ty: Type) {
        let extremes: [&[u8]; 5] = [&[0], &[1], &[0x7f], &[0xff, 0xff, 0x03], &[0x80, 0x80, 0x80, 0x80, 0x78]];
        match ty {
            I32 | I64 => {
                self.op(&[0x41 + ty as u8]);
                let number = extremes[self.random.below(extremes.len())];
                self.op(number);
            }
            F32 | F64 => {
                self.op(&[0x41 + ty as u8]);
                let width = if ty == F32 { 4 } else { 8 };
                let bytes = if self.random.below(2) == 0 { vec![0; width] } else { self.random.bytes(width) };
                self.op(&bytes);
            }
        }
    }

    fn local(&mut self, ty: Type) -> u8 {
        (ty as usize * LOCALS + self.random.below(LOCALS)) as u8
    }
}
