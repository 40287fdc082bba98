//! Pooling on the emulated GPU.
#![allow(clippy::unwrap_used)]

use super::gpu::{launch_average, launch_average_gradient, launch_max, launch_max_gradient};
use super::{PoolPadding, avg_pool2d, max_pool2d, window};
use crate::gpu::machine::At;
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
            let places = room::<u8>(out_len);
            launch_max(m, n, &window, [at(&x), at(&out)], at(&places)).unwrap();
            launch_max_gradient(m, n, &window, at(&places), [at(&dy), at(&dx)]).unwrap();
        } else {
            launch_average(m, n, &window, all, [at(&x), at(&out)]).unwrap();
            launch_average_gradient(m, n, &window, all, [at(&dy), at(&dx)]).unwrap();
        }
        (out.numbers(), dx.numbers())
    });
    let what = format!("{n}x{h}x{w}x{c}, window {k}, stride {stride}, {padding:?}, max {max}");
    assert_close(&format!("output of {what}"), &out, &elements::<T>(&want));
    assert_close(&format!("gradient of {what}"), &dx, &elements::<T>(&gradients[0]));
}

#[test]
fn as_on_the_cpu() {
    let windows =
        [(3, 2, PoolPadding::Same), (2, 2, PoolPadding::Valid), (3, 1, PoolPadding::Same), (3, 2, PoolPadding::Around)];
    for shape in [(2, 7, 7, 3), (1, 8, 6, 5), (3, 5, 9, 8), (1, 3, 2, 1), (2, 6, 5, 16)] {
        for (k, stride, padding) in windows {
            for max in [true, false] {
                both!(check(shape, k, stride, padding, max));
            }
        }
        both!(check(shape, 2, 2, PoolPadding::ZerosAtEnd, false));
    }
    // Several tiles of channels, and more columns than a tile has rows.
    for max in [true, false] {
        check::<f32>((1, 3, 40, 136), 3, 2, PoolPadding::Same, max);
    }
}

/// Of equal maxima the first in reading order gets the gradient, as on the CPU; in windows whose maximum is as low as
/// padding, too.
#[test]
fn ties_go_to_the_first() {
    for c in [1, 8] {
        for value in [1.0, f32::NEG_INFINITY] {
            let (x, dy) = (up(&vec![value; 9 * c]), up(&vec![1.0f32; 4 * c]));
            let (out, dx, m) = (room::<f32>(4 * c), room::<f32>(9 * c), Emulated::get());
            let places = room::<u8>(4 * c);
            let leaf = Value::constant(tensor(&vec![value; 9 * c], (1, 3, 3, c)));
            let window = window(&leaf, 3, 2, PoolPadding::Same).unwrap();
            launch_max(m, 1, &window, [at(&x), at(&out)], at(&places)).unwrap();
            assert_eq!(out.numbers(), vec![value; 4 * c]);
            launch_max_gradient(m, 1, &window, at(&places), [at(&dy), at(&dx)]).unwrap();
            let want = [1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0].map(|v| vec![v; c]).concat();
            assert_eq!(dx.numbers(), want, "{c} channels of {value}");
        }
    }
}

#[test]
fn windows_that_a_byte_cannot_number_are_refused() {
    let (x, out) = (up(&[1.0f32; 256]), room::<f32>(1));
    let window = window(&Value::constant(tensor(&[1.0f32; 256], (1, 16, 16, 1))), 16, 16, PoolPadding::Same).unwrap();
    let error = launch_max(Emulated::get(), 1, &window, [at(&x), at(&out)], At::none()).unwrap_err().to_string();
    assert!(error.contains("16x16"), "{error}");
}
