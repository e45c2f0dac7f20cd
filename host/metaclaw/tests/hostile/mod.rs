//! Valid components that cost a compiler far more than a reader.
#![allow(clippy::cast_possible_truncation, reason = "bytes are made of larger numbers")]

/// One function with so many operations over 2,000 locals, all of them alive to the end: ten bytes each.
pub(crate) fn live_locals(operations: u32) -> Vec<u8> {
    const LOCALS: u32 = 2_000;
    let mut body = vec![1];
    body.extend(leb(LOCALS));
    body.push(I32);
    for local in 0..LOCALS {
        // What is in memory, the compiler cannot know.
        body.push(I32_CONST);
        body.extend(signed_leb(local * 4));
        body.extend([I32_LOAD, 2, 0, LOCAL_SET]);
        body.extend(leb(local));
    }
    let mut random = 1_u32;
    let mut pick = || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 8) % LOCALS
    };
    for _ in 0..operations {
        body.push(LOCAL_GET);
        body.extend(leb(pick()));
        body.push(LOCAL_GET);
        body.extend(leb(pick()));
        body.extend([I32_ADD, LOCAL_SET]);
        body.extend(leb(pick()));
    }
    for local in 0..LOCALS {
        body.push(I32_CONST);
        body.extend(signed_leb(local * 4));
        body.push(LOCAL_GET);
        body.extend(leb(local));
        body.extend([I32_STORE, 2, 0]);
    }
    body.push(END);
    component(&module(1, &[&leb(body.len() as u32)[..], &body].concat()))
}

/// So many loops, each in the one before, around code that changes 1,000 locals: the compiler keeps track of every local
/// in every loop, which is a million times what the module's length suggests.
pub(crate) fn nested_loops(depth: u32) -> Vec<u8> {
    const LOCALS: u32 = 1_000;
    let mut body = vec![1];
    body.extend(leb(LOCALS));
    body.push(I32);
    body.extend([LOOP, NO_RESULT].repeat(depth as usize));
    for local in 0..LOCALS {
        body.push(LOCAL_GET);
        body.extend(leb(local));
        body.push(LOCAL_GET);
        body.extend(leb((local + 1) % LOCALS));
        body.extend([I32_ADD, LOCAL_SET]);
        body.extend(leb(local));
    }
    for level in 0..depth {
        body.push(LOCAL_GET);
        body.extend(leb(level % LOCALS));
        // Begins this loop again.
        body.extend([BR_IF, 0, END]);
    }
    body.push(END);
    component(&module(1, &[&leb(body.len() as u32)[..], &body].concat()))
}

/// So many functions that do nothing.
pub(crate) fn tiny_functions(count: u32) -> Vec<u8> {
    component(&module(count, &[2, 0, END].repeat(count as usize)))
}

const I32: u8 = 0x7f;
const I32_CONST: u8 = 0x41;
const I32_LOAD: u8 = 0x28;
const I32_STORE: u8 = 0x36;
const I32_ADD: u8 = 0x6a;
const LOOP: u8 = 0x03;
const NO_RESULT: u8 = 0x40;
const BR_IF: u8 = 0x0d;
const LOCAL_GET: u8 = 0x20;
const LOCAL_SET: u8 = 0x21;
const END: u8 = 0x0b;

/// A core module with functions of these bodies, none of which takes or returns anything, and one page of memory.
fn module(count: u32, bodies: &[u8]) -> Vec<u8> {
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    module.extend(section(1, &[1, 0x60, 0, 0]));
    module.extend(section(3, &[leb(count), vec![0; count as usize]].concat()));
    module.extend(section(5, &[1, 0, 1]));
    module.extend(section(10, &[&leb(count)[..], bodies].concat()));
    module
}

fn component(core: &[u8]) -> Vec<u8> {
    [b"\0asm\x0d\0\x01\0".to_vec(), section(1, core)].concat()
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id][..], &leb(content.len() as u32), content].concat()
}

fn leb(mut number: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// As [`leb`], for a number that is not negative.
fn signed_leb(mut number: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x40 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}
