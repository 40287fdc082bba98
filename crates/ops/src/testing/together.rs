//! Operations that follow one another on a tape.
#![allow(clippy::unwrap_used)]

use super::gradients::{check, constant, tape_gradients};
use super::numbers::numbers;
use crate::conv::conv2d;
use crate::norm::{Fused, Statistics, batch_norm};
use crate::tape::{Tape, Value};
use std::cell::RefCell;
use std::rc::Rc;

#[test]
fn a_value_with_several_consumers_gets_the_sum() {
    let x = numbers(&[2, 3, 3, 4], 1);
    let weight = numbers(&[4, 3, 3, 4], 2);
    check("a residual block", &[x, weight], &|t, v| {
        let y = conv2d(t, &v[0], &v[1], 1)?;
        let y = conv2d(t, &y, &v[1], 1)?;
        Ok(batch_norm(t, &y, None, None, &Statistics::Batch, 1e-5, Fused { residual: Some(&v[0]), relu: false })?.0)
    });
}

#[test]
fn results_do_not_depend_on_threads() {
    let (x, weight) = (numbers(&[16, 20, 20, 16], 1), numbers(&[16, 3, 3, 16], 2));
    let (gamma, beta) = (numbers(&[16], 3), numbers(&[16], 4));
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            tape_gradients(
                &|t, v| {
                    let y = conv2d(t, &v[0], &v[1], 1)?;
                    let fused = Fused { residual: None, relu: true };
                    Ok(batch_norm(t, &y, Some(&v[2]), Some(&v[3]), &Statistics::Batch, 1e-5, fused)?.0)
                },
                &[x.clone(), weight.clone(), gamma.clone(), beta.clone()],
            )
        })
    };
    assert_eq!(run(1), run(2));
    assert_eq!(run(1), run(5));
}

#[test]
fn a_loss_that_depends_on_no_leaf_is_an_error() {
    assert!(Tape::new().backward(&constant(&numbers(&[1], 1))).is_err());
}

/// What sums gradients over ranks does so while the rest of the backward pass runs.
#[test]
fn a_gradient_is_handed_out_when_the_last_op_has_added_to_it() {
    let (tape, log) = (Tape::new(), Rc::new(RefCell::new(Vec::new())));
    let tensors: Vec<_> = (0..3).map(|i| numbers(&[2], i)).collect();
    let [first, last, unused] = [0, 1, 2].map(|i| tape.leaf(&tensors[i]));
    let layer = |name: &'static str, inputs: &[&Value]| {
        let (nodes, log) = (inputs.iter().map(|v| v.node()).collect::<Vec<_>>(), log.clone());
        tape.record(inputs, tensors[0].clone(), move |dy, gradients| {
            log.borrow_mut().push(name);
            nodes.into_iter().try_for_each(|node| gradients.add(node, dy.copy()?))
        })
    };
    // `first` is used twice: its gradient is whole after `below`, and that of `last` before.
    let below = layer("below", &[&first]);
    let middle = layer("middle", &[&below, &last, &first]);
    let above = layer("above", &[&middle]);
    let sum = tape.record(&[&above], numbers(&[1], 9), {
        let (node, dy) = (above.node(), numbers(&[2], 8));
        move |_, gradients| gradients.add(node, dy)
    });
    // No gradient reaches what is beside the loss, nor its leaf.
    layer("beside", &[&unused]);
    tape.backward_scaled(&sum, 0.5, |leaf, _| {
        let place = tensors.iter().position(|t| t.id() == leaf.id()).unwrap();
        log.borrow_mut().push(["first", "last", "unused"][place]);
        Ok(())
    })
    .unwrap();
    assert_eq!(*log.borrow(), ["above", "middle", "last", "below", "first"]);
}
