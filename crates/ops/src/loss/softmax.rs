//! The softmax of a row.

/// Softmax of a row in place; returns the logarithm of the sum of exponentials.
pub fn softmax_row(row: &mut [f32]) -> f64 {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0f64;
    for v in row.iter_mut() {
        *v = libm::expf(*v - max);
        sum += *v as f64;
    }
    let scale = (1.0 / sum) as f32;
    row.iter_mut().for_each(|v| *v *= scale);
    max as f64 + libm::log(sum)
}
