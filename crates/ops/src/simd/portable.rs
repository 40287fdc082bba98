//! Sixteen floats as an array: what every processor runs, and what the units are held against.

#![allow(unsafe_code)]

use super::element::Element;
use super::vector::{Kernel, LANES, Wide};
use half::bf16;

/// An array, on any processor.
#[derive(Clone, Copy)]
pub struct Plain([f32; LANES]);

impl Plain {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        let mut out = self;
        out.0.iter_mut().zip(other.0).for_each(|(a, b)| *a = f(*a, b));
        out
    }

    #[inline(always)]
    fn zip3(self, b: Self, c: Self, f: impl Fn(f32, f32, f32) -> f32) -> Self {
        let mut out = self;
        out.0.iter_mut().zip(b.0).zip(c.0).for_each(|((a, b), c)| *a = f(*a, b, c));
        out
    }
}

impl Wide for Plain {
    const ROWS: [usize; 5] = [0, 4, 0, 0, 0];

    #[inline(always)]
    unsafe fn enter<K: Kernel>(kernel: K) -> K::Output {
        kernel.run::<Self>()
    }
    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self([value; LANES])
    }
    #[inline(always)]
    unsafe fn load(at: *const f32) -> Self {
        // SAFETY: sixteen numbers can be read at `at`.
        Self(unsafe { at.cast::<[f32; LANES]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, at: *mut f32) {
        // SAFETY: sixteen numbers can be written at `at`.
        unsafe { at.cast::<[f32; LANES]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn load_bf16(at: *const bf16) -> Self {
        // SAFETY: sixteen numbers can be read at `at`.
        Self(unsafe { at.cast::<[bf16; LANES]>().read_unaligned() }.map(Element::to_f32))
    }
    #[inline(always)]
    unsafe fn store_bf16(self, at: *mut bf16) {
        // SAFETY: sixteen numbers can be written at `at`.
        unsafe { at.cast::<[bf16; LANES]>().write_unaligned(self.0.map(bf16::from_f32)) }
    }
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
    #[inline(always)]
    fn times(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }
    #[inline(always)]
    fn times_plus(self, factor: Self, term: Self) -> Self {
        self.zip3(factor, term, f32::mul_add)
    }
    #[inline(always)]
    fn at_least(self, other: Self) -> Self {
        // A NaN stays one: it must reach the loss and be noticed.
        self.zip(other, |a, b| if a < b { b } else { a })
    }
    #[inline(always)]
    fn where_positive(self, gate: Self) -> Self {
        self.zip(gate, |a, g| if g > 0.0 { a } else { 0.0 })
    }
    #[inline(always)]
    fn where_equal(self, a: Self, b: Self) -> Self {
        self.zip3(a, b, |own, a, b| if a == b { own } else { 0.0 })
    }
    #[inline(always)]
    fn two_to(self) -> Self {
        // The power stands above the 23 bits of the fraction, which are those of 1.
        self.zip(self, |n, _| f32::from_bits((n as i32).wrapping_add(127).wrapping_shl(23) as u32))
    }
}
