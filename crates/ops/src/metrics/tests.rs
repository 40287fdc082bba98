//! Ties, numbers that are none, and rows without labels.
#![allow(clippy::unwrap_used)]

use super::{accuracy, mean_cosine, top_k};
use crate::tensor::from_vec;

#[test]
fn ties_and_nan() {
    let logits = [0.1, 0.9, 0.5, 1.0, 1.0, 0.0, f32::NAN, 0.0, 0.0];
    let hits = |labels: [u32; 3], k| top_k(&logits, 3, labels.map(Some), k);
    assert_eq!(hits([1, 0, 0], 1), 2);
    assert_eq!(hits([2, 1, 1], 1), 0);
    assert_eq!(hits([2, 1, 0], 2), 2);
}

#[test]
fn shares_are_of_the_labeled_rows() {
    let logits = from_vec(vec![0.0f32, 1.0, 1.0, 0.0, 3.0, 2.0], (3, 2)).unwrap();
    let share = |labels: [Option<u32>; 3]| accuracy(&logits, &labels, 1).unwrap().to_scalar::<f64>().unwrap();
    assert_eq!(share([Some(1), Some(1), Some(0)]), 2.0 / 3.0);
    assert_eq!(share([None, Some(1), Some(0)]), 0.5);
    assert!(share([None; 3]).is_nan());
    assert!(accuracy(&logits, &[Some(2), None, None], 1).unwrap_err().to_string().contains("label 2"));
}

#[test]
fn rows_that_are_alike_have_a_mean_cosine_of_one() {
    let cosine = |rows: &[f32], d: usize| {
        let features = from_vec(rows.to_vec(), (rows.len() / d, d)).unwrap();
        mean_cosine(&features).unwrap().to_scalar::<f64>().unwrap()
    };
    assert!((cosine(&[1.0, 2.0, 2.0, 10.0, 20.0, 20.0], 3) - 1.0).abs() < 1e-12);
    assert!((cosine(&[3.0, 0.0, 0.0, 0.5], 2) - 0.5).abs() < 1e-12, "two at right angles, each like itself");
    assert!(cosine(&[1.0, 0.0, -1.0, 0.0], 2).abs() < 1e-12);
    assert!((cosine(&[0.0, 0.0, 1.0, 0.0], 2) - 0.25).abs() < 1e-12, "zeros are unlike all");
    assert!(cosine(&[f32::NAN, 1.0], 2).is_nan());
}
