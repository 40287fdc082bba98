//! Pooling.

use super::*;
use crate::cuda::pool::{self, Streams};
use crate::gate::stream_mean;
use crate::pool::{PoolPadding, avg_pool2d, global_avg_pool, max_pool2d, window};

type Shape4 = (usize, usize, usize, usize);

fn check<T: Map>((n, h, w, c): Shape4, k: usize, stride: usize, padding: PoolPadding, max: bool) {
    let x = numbers::<T>(n * h * w * c, 1);
    let leaf = tensor(&x, (n, h, w, c));
    let (_, window) = window(&Value::constant(leaf.clone()), k, stride, padding).unwrap();
    let out_len = n * window.oh * window.ow * c;
    let dy = numbers::<T>(out_len, 2);
    let all = padding == PoolPadding::ZerosAtEnd;
    let (want, gradients) = on_the_cpu(&[leaf], &tensor(&dy, (n, window.oh, window.ow, c)), |tape, v| match max {
        true => max_pool2d(tape, &v[0], k, stride, padding),
        false => avg_pool2d(tape, &v[0], k, stride, padding),
    });
    let (out, dx) = in_any_order(|| {
        let (m, x, dy) = (Emulator::get(), up(&x), up(&dy));
        let (out, dx) = (room::<T>(out_len), room::<T>(n * h * w * c));
        if max {
            pool::max(m, n, &window, at(&x), at(&out)).unwrap();
            pool::max_gradient(m, n, &window, [at(&x), at(&out), at(&dy), at(&dx)]).unwrap();
        } else {
            pool::average(m, n, &window, all, at(&x), at(&out)).unwrap();
            pool::average_gradient(m, n, &window, all, at(&dy), at(&dx)).unwrap();
        }
        (out.numbers(), dx.numbers())
    });
    let what = format!("{n}x{h}x{w}x{c}, window {k}, stride {stride}, {padding:?}, max {max}");
    assert_close(&format!("output of {what}"), &out, &elements::<T>(&want));
    assert_close(&format!("gradient of {what}"), &dx, &elements::<T>(&gradients[0]));
}

fn check_means<T: Map>((n, h, w, f): Shape4, streams: usize) {
    let s = Streams { n, pixels: h * w, f, streams };
    let (x, dy) = (numbers::<T>(n * h * w * f * streams, 1), numbers::<f32>(n * f, 2));
    let leaf = tensor(&x, (n, h, w, f * streams));
    let (want, gradients) = on_the_cpu(&[leaf], &tensor(&dy, (n, f)), |tape, v| match streams {
        1 => global_avg_pool(tape, &v[0]),
        _ => stream_mean(tape, &v[0]),
    });
    let (out, dx) = in_any_order(|| {
        let (m, x, dy, out, dx) = (Emulator::get(), up(&x), up(&dy), room::<f32>(n * f), room::<T>(x.len()));
        pool::mean(m, s, at(&x), at(&out)).unwrap();
        pool::mean_gradient(m, s, at(&dy), at(&dx)).unwrap();
        (out.numbers(), dx.numbers())
    });
    assert_close(&format!("mean of {n}x{h}x{w}x{f}"), &out, &elements::<f32>(&want));
    assert_close(&format!("gradient of the mean of {n}x{h}x{w}x{f}"), &dx, &elements::<T>(&gradients[0]));
}

pub fn all() {
    let windows = [(3, 2, PoolPadding::Same), (2, 2, PoolPadding::Valid), (3, 1, PoolPadding::Same)];
    for shape in [(2, 7, 7, 3), (1, 8, 6, 5), (3, 5, 9, 8), (1, 3, 2, 1)] {
        for (k, stride, padding) in windows {
            for max in [true, false] {
                both!(check(shape, k, stride, padding, max));
            }
        }
        both!(check(shape, 2, 2, PoolPadding::ZerosAtEnd, false));
    }
    for (shape, streams) in [((2, 7, 7, 3), 1), ((3, 1, 1, 40), 1), ((2, 4, 5, 33), 1), ((2, 3, 5, 7), 2)] {
        both!(check_means(shape, streams));
    }
}

#[test]
fn as_on_the_cpu() {
    all();
}

/// Of equal maxima the first in reading order gets the gradient, as on the CPU.
#[test]
fn ties_go_to_the_first() {
    let (x, dy) = (up(&[1.0f32; 9]), up(&[1.0f32; 4]));
    let (out, dx, m) = (room::<f32>(4), room::<f32>(9), Emulator::get());
    let leaf = Value::constant(tensor(&[1.0f32; 9], (1, 3, 3, 1)));
    let (_, window) = window(&leaf, 3, 2, PoolPadding::Same).unwrap();
    pool::max(m, 1, &window, at(&x), at(&out)).unwrap();
    pool::max_gradient(m, 1, &window, [at(&x), at(&out), at(&dy), at(&dx)]).unwrap();
    assert_eq!(dx.numbers(), [1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
}
