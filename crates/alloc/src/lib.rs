//! The allocator of the binaries: big blocks come from one arena and go back to it, small ones are mimalloc's.
//!
//! Each step of training allocates the same activations and gradients as the last. General allocators give blocks of
//! some megabytes back to the system and fetch them anew, and the kernel then clears each page again: 16 % of a step's
//! time when this was written. Here the pages stay. Free neighbours are merged, so that what the forward pass of late
//! layers leaves serves the larger gradients of early ones, and the peak stays near what is alive at once.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};
use std::collections::BTreeMap;
use std::ptr::null_mut;
use std::sync::Mutex;

/// Blocks from this size on are the arena's.
const BIG: usize = 1 << 18;
/// Sizes in the arena are multiples of this, and blocks aligned to it.
const GRAIN: usize = 1 << 16;
/// Addresses that the arena reserves; pages cost memory only once they are touched.
const RESERVED: usize = 1 << 42;

/// A reserved range of addresses, cut into blocks.
struct Arena {
    base: usize,
    /// Everything from here on has never been used.
    top: usize,
    /// Free blocks below the top: length by offset; no two touch.
    free: BTreeMap<usize, usize>,
}

impl Arena {
    #[cfg(unix)]
    fn reserve() -> Option<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new private mapping touches nothing that exists; failure is an error value.
        let base = unsafe { libc::mmap(null_mut(), RESERVED, access, kind, -1, 0) };
        if base == libc::MAP_FAILED {
            return None;
        }
        // Windows of many channels lie more than a small page apart, and walking the page tables for each would cost more
        // than the arithmetic.
        #[cfg(target_os = "linux")]
        // SAFETY: advice about a mapping of ours; it changes no contents, and a refusal costs nothing but speed.
        unsafe {
            libc::madvise(base, RESERVED, libc::MADV_HUGEPAGE)
        };
        Some(Self { base: base as usize, top: 0, free: BTreeMap::new() })
    }

    #[cfg(not(unix))]
    fn reserve() -> Option<Self> {
        None
    }

    /// A block of `size`, a multiple of the grain: its offset, and whether it was never used. The smallest free block
    /// that is large enough, the lowest of equals.
    fn take(&mut self, size: usize) -> Option<(usize, bool)> {
        let best = self.free.iter().filter(|(_, length)| **length >= size).min_by_key(|(_, length)| **length);
        if let Some((&offset, &length)) = best {
            self.free.remove(&offset);
            if length > size {
                self.free.insert(offset + size, length - size);
            }
            return Some((offset, false));
        }
        // A free block that ends at the top grows.
        let last = self.free.last_key_value().filter(|(offset, length)| **offset + **length == self.top);
        let (offset, fresh) = last.map_or((self.top, true), |(offset, _)| (*offset, false));
        if size > RESERVED - offset {
            return None;
        }
        self.free.remove(&offset);
        self.top = offset + size;
        Some((offset, fresh))
    }

    fn give(&mut self, offset: usize, size: usize) {
        let (mut start, mut end) = (offset, offset + size);
        if let Some((&before, &length)) = self.free.range(..offset).next_back()
            && before + length == offset
        {
            self.free.remove(&before);
            start = before;
        }
        if let Some(length) = self.free.remove(&end) {
            end += length;
        }
        self.free.insert(start, end - start);
    }
}

/// Whether the arena is there.
enum State {
    Untried,
    Refused,
    Open(Arena),
}

/// A global allocator that keeps big blocks; see the module's documentation.
pub struct Recycling {
    small: mimalloc::MiMalloc,
    arena: Mutex<State>,
}

impl Default for Recycling {
    fn default() -> Self {
        Self::new()
    }
}

/// The size that a request takes in the arena; other requests are mimalloc's.
fn kept(layout: Layout) -> Option<usize> {
    let fits = layout.size() >= BIG && layout.size() <= RESERVED && layout.align() <= GRAIN;
    fits.then(|| layout.size().next_multiple_of(GRAIN))
}

impl Recycling {
    /// An allocator with nothing kept.
    pub const fn new() -> Self {
        Self { small: mimalloc::MiMalloc, arena: Mutex::new(State::Untried) }
    }

    /// Runs `f` on the arena. The map of free blocks allocates small ones, which never come here.
    fn with_arena<R>(&self, f: impl FnOnce(&mut Arena) -> Option<R>) -> Option<R> {
        let mut state = self.arena.lock().ok()?;
        if matches!(*state, State::Untried) {
            *state = Arena::reserve().map_or(State::Refused, State::Open);
        }
        match &mut *state {
            State::Open(arena) => f(arena),
            _ => None,
        }
    }

    /// A block of the arena and whether it holds zeros.
    fn big(&self, size: usize) -> Option<(*mut u8, bool)> {
        self.with_arena(|arena| {
            let (offset, fresh) = arena.take(size)?;
            Some(((arena.base + offset) as *mut u8, fresh))
        })
    }
}

// SAFETY: a request is served by mimalloc or by the arena; which of them handed a block out is told by its address when
// it comes back. Blocks of the arena do not overlap, have the request's size at least, and are aligned to the grain.
unsafe impl GlobalAlloc for Recycling {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match kept(layout).and_then(|size| self.big(size)) {
            Some((block, _)) => block,
            // SAFETY: the caller keeps the contract of `alloc`.
            None => unsafe { self.small.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match kept(layout).and_then(|size| self.big(size)) {
            Some((block, true)) => block,
            Some((block, false)) => {
                // SAFETY: the block holds at least `layout.size()` bytes and is ours now.
                unsafe { block.write_bytes(0, layout.size()) };
                block
            }
            // SAFETY: the caller keeps the contract of `alloc_zeroed`.
            None => unsafe { self.small.alloc_zeroed(layout) },
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let returned = kept(layout).and_then(|size| {
            self.with_arena(|arena| {
                let offset = (pointer as usize).wrapping_sub(arena.base);
                (offset < RESERVED).then(|| arena.give(offset, size))
            })
        });
        if returned.is_none() {
            // SAFETY: what is not the arena's is mimalloc's.
            unsafe { self.small.dealloc(pointer, layout) }
        }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Ok(wanted) = Layout::from_size_align(size, layout.align()) else { return null_mut() };
        match (kept(layout), kept(wanted)) {
            // SAFETY: both sizes are mimalloc's.
            (None, None) => unsafe { self.small.realloc(pointer, layout, size) },
            // The block at hand has the wanted size.
            (Some(a), Some(b)) if a == b => pointer,
            // SAFETY: a new block of the wanted size, a copy of what both hold, and the old one given up.
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
    fn free_neighbours_merge_and_the_best_fit_is_taken() {
        let mut arena = Arena { base: 0, top: 0, free: BTreeMap::new() };
        let blocks: Vec<usize> = (1..=4).map(|n| arena.take(n * GRAIN).expect("room").0).collect();
        assert_eq!(blocks, [0, GRAIN, 3 * GRAIN, 6 * GRAIN]);
        arena.give(blocks[2], 3 * GRAIN);
        arena.give(blocks[0], GRAIN);
        assert_eq!(arena.take(GRAIN), Some((0, false)), "the smallest that fits, not the first freed");
        arena.give(0, GRAIN);
        arena.give(blocks[1], 2 * GRAIN);
        assert_eq!(arena.free, BTreeMap::from([(0, 6 * GRAIN)]), "three neighbours became one");
        arena.give(blocks[3], 4 * GRAIN);
        assert_eq!(arena.take(12 * GRAIN), Some((0, false)), "a free block at the top grows");
        assert_eq!((arena.top, arena.free.len()), (12 * GRAIN, 0));
        assert_eq!(arena.take(RESERVED), None, "no more than what is reserved");
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
            assert!((0..BIG + 1).all(|i| *second.add(i) == 0));
            second.write_bytes(3, 9);
            let grown = a.realloc(second, layout, 4 * BIG);
            assert_eq!((*grown, *grown.add(8), *grown.add(9)), (3, 3, 0));
            a.dealloc(grown, Layout::from_size_align(4 * BIG, 16).expect("a layout"));
            let small = a.alloc(Layout::from_size_align(100, 8).expect("a layout"));
            a.dealloc(small, Layout::from_size_align(100, 8).expect("a layout"));
        }
    }
}
