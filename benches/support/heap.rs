//! Counts the bytes that are allocated.
#![expect(unsafe_code, reason = "an allocator is unsafe by nature; this one only counts what it passes on")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What malloc keeps beside a block, and the step in which its blocks grow.
const HEAD: usize = 8;
const STEP: usize = 16;

static BYTES: AtomicUsize = AtomicUsize::new(0);

/// Bytes that are allocated now, with what malloc adds to each block.
pub fn bytes() -> usize {
    BYTES.load(Ordering::Relaxed)
}

/// The system's allocator, counted.
pub struct Counted;

fn taken(size: usize) -> usize {
    (size + HEAD).next_multiple_of(STEP).max(2 * STEP)
}

// Sound because every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(taken(layout.size()), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        BYTES.fetch_sub(taken(layout.size()), Ordering::Relaxed);
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        BYTES.fetch_add(taken(size), Ordering::Relaxed);
        BYTES.fetch_sub(taken(layout.size()), Ordering::Relaxed);
        unsafe { System.realloc(block, layout, size) }
    }
}
