//! Sixteen floats in two registers of AVX2, with fused multiply-adds.

#![allow(unsafe_code)]

use super::vector::{Kernel, LANES, Wide};
use half::bf16;
use std::arch::x86_64::*;

/// Whether the processor has what kernels are compiled for.
pub fn is_here() -> bool {
    std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma")
}

/// Two registers; used only inside [`Wide::enter`], after [`is_here`] has looked.
#[derive(Clone, Copy)]
pub struct Avx2(__m256, __m256);

/// Numbers of a register.
const HALF: usize = LANES / 2;

impl Avx2 {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(__m256, __m256) -> __m256) -> Self {
        Self(f(self.0, other.0), f(self.1, other.1))
    }
}

/// Which of the eight numbers from `first` on are among the first `lanes`.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn mask(first: usize, lanes: usize) -> __m256i {
    // SAFETY: AVX2 is there, as this function's contract says; no memory is touched.
    unsafe {
        let places = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        _mm256_cmpgt_epi32(_mm256_set1_epi32(lanes as i32 - first as i32), places)
    }
}

/// Eight numbers as bf16 in the lower halves of 32 bits, rounded to nearest, ties to even.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn narrow(x: __m256) -> __m256i {
    // SAFETY: AVX2 is there, as this function's contract says; no memory is touched.
    unsafe {
        let bits = _mm256_castps_si256(x);
        let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
        let rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
        // Rounding could carry a NaN over into another number: it keeps its upper half, and a bit that says so.
        let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(x, x));
        let kept = _mm256_or_si256(bits, _mm256_set1_epi32(0x40_0000));
        _mm256_srli_epi32::<16>(_mm256_blendv_epi8(rounded, kept, nan))
    }
}

impl Wide for Avx2 {
    // Sixteen registers: twelve of sums, two of weights, one number that all are multiplied with.
    const ROWS: [usize; 5] = [0, 6, 0, 0, 0];

    #[inline]
    unsafe fn enter<K: Kernel>(kernel: K) -> K::Output {
        #[target_feature(enable = "avx2,fma")]
        fn run<K: Kernel>(kernel: K) -> K::Output {
            kernel.run::<Avx2>()
        }
        // SAFETY: the processor has the unit, as the contract of `enter` says.
        unsafe { run(kernel) }
    }
    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: AVX2 and FMA are there: vectors of this type are made inside `enter` alone.
        let one = unsafe { _mm256_set1_ps(value) };
        Self(one, one)
    }
    #[inline(always)]
    unsafe fn load(at: *const f32) -> Self {
        // SAFETY: sixteen numbers can be read at `at`.
        unsafe { Self(_mm256_loadu_ps(at), _mm256_loadu_ps(at.add(HALF))) }
    }
    #[inline(always)]
    unsafe fn store(self, at: *mut f32) {
        // SAFETY: sixteen numbers can be written at `at`.
        unsafe {
            _mm256_storeu_ps(at, self.0);
            _mm256_storeu_ps(at.add(HALF), self.1);
        }
    }
    #[inline(always)]
    unsafe fn load_part(at: *const f32, lanes: usize) -> Self {
        if lanes >= LANES {
            // SAFETY: all sixteen can be read.
            return unsafe { Self::load(at) };
        }
        // SAFETY: the first `lanes` numbers can be read at `at`, and masked lanes are not read.
        unsafe {
            let second = _mm256_maskload_ps(at.wrapping_add(HALF), mask(HALF, lanes));
            Self(_mm256_maskload_ps(at, mask(0, lanes)), second)
        }
    }
    #[inline(always)]
    unsafe fn store_part(self, at: *mut f32, lanes: usize) {
        // Masked stores are slow on some processors.
        if lanes >= LANES {
            // SAFETY: all sixteen can be written.
            return unsafe { self.store(at) };
        }
        // SAFETY: the first `lanes` numbers can be written at `at`, and masked lanes are not written.
        unsafe {
            _mm256_maskstore_ps(at, mask(0, lanes), self.0);
            _mm256_maskstore_ps(at.wrapping_add(HALF), mask(HALF, lanes), self.1);
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(at: *const bf16) -> Self {
        // SAFETY: sixteen numbers can be read at `at`. A bf16 is the upper half of an f32.
        unsafe {
            let widen = |halves| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves)));
            Self(widen(_mm_loadu_si128(at.cast())), widen(_mm_loadu_si128(at.add(HALF).cast())))
        }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, at: *mut bf16) {
        // SAFETY: sixteen numbers can be written at `at`.
        unsafe {
            // Packing works within halves of a register; the permutation puts the quarters in order.
            let packed = _mm256_packus_epi32(narrow(self.0), narrow(self.1));
            _mm256_storeu_si256(at.cast(), _mm256_permute4x64_epi64::<0b11_01_10_00>(packed));
        }
    }
    #[inline(always)]
    fn prefetch(at: *const f32) {
        // SAFETY: a hint that never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self.zip(
            other,
            #[inline(always)]
            // SAFETY: AVX2 and FMA are there: vectors of this type are made inside `enter` alone.
            |a, b| unsafe { _mm256_add_ps(a, b) },
        )
    }
    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        self.zip(
            other,
            #[inline(always)]
            // SAFETY: AVX2 and FMA are there: vectors of this type are made inside `enter` alone.
            |a, b| unsafe { _mm256_sub_ps(a, b) },
        )
    }
    #[inline(always)]
    fn times(self, other: Self) -> Self {
        self.zip(
            other,
            #[inline(always)]
            // SAFETY: AVX2 and FMA are there: vectors of this type are made inside `enter` alone.
            |a, b| unsafe { _mm256_mul_ps(a, b) },
        )
    }
    #[inline(always)]
    fn times_plus(self, factor: Self, term: Self) -> Self {
        // SAFETY: AVX2 and FMA are there: vectors of this type are made inside `enter` alone.
        unsafe { Self(_mm256_fmadd_ps(self.0, factor.0, term.0), _mm256_fmadd_ps(self.1, factor.1, term.1)) }
    }
    #[inline(always)]
    fn at_least(self, other: Self) -> Self {
        // The instruction gives its second operand where one is a NaN or both are zero: a NaN stays one.
        self.zip(
            other,
            #[inline(always)]
            // SAFETY: AVX2 and FMA are there: vectors of this type are made inside `enter` alone.
            |a, b| unsafe { _mm256_max_ps(b, a) },
        )
    }
    #[inline(always)]
    fn where_positive(self, gate: Self) -> Self {
        self.zip(
            gate,
            #[inline(always)]
            // SAFETY: AVX2 and FMA are there: vectors of this type are made inside `enter` alone.
            |a, g| unsafe { _mm256_and_ps(a, _mm256_cmp_ps::<_CMP_GT_OQ>(g, _mm256_setzero_ps())) },
        )
    }
    #[inline(always)]
    fn where_equal(self, a: Self, b: Self) -> Self {
        let equal = a.zip(
            b,
            #[inline(always)]
            // SAFETY: AVX2 and FMA are there: vectors of this type are made inside `enter` alone.
            |a, b| unsafe { _mm256_cmp_ps::<_CMP_EQ_OQ>(a, b) },
        );
        self.zip(
            equal,
            #[inline(always)]
            // SAFETY: AVX2 and FMA are there: vectors of this type are made inside `enter` alone.
            |own, equal| unsafe { _mm256_and_ps(own, equal) },
        )
    }
    #[inline(always)]
    fn two_to(self) -> Self {
        self.zip(
            self,
            #[inline(always)]
            // SAFETY: AVX2 and FMA are there: vectors of this type are made inside `enter` alone.
            |n, _| unsafe {
                let power = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(power))
            },
        )
    }
}
