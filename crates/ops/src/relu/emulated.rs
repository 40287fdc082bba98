//! ReLU on the emulated GPU.
#![allow(clippy::unwrap_used)]

use super::add_relu;
use super::gpu::{launch_add_relu, launch_mask};
use crate::testing::emulated::{
    Emulated, Map, assert_close, at, both, elements, in_any_order, numbers, on_the_cpu, room, tensor, up,
};

fn check<T: Map>(len: usize, residual: bool) {
    let (x, r, dy) = (numbers::<T>(len, 1), numbers::<T>(len, 2), numbers::<T>(len, 3));
    let mut leaves = vec![tensor(&x, len)];
    leaves.extend(residual.then(|| tensor(&r, len)));
    let (want, gradients) = on_the_cpu(&leaves, &tensor(&dy, len), |tape, v| add_relu(tape, &v[0], v.get(1)));
    let (out, dx) = in_any_order(|| {
        let (m, x, r, dy, out) = (Emulated::get(), up(&x), up(&r), up(&dy), room::<T>(len));
        launch_add_relu(m, len, at(&x), residual.then(|| at(&r)), at(&out)).unwrap();
        launch_mask(m, len, at(&out), at(&dy)).unwrap();
        (out.numbers(), dy.numbers())
    });
    assert_close("add_relu", &out, &elements::<T>(&want));
    assert_close("gradient of add_relu", &dx, &elements::<T>(&gradients[0]));
}

#[test]
fn as_on_the_cpu() {
    for len in [1, 31, 1000, 4097] {
        both!(check(len, false));
        both!(check(len, true));
    }
}
