//! Gates against finite differences.
#![allow(clippy::unwrap_used)]

use super::{sigmoid_gate, stream_select};
use crate::testing::gradients::check;
use crate::testing::numbers::numbers;

#[test]
fn gates() {
    let x = numbers(&[2, 3, 4, 6], 1);
    check("sigmoid gate", &[x.clone(), numbers(&[2, 6], 2)], &|t, v| sigmoid_gate(t, &v[0], &v[1]));
    check("stream select", &[x, numbers(&[2, 6], 2)], &|t, v| stream_select(t, &v[0], &v[1]));
}
