//! Accuracy and mean cosines on the emulated GPU.
#![allow(clippy::unwrap_used)]

use super::gpu::{launch_accuracy, launch_mean_cosine, numbered};
use super::{accuracy, mean_cosine};
use crate::testing::emulated::{Emulated, assert_close, at, in_any_order, numbers, tensor, up};

/// Retrieval by similarities, some of them equal, and what is known of labels.
fn figures(rows: usize, d: usize, k: usize) {
    let mut logits = numbers::<f32>(rows * d, 3);
    logits.iter_mut().for_each(|v| *v = (*v * 4.0).round());
    logits[d - 1] = f32::NAN;
    let labels: Vec<Option<u32>> = (0..rows).map(|i| (i % 4 != 3).then_some((i * 5 % d) as u32)).collect();
    let want = accuracy(&tensor(&logits, (rows, d)), &labels, k).unwrap().to_scalar::<f64>().unwrap() as f32;
    let known = labels.iter().flatten().count();
    let found = in_any_order(|| {
        let (m, logits) = (Emulated::get(), up(&logits));
        let labels = numbered(m, &labels).unwrap();
        launch_accuracy(m, at(&logits), (rows, d), at(&labels), (k, known)).unwrap().numbers()
    });
    assert!(want > 0.0 && want < 1.0, "a test of accuracy should have hits and misses, not {want}");
    assert_close("accuracy", &found, &[want]);
}

fn cosines(rows: usize, d: usize) {
    let mut features = numbers::<f32>(rows * d, 4);
    features[..d].fill(0.0);
    let want = mean_cosine(&tensor(&features, (rows, d))).unwrap().to_scalar::<f64>().unwrap() as f32;
    let found = in_any_order(|| {
        let features = up(&features);
        launch_mean_cosine(Emulated::get(), at(&features), (rows, d)).unwrap().numbers()
    });
    assert!(want > 0.0 && want < 1.0, "{want}");
    assert_close("mean cosine", &found, &[want]);
}

#[test]
fn as_on_the_cpu() {
    for (rows, d) in [(9, 10), (300, 37)] {
        cosines(rows, d);
    }
    for (rows, d, k) in [(9, 10, 1), (40, 300, 5)] {
        figures(rows, d, k);
    }
}
