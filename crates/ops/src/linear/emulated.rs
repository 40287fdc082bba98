//! Biases on the emulated GPU.
#![allow(clippy::unwrap_used)]

use super::gpu::{launch_add_bias, launch_sum_rows};
use crate::testing::emulated::{Emulated, assert_close, at, in_any_order, numbers, up};

fn biases(rows: usize, o: usize) {
    let (x, bias) = (numbers::<f32>(rows * o, 1), numbers::<f32>(o, 2));
    let (out, sums) = in_any_order(|| {
        let (m, out) = (Emulated::get(), up(&x));
        let sums = launch_sum_rows(m, at(&out), (rows, o)).unwrap().numbers();
        launch_add_bias(m, at(&out), (rows, o), at(&up(&bias))).unwrap();
        (out.numbers(), sums)
    });
    let want: Vec<f32> = x.iter().enumerate().map(|(i, v)| v + bias[i % o]).collect();
    assert_close("a bias", &out, &want);
    let want: Vec<f32> =
        (0..o).map(|j| x.iter().skip(j).step_by(o).map(|v| f64::from(*v)).sum::<f64>() as f32).collect();
    assert_close("gradient of a bias", &sums, &want);
}

#[test]
fn as_on_the_cpu() {
    for (rows, o) in [(1, 2), (4, 10), (7, 300)] {
        biases(rows, o);
    }
}
