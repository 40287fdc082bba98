//! Gates, selective kernels, sums of maps.

use super::*;
use crate::cuda::gate;
use crate::cuda::pool::Streams;
use crate::gate::{add_relu, sigmoid_gate, stream_select};

fn check_sums<T: Map>(len: usize, residual: bool) {
    let (x, r, dy) = (numbers::<T>(len, 1), numbers::<T>(len, 2), numbers::<T>(len, 3));
    let mut leaves = vec![tensor(&x, len)];
    leaves.extend(residual.then(|| tensor(&r, len)));
    let (want, gradients) = on_the_cpu(&leaves, &tensor(&dy, len), |tape, v| add_relu(tape, &v[0], v.get(1)));
    let (out, dx, sum) = in_any_order(|| {
        let (m, x, r, dy, out) = (Emulator::get(), up(&x), up(&r), up(&dy), room::<T>(len));
        gate::add_relu(m, len, at(&x), residual.then(|| at(&r)), at(&out)).unwrap();
        gate::mask(m, len, at(&out), at(&dy)).unwrap();
        gate::add_assign(m, len, at(&x), at(&r)).unwrap();
        (out.numbers(), dy.numbers(), x.numbers())
    });
    assert_close("add_relu", &out, &elements::<T>(&want));
    assert_close("gradient of add_relu", &dx, &elements::<T>(&gradients[0]));
    let added: Vec<T> = x.iter().zip(&r).map(|(x, r)| T::of_f32(x.to_f32() + r.to_f32())).collect();
    assert_close("add_assign", &sum, &added);
}

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
        let (m, x, dy, logits) = (Emulator::get(), up(&x), up(&dy), up(&logits));
        let (out, dx) = (room::<T>(out_len), room::<T>(out_len * streams));
        let open = gate::open(m, s, at(&logits)).unwrap();
        let d_logits = if streams == 1 {
            gate::scale(m, s, at(&x), at(&open), at(&out)).unwrap();
            gate::scale(m, s, at(&dy), at(&open), at(&dx)).unwrap();
            gate::scale_gradient(m, s, [at(&x), at(&dy)], at(&open)).unwrap()
        } else {
            gate::select(m, s, at(&x), at(&open), at(&out)).unwrap();
            gate::select_gradient(m, s, [at(&x), at(&dy), at(&dx)], at(&open)).unwrap()
        };
        (out.numbers(), dx.numbers(), d_logits.numbers())
    });
    let what = format!("{streams} streams of {n}x{h}x{w}x{f}");
    assert_close(&format!("output of {what}"), &out, &elements::<T>(&want));
    assert_close(&format!("gradient of {what}"), &dx, &elements::<T>(&gradients[0]));
    assert_close(&format!("gate's gradient of {what}"), &d_logits, &elements::<f32>(&gradients[1]));
}

pub fn all() {
    for len in [1, 31, 1000, 4097] {
        both!(check_sums(len, false));
        both!(check_sums(len, true));
    }
    for (n, pixels, f) in [(1, (1, 1), 1), (2, (3, 5), 7), (3, (4, 4), 32), (2, (7, 3), 40), (5, (2, 2), 65)] {
        both!(check(n, pixels, f, 1));
        both!(check(n, pixels, f, 2));
    }
}

#[test]
fn as_on_the_cpu() {
    all();
}
