//! Sums of tensors and pixels of bytes on the emulated GPU.
#![allow(clippy::unwrap_used)]

use super::gpu::{launch_add_assign, launch_scale_bytes};
use super::pixel::Pixel;
use crate::gpu::machine::At;
use crate::testing::emulated::{Emulated, Map, assert_close, at, both, in_any_order, numbers, room, up};

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

/// Every byte, from `first` on, as the CPU scales it: the same bits, not only close.
fn scaled<T: Map + Pixel>(len: usize, first: usize) {
    let bytes: Vec<u8> = (0..first + len).map(|i| (i * 7 % 256) as u8).collect();
    let found = in_any_order(|| {
        let (bytes, out) = (up(&bytes), room::<T>(len));
        launch_scale_bytes(Emulated::get(), len, At::new(at(&bytes).0 + first as u64), at(&out)).unwrap();
        out.numbers()
    });
    let want: Vec<T> = bytes[first..].iter().map(|byte| T::of(f32::from(*byte) * (1.0 / 255.0))).collect();
    assert!(found == want, "{len} bytes from {first} on");
}

#[test]
fn bytes_are_scaled_to_the_bits_of_the_cpu() {
    for (len, first) in [(1, 0), (7, 0), (256, 0), (256, 1), (4096, 4), (10_003, 0)] {
        both!(scaled(len, first));
    }
}
