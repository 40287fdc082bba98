//! Sums of tensors on the emulated GPU.
#![allow(clippy::unwrap_used)]

use super::gpu::launch_add_assign;
use crate::testing::emulated::{Emulated, Map, assert_close, at, both, in_any_order, numbers, up};

fn check<T: Map>(len: usize) {
    let (x, r) = (numbers::<T>(len, 1), numbers::<T>(len, 2));
    let sum = in_any_order(|| {
        let (sum, term) = (up(&x), up(&r));
        launch_add_assign(Emulated::get(), len, at(&sum), at(&term)).unwrap();
        sum.numbers()
    });
    let added: Vec<T> = x.iter().zip(&r).map(|(x, r)| T::of_f32(x.to_f32() + r.to_f32())).collect();
    assert_close("add_assign", &sum, &added);
}

#[test]
fn as_on_the_cpu() {
    for len in [1, 31, 1000, 4097] {
        both!(check(len));
    }
}
