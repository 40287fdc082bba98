//! Pooling on the emulated GPU.
#![allow(clippy::unwrap_used)]

use super::gpu::{launch_average, launch_average_gradient, launch_max, launch_max_gradient};
use super::{PoolPadding, avg_pool2d, max_pool2d, window};
use crate::tape::Value;
use crate::testing::emulated::{
    Emulated, Map, assert_close, at, both, elements, in_any_order, numbers, on_the_cpu, room, tensor, up,
};

type Shape4 = (usize, usize, usize, usize);

fn check<T: Map>((n, h, w, c): Shape4, k: usize, stride: usize, padding: PoolPadding, max: bool) {
    let x = numbers::<T>(n * h * w * c, 1);
    let leaf = tensor(&x, (n, h, w, c));
    let window = window(&Value::constant(leaf.clone()), k, stride, padding).unwrap();
    let out_len = n * window.oh * window.ow * c;
    let dy = numbers::<T>(out_len, 2);
    let all = padding == PoolPadding::ZerosAtEnd;
    let (want, gradients) = on_the_cpu(&[leaf], &tensor(&dy, (n, window.oh, window.ow, c)), |tape, v| match max {
        true => max_pool2d(tape, &v[0], k, stride, padding),
        false => avg_pool2d(tape, &v[0], k, stride, padding),
    });
    let (out, dx) = in_any_order(|| {
        let (m, x, dy) = (Emulated::get(), up(&x), up(&dy));
        let (out, dx) = (room::<T>(out_len), room::<T>(n * h * w * c));
        if max {
            launch_max(m, n, &window, at(&x), at(&out)).unwrap();
            launch_max_gradient(m, n, &window, [at(&x), at(&out), at(&dy), at(&dx)]).unwrap();
        } else {
            launch_average(m, n, &window, all, at(&x), at(&out)).unwrap();
            launch_average_gradient(m, n, &window, all, at(&dy), at(&dx)).unwrap();
        }
        (out.numbers(), dx.numbers())
    });
    let what = format!("{n}x{h}x{w}x{c}, window {k}, stride {stride}, {padding:?}, max {max}");
    assert_close(&format!("output of {what}"), &out, &elements::<T>(&want));
    assert_close(&format!("gradient of {what}"), &dx, &elements::<T>(&gradients[0]));
}

#[test]
fn as_on_the_cpu() {
    let windows = [(3, 2, PoolPadding::Same), (2, 2, PoolPadding::Valid), (3, 1, PoolPadding::Same)];
    for shape in [(2, 7, 7, 3), (1, 8, 6, 5), (3, 5, 9, 8), (1, 3, 2, 1)] {
        for (k, stride, padding) in windows {
            for max in [true, false] {
                both!(check(shape, k, stride, padding, max));
            }
        }
        both!(check(shape, 2, 2, PoolPadding::ZerosAtEnd, false));
    }
}

/// Of equal maxima the first in reading order gets the gradient, as on the CPU.
#[test]
fn ties_go_to_the_first() {
    let (x, dy) = (up(&[1.0f32; 9]), up(&[1.0f32; 4]));
    let (out, dx, m) = (room::<f32>(4), room::<f32>(9), Emulated::get());
    let leaf = Value::constant(tensor(&[1.0f32; 9], (1, 3, 3, 1)));
    let window = window(&leaf, 3, 2, PoolPadding::Same).unwrap();
    launch_max(m, 1, &window, at(&x), at(&out)).unwrap();
    launch_max_gradient(m, 1, &window, [at(&x), at(&out), at(&dy), at(&dx)]).unwrap();
    assert_eq!(dx.numbers(), [1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
}
