//! The allocator of the binaries: big blocks are kept and handed out again, small ones are mimalloc's.
//!
//! Each step of training allocates the same activations and gradients as the last. General allocators give blocks of
//! some megabytes back to the system and fetch them anew, and the kernel then clears each page again: 16 % of a step's
//! time when this was written. Here a freed big block waits in a list of its size class for the next request.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::{NonNull, null_mut};
use std::sync::Mutex;

/// Blocks from this size on are kept; a power of two.
const BIG: usize = 1 << 18;
/// Size classes to a doubling: at most an eighth of a block is waste.
const STEPS: usize = 8;
/// Size classes in all; larger requests (2^18 * 2^24) do not occur.
const CLASSES: usize = 24 * STEPS;
/// Alignment of a big block: a cache line.
const ALIGN: usize = 64;
/// Blocks from this size on are aligned to it and ask for pages of this size: windows of many channels lie more than a
/// small page apart, and walking the page tables for each costs more than the arithmetic.
const HUGE: usize = 1 << 21;

/// The first bytes of a block that waits: the next one of its class.
struct Waiting(Option<NonNull<Waiting>>);

/// Heads of the lists of waiting blocks.
struct Lists([Option<NonNull<Waiting>>; CLASSES]);

// SAFETY: a waiting block belongs to nobody else, whichever thread freed it; the lists are used under a lock.
unsafe impl Send for Lists {}

/// A global allocator that recycles big blocks; see the module's documentation.
pub struct Recycling {
    small: mimalloc::MiMalloc,
    lists: Mutex<Lists>,
}

impl Default for Recycling {
    fn default() -> Self {
        Self::new()
    }
}

/// The class of a big size and the size that its blocks have.
fn class(size: usize) -> Option<(usize, usize)> {
    let doubling = (size / BIG).ilog2() as usize;
    let step = (BIG << doubling) / STEPS;
    let within = (size - (BIG << doubling)).div_ceil(step);
    let index = doubling * STEPS + within;
    (index < CLASSES).then_some((index, (BIG << doubling) + within * step))
}

impl Recycling {
    /// An allocator with nothing kept.
    pub const fn new() -> Self {
        Self { small: mimalloc::MiMalloc, lists: Mutex::new(Lists([None; CLASSES])) }
    }

    /// A waiting block of a class.
    fn take(&self, class: usize) -> Option<NonNull<u8>> {
        let mut lists = self.lists.lock().ok()?;
        let block = lists.0[class]?;
        // SAFETY: `dealloc` wrote a `Waiting` at the start of every block in the lists, and nobody else holds it.
        lists.0[class] = unsafe { block.as_ref() }.0;
        Some(block.cast())
    }
}

/// A fresh block from the system.
///
/// # Safety
/// As [`GlobalAlloc::alloc`].
unsafe fn fresh(block: Layout, zeroed: bool) -> *mut u8 {
    // SAFETY: the caller's word. Fresh pages of the system are zero without being touched.
    let pointer = unsafe { if zeroed { System.alloc_zeroed(block) } else { System.alloc(block) } };
    #[cfg(target_os = "linux")]
    if block.align() == HUGE && !pointer.is_null() {
        // SAFETY: the range is a block of ours; the advice changes no contents, and a refusal costs nothing but speed.
        unsafe { libc::madvise(pointer.cast(), block.size(), libc::MADV_HUGEPAGE) };
    }
    pointer
}

/// The class of a request that is kept; others are mimalloc's.
fn kept(layout: Layout) -> Option<(usize, Layout)> {
    if layout.size() < BIG || layout.align() > ALIGN {
        return None;
    }
    let (class, size) = class(layout.size())?;
    let align = if size >= HUGE { HUGE } else { ALIGN };
    Some((class, Layout::from_size_align(size, align).ok()?))
}

// SAFETY: a request is served by mimalloc, by the system, or by a block of the same class that was freed before; which of
// them depends on the layout alone, so that `dealloc` returns each block to where it came from. Blocks of a class have
// the class's size, which is at least the layout's, and an alignment of `ALIGN`, at least the layout's.
unsafe impl GlobalAlloc for Recycling {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match kept(layout) {
            // SAFETY: the caller keeps the contract of `alloc`.
            None => unsafe { self.small.alloc(layout) },
            Some((class, block)) => match self.take(class) {
                Some(waiting) => waiting.as_ptr(),
                // SAFETY: the block's size is not zero.
                None => unsafe { fresh(block, false) },
            },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match kept(layout) {
            // SAFETY: the caller keeps the contract of `alloc_zeroed`.
            None => unsafe { self.small.alloc_zeroed(layout) },
            Some((class, block)) => match self.take(class) {
                Some(waiting) => {
                    // SAFETY: the block holds at least `layout.size()` bytes and is ours now.
                    unsafe { waiting.as_ptr().write_bytes(0, layout.size()) };
                    waiting.as_ptr()
                }
                // SAFETY: the block's size is not zero.
                None => unsafe { fresh(block, true) },
            },
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let Some((class, block)) = kept(layout) else {
            // SAFETY: the layout says that `alloc` had it from mimalloc.
            return unsafe { self.small.dealloc(pointer, layout) };
        };
        match (self.lists.lock(), NonNull::new(pointer.cast::<Waiting>())) {
            (Ok(mut lists), Some(waiting)) => {
                // SAFETY: the block is big enough and aligned for a `Waiting`, and its owner has just given it up.
                unsafe { waiting.write(Waiting(lists.0[class])) };
                lists.0[class] = Some(waiting);
            }
            // SAFETY: the layout says that `alloc` had it from the system with this block's layout.
            _ => unsafe { System.dealloc(pointer, block) },
        }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Ok(wanted) = Layout::from_size_align(size, layout.align()) else { return null_mut() };
        match (kept(layout), kept(wanted)) {
            // SAFETY: both sizes are mimalloc's.
            (None, None) => unsafe { self.small.realloc(pointer, layout, size) },
            // The block at hand is of the wanted class.
            (Some((a, _)), Some((b, _))) if a == b => pointer,
            // SAFETY: a fresh block of the wanted size, a copy of what both hold, and the old one given up.
            _ => unsafe {
                let fresh = self.alloc(wanted);
                if !fresh.is_null() {
                    fresh.copy_from_nonoverlapping(pointer, layout.size().min(size));
                    self.dealloc(pointer, layout);
                }
                fresh
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_hold_their_sizes_with_little_waste() {
        let mut last = (0, BIG);
        for size in (BIG..BIG * 40).step_by(9973) {
            let (index, block) = class(size).expect("a common size");
            assert!(block >= size && (block - size) * STEPS <= size, "{size} in {block}");
            assert!(index >= last.0 && (index == last.0) == (block == last.1), "classes and sizes go together");
            last = (index, block);
        }
        assert!(class(usize::MAX / 2).is_none());
    }

    #[test]
    fn blocks_come_back_and_zeroed_ones_are_zero() {
        let a = Recycling::new();
        let layout = Layout::from_size_align(BIG + 5, 16).expect("a layout");
        // SAFETY: blocks are used within their size and freed once with their layout.
        unsafe {
            let first = a.alloc(layout);
            first.write_bytes(7, BIG + 5);
            a.dealloc(first, layout);
            let second = a.alloc_zeroed(Layout::from_size_align(BIG + 1, 4).expect("a layout"));
            assert_eq!(first, second, "the same class hands out the same block");
            assert!((0..BIG + 1).all(|i| *second.add(i) == 0));
            let grown = a.realloc(second, layout, 4 * BIG);
            assert_ne!(grown, second);
            assert_eq!(*grown, 0);
            a.dealloc(grown, Layout::from_size_align(4 * BIG, 16).expect("a layout"));
        }
    }
}
