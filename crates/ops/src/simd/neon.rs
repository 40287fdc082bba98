//! Sixteen floats in four registers of NEON, on 64-bit ARM.

#![allow(unsafe_code)]

use super::vector::{Kernel, LANES, Wide};
use half::bf16;
use std::arch::aarch64::*;

/// Registers of a vector, and numbers of a register.
const QUARTERS: usize = 4;

/// Four registers. Every 64-bit ARM processor has them, so that calls of the instructions are safe anywhere.
#[derive(Clone, Copy)]
pub struct Neon([float32x4_t; QUARTERS]);

impl Neon {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(float32x4_t, float32x4_t) -> float32x4_t) -> Self {
        let mut out = self;
        for (out, other) in out.0.iter_mut().zip(other.0) {
            *out = f(*out, other);
        }
        out
    }
}

/// `x` where the mask is set, else zero.
///
/// # Safety
/// The processor has NEON.
#[inline(always)]
unsafe fn kept(x: float32x4_t, mask: uint32x4_t) -> float32x4_t {
    // SAFETY: NEON is there, as this function's contract says; no memory is touched.
    unsafe { vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(x), mask)) }
}

/// Four numbers as bf16, rounded to nearest, ties to even.
///
/// # Safety
/// The processor has NEON.
#[inline(always)]
unsafe fn narrow(x: float32x4_t) -> uint16x4_t {
    // SAFETY: NEON is there, as this function's contract says; no memory is touched.
    unsafe {
        let bits = vreinterpretq_u32_f32(x);
        let odd = vandq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(1));
        let rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
        // Rounding could carry a NaN over into another number: it keeps its upper half, and a bit that says so.
        let number = vceqq_f32(x, x);
        vshrn_n_u32::<16>(vbslq_u32(number, rounded, vorrq_u32(bits, vdupq_n_u32(0x40_0000))))
    }
}

impl Wide for Neon {
    // 32 registers: 24 of sums, four of weights, and what they are multiplied with.
    const ROWS: [usize; 5] = [0, 6, 0, 0, 0];

    #[inline(always)]
    unsafe fn enter<K: Kernel>(kernel: K) -> K::Output {
        kernel.run::<Self>()
    }
    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: every 64-bit ARM processor has NEON.
        Self([unsafe { vdupq_n_f32(value) }; QUARTERS])
    }
    #[inline(always)]
    unsafe fn load(at: *const f32) -> Self {
        let mut out = Self::splat(0.0);
        for (i, quarter) in out.0.iter_mut().enumerate() {
            // SAFETY: sixteen numbers can be read at `at`.
            *quarter = unsafe { vld1q_f32(at.add(i * LANES / QUARTERS)) };
        }
        out
    }
    #[inline(always)]
    unsafe fn store(self, at: *mut f32) {
        for (i, quarter) in self.0.into_iter().enumerate() {
            // SAFETY: sixteen numbers can be written at `at`.
            unsafe { vst1q_f32(at.add(i * LANES / QUARTERS), quarter) };
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(at: *const bf16) -> Self {
        let mut out = Self::splat(0.0);
        for (i, quarter) in out.0.iter_mut().enumerate() {
            // SAFETY: sixteen numbers can be read at `at`. A bf16 is the upper half of an f32.
            *quarter = unsafe {
                let halves = vld1_u16(at.add(i * LANES / QUARTERS).cast());
                vreinterpretq_f32_u32(vshll_n_u16::<16>(halves))
            };
        }
        out
    }
    #[inline(always)]
    unsafe fn store_bf16(self, at: *mut bf16) {
        for (i, quarter) in self.0.into_iter().enumerate() {
            // SAFETY: sixteen numbers can be written at `at`.
            unsafe { vst1_u16(at.add(i * LANES / QUARTERS).cast(), narrow(quarter)) };
        }
    }
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self.zip(
            other,
            #[inline(always)]
            // SAFETY: every 64-bit ARM processor has NEON.
            |a, b| unsafe { vaddq_f32(a, b) },
        )
    }
    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        self.zip(
            other,
            #[inline(always)]
            // SAFETY: every 64-bit ARM processor has NEON.
            |a, b| unsafe { vsubq_f32(a, b) },
        )
    }
    #[inline(always)]
    fn times(self, other: Self) -> Self {
        self.zip(
            other,
            #[inline(always)]
            // SAFETY: every 64-bit ARM processor has NEON.
            |a, b| unsafe { vmulq_f32(a, b) },
        )
    }
    #[inline(always)]
    fn times_plus(self, factor: Self, term: Self) -> Self {
        let mut out = term;
        for ((out, a), b) in out.0.iter_mut().zip(self.0).zip(factor.0) {
            // SAFETY: every 64-bit ARM processor has NEON.
            *out = unsafe { vfmaq_f32(*out, a, b) };
        }
        out
    }
    #[inline(always)]
    fn at_least(self, other: Self) -> Self {
        // Not `vmaxq_f32`, which prefers +0 to -0: of equal numbers, and beside a NaN, `self` stays.
        self.zip(
            other,
            #[inline(always)]
            // SAFETY: every 64-bit ARM processor has NEON.
            |a, b| unsafe { vbslq_f32(vcltq_f32(a, b), b, a) },
        )
    }
    #[inline(always)]
    fn where_positive(self, gate: Self) -> Self {
        self.zip(
            gate,
            #[inline(always)]
            // SAFETY: every 64-bit ARM processor has NEON.
            |a, g| unsafe { kept(a, vcgtzq_f32(g)) },
        )
    }
    #[inline(always)]
    fn where_equal(self, a: Self, b: Self) -> Self {
        let mut out = self;
        for ((out, a), b) in out.0.iter_mut().zip(a.0).zip(b.0) {
            // SAFETY: every 64-bit ARM processor has NEON.
            *out = unsafe { kept(*out, vceqq_f32(a, b)) };
        }
        out
    }
    #[inline(always)]
    fn two_to(self) -> Self {
        self.zip(
            self,
            #[inline(always)]
            // SAFETY: every 64-bit ARM processor has NEON.
            |n, _| unsafe {
                let power = vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127));
                vreinterpretq_f32_s32(vshlq_n_s32::<23>(power))
            },
        )
    }
}
