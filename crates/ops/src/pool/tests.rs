//! Pooling against finite differences, and by hand.
#![allow(clippy::unwrap_used)]

use super::{PoolPadding, avg_pool2d, max_pool2d};
use crate::tape::Tape;
use crate::testing::gradients::{check, constant};
use crate::testing::numbers::flat;
use candle_core::{Device, Tensor};

#[test]
fn pools() {
    // Distinct values with gaps wider than the difference step, so that no maximum changes hands.
    let distinct = |h: usize, w: usize| {
        let n = 2 * h * w * 3;
        let data: Vec<f32> = (0..n).map(|i| (i * 101 % n) as f32 * 0.05).collect();
        Tensor::from_vec(data, (2, h, w, 3), &Device::Cpu).unwrap()
    };
    for (h, w) in [(6, 6), (7, 5)] {
        let x = distinct(h, w);
        for padding in [PoolPadding::Valid, PoolPadding::Same, PoolPadding::Around] {
            check("max pool", std::slice::from_ref(&x), &|t, v| max_pool2d(t, &v[0], 3, 2, padding));
        }
        for (k, s) in [(2, 2), (2, 1), (3, 2)] {
            for padding in [PoolPadding::Valid, PoolPadding::Same, PoolPadding::ZerosAtEnd] {
                check("average pool", std::slice::from_ref(&x), &|t, v| avg_pool2d(t, &v[0], k, s, padding));
            }
        }
    }
    let x = constant(&Tensor::arange(1f32, 10., &Device::Cpu).unwrap().reshape((1, 3, 3, 1)).unwrap());
    let t = Tape::inference();
    let pool = |p| flat(avg_pool2d(&t, &x, 2, 2, p).unwrap().tensor());
    assert_eq!(pool(PoolPadding::ZerosAtEnd), [3.0, 2.25, 3.75, 2.25], "zeros at the end count");
    assert_eq!(pool(PoolPadding::Same), [3.0, 4.5, 7.5, 9.0], "padding of SAME does not");
    let even = constant(&Tensor::arange(0f32, 16., &Device::Cpu).unwrap().reshape((1, 4, 4, 1)).unwrap());
    let max = flat(max_pool2d(&t, &even, 3, 2, PoolPadding::Same).unwrap().tensor());
    assert_eq!(max, [10.0, 11.0, 14.0, 15.0], "on an even size SAME pads at the end alone");
    let around = flat(max_pool2d(&t, &even, 3, 2, PoolPadding::Around).unwrap().tensor());
    assert_eq!(around, [5.0, 7.0, 13.0, 15.0], "and PyTorch at both");
    let odd = [PoolPadding::Same, PoolPadding::Around].map(|p| flat(max_pool2d(&t, &x, 3, 2, p).unwrap().tensor()));
    assert_eq!(odd[0], odd[1], "on an odd size they agree");
}
