//! ReLU on the emulated GPU.
#![allow(clippy::unwrap_used)]

use super::add_relu;
use super::gpu::{launch_add_relu, launch_mask};
use crate::gpu::machine::At;
use crate::testing::emulated::{
    Emulated, Map, assert_close, at, both, elements, in_any_order, numbers, on_the_cpu, room, tensor, up,
};

fn check<T: Map>(len: usize, residual: bool) {
    let (x, r, dy) = (numbers::<T>(len, 1), numbers::<T>(len, 2), numbers::<T>(len, 3));
    let mut leaves = vec![tensor(&x, len)];
    leaves.extend(residual.then(|| tensor(&r, len)));
    let (want, gradients) = on_the_cpu(&leaves, &tensor(&dy, len), |tape, v| add_relu(tape, &v[0], v.get(1)));
    let (out, dx, copy) = in_any_order(|| {
        let (m, x, r, dy, out, copy) = (Emulated::get(), up(&x), up(&r), up(&dy), room::<T>(len), room::<T>(len));
        let added = residual.then(|| at(&r));
        let mask = launch_add_relu(m, len, [at(&x), at(&out)], added, true).unwrap().unwrap();
        let to = if residual { at(&copy) } else { At::none() };
        launch_mask(m, len, &mask, [at(&dy), to]).unwrap();
        (out.numbers(), dy.numbers(), if residual { copy.numbers() } else { vec![] })
    });
    if residual {
        assert!(dx == copy, "the residual's gradient");
    }
    assert_close("add_relu", &out, &elements::<T>(&want));
    assert_close("gradient of add_relu", &dx, &elements::<T>(&gradients[0]));
}

#[test]
fn as_on_the_cpu() {
    for len in [1, 31, 1000, 4096, 4097] {
        both!(check(len, false));
        both!(check(len, true));
    }
}
