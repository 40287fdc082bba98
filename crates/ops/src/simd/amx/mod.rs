//! Products of bf16 blocks, 32 rows by 32 columns, summed in f32: AMX tiles, or AVX512-BF16 dot products.
//!
//! The left side is read along its rows, the right side as pairs: the two numbers of a step of the depth and the next
//! stand side by side for each column.

#![allow(unsafe_code)]
#![cfg_attr(not(target_arch = "x86_64"), allow(dead_code, unused_variables, reason = "no other processor has a unit"))]

mod block;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use block::{Block, Pairs, SIDE};

use super::unit as vectors;
use half::bf16;
use std::marker::PhantomData;
use std::sync::OnceLock;

/// What multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Tiles of 16 by 64 bytes (AMX-BF16).
    Tiles,
    /// Dot products of pairs (AVX512-BF16).
    Dots,
}

/// The best that this processor and system have; nothing where a narrower unit than AVX-512 is forced.
pub fn unit() -> Option<Unit> {
    static UNIT: OnceLock<Option<Unit>> = OnceLock::new();
    *UNIT.get_or_init(|| {
        if vectors::unit() != vectors::Unit::Avx512 {
            return None;
        }
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if x86::tiles_allowed() {
            return Some(Unit::Tiles);
        }
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx512bf16") && std::arch::is_x86_feature_detected!("avx512bw") {
            return Some(Unit::Dots);
        }
        None
    })
}

/// The unit, ready to multiply on this thread until it is dropped. It cannot leave the thread, whose tiles it has shaped.
pub struct Ready(Unit, PhantomData<*const ()>);

impl Ready {
    /// Loads the tiles' shapes, where tiles multiply.
    ///
    /// # Panics
    /// Where the processor has no unit.
    pub fn new() -> Self {
        let Some(unit) = unit() else { panic!("no unit multiplies bf16 on this processor") };
        Self::with(unit)
    }

    /// `unit` must be one that the processor has.
    fn with(unit: Unit) -> Self {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if unit == Unit::Tiles {
            x86::open_tiles();
        }
        Self(unit, PhantomData)
    }

    /// `sum[row, column] (+)= sum over the depth of left * right`; rows of `sum` are `width` apart.
    ///
    /// # Panics
    /// When a slice is too short.
    pub fn multiply(&self, block: Block<'_>, sum: &mut [f32], width: usize, accumulate: bool) {
        let Block { left, step, right, pairs, turns } = block;
        let last = (turns.max(1) - 1) * pairs.next + (SIDE / 2 - 1) * pairs.row + pairs.second + SIDE;
        assert!(left.len() >= (SIDE - 1) * step + turns * SIDE, "multiply: the left side is too short");
        assert!(right.len() >= last, "multiply: the right side is too short");
        assert!(sum.len() >= (SIDE - 1) * width + SIDE, "multiply: no room for the sum");
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the assertions above keep all reads and writes inside their slices; `new` has found the unit, and has
        // loaded the shapes of the tiles on this thread, which `Ready` cannot leave.
        unsafe {
            match self.0 {
                #[cfg(target_os = "linux")]
                Unit::Tiles => x86::tiles(block, sum, width, accumulate),
                _ => x86::dots(block, sum, width, accumulate),
            }
        }
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if self.0 == Unit::Tiles {
            x86::close_tiles();
        }
    }
}

/// Pairs of two rows: `out[2 j] = a[j]`, `out[2 j + 1] = b[j]`.
///
/// # Panics
/// When lengths differ.
pub fn interleave(a: &[bf16], b: &[bf16], out: &mut [bf16]) {
    assert!(a.len() == b.len() && out.len() == 2 * a.len(), "interleave: lengths differ");
    #[cfg(target_arch = "x86_64")]
    // SAFETY: whoever comes here has found a unit, and with it AVX512-BW; the lengths fit.
    unsafe {
        x86::interleave(a, b, out);
    }
}

/// Copies `from` to the start of `to`: mostly few numbers, for which a call of `memcpy` takes longer than the copy.
///
/// # Panics
/// When `to` is shorter.
pub fn copy(from: &[bf16], to: &mut [bf16]) {
    assert!(from.len() <= to.len(), "copy: no room for {} numbers", from.len());
    #[cfg(target_arch = "x86_64")]
    // SAFETY: whoever comes here has found a unit, and with it AVX512-BW; `to` is long enough.
    unsafe {
        x86::copy(from, to);
    }
}

/// `out[column, row] = from[row, column]` for a block of [`SIDE`] by [`SIDE`], of which `(rows, columns)` are there and
/// the others zero; rows of `from` are `step` apart, those of `out` `width`.
///
/// # Panics
/// When a slice is too short.
pub fn transpose(from: &[bf16], step: usize, (rows, columns): (usize, usize), out: &mut [bf16], width: usize) {
    assert!(rows <= SIDE && columns <= SIDE, "transpose: a block of {rows} by {columns}");
    assert!(rows == 0 || from.len() >= (rows - 1) * step + columns, "transpose: the block is not there");
    assert!(out.len() >= (SIDE - 1) * width + SIDE, "transpose: no room for the block");
    #[cfg(target_arch = "x86_64")]
    // SAFETY: whoever comes here has found a unit, and with it AVX512-BW; the assertions keep all reads and writes inside their slices.
    unsafe {
        x86::transpose(from, step, (rows, columns), out, width);
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    fn numbers(len: usize, seed: usize) -> Vec<bf16> {
        (0..len).map(|i| bf16::from_f32(((i * 37 + seed) % 101) as f32 / 50.0 - 1.0)).collect()
    }

    /// Both units, whichever is the better one here, against sums in f64.
    #[test]
    fn units_multiply_alike() {
        let mut units: Vec<Unit> = unit().into_iter().collect();
        if std::arch::is_x86_feature_detected!("avx512bf16") && !units.contains(&Unit::Dots) {
            units.push(Unit::Dots);
        }
        let (step, turns) = (3 * SIDE + 7, 3);
        let pairs = Pairs { row: 2 * SIDE + 6, next: SIDE / 2 * (2 * SIDE + 6), second: SIDE };
        let (left, right) = (numbers(SIDE * step, 1), numbers(turns * pairs.next + 2 * SIDE, 2));
        let product = |row: usize, column: usize| -> f64 {
            let at = |d: usize| {
                let (turn, pair, odd) = (d / SIDE, d % SIDE / 2, d % 2);
                turn * pairs.next + pair * pairs.row + column / 16 * pairs.second + column % 16 * 2 + odd
            };
            (0..turns * SIDE).map(|d| left[row * step + d].to_f64() * right[at(d)].to_f64()).sum()
        };
        for unit in units {
            let (block, width) = (Block { left: &left, step, right: &right, pairs, turns }, SIDE + 5);
            let mut sum = vec![0.5; SIDE * width];
            let ready = Ready::with(unit);
            ready.multiply(block, &mut sum, width, true);
            for (row, column) in (0..SIDE).flat_map(|r| (0..SIDE).map(move |c| (r, c))) {
                let (got, want) = (f64::from(sum[row * width + column]), product(row, column) + 0.5);
                assert!((got - want).abs() < 1e-4, "{unit:?} at {row}, {column}: {got} for {want}");
            }
            assert!(sum[SIDE..width].iter().all(|v| *v == 0.5), "{unit:?} wrote past its columns");
            ready.multiply(block, &mut sum, width, false);
            assert!((f64::from(sum[width + 1]) - product(1, 1)).abs() < 1e-4, "{unit:?} without what was there");
        }
    }

    #[test]
    fn blocks_of_any_size_are_turned_and_rows_paired() {
        if unit().is_none() {
            return;
        }
        for (rows, columns) in [(32, 32), (5, 32), (32, 7), (17, 16), (0, 3)] {
            let (step, width) = (40, 35);
            let from = numbers(32 * step, 3);
            let mut out = vec![bf16::NAN; SIDE * width];
            transpose(&from, step, (rows, columns), &mut out, width);
            for (c, r) in (0..SIDE).flat_map(|c| (0..SIDE).map(move |r| (c, r))) {
                let want = if r < rows && c < columns { from[r * step + c] } else { bf16::ZERO };
                assert_eq!(out[c * width + r], want, "{rows} by {columns}: row {r}, column {c}");
            }
        }
        for len in [1, 16, 31, 32, 48, 65] {
            let (a, b) = (numbers(len, 1), numbers(len, 2));
            let (mut pairs, mut copied) = (vec![bf16::NAN; 2 * len], vec![bf16::NAN; len + 1]);
            interleave(&a, &b, &mut pairs);
            copy(&a, &mut copied);
            for j in 0..len {
                assert_eq!((pairs[2 * j], pairs[2 * j + 1], copied[j]), (a[j], b[j], a[j]), "{j} of {len}");
            }
            assert!(copied[len].is_nan(), "{len}: copied past the end");
        }
    }
}
