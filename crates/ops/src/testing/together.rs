//! Operations that follow one another on a tape.
#![allow(clippy::unwrap_used)]

use super::gradients::{check, constant, tape_gradients};
use super::numbers::numbers;
use crate::conv::conv2d;
use crate::norm::{Fused, Statistics, batch_norm};
use crate::tape::Tape;

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
