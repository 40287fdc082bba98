//! Means over pixels on the emulated GPU.
#![allow(clippy::unwrap_used)]

use super::gpu::{launch_mean, launch_mean_gradient};
use super::streams::Streams;
use super::{global_avg_pool, stream_mean};
use crate::testing::emulated::{
    Emulated, Map, assert_close, at, both, elements, in_any_order, numbers, on_the_cpu, room, tensor, up,
};

type Shape4 = (usize, usize, usize, usize);

fn check<T: Map>((n, h, w, f): Shape4, streams: usize) {
    let s = Streams { n, pixels: h * w, f, streams };
    let (x, dy) = (numbers::<T>(n * h * w * f * streams, 1), numbers::<f32>(n * f, 2));
    let leaf = tensor(&x, (n, h, w, f * streams));
    let (want, gradients) = on_the_cpu(&[leaf], &tensor(&dy, (n, f)), |tape, v| match streams {
        1 => global_avg_pool(tape, &v[0]),
        _ => stream_mean(tape, &v[0]),
    });
    let (out, dx) = in_any_order(|| {
        let (m, x, dy, out, dx) = (Emulated::get(), up(&x), up(&dy), room::<f32>(n * f), room::<T>(x.len()));
        launch_mean(m, s, at(&x), at(&out)).unwrap();
        launch_mean_gradient(m, s, at(&dy), at(&dx)).unwrap();
        (out.numbers(), dx.numbers())
    });
    assert_close(&format!("mean of {n}x{h}x{w}x{f}"), &out, &elements::<f32>(&want));
    assert_close(&format!("gradient of the mean of {n}x{h}x{w}x{f}"), &dx, &elements::<T>(&gradients[0]));
}

#[test]
fn as_on_the_cpu() {
    for (shape, streams) in [
        ((2, 7, 7, 3), 1),
        ((3, 1, 1, 40), 1),
        ((2, 4, 5, 33), 1),
        ((2, 3, 5, 7), 2),
        ((3, 9, 5, 16), 1),
        ((2, 4, 3, 264), 2),
    ] {
        both!(check(shape, streams));
    }
}
