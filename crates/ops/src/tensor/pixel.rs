//! Pixels in the forms that they are sent in: f32, bf16, and bytes.

use crate::simd::vectorized;
use half::bf16;
use rayon::prelude::*;

/// Pixels that one task converts.
const CHUNK: usize = 1 << 15;

/// A number of a pixel, 0..1 where it is finished.
pub trait Pixel: Copy + Send + Sync {
    /// The number as it is stored: bf16 to the nearest, ties to even; bytes to the nearest `k` of `k / 255`, 0..1 at most.
    fn of(value: f32) -> Self;
}

impl Pixel for f32 {
    #[inline(always)]
    fn of(value: f32) -> Self {
        value
    }
}

impl Pixel for bf16 {
    #[inline(always)]
    fn of(value: f32) -> Self {
        let bits = value.to_bits();
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
        // No branch, so that loops become vectors.
        Self::from_bits(if value.is_nan() { bits >> 16 | 0x40 } else { rounded } as u16)
    }
}

impl Pixel for u8 {
    #[inline(always)]
    fn of(value: f32) -> Self {
        // The cast ends at 0 and 255.
        (value * 255.0 + 0.5) as u8
    }
}

/// Memory that the pixels of a batch are to be written to, every one of them; nothing may be read from it.
#[derive(Debug)]
pub enum Pixels<'a> {
    /// `k` for `k / 255`.
    Bytes(&'a mut [u8]),
    /// As they are.
    F32(&'a mut [f32]),
    /// Rounded.
    Bf16(&'a mut [bf16]),
}

impl Pixels<'_> {
    /// Writes these numbers, on all threads.
    ///
    /// # Panics
    /// When they are not as many.
    pub fn copy_from(self, values: &[f32]) {
        match self {
            Self::Bytes(to) => convert(values, to),
            Self::F32(to) => convert(values, to),
            Self::Bf16(to) => convert(values, to),
        }
    }
}

fn convert<T: Pixel>(from: &[f32], to: &mut [T]) {
    assert_eq!(from.len(), to.len(), "pixels");
    to.par_chunks_mut(CHUNK).zip(from.par_chunks(CHUNK)).for_each(|(to, from)| {
        vectorized(
            #[inline(always)]
            || to.iter_mut().zip(from).for_each(|(to, from)| *to = T::of(*from)),
        );
    });
}

#[cfg(test)]
mod tests {
    use super::{Pixel, Pixels};
    use half::bf16;

    #[test]
    fn bf16_is_rounded_as_elsewhere() {
        let edges =
            [0u32, 1, 0x3f80_8000, 0x3f81_8000, 0x3f80_8001, 0x7f7f_ffff, 0x7f80_0000, 0x7f80_0001, 0x7fc0_0000];
        // An interpreter takes a second for a thousand.
        let count = if cfg!(miri) { 1 << 8 } else { 1u32 << 20 };
        let all = (0..count).map(|i| i.wrapping_mul(4099)).chain(edges);
        for value in all.flat_map(|bits| [bits, bits | 1 << 31]).map(f32::from_bits) {
            assert_eq!(bf16::of(value).to_bits(), bf16::from_f32(value).to_bits(), "{value:?}");
        }
    }

    #[test]
    fn bytes_are_the_nearest() {
        for k in 0..=255u8 {
            let value = f32::from(k) * (1.0 / 255.0);
            assert_eq!(u8::of(value), k);
            for off in [-0.49, 0.49] {
                assert_eq!(u8::of((f32::from(k) + off) / 255.0), k);
            }
        }
        assert_eq!([-0.2, 1.3, f32::NAN, f32::INFINITY].map(u8::of), [0, 255, 0, 255]);
    }

    #[test]
    fn many_are_written_in_order() {
        let values: Vec<f32> = (0..100_003).map(|i| (i % 256) as f32 / 255.0).collect();
        let (mut bytes, mut floats) = (vec![0; values.len()], vec![0.0; values.len()]);
        let mut rounded = vec![bf16::ZERO; values.len()];
        Pixels::Bytes(&mut bytes).copy_from(&values);
        Pixels::F32(&mut floats).copy_from(&values);
        Pixels::Bf16(&mut rounded).copy_from(&values);
        assert!(floats == values);
        assert!(bytes.iter().enumerate().all(|(i, byte)| usize::from(*byte) == i % 256));
        assert!(rounded.iter().zip(&values).all(|(r, v)| *r == bf16::from_f32(*v)));
    }
}
