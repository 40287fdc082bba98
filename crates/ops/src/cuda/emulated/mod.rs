//! The kernels on the processor, against the operations of the CPU.
//!
//! They are compiled as C++ against `emulated.hpp`, which says what the emulation finds. Every launch runs twice, with
//! threads and blocks in different orders.
#![allow(clippy::unwrap_used, unsafe_code)]

mod augment;
mod gates;
mod losses;
mod machine;
mod norms;
mod optimizers;
mod pools;

pub use machine::{Emulator, Guarded};

use super::machine::{At, Machine, Number};
use crate::cpu::wide::Element;
use crate::cpu::{from_vec, with_elements};
use crate::tape::{Tape, Value};
use candle_core::{Shape, Tensor};
use half::bf16;

/// Numbers that any shape makes differ, between -2 and 2; some are equal.
fn numbers<T: Element>(len: usize, seed: usize) -> Vec<T> {
    (0..len).map(|i| T::of_f32(((i * 7919 + seed * 104_729 + i * i * 31) % 4001) as f32 / 1000.0 - 2.0)).collect()
}

/// Whether two lists are equal to 1e-5 of the largest number, or for bf16 to two units of its last place.
#[track_caller]
fn assert_close<T: Element>(what: &str, found: &[T], want: &[T]) {
    assert_eq!(found.len(), want.len(), "{what}");
    let largest = want.iter().fold(1.0f32, |m, v| m.max(v.to_f32().abs()));
    let limit = largest * if T::DTYPE == candle_core::DType::BF16 { 1.0 / 128.0 } else { 1e-5 };
    for (i, (a, b)) in found.iter().zip(want).enumerate() {
        let (a, b) = (a.to_f32(), b.to_f32());
        assert!((a - b).abs() <= limit, "{what}: element {i} is {a}, not {b}");
    }
}

/// Runs a test for maps of both elements.
macro_rules! both {
    ($test:ident($($arg:expr),*)) => {{
        $test::<f32>($($arg),*);
        $test::<bf16>($($arg),*);
    }};
}
use both;

/// An element of maps, on the emulator too.
trait Map: Element + Number {}
impl Map for f32 {}
impl Map for bf16 {}

fn up<T: Number>(values: &[T]) -> Guarded<T> {
    Emulator::get().upload(values).unwrap()
}

fn room<T: Number>(len: usize) -> Guarded<T> {
    Emulator::get().room(len).unwrap()
}

fn at<T: Number>(memory: &Guarded<T>) -> At<T> {
    Emulator::get().at(memory)
}

/// What `work` gives, in whatever order threads and blocks run.
fn in_any_order<R: PartialEq>(work: impl Fn() -> R) -> R {
    let first = work();
    assert!(first == work(), "the order of threads decides the result");
    first
}

fn tensor<T: Map>(values: &[T], shape: impl Into<Shape>) -> Tensor {
    from_vec(values.to_vec(), shape).unwrap()
}

fn elements<T: Map>(tensor: &Tensor) -> Vec<T> {
    with_elements(tensor, |v: &[T]| Ok(v.to_vec())).unwrap()
}

/// What the CPU's operation gives, and its gradients with respect to `leaves` for the gradient `dy` of the output.
fn on_the_cpu(
    leaves: &[Tensor],
    dy: &Tensor,
    operation: impl FnOnce(&Tape, &[Value]) -> candle_core::Result<Value>,
) -> (Tensor, Vec<Tensor>) {
    let tape = Tape::new();
    let values: Vec<Value> = leaves.iter().map(|leaf| tape.leaf(leaf)).collect();
    let out = operation(&tape, &values).unwrap();
    let (result, mut gradients) = (out.tensor().clone(), tape.backward_from(&[(&out, dy.clone())]).unwrap());
    (result, leaves.iter().map(|leaf| gradients.remove(leaf).unwrap()).collect())
}

/// A barrier that is left out is found, whichever it is.
#[test]
fn every_missing_barrier_is_found() {
    let emulator = Emulator::get();
    let some = || {
        norms::small();
        losses::small();
        optimizers::small();
        augment::small();
    };
    some();
    let sites = emulator.barriers();
    let written = include_str!("../device.cuh").matches("__syncthreads();").count()
        + include_str!("../norm.cu").matches("__syncthreads();").count();
    assert_eq!(sites.len(), written, "only {sites:?} are reached");
    for site in sites {
        let found = emulator.without_barrier(&site, some);
        let message = found.expect_err(&format!("nobody misses the barrier at {site}"));
        assert!(message.contains("shared memory"), "{site}: {message}");
    }
}
