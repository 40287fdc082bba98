//! Gates on the emulated GPU.
#![allow(clippy::unwrap_used)]

use super::gpu::{launch_open, launch_scale, launch_scale_gradient, launch_select, launch_select_gradient};
use super::{sigmoid_gate, stream_select};
use crate::mean::streams::Streams;
use crate::testing::emulated::{
    Emulated, Map, assert_close, at, both, elements, in_any_order, numbers, on_the_cpu, room, tensor, up,
};

fn check<T: Map>(n: usize, (h, w): (usize, usize), f: usize, streams: usize) {
    let s = Streams { n, pixels: h * w, f, streams };
    let out_len = n * h * w * f;
    let (x, dy) = (numbers::<T>(out_len * streams, 1), numbers::<T>(out_len, 2));
    let logits = numbers::<f32>(n * f * streams, 3);
    let leaves = [tensor(&x, (n, h, w, f * streams)), tensor(&logits, (n, f * streams))];
    let (want, gradients) = on_the_cpu(&leaves, &tensor(&dy, (n, h, w, f)), |tape, v| match streams {
        1 => sigmoid_gate(tape, &v[0], &v[1]),
        _ => stream_select(tape, &v[0], &v[1]),
    });
    let (out, dx, d_logits) = in_any_order(|| {
        let (m, x, dy, logits) = (Emulated::get(), up(&x), up(&dy), up(&logits));
        let (out, dx) = (room::<T>(out_len), room::<T>(out_len * streams));
        let open = launch_open(m, s, at(&logits)).unwrap();
        let d_logits = if streams == 1 {
            launch_scale(m, s, at(&x), at(&open), at(&out)).unwrap();
            launch_scale(m, s, at(&dy), at(&open), at(&dx)).unwrap();
            launch_scale_gradient(m, s, [at(&x), at(&dy)], at(&open)).unwrap()
        } else {
            launch_select(m, s, at(&x), at(&open), at(&out)).unwrap();
            launch_select_gradient(m, s, [at(&x), at(&dy), at(&dx)], at(&open)).unwrap()
        };
        (out.numbers(), dx.numbers(), d_logits.numbers())
    });
    let what = format!("{streams} streams of {n}x{h}x{w}x{f}");
    assert_close(&format!("output of {what}"), &out, &elements::<T>(&want));
    assert_close(&format!("gradient of {what}"), &dx, &elements::<T>(&gradients[0]));
    assert_close(&format!("gate's gradient of {what}"), &d_logits, &elements::<f32>(&gradients[1]));
}

#[test]
fn as_on_the_cpu() {
    for (n, pixels, f) in
        [(1, (1, 1), 1), (2, (3, 5), 7), (3, (4, 4), 32), (2, (7, 3), 40), (5, (2, 2), 65), (2, (9, 8), 264)]
    {
        both!(check(n, pixels, f, 1));
        both!(check(n, pixels, f, 2));
    }
}
