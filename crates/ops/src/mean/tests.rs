//! Means over pixels against finite differences.
#![allow(clippy::unwrap_used)]

use super::{global_avg_pool, stream_mean};
use crate::testing::gradients::check;
use crate::testing::numbers::numbers;

#[test]
fn means() {
    for (h, w) in [(6, 6), (7, 5), (3, 4)] {
        let x = numbers(&[2, h, w, 6], 1);
        check("global average pool", std::slice::from_ref(&x), &|t, v| global_avg_pool(t, &v[0]));
        check("stream mean", &[x], &|t, v| stream_mean(t, &v[0]));
    }
}
