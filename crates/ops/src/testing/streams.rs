//! Work of several streams on a GPU: what goes up, what is computed and what comes back stay apart whatever runs late.

#![allow(clippy::unwrap_used)]

use crate::tensor::{Figures, Uploader};
use candle_core::{DType, Tensor};
use simclr_core::testing::device;

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Each batch arrives as it was sent, though more are sent before the first is read: of one size, larger and smaller.
#[test]
#[allow(clippy::drop_non_drop, reason = "without GPUs an uploader holds nothing")]
fn batches_that_are_in_flight_stay_apart() {
    for maps in [DType::F32, DType::BF16] {
        let uploader = Uploader::new(&device(), maps).unwrap();
        let lens = [4096usize, 4096, 4096, 5000, 5000, 12_288, 64, 4096];
        let sent: Vec<_> =
            lens.iter().enumerate().map(|(n, &len)| uploader.upload(vec![n as f32; len], &[len]).unwrap()).collect();
        drop(uploader);
        for (n, (uploaded, len)) in sent.into_iter().zip(lens).enumerate() {
            let found = numbers(&uploaded.tensor().unwrap());
            assert!(
                found.len() == len && found.iter().all(|v| *v == n as f32),
                "batch {n} arrived as {:?}",
                &found[..2]
            );
        }
    }
}

/// Figures are those of the moment when they were asked for, though the GPU goes on.
#[test]
fn figures_are_of_their_moment() {
    let value = Tensor::full(1f32, (), &device()).unwrap();
    let (mut asked, mut now) = (Vec::new(), value.clone());
    for _ in 0..5 {
        asked.push(Figures::of(&[&now]).unwrap());
        now = (&now * 2.0).unwrap();
    }
    // One is given up; the others do not mind.
    asked.remove(2);
    let found: Vec<f64> = asked.into_iter().map(|figures| figures.read().unwrap()[0]).collect();
    assert_eq!(found, [1.0, 2.0, 8.0, 16.0]);
}
