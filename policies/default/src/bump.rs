//! The allocator of an instance that lives for one turn: it takes what comes next and gives almost nothing back.
//!
//! The standard library's allocator leaves the rest of the initial memory alone and grows it on the first allocation.
//! The host must then have the kernel make those pages accessible, and inaccessible again after the turn: two system
//! calls, a quarter of a turn's cost. Here the memory grows only for turns that need more than there is.

use std::alloc::{GlobalAlloc, Layout};
use std::arch::wasm32::{memory_grow, memory_size};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const PAGE: usize = 64 << 10;

#[global_allocator]
static BUMP: Bump = Bump { next: AtomicUsize::new(0) };

/// `next` is the first free address, 0 before the first allocation. There is one thread.
struct Bump {
    next: AtomicUsize,
}

unsafe extern "C" {
    /// Where the linker's data end.
    static __heap_base: u8;
}

impl Bump {
    /// Reserves the bytes from `start` to `start + size`, growing the memory if they are beyond it.
    fn reserve(&self, start: usize, size: usize) -> Option<()> {
        let end = start.checked_add(size)?;
        let available = memory_size::<0>() * PAGE;
        if end > available && memory_grow::<0>((end - available).div_ceil(PAGE)) == usize::MAX {
            return None;
        }
        self.next.store(end, Relaxed);
        Some(())
    }
}

// SAFETY: every allocation begins at or after `next`, which never goes below the end of another live allocation; the
// bytes from `__heap_base` on belong to nobody else; memory never shrinks.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let free = match self.next.load(Relaxed) {
            0 => (&raw const __heap_base).addr(),
            next => next,
        };
        let start = free.next_multiple_of(layout.align());
        self.reserve(start, layout.size()).map_or(null_mut(), |()| start as *mut u8)
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        if start.addr() + layout.size() == self.next.load(Relaxed) {
            self.next.store(start.addr(), Relaxed);
        }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if start.addr() + layout.size() == self.next.load(Relaxed) {
            return self.reserve(start.addr(), size).map_or(null_mut(), |()| start);
        }
        if size <= layout.size() {
            return start;
        }
        // SAFETY: the caller vouches for `start` and `layout`; the new place is larger and does not overlap.
        unsafe {
            let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !new.is_null() {
                new.copy_from_nonoverlapping(start, layout.size());
            }
            new
        }
    }
}
