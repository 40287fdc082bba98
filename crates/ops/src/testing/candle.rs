//! The bridge to candle's autograd: layers of candle-nn as one node of the tape.
#![allow(clippy::unwrap_used)]

use super::gradients::{check, tape_gradients};
use super::numbers::{assert_close, device, flat, numbers, on_device};
use crate::relu::relu;
use crate::tape::{Tape, Value};
use candle_core::{DType, Result, Tensor, Var};
use candle_nn::ops::layer_norm_slow;

/// LayerNorm, then GELU: `x` `[R, D]`, `gamma` and `beta` `[D]`.
fn normalized([x, gamma, beta]: [&Tensor; 3]) -> Result<Tensor> {
    layer_norm_slow(x, gamma, beta, 1e-5)?.gelu_erf()
}

fn layer(tape: &Tape, inputs: [&Value; 3]) -> Value {
    tape.candle(&inputs, |t| normalized([&t[0], &t[1], &t[2]])).unwrap()
}

fn inputs() -> [Tensor; 3] {
    [numbers(&[3, 8], 1), numbers(&[8], 2), numbers(&[8], 3)]
}

/// The gradients of `sum(layer * c)` by the tape, `c` being fixed numbers.
fn gradients() -> Vec<Vec<f32>> {
    tape_gradients(&|tape, v| Ok(layer(tape, [&v[0], &v[1], &v[2]])), &inputs())
}

#[test]
fn layer_norm_and_gelu_have_the_gradients_of_finite_differences() {
    check("LayerNorm and GELU", &inputs(), &|tape, v| Ok(layer(tape, [&v[0], &v[1], &v[2]])));
}

#[test]
fn they_are_those_of_candle_itself() {
    let vars = inputs().map(|t| Var::from_tensor(&on_device(&t)).unwrap());
    let out = normalized([&vars[0], &vars[1], &vars[2]]).unwrap();
    let loss = (out * on_device(&numbers(&[3, 8], 99))).unwrap().sum_all().unwrap();
    let store = loss.backward().unwrap();
    for (i, (var, ours)) in vars.iter().zip(gradients()).enumerate() {
        assert_eq!(ours, flat(store.get(var).unwrap()), "input {i}");
    }
}

#[test]
fn it_stands_between_ops_of_the_tape_and_is_recomputed_with_them() {
    let run = |recomputes: bool| {
        let (tape, tensors) = (Tape::new(), inputs().map(|t| on_device(&t)));
        let leaves: Vec<Value> = tensors.iter().map(|t| tape.leaf(t)).collect();
        let forward = |tape: &Tape, v: &[Value]| {
            let open = relu(tape, &v[0])?;
            let out = tape.candle(&[&open, &v[1], &v[2]], |t| normalized([&t[0], &t[1], &t[2]]))?;
            Ok((relu(tape, &out)?, Vec::new()))
        };
        let inputs: Vec<&Value> = leaves.iter().collect();
        let (out, _) = match recomputes {
            true => tape.recomputed(&inputs, forward).unwrap(),
            false => forward(&tape, &leaves).unwrap(),
        };
        let store = tape.backward_over([(&out, on_device(&numbers(&[3, 8], 99)))]).unwrap();
        let found: Vec<_> = tensors.iter().map(|t| flat(store.get(t).unwrap())).collect();
        (flat(out.tensor()), found)
    };
    let plain = run(false);
    assert!(plain.1.iter().all(|g| g.iter().any(|g| *g != 0.0)), "gradients pass through on both sides");
    assert_eq!(plain, run(true));
}

#[test]
fn one_value_twice_gets_the_sum_and_gradients_have_one_owner() {
    let (tape, x) = (Tape::new(), on_device(&numbers(&[4], 7)));
    let leaf = tape.leaf(&x);
    // Candle hands both sides of an addition the same tensor.
    let sum = tape.candle(&[&leaf, &leaf], |t| &t[0] + &t[1]).unwrap();
    // ReLU's backward writes over the gradient that it is given.
    let out = relu(&tape, &sum).unwrap();
    let store = tape.backward_over([(&out, on_device(&numbers(&[4], 8)))]).unwrap();
    let want: Vec<f32> = flat(&numbers(&[4], 7))
        .iter()
        .zip(flat(&numbers(&[4], 8)))
        .map(|(x, dy)| if *x > 0.0 { 2.0 * dy } else { 0.0 })
        .collect();
    assert_eq!(flat(store.get(&x).unwrap()), want);
}

#[test]
fn constants_get_none() {
    let (tape, [x, gamma, beta]) = (Tape::new(), inputs().map(|t| on_device(&t)));
    let (leaf, fixed) = (tape.leaf(&gamma), [x.clone(), beta].map(Value::constant));
    let out = layer(&tape, [&fixed[0], &leaf, &fixed[1]]);
    let store = tape.backward_over([(&out, on_device(&numbers(&[3, 8], 99)))]).unwrap();
    assert_eq!(flat(store.get(&gamma).unwrap()), gradients()[1]);
    assert!(store.get(&x).is_none());
}

#[test]
fn bf16_stays_bf16() {
    let (tape, x) = (Tape::new(), on_device(&numbers(&[2, 8], 5).to_dtype(DType::BF16).unwrap()));
    let leaf = tape.leaf(&x);
    let out = tape.candle(&[&leaf], |t| t[0].sqr()).unwrap();
    let dy = on_device(&numbers(&[2, 8], 6).to_dtype(DType::BF16).unwrap());
    let store = tape.backward_over([(&out, dy)]).unwrap();
    let gradient = store.get(&x).unwrap();
    assert_eq!((out.tensor().dtype(), gradient.dtype()), (DType::BF16, DType::BF16));
    let want: Vec<f32> = flat(&x).iter().zip(flat(&numbers(&[2, 8], 6))).map(|(x, dy)| 2.0 * x * dy).collect();
    assert_close("gradient", &flat(gradient), &want, 2e-2);
}

#[test]
fn an_op_without_a_backward_is_no_silent_zero() {
    type Closure = fn(&[Tensor]) -> Result<Tensor>;
    let cut: Closure = |t| t[0].detach().broadcast_mul(&t[1])?.broadcast_add(&t[2]);
    // Candle-nn's fused op, which is built for GPUs in their builds alone.
    let fused: Closure = |t| candle_nn::ops::layer_norm(&t[0], &t[1], &t[2], 1e-5);
    for f in [cut, fused].into_iter().take(if device().is_cpu() { 2 } else { 1 }) {
        let (tape, tensors) = (Tape::new(), inputs().map(|t| on_device(&t)));
        let leaves: Vec<Value> = tensors.iter().map(|t| tape.leaf(t)).collect();
        let out = tape.candle(&[&leaves[0], &leaves[1], &leaves[2]], f).unwrap();
        let message = tape.backward_over([(&out, on_device(&numbers(&[3, 8], 99)))]).unwrap_err().to_string();
        assert!(message.contains("no gradient reaches input 0"), "{message}");
    }
}
