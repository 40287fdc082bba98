//! Sixteen floats at a time: AVX-512 where the processor has it, arrays elsewhere, and maps stored as f32 or bf16.
//!
//! Left to itself the compiler guarded every loop over several maps with checks for overlap, and then ran it on single
//! floats. Kernels are generic over [`Wide`] and [`Element`] and run inside [`wide`].

#![allow(unsafe_code)]

use candle_core::{CpuStorage, WithDType};
use half::bf16;
use std::cell::RefCell;

pub use super::loops::{at, map, padded, sums, update};

/// Floats of a vector.
pub const LANES: usize = 16;

/// Sixteen f32 numbers.
pub trait Wide: Copy {
    fn splat(value: f32) -> Self;
    /// # Safety
    /// Sixteen numbers can be read at `at`.
    unsafe fn load(at: *const f32) -> Self;
    /// # Safety
    /// Sixteen numbers can be written at `at`.
    unsafe fn store(self, at: *mut f32);
    /// # Safety
    /// Sixteen numbers can be read at `at`.
    unsafe fn load_bf16(at: *const bf16) -> Self;
    /// Rounds to nearest, ties to even.
    ///
    /// # Safety
    /// Sixteen numbers can be written at `at`.
    unsafe fn store_bf16(self, at: *mut bf16);
    fn plus(self, other: Self) -> Self;
    fn minus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
    /// `self * factor + term`; rounded once or twice, as the processor does it.
    fn times_plus(self, factor: Self, term: Self) -> Self;
    fn at_least(self, other: Self) -> Self;
    /// `self` where `gate` is above zero, else zero.
    fn where_positive(self, gate: Self) -> Self;
    /// `self` where the two are equal, else zero.
    fn where_equal(self, a: Self, b: Self) -> Self;
}

/// How a map stores its numbers.
pub trait Element: WithDType {
    fn to_f32(self) -> f32;
    fn of_f32(value: f32) -> Self;
    /// The numbers of a storage, to be changed.
    fn slice_mut(storage: &mut CpuStorage) -> Option<&mut [Self]>;
    /// Lends a buffer of the thread's, of `len` elements with arbitrary contents.
    fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [Self]) -> R) -> R;
    /// # Safety
    /// Sixteen numbers can be read at `at`.
    unsafe fn load<S: Wide>(at: *const Self) -> S;
    /// # Safety
    /// Sixteen numbers can be written at `at`.
    unsafe fn store<S: Wide>(value: S, at: *mut Self);
}

/// The buffers of a thread, as many as were lent at a time.
macro_rules! scratch {
    ($element:ty) => {
        fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [Self]) -> R) -> R {
            thread_local! {
                static SCRATCH: RefCell<Vec<Vec<$element>>> = const { RefCell::new(Vec::new()) };
            }
            // Taken out, not borrowed, while in use: rayon may run another task on this thread meanwhile.
            let mut buffer = SCRATCH.with_borrow_mut(|free| free.pop()).unwrap_or_default();
            if buffer.len() < len {
                buffer.resize(len, Self::of_f32(0.0));
            }
            let result = f(&mut buffer[..len]);
            SCRATCH.with_borrow_mut(|free| free.push(buffer));
            result
        }
    };
}

impl Element for f32 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
    #[inline(always)]
    fn of_f32(value: f32) -> Self {
        value
    }
    fn slice_mut(storage: &mut CpuStorage) -> Option<&mut [Self]> {
        match storage {
            CpuStorage::F32(data) => Some(data),
            _ => None,
        }
    }
    scratch!(f32);
    #[inline(always)]
    unsafe fn load<S: Wide>(at: *const Self) -> S {
        // SAFETY: the caller's word.
        unsafe { S::load(at) }
    }
    #[inline(always)]
    unsafe fn store<S: Wide>(value: S, at: *mut Self) {
        // SAFETY: the caller's word.
        unsafe { value.store(at) }
    }
}

impl Element for bf16 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
    #[inline(always)]
    fn of_f32(value: f32) -> Self {
        bf16::from_f32(value)
    }
    fn slice_mut(storage: &mut CpuStorage) -> Option<&mut [Self]> {
        match storage {
            CpuStorage::BF16(data) => Some(data),
            _ => None,
        }
    }
    scratch!(bf16);
    #[inline(always)]
    unsafe fn load<S: Wide>(at: *const Self) -> S {
        // SAFETY: the caller's word.
        unsafe { S::load_bf16(at) }
    }
    #[inline(always)]
    unsafe fn store<S: Wide>(value: S, at: *mut Self) {
        // SAFETY: the caller's word.
        unsafe { value.store_bf16(at) }
    }
}

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
}

impl Wide for Plain {
    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self([value; LANES])
    }
    #[inline(always)]
    unsafe fn load(at: *const f32) -> Self {
        // SAFETY: the caller's word.
        Self(unsafe { at.cast::<[f32; LANES]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, at: *mut f32) {
        // SAFETY: the caller's word.
        unsafe { at.cast::<[f32; LANES]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn load_bf16(at: *const bf16) -> Self {
        // SAFETY: the caller's word.
        Self(unsafe { at.cast::<[bf16; LANES]>().read_unaligned() }.map(Element::to_f32))
    }
    #[inline(always)]
    unsafe fn store_bf16(self, at: *mut bf16) {
        // SAFETY: the caller's word.
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
        self.times(factor).plus(term)
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
        let mut out = self;
        out.0.iter_mut().zip(a.0).zip(b.0).for_each(|((o, a), b)| *o = if a == b { *o } else { 0.0 });
        out
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Wide, bf16};
    use std::arch::x86_64::*;

    /// A register of AVX-512; used only inside [`super::wide`], after it has found the processor to have it.
    #[derive(Clone, Copy)]
    pub struct Avx512(__m512);

    impl Wide for Avx512 {
        #[inline(always)]
        fn splat(value: f32) -> Self {
            // SAFETY: AVX-512 is there, here and below: `wide` has looked.
            Self(unsafe { _mm512_set1_ps(value) })
        }
        #[inline(always)]
        unsafe fn load(at: *const f32) -> Self {
            // SAFETY: the caller's word.
            Self(unsafe { _mm512_loadu_ps(at) })
        }
        #[inline(always)]
        unsafe fn store(self, at: *mut f32) {
            // SAFETY: the caller's word.
            unsafe { _mm512_storeu_ps(at, self.0) }
        }
        #[inline(always)]
        unsafe fn load_bf16(at: *const bf16) -> Self {
            // SAFETY: the caller's word. A bf16 is the upper half of an f32.
            unsafe {
                let halves = _mm512_cvtepu16_epi32(_mm256_loadu_si256(at.cast()));
                Self(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(halves)))
            }
        }
        #[inline(always)]
        unsafe fn store_bf16(self, at: *mut bf16) {
            // SAFETY: the caller's word.
            unsafe {
                let bits = _mm512_castps_si512(self.0);
                let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
                let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
                _mm256_storeu_si256(at.cast(), _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(rounded)));
            }
        }
        #[inline(always)]
        fn plus(self, other: Self) -> Self {
            // SAFETY: as in `splat`, here and below.
            Self(unsafe { _mm512_add_ps(self.0, other.0) })
        }
        #[inline(always)]
        fn minus(self, other: Self) -> Self {
            Self(unsafe { _mm512_sub_ps(self.0, other.0) })
        }
        #[inline(always)]
        fn times(self, other: Self) -> Self {
            Self(unsafe { _mm512_mul_ps(self.0, other.0) })
        }
        #[inline(always)]
        fn times_plus(self, factor: Self, term: Self) -> Self {
            Self(unsafe { _mm512_fmadd_ps(self.0, factor.0, term.0) })
        }
        #[inline(always)]
        fn at_least(self, other: Self) -> Self {
            // The instruction gives its second operand where one is a NaN: a NaN stays one.
            Self(unsafe { _mm512_max_ps(other.0, self.0) })
        }
        #[inline(always)]
        fn where_positive(self, gate: Self) -> Self {
            unsafe {
                let open = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(gate.0, _mm512_setzero_ps());
                Self(_mm512_maskz_mov_ps(open, self.0))
            }
        }
        #[inline(always)]
        fn where_equal(self, a: Self, b: Self) -> Self {
            unsafe {
                let equal = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a.0, b.0);
                Self(_mm512_maskz_mov_ps(equal, self.0))
            }
        }
    }

    /// # Safety
    /// The processor has AVX-512.
    #[target_feature(enable = "avx512f")]
    pub unsafe fn run<K: super::Kernel>(kernel: K) -> K::Output {
        kernel.run::<Avx512>()
    }
}

/// A computation on vectors. `run` and what it calls must be `#[inline(always)]`.
pub trait Kernel {
    type Output;
    fn run<S: Wide>(self) -> Self::Output;
}

/// Runs a kernel with the widest vectors of this processor.
#[inline]
pub fn wide<K: Kernel>(kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    if super::avx512::available() {
        // SAFETY: AVX-512 is there.
        return unsafe { x86::run(kernel) };
    }
    kernel.run::<Plain>()
}
