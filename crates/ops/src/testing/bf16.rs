//! Maps of bf16 against the same operations in f32 on the same (rounded) numbers.
#![allow(clippy::unwrap_used)]

use super::gradients::Op;
use super::numbers::{assert_close, flat, numbers, on_device};
use crate::conv::{Zeros, padded};
use crate::*;
use candle_core::{DType, Tensor};
use std::slice::from_ref as one;

/// Rounding to bf16 costs 2^-9 of a number; the gradient of a shift sums thousands of rounded numbers that cancel.
const TOLERANCE: f32 = 2e-2;

fn rounded(t: &Tensor) -> Tensor {
    t.to_dtype(DType::BF16).unwrap().to_dtype(DType::F32).unwrap()
}

/// Output and gradients of `op` on maps (stored as `dtype`) and parameters (f32), all as f32.
fn run(op: Op<'_>, dtype: DType, maps: &[Tensor], params: &[Tensor]) -> Vec<Vec<f32>> {
    let tape = Tape::new();
    let maps = maps.iter().map(|t| t.to_dtype(dtype).unwrap());
    let inputs: Vec<Tensor> = maps.chain(params.iter().cloned()).map(|t| on_device(&t)).collect();
    let values: Vec<Value> = inputs.iter().map(|t| tape.leaf(t)).collect();
    let out = op(&tape, &values).unwrap();
    let seed = on_device(&rounded(&numbers(out.tensor().dims(), 99)).to_dtype(out.tensor().dtype()).unwrap());
    let mut all = vec![flat(out.tensor())];
    let store = tape.backward_over([(&out, seed)]).unwrap();
    all.extend(inputs.iter().map(|t| flat(store.get(t).unwrap())));
    all
}

fn check(what: &str, maps: &[Tensor], params: &[Tensor], op: Op<'_>) {
    let maps: Vec<Tensor> = maps.iter().map(rounded).collect();
    let (want, got) = (run(op, DType::F32, &maps, params), run(op, DType::BF16, &maps, params));
    for (i, (got, want)) in got.iter().zip(&want).enumerate() {
        assert_close(&format!("{what}, {i}"), got, want, TOLERANCE);
    }
}

#[test]
fn convolutions() {
    let cases = [
        // Zeros on every side; none where the reference's rule is meant.
        (5, 7, 3, 4, 3, 1, None),
        (6, 5, 16, 16, 3, 1, None),
        (7, 7, 3, 5, 3, 2, None),
        (9, 9, 2, 3, 7, 2, None),
        (7, 7, 5, 2, 1, 2, Some(0)),
        (6, 6, 2, 3, 3, 1, Some(4)),
        (40, 40, 3, 8, 3, 1, None),
        (20, 21, 64, 33, 3, 1, None),
        (6, 9, 17, 40, 3, 1, None),
        (4, 4, 96, 100, 3, 1, None),
        (8, 8, 700, 400, 1, 1, None),
        (4, 4, 200, 160, 3, 2, None),
    ];
    for (h, w, c, o, k, stride, zeros) in cases {
        let zeros = zeros.map_or(Zeros::around(k), |p| Zeros { before: p, total: 2 * p });
        let what = format!("conv {h}x{w}x{c} -> {o}, {k}x{k}/{stride} {zeros:?}");
        let (x, weight) = (numbers(&[3, h, w, c], 1), rounded(&numbers(&[o, k, k, c], 2)));
        check(&what, one(&x), one(&weight), &|t, v| padded(t, (&v[0]).into(), &v[1], stride, zeros));
        let (gamma, beta) = (numbers(&[c], 3), numbers(&[c], 4));
        check(&format!("normalised {what}"), &[x], &[weight, gamma, beta], &|t, v| {
            let (x, _) = batch_norm_relu(t, &v[0], Some(&v[2]), Some(&v[3]), &Statistics::Batch, 1e-5)?;
            padded(t, (&x).into(), &v[1], stride, zeros)
        });
    }
}

#[test]
fn norms_pools_and_gates() {
    for c in [3, 16, 48, 100] {
        let (x, r) = (numbers(&[3, 5, 6, c], 1), numbers(&[3, 5, 6, c], 2));
        let (gamma, beta) = (numbers(&[c], 3), numbers(&[c], 4));
        check("batch norm", &[x.clone(), r], &[gamma, beta], &|t, v| {
            let fused = Fused { residual: Some(&v[1]), relu: true };
            Ok(batch_norm(t, &v[0], Some(&v[2]), Some(&v[3]), &Statistics::Batch, 1e-5, fused)?.0)
        });
        check("max pool", one(&x), &[], &|t, v| max_pool2d(t, &v[0], 3, 2, PoolPadding::Same));
        check("average pool", one(&x), &[], &|t, v| avg_pool2d(t, &v[0], 2, 1, PoolPadding::Same));
        check("global pool", one(&x), &[], &|t, v| global_avg_pool(t, &v[0]));
        let gate = numbers(&[3, c], 5);
        check("sigmoid gate", &[x], &[gate], &|t, v| sigmoid_gate(t, &v[0], &v[1]));
        let streams = numbers(&[3, 5, 6, 2 * c], 6);
        check("stream mean", one(&streams), &[], &|t, v| stream_mean(t, &v[0]));
        let logits = numbers(&[3, 2 * c], 7);
        check("stream select", &[streams], &[logits], &|t, v| stream_select(t, &v[0], &v[1]));
    }
}

/// Convolutions round their weights, or read them as they were rounded together.
#[test]
fn weights_that_are_rounded_beforehand_give_the_same_bits() {
    let (maps, weights) = ([numbers(&[2, 6, 5, 16], 1)], [numbers(&[24, 3, 3, 16], 2), numbers(&[8, 1, 1, 24], 3)]);
    let both =
        |tape: &Tape, x: &Value, weights: &[Value]| conv2d(tape, &conv2d(tape, x, &weights[0], 1)?, &weights[1], 1);
    let each: Op<'_> = &|tape, v| both(tape, &v[0], &v[1..]);
    let together: Op<'_> = &|tape, v| both(tape, &v[0], &with_rounded(&v[1..])?);
    assert_eq!(run(each, DType::BF16, &maps, &weights), run(together, DType::BF16, &maps, &weights));
}
