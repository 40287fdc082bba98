//! NT-Xent against finite differences.
#![allow(clippy::unwrap_used)]

use super::nt_xent;
use crate::tape::Tape;
use crate::testing::gradients::{check, constant};
use crate::testing::numbers::numbers;

#[test]
fn gradients() {
    for normalize in [true, false] {
        check("nt-xent", &[numbers(&[12, 5], 3)], &|t, v| Ok(nt_xent(t, &v[0], 0.5, normalize)?.loss));
    }
    assert!(nt_xent(&Tape::inference(), &constant(&numbers(&[5, 3], 1)), 0.1, true).is_err());
}
