//! What cannot be distorted.
#![allow(clippy::unwrap_used)]

use super::{Distortion, distort};
use candle_core::{DType, Device, Tensor};

#[test]
fn what_cannot_be_distorted_is_refused() {
    let message = |c: usize, count: usize| {
        let views = Tensor::zeros((2, 4, 4, c), DType::F32, &Device::Cpu).unwrap();
        distort(views, &vec![Distortion::default(); count], DType::F32).unwrap_err().to_string()
    };
    assert!(message(3, 2).contains("on the CPU"));
    assert!(message(3, 1).contains("1 distortions for 2 views"));
    assert!(message(2, 2).contains("2 channels"));
}
