//! Gradients by the tape held against finite differences.

#![allow(clippy::unwrap_used)]

use super::numbers::{assert_close, flat, numbers, on_device};
use crate::tape::{Tape, Value};
use candle_core::{Device, Result, Tensor};

/// An operation on values.
pub type Op<'a> = &'a dyn Fn(&Tape, &[Value]) -> Result<Value>;

/// Gradients of `sum(op(inputs) * c)` by the tape, `c` being fixed numbers.
pub fn tape_gradients(op: Op<'_>, inputs: &[Tensor]) -> Vec<Vec<f32>> {
    let (tape, inputs) = (Tape::new(), inputs.iter().map(on_device).collect::<Vec<_>>());
    let values: Vec<Value> = inputs.iter().map(|t| tape.leaf(t)).collect();
    let out = op(&tape, &values).unwrap();
    let c = on_device(&numbers(out.tensor().dims(), 99));
    let store = tape.backward_over([(&out, c)]).unwrap();
    inputs.iter().map(|t| flat(store.get(t).unwrap())).collect()
}

/// A value on the device that is tested, which no gradient reaches.
pub fn constant(t: &Tensor) -> Value {
    Value::constant(on_device(t))
}

/// `sum(op(inputs) * c)`, as [`tape_gradients`] has it.
fn objective(op: Op<'_>, inputs: &[Tensor]) -> f64 {
    let values: Vec<Value> = inputs.iter().map(constant).collect();
    let out = op(&Tape::inference(), &values).unwrap();
    let c = numbers(out.tensor().dims(), 99);
    flat(out.tensor()).iter().zip(flat(&c)).map(|(a, b)| *a as f64 * b as f64).sum()
}

/// Holds the gradients of `op` by the tape against finite differences.
pub fn check(what: &str, inputs: &[Tensor], op: Op<'_>) {
    let gradients = tape_gradients(op, inputs);
    for (i, input) in inputs.iter().enumerate() {
        let base = flat(input);
        let step = 1e-2f32;
        let picks: Vec<usize> = (0..base.len()).step_by((base.len() / 40).max(1)).collect();
        let moved = |at: usize, by: f32| {
            let mut data = base.clone();
            data[at] += by;
            let mut all = inputs.to_vec();
            all[i] = Tensor::from_vec(data, input.shape(), &Device::Cpu).unwrap();
            objective(op, &all)
        };
        let numeric: Vec<f32> =
            picks.iter().map(|&p| ((moved(p, step) - moved(p, -step)) / (2.0 * step as f64)) as f32).collect();
        let ours: Vec<f32> = picks.iter().map(|&p| gradients[i][p]).collect();
        assert_close(&format!("{what}, gradient of input {i} by differences"), &ours, &numeric, 1e-2);
    }
}
