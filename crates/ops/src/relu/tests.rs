//! ReLU against finite differences.
#![allow(clippy::unwrap_used)]

use super::{add_relu, relu};
use crate::testing::gradients::check;
use crate::testing::numbers::numbers;

#[test]
fn relus() {
    let x = numbers(&[2, 3, 4, 6], 1);
    let far = (x.sign().unwrap() + &x).unwrap(); // away from the kink
    check("relu", std::slice::from_ref(&far), &|t, v| relu(t, &v[0]));
    check("add relu", &[far.clone(), (&x * 0.1).unwrap()], &|t, v| add_relu(t, &v[0], Some(&v[1])));
}
