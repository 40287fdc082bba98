//! Sixteen f32 numbers as kernels see them, whatever holds them, and what a kernel is.
//!
//! Every operation rounds as IEEE 754 says, multiply-adds are fused on every unit, and lanes are sixteen everywhere, so
//! the unit changes the speed of a kernel and nothing else.

#![allow(unsafe_code)]

use half::bf16;

/// Floats of a vector.
pub const LANES: usize = 16;

/// Sixteen f32 numbers.
pub trait Wide: Copy {
    /// Most rows of a block of sums that stay in registers, by its vectors of columns; zero where no such block pays.
    const ROWS: [usize; 5];

    /// Runs a kernel with the instructions of this unit.
    ///
    /// # Safety
    /// The processor has the unit.
    unsafe fn enter<K: Kernel>(kernel: K) -> K::Output;
    fn splat(value: f32) -> Self;
    /// # Safety
    /// Sixteen numbers can be read at `at`.
    unsafe fn load(at: *const f32) -> Self;
    /// # Safety
    /// Sixteen numbers can be written at `at`.
    unsafe fn store(self, at: *mut f32);
    /// The first `lanes` numbers, at most sixteen, and zeros.
    ///
    /// # Safety
    /// So many numbers can be read at `at`.
    #[inline(always)]
    unsafe fn load_part(at: *const f32, lanes: usize) -> Self {
        if lanes >= LANES {
            // SAFETY: all sixteen can be read.
            return unsafe { Self::load(at) };
        }
        let mut whole = [0.0; LANES];
        // SAFETY: `lanes` numbers can be read, and the array holds more.
        unsafe {
            std::ptr::copy_nonoverlapping(at, whole.as_mut_ptr(), lanes);
            Self::load(whole.as_ptr())
        }
    }
    /// Writes the first `lanes` numbers, at most sixteen.
    ///
    /// # Safety
    /// So many numbers can be written at `at`.
    #[inline(always)]
    unsafe fn store_part(self, at: *mut f32, lanes: usize) {
        if lanes >= LANES {
            // SAFETY: all sixteen can be written.
            return unsafe { self.store(at) };
        }
        let mut whole = [0.0; LANES];
        // SAFETY: the array holds sixteen numbers, of which `lanes` can be written.
        unsafe {
            self.store(whole.as_mut_ptr());
            std::ptr::copy_nonoverlapping(whole.as_ptr(), at, lanes);
        }
    }
    /// # Safety
    /// Sixteen numbers can be read at `at`.
    unsafe fn load_bf16(at: *const bf16) -> Self;
    /// Rounds to nearest, ties to even.
    ///
    /// # Safety
    /// Sixteen numbers can be written at `at`.
    unsafe fn store_bf16(self, at: *mut bf16);
    /// Asks for a line of the cache that will be read soon; a hint, for any address.
    #[inline(always)]
    fn prefetch(_at: *const f32) {}
    fn plus(self, other: Self) -> Self;
    fn minus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
    /// `self * factor + term`, rounded once.
    fn times_plus(self, factor: Self, term: Self) -> Self;
    /// The larger of the two; `self` where they are equal, or one of them is a NaN.
    fn at_least(self, other: Self) -> Self;
    /// `self` where `gate` is above zero, else zero.
    fn where_positive(self, gate: Self) -> Self;
    /// `self` where the two are equal, else zero.
    fn where_equal(self, a: Self, b: Self) -> Self;
    /// Two to the power of whole numbers from -126 to 127; anything else gives any number.
    fn two_to(self) -> Self;
}

/// A computation on vectors. `run` and what it calls must be `#[inline(always)]`.
pub trait Kernel {
    type Output;
    fn run<S: Wide>(self) -> Self::Output;
}
