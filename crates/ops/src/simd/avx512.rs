//! Sixteen floats in one register of AVX-512.

#![allow(unsafe_code)]

use super::vector::{Kernel, LANES, Wide};
use half::bf16;
use std::arch::x86_64::*;

/// Whether the processor has what kernels are compiled for.
pub fn is_here() -> bool {
    use std::arch::is_x86_feature_detected as has;
    has!("avx512f") && has!("avx512bw") && has!("avx512cd") && has!("avx512dq") && has!("avx512vl") && has!("fma")
}

/// A register; used only inside [`Wide::enter`], after [`is_here`] has looked.
#[derive(Clone, Copy)]
pub struct Avx512(__m512);

/// The first `lanes`, at most sixteen.
#[inline(always)]
fn mask(lanes: usize) -> __mmask16 {
    if lanes == 0 { 0 } else { u16::MAX >> (LANES - lanes) }
}

impl Wide for Avx512 {
    // With 32 registers: the sums, a vector of weights for each column, and one number that all are multiplied with.
    const ROWS: [usize; 5] = [0, 16, 12, 0, 6];

    #[inline]
    unsafe fn enter<K: Kernel>(kernel: K) -> K::Output {
        #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma")]
        fn run<K: Kernel>(kernel: K) -> K::Output {
            kernel.run::<Avx512>()
        }
        // SAFETY: the processor has the unit, as the contract of `enter` says.
        unsafe { run(kernel) }
    }
    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: AVX-512 is there: vectors of this type are made inside `enter` alone.
        Self(unsafe { _mm512_set1_ps(value) })
    }
    #[inline(always)]
    unsafe fn load(at: *const f32) -> Self {
        // SAFETY: sixteen numbers can be read at `at`.
        Self(unsafe { _mm512_loadu_ps(at) })
    }
    #[inline(always)]
    unsafe fn store(self, at: *mut f32) {
        // SAFETY: sixteen numbers can be written at `at`.
        unsafe { _mm512_storeu_ps(at, self.0) }
    }
    #[inline(always)]
    unsafe fn load_part(at: *const f32, lanes: usize) -> Self {
        // SAFETY: the first `lanes` numbers can be read at `at`, and masked lanes are not read.
        Self(unsafe { _mm512_maskz_loadu_ps(mask(lanes), at) })
    }
    #[inline(always)]
    unsafe fn store_part(self, at: *mut f32, lanes: usize) {
        // SAFETY: the first `lanes` numbers can be written at `at`, and masked lanes are not written.
        unsafe { _mm512_mask_storeu_ps(at, mask(lanes), self.0) }
    }
    #[inline(always)]
    unsafe fn load_bf16(at: *const bf16) -> Self {
        // SAFETY: sixteen numbers can be read at `at`. A bf16 is the upper half of an f32.
        unsafe {
            let halves = _mm512_cvtepu16_epi32(_mm256_loadu_si256(at.cast()));
            Self(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(halves)))
        }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, at: *mut bf16) {
        // SAFETY: sixteen numbers can be written at `at`.
        unsafe {
            let bits = _mm512_castps_si512(self.0);
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
            // Rounding could carry a NaN over into another number: it keeps its upper half, and a bit that says so.
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self.0, self.0);
            let kept = _mm512_or_si512(bits, _mm512_set1_epi32(0x40_0000));
            let chosen = _mm512_mask_mov_epi32(rounded, nan, kept);
            _mm256_storeu_si256(at.cast(), _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(chosen)));
        }
    }
    #[inline(always)]
    fn prefetch(at: *const f32) {
        // SAFETY: a hint that never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        // SAFETY: AVX-512 is there: vectors of this type are made inside `enter` alone.
        Self(unsafe { _mm512_add_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        // SAFETY: AVX-512 is there: vectors of this type are made inside `enter` alone.
        Self(unsafe { _mm512_sub_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn times(self, other: Self) -> Self {
        // SAFETY: AVX-512 is there: vectors of this type are made inside `enter` alone.
        Self(unsafe { _mm512_mul_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn times_plus(self, factor: Self, term: Self) -> Self {
        // SAFETY: AVX-512 is there: vectors of this type are made inside `enter` alone.
        Self(unsafe { _mm512_fmadd_ps(self.0, factor.0, term.0) })
    }
    #[inline(always)]
    fn at_least(self, other: Self) -> Self {
        // The instruction gives its second operand where one is a NaN or both are zero: a NaN stays one.
        // SAFETY: AVX-512 is there: vectors of this type are made inside `enter` alone.
        Self(unsafe { _mm512_max_ps(other.0, self.0) })
    }
    #[inline(always)]
    fn where_positive(self, gate: Self) -> Self {
        // SAFETY: AVX-512 is there: vectors of this type are made inside `enter` alone.
        unsafe {
            let open = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(gate.0, _mm512_setzero_ps());
            Self(_mm512_maskz_mov_ps(open, self.0))
        }
    }
    #[inline(always)]
    fn where_equal(self, a: Self, b: Self) -> Self {
        // SAFETY: AVX-512 is there: vectors of this type are made inside `enter` alone.
        unsafe {
            let equal = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a.0, b.0);
            Self(_mm512_maskz_mov_ps(equal, self.0))
        }
    }
    #[inline(always)]
    fn two_to(self) -> Self {
        // SAFETY: AVX-512 is there: vectors of this type are made inside `enter` alone.
        unsafe {
            let power = _mm512_add_epi32(_mm512_cvtps_epi32(self.0), _mm512_set1_epi32(127));
            Self(_mm512_castsi512_ps(_mm512_slli_epi32::<23>(power)))
        }
    }
}
