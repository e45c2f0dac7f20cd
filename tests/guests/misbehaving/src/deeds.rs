//! What can be done in any hook.

use std::hint::black_box;

use crate::metaclaw::policy::catalog::Catalog;
use crate::metaclaw::policy::log;

/// How much memory the canary writes and looks through.
const CANARY_BYTES: usize = 16 << 20;
const CANARY: u8 = 0xc5;

/// Does the deed, if it is one of those that do not come back with an answer of their own.
pub fn anywhere(deed: &str, catalog: Option<&Catalog>) {
    match deed {
        // Never ends.
        "loop" => loop {
            black_box(());
        },
        // Ends, but only after some hundred milliseconds on any machine of today.
        "slow" => drop(black_box((0..black_box(4_000_000_000_u64)).fold(0, |sum: u64, n| black_box(sum ^ n)))),
        // Works for some tens of milliseconds, and is done.
        "work" => drop(black_box((0..black_box(50_000_000_u64)).fold(0, |sum: u64, n| black_box(sum ^ n)))),
        // Hands the host 12 MiB, piece by piece.
        "pass-much" => (0..24).for_each(|_| log::write("info", &"x".repeat(1 << 19))),
        // Hands the host 18 MiB, each piece of a size that it takes.
        "pass-too-much" => (0..36).for_each(|_| log::write("info", &"x".repeat(1 << 19))),
        // Copies whole memories: few instructions, much work.
        "copy-storm" => {
            let (from, mut to) = (vec![1_u8; 8 << 20], vec![0_u8; 8 << 20]);
            loop {
                to.copy_from_slice(black_box(&from));
                black_box(&to);
            }
        }
        // Calls the host for ever.
        "host-call-flood" => loop {
            match catalog {
                Some(catalog) => drop(black_box(catalog.search("words", 64))),
                None => drop(black_box(crate::metaclaw::policy::settings::get())),
            }
        },
        // Searches for a megabyte of words, over and over.
        "long-search" => {
            let words = "harbour tides and lanterns ".repeat(38_000);
            loop {
                catalog.map(|catalog| drop(black_box(catalog.search(&words, 64))));
            }
        }
        // Recurses without end, in a stack of its own that lies in its memory.
        "recurse-in-memory" => drop(black_box(recurse_in_memory(black_box(1)))),
        // Recurses without end.
        "recurse" => drop(black_box(recurse(black_box(1)))),
        // Takes all the memory it can get.
        "memory-bomb" => {
            let mut hoard = Vec::new();
            loop {
                hoard.push(black_box(vec![1_u8; 1 << 20]));
            }
        }
        // Hands the host more than it takes.
        "huge-argument" => log::write("info", &"x".repeat(40 << 20)),
        // Writes far more than is kept, and tries to clear the operator's terminal.
        "log-flood" => {
            for _ in 0..10_000 {
                log::write("error", "\x1b[2J\r\nlevel=error msg=forged \u{202e}");
            }
        }
        // Reads where nothing is.
        // SAFETY: there is none, which is the point.
        "wild-pointer" => drop(black_box(unsafe { std::ptr::read_volatile(black_box(0xffff_0000_u32) as *const u8) })),
        "panic" => panic!("on purpose"),
        _ => {}
    }
}

/// How many bytes of another guest's canary are in this memory. Leaves one's own behind.
pub fn canary() -> usize {
    // Fresh memory is taken to be zero, so the allocator does not clear it: what is read is what was there.
    let mut memory = vec![0_u8; CANARY_BYTES];
    let found = black_box(&memory).iter().filter(|byte| **byte == CANARY).count();
    memory.fill(CANARY);
    black_box(&memory);
    found
}

/// Uses the runtime's stack and not the guest's own, whose end is an access out of bounds: nothing here has an address, and no
/// compiler makes a loop of it.
#[inline(never)]
fn recurse(depth: u64) -> u64 {
    if depth == 0 { 0 } else { recurse(depth.wrapping_mul(6_364_136_223_846_793_005) | 1).rotate_left(7) ^ depth }
}

/// The same with something that has an address, for which the compiler keeps a stack in the guest's memory. Below that stack there is
/// nothing.
#[inline(never)]
fn recurse_in_memory(depth: u64) -> u64 {
    let mut room = [depth; 512];
    black_box(&mut room);
    if depth == 0 { 0 } else { recurse_in_memory(depth | 1) ^ room[(depth % 512) as usize] }
}
