//! Losses against finite differences, and against candle.
#![allow(clippy::unwrap_used)]

use super::{cross_entropy, distillation, partial_cross_entropy, weighted_sum};
use crate::tape::Tape;
use crate::testing::gradients::{Op, check, constant};
use crate::testing::numbers::{assert_close, flat, numbers, on_device};
use candle_core::{Device, Tensor, Var};

#[test]
fn losses() {
    let logits = numbers(&[4, 5], 1);
    check("cross entropy", std::slice::from_ref(&logits), &|t, v| cross_entropy(t, &v[0], &[0, 4, 2, 2]));
    let some = [Some(1), None, Some(0), None];
    check("partly labeled", std::slice::from_ref(&logits), &|t, v| partial_cross_entropy(t, &v[0], &some));
    let teacher = constant(&(numbers(&[4, 5], 2) * 3.0).unwrap());
    for temperature in [0.5, 1.0, 4.0] {
        check("distillation", std::slice::from_ref(&logits), &|t, v| distillation(t, &v[0], &teacher, temperature));
    }
    let both: Op<'_> = &|t, v| {
        let (a, b) = (cross_entropy(t, &v[0], &[0, 4, 2, 2])?, distillation(t, &v[0], &teacher, 2.0)?);
        weighted_sum(t, &[(0.25, &a), (0.75, &b)])
    };
    check("a sum of two losses of one value", std::slice::from_ref(&logits), both);
    let var = Var::from_tensor(&logits).unwrap();
    let labels = Tensor::new(&[0u32, 4, 2, 2], &Device::Cpu).unwrap();
    let loss = candle_nn::loss::cross_entropy(&var, &labels).unwrap();
    let (tape, store) = (Tape::new(), loss.backward().unwrap());
    let logits = on_device(&logits);
    let leaf = tape.leaf(&logits);
    let ours = cross_entropy(&tape, &leaf, &[0, 4, 2, 2]).unwrap();
    assert_close("cross entropy by candle", &flat(ours.tensor()), &flat(&loss), 1e-6);
    let ours = tape.backward(&ours).unwrap();
    let (ours, theirs) = (flat(ours.get(&logits).unwrap()), flat(store.get(&var).unwrap()));
    assert_close("its gradient", &ours, &theirs, 1e-5);
    assert!(cross_entropy(&Tape::inference(), &constant(&numbers(&[2, 3], 1)), &[0, 3]).is_err());
}
