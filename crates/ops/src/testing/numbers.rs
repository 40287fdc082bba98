//! Numbers to test with, and how close results must be.
#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor};
pub use simclr_core::testing::{assert_close, device};

/// Numbers in -1..1 that depend on the index alone, on the CPU.
pub fn numbers(shape: &[usize], seed: u64) -> Tensor {
    let n: usize = shape.iter().product();
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let data: Vec<f32> = (0..n)
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect();
    Tensor::from_vec(data, shape, &Device::Cpu).unwrap()
}

/// A copy on the device that is tested.
pub fn on_device(t: &Tensor) -> Tensor {
    t.to_device(&device()).unwrap()
}

/// A tensor's numbers as f32, wherever it is.
pub fn flat(t: &Tensor) -> Vec<f32> {
    t.to_device(&Device::Cpu).unwrap().flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1().unwrap()
}
