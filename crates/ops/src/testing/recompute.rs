//! A stretch of operations that is recomputed in the backward pass gives what it gives when it is kept, and keeps less.
#![allow(clippy::unwrap_used)]

use super::numbers::{self, flat, on_device};
use crate::*;
use candle_core::{Result, Tensor};
use std::cell::Cell;
use std::rc::Rc;

fn numbers(shape: &[usize], seed: u64) -> Tensor {
    on_device(&numbers::numbers(shape, seed))
}

/// A residual block of two convolutions: `[x, w1, gamma, w2]`.
fn block(tape: &Tape, v: &[Value]) -> Result<(Value, Vec<Tensor>)> {
    let y = conv2d(tape, &v[0], &v[1], 1)?;
    let (y, _) = batch_norm_relu(tape, &y, Some(&v[2]), None, &Statistics::Batch, 1e-5)?;
    let y = conv2d(tape, &y, &v[3], 1)?;
    let fused = Fused { residual: Some(&v[0]), relu: true };
    Ok((batch_norm(tape, &y, Some(&v[2]), None, &Statistics::Batch, 1e-5, fused)?.0, vec![]))
}

/// Three blocks that share their weights; what they get besides is wanted by others too.
fn network(tape: &Tape, leaves: &[Value], recompute: bool) -> (Value, Value) {
    let mut x = leaves[0].clone();
    for _ in 0..3 {
        let inputs = [x, leaves[1].clone(), leaves[2].clone(), leaves[3].clone()];
        x = if recompute {
            tape.recomputed(&inputs.iter().collect::<Vec<_>>(), block).unwrap().0
        } else {
            block(tape, &inputs).unwrap().0
        };
    }
    (global_avg_pool(tape, &x).unwrap(), relu(tape, &leaves[0]).unwrap())
}

#[test]
fn gradients_have_the_same_bits() {
    let tensors = [numbers(&[3, 9, 7, 4], 1), numbers(&[4, 3, 3, 4], 2), numbers(&[4], 3), numbers(&[4, 3, 3, 4], 4)];
    let run = |recompute: bool| {
        let tape = Tape::new();
        let leaves: Vec<Value> = tensors.iter().map(|t| tape.leaf(t)).collect();
        let (pooled, beside) = network(&tape, &leaves, recompute);
        let seeds = [(&pooled, numbers(&[3, 4], 5)), (&beside, numbers(&[3, 9, 7, 4], 6))];
        let store = tape.backward_over(seeds).unwrap();
        let gradients: Vec<Vec<f32>> = tensors.iter().map(|t| flat(store.get(t).unwrap())).collect();
        (flat(pooled.tensor()), gradients)
    };
    assert_eq!(run(false), run(true));
}

#[test]
fn constants_stay_constants_and_other_tapes_just_run_it() {
    let tape = Tape::new();
    let (x, w) = (numbers(&[2, 5], 1), numbers(&[3, 5], 2));
    let product = |tape: &Tape, v: &[Value]| Ok((linear(tape, &v[0], &v[1], None)?, vec![v[0].tensor().clone()]));
    let (a, b) = (tape.leaf(&x), Value::constant(w.clone()));
    let (out, beside) = tape.recomputed(&[&a, &b], product).unwrap();
    assert_eq!(flat(&beside[0]), flat(&x), "what stands beside the output comes from the first run");
    let store = tape.backward_over([(&out, numbers(&[2, 3], 3))]).unwrap();
    assert!(store.get(&x).is_some() && store.get(&w).is_none());
    let silent = Tape::inference();
    let (same, _) = silent.recomputed(&[&silent.leaf(&x), &silent.leaf(&w)], product).unwrap();
    assert!(same.node().is_none());
    assert_eq!(flat(same.tensor()), flat(out.tensor()));
    let recording = Tape::new();
    let (constant, _) = recording.recomputed(&[&b, &b], |_, v| Ok((v[0].clone(), vec![]))).unwrap();
    assert!(constant.node().is_none());
}

#[test]
fn a_leaf_made_inside_is_refused() {
    let (tape, x) = (Tape::new(), numbers(&[4], 1));
    let inside = x.copy().unwrap();
    let (out, _) = tape
        .recomputed(&[&tape.leaf(&x)], move |t, v| Ok((add_relu(t, &v[0], Some(&t.leaf(&inside)))?, vec![])))
        .unwrap();
    let error = tape.backward_over([(&out, numbers(&[4], 2))]).unwrap_err().to_string();
    assert!(error.contains("leaf"), "{error}");
}

/// The most tokens alive at once, of which each operation keeps one until its backward has run.
fn most_kept(recompute: bool) -> usize {
    const STRETCHES: usize = 6;
    let (token, most, runs) = (Rc::new(()), Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let stretch = {
        let (token, most, runs) = (token.clone(), most.clone(), runs.clone());
        move |tape: &Tape, v: &[Value]| {
            runs.set(runs.get() + usize::from(!tape.replays()));
            let mut x = v[0].clone();
            for _ in 0..5 {
                let (kept, most, node) = (token.clone(), most.clone(), x.node());
                x = tape.record(&[&x], x.tensor().clone(), move |dy, gradients| {
                    most.set(Rc::strong_count(&kept).max(most.get()));
                    gradients.add(node, dy)
                });
            }
            Ok((x, vec![]))
        }
    };
    let tape = Tape::new();
    let start = numbers(&[3], 1);
    let mut x = tape.leaf(&start);
    for _ in 0..STRETCHES {
        x = match recompute {
            true => tape.recomputed(&[&x], stretch.clone()).unwrap().0,
            false => stretch(&tape, std::slice::from_ref(&x)).unwrap().0,
        };
    }
    tape.backward_over([(&x, numbers(&[3], 2))]).unwrap();
    assert_eq!(runs.get(), STRETCHES, "the second run knows that it is one");
    // The test's own, and that of each stretch's closure.
    most.get() - 2 - if recompute { STRETCHES } else { 0 }
}

#[test]
fn less_is_kept() {
    assert_eq!((most_kept(false), most_kept(true)), (30, 5));
}
