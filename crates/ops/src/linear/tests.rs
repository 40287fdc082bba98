//! Linear layers against finite differences, and against candle.
#![allow(clippy::unwrap_used)]

use super::linear;
use crate::testing::gradients::{check, tape_gradients};
use crate::testing::numbers::{assert_close, flat, numbers};
use candle_core::Var;

#[test]
fn linear_layers() {
    let inputs = [numbers(&[5, 7], 1), numbers(&[3, 7], 2), numbers(&[3], 3)];
    check("linear", &inputs, &|t, v| linear(t, &v[0], &v[1], Some(&v[2])));
    check("linear without bias", &inputs[..2], &|t, v| linear(t, &v[0], &v[1], None));
    let vars: Vec<Var> = inputs.iter().map(|t| Var::from_tensor(t).unwrap()).collect();
    let out = candle_nn::Linear::new(vars[1].as_tensor().clone(), Some(vars[2].as_tensor().clone()));
    let out = candle_nn::Module::forward(&out, &vars[0]).unwrap();
    let store = (&out * numbers(out.dims(), 99)).unwrap().sum_all().unwrap().backward().unwrap();
    let ours = tape_gradients(&|t, v| linear(t, &v[0], &v[1], Some(&v[2])), &inputs);
    for (i, var) in vars.iter().enumerate() {
        assert_close(&format!("linear, gradient {i} by candle"), &ours[i], &flat(store.get(var).unwrap()), 1e-5);
    }
}
