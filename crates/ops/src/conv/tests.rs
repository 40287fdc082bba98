//! Convolutions against finite differences, and against candle.
#![allow(clippy::unwrap_used)]

use super::{Zeros, conv2d, padded};
use crate::tape::Tape;
use crate::testing::gradients::{Op, check, constant, tape_gradients};
use crate::testing::numbers::{assert_close, device, flat, numbers};
use candle_core::Var;

#[test]
fn convolutions() {
    let cases = [
        // Zeros on every side; none where the reference's rule is meant.
        (5, 7, 3, 4, 3, 1, None),
        (6, 5, 16, 16, 3, 1, None),
        (7, 7, 3, 5, 3, 2, None),
        (8, 6, 4, 3, 3, 2, None),
        (9, 9, 2, 3, 7, 2, None),
        (6, 6, 5, 2, 1, 1, Some(0)),
        (7, 7, 5, 2, 1, 2, Some(0)), // candle's own gradient needs equal remainders in both directions
        (6, 6, 2, 3, 3, 1, Some(0)),
        (6, 6, 2, 3, 3, 1, Some(2)),
        (6, 6, 2, 3, 3, 1, Some(4)),
        (6, 7, 2, 3, 2, 1, None),
        (40, 40, 3, 8, 3, 1, None),
        (7, 21, 3, 16, 3, 1, None),
        (9, 19, 16, 32, 3, 1, None),
        (5, 6, 32, 48, 3, 1, None),
        (33, 5, 48, 16, 5, 1, None),
        (60, 40, 16, 16, 3, 1, None),
        (20, 21, 8, 8, 3, 1, None),
        (6, 9, 17, 24, 3, 1, None),
        (5, 9, 8, 33, 3, 1, None),
        (5, 6, 64, 63, 3, 1, None),
    ];
    for (h, w, c, o, k, stride, zeros) in cases {
        let zeros = zeros.map_or(Zeros::around(k), |p| Zeros { before: p, total: 2 * p });
        let what = format!("conv {h}x{w}x{c} -> {o}, {k}x{k}/{stride} {zeros:?}");
        let (x, weight) = (numbers(&[2, h, w, c], 1), numbers(&[o, k, k, c], 2));
        let op: Op<'_> = &|t, v| padded(t, (&v[0]).into(), &v[1], stride, zeros);
        if k % 2 == 0 && device().is_cuda() {
            let refused = op(&Tape::inference(), &[constant(&x), constant(&weight)]).unwrap_err().to_string();
            assert!(refused.contains("use an odd kernel"), "{refused}");
            continue;
        }
        check(&what, &[x.clone(), weight.clone()], op);
        // candle: NCHW, padding made by hand because it may be uneven.
        let Zeros { before, total } = zeros;
        let (xv, wv) = (Var::from_tensor(&x).unwrap(), Var::from_tensor(&weight).unwrap());
        let nchw = xv.permute((0, 3, 1, 2)).unwrap();
        let nchw = nchw.pad_with_zeros(2, before, total - before).unwrap();
        let nchw = nchw.pad_with_zeros(3, before, total - before).unwrap().contiguous().unwrap();
        let oihw = wv.permute((0, 3, 1, 2)).unwrap().contiguous().unwrap();
        let out = nchw.conv2d(&oihw, 0, stride, 1, 1).unwrap().permute((0, 2, 3, 1)).unwrap().contiguous().unwrap();
        let ours = op(&Tape::inference(), &[constant(&x), constant(&weight)]).unwrap();
        assert_eq!(ours.tensor().dims(), out.dims(), "{what}");
        assert_close(&what, &flat(ours.tensor()), &flat(&out), 1e-5);
        let store = (out.clone() * numbers(out.dims(), 99)).unwrap().sum_all().unwrap().backward().unwrap();
        let gradients = tape_gradients(op, &[x, weight]);
        assert_close(&format!("{what} dx by candle"), &gradients[0], &flat(store.get(&xv).unwrap()), 1e-5);
        assert_close(&format!("{what} dw by candle"), &gradients[1], &flat(store.get(&wv).unwrap()), 1e-5);
    }
}

#[test]
fn misfits_are_errors() {
    let t = Tape::inference();
    let x = constant(&numbers(&[1, 2, 2, 3], 1));
    let w = constant(&numbers(&[4, 3, 3, 5], 1));
    let message = conv2d(&t, &x, &w, 1).unwrap_err().to_string();
    assert!(message.contains("does not fit an input of 3 channels"), "{message}");
    assert!(padded(&t, (&x).into(), &constant(&numbers(&[4, 3, 3, 3], 1)), 1, Zeros { before: 0, total: 0 }).is_err());
}
