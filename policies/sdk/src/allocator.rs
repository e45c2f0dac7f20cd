//! The allocator of an instance that usually lives for one turn: it takes what comes next, and what is given back when it comes by.
//!
//! The standard library's allocator leaves the rest of the initial memory alone and grows it on the first allocation. The host must then have the kernel
//! make those pages accessible, and inaccessible again after the turn: two system calls, a quarter of a small turn's cost. Here the memory grows only for
//! turns that need more than there is.

use std::alloc::{GlobalAlloc, Layout};
use std::arch::wasm32::{memory_grow, memory_size};
use std::cell::Cell;
use std::ptr::null_mut;

const PAGE: usize = 64 << 10;
/// Every block begins at a multiple of this and is as long as one.
const GRAIN: usize = 16;
/// Free blocks are kept by the power of two that they reach.
const CLASSES: usize = 32;

#[global_allocator]
static HEAP: Heap = Heap { next: Cell::new(0), free: [const { Cell::new(null_mut()) }; CLASSES] };

struct Heap {
    /// The first address that was never given away, 0 before the first allocation.
    next: Cell<usize>,
    /// The free blocks of each class, the latest first.
    free: [Cell<*mut Block>; CLASSES],
}

/// What a free block holds. It fits into the smallest.
struct Block {
    size: usize,
    after: *mut Block,
}

unsafe extern "C" {
    /// Where the linker's data end.
    static __heap_base: u8;
}

// SAFETY: the target has no threads.
unsafe impl Sync for Heap {}

impl Heap {
    /// A free block of this size at least: the latest of its class when it is large enough, else one of the next class, which all are.
    fn reuse(&self, size: usize) -> Option<*mut u8> {
        let class = class_of(size);
        for list in self.free[class..].iter().take(2) {
            let block = list.get();
            // SAFETY: a block in a list was put there by `give_back`, which wrote it, and belongs to nobody else since.
            if !block.is_null() && unsafe { (*block).size } >= size {
                // SAFETY: as above.
                list.set(unsafe { (*block).after });
                return Some(block.cast());
            }
        }
        None
    }

    /// Never given away before: grows the memory when there is not enough.
    fn take_new(&self, size: usize, align: usize) -> Option<*mut u8> {
        let free = match self.next.get() {
            0 => (&raw const __heap_base).addr(),
            next => next,
        };
        let start = free.checked_next_multiple_of(align)?;
        self.reserve(start, size)?;
        Some(start as *mut u8)
    }

    /// Reserves the bytes from `start` to `start + size`.
    fn reserve(&self, start: usize, size: usize) -> Option<()> {
        let end = start.checked_add(size)?;
        let available = memory_size::<0>() * PAGE;
        if end > available && memory_grow::<0>((end - available).div_ceil(PAGE)) == usize::MAX {
            return None;
        }
        self.next.set(end);
        Some(())
    }

    fn give_back(&self, start: *mut u8, size: usize) {
        if start.addr() + size == self.next.get() {
            return self.next.set(start.addr());
        }
        let block: *mut Block = start.cast();
        let list = &self.free[class_of(size)];
        // SAFETY: the block is nobody's now, as long as a grain at least, and aligned to one.
        unsafe { block.write(Block { size, after: list.get() }) };
        list.set(block);
    }
}

/// Which power of two a size reaches; it is not 0.
fn class_of(size: usize) -> usize {
    (usize::BITS - 1 - size.leading_zeros()) as usize % CLASSES
}

/// In grains. A size that is too large for the address space fails when it is reserved.
fn grains(layout: Layout) -> usize {
    (layout.size() + (GRAIN - 1)) & !(GRAIN - 1)
}

// SAFETY: every new block begins at or after `next`, which never goes below the end of another one; the bytes from `__heap_base` on belong to nobody
// else; memory never shrinks; a free block is in one list only and is as large as it says.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let size = grains(layout);
        let found = if layout.align() <= GRAIN { self.reuse(size) } else { None };
        found.or_else(|| self.take_new(size, layout.align().max(GRAIN))).unwrap_or(null_mut())
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        self.give_back(start, grains(layout));
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller vouches for the size.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        let (old, new) = (grains(layout), grains(wanted));
        if old == new {
            return start;
        }
        if start.addr() + old == self.next.get() {
            return self.reserve(start.addr(), new).map_or(null_mut(), |()| start);
        }
        // SAFETY: the caller vouches for `start` and `layout`; the new place is another one.
        unsafe {
            let moved = self.alloc(wanted);
            if !moved.is_null() {
                moved.copy_from_nonoverlapping(start, layout.size().min(size));
                self.give_back(start, old);
            }
            moved
        }
    }
}
