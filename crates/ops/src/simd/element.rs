//! Maps stored as f32 or bf16: how a vector reads and writes their elements.

#![allow(unsafe_code)]

use super::vector::Wide;
use candle_core::{CpuStorage, WithDType};
use half::bf16;
use std::cell::RefCell;

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
        // SAFETY: the contract of this function is that of what it calls: sixteen numbers at `at`.
        unsafe { S::load(at) }
    }
    #[inline(always)]
    unsafe fn store<S: Wide>(value: S, at: *mut Self) {
        // SAFETY: the contract of this function is that of what it calls: sixteen numbers at `at`.
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
        // SAFETY: the contract of this function is that of what it calls: sixteen numbers at `at`.
        unsafe { S::load_bf16(at) }
    }
    #[inline(always)]
    unsafe fn store<S: Wide>(value: S, at: *mut Self) {
        // SAFETY: the contract of this function is that of what it calls: sixteen numbers at `at`.
        unsafe { value.store_bf16(at) }
    }
}
