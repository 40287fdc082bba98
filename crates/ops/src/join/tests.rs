//! Parts of a batch, joined and taken apart.
#![allow(clippy::unwrap_used)]

use super::join_views;
use crate::tape::{Tape, Value};
use crate::testing::numbers::{device, flat, numbers, on_device};
use candle_core::Tensor;

#[test]
fn parts_of_a_batch_join_view_by_view() {
    let tape = Tape::new();
    let rows = |first: f32, images: usize| {
        let data = (0..4 * images).map(|i| first + i as f32).collect();
        Tensor::from_vec::<_, f32>(data, (2 * images, 2), &device()).unwrap()
    };
    let (a, b) = (rows(0.0, 2), rows(100.0, 1));
    let whole = join_views(&tape, &[tape.leaf(&a), tape.leaf(&b)]).unwrap();
    assert_eq!(whole.tensor().dims(), [6, 2]);
    assert_eq!(flat(whole.tensor()), [0.0, 1.0, 2.0, 3.0, 100.0, 101.0, 4.0, 5.0, 6.0, 7.0, 102.0, 103.0]);
    let store = tape.backward_over([(&whole, whole.tensor().copy().unwrap())]).unwrap();
    assert_eq!((flat(store.get(&a).unwrap()), flat(store.get(&b).unwrap())), (flat(&a), flat(&b)));
    let constant = |shape: &[usize]| Value::constant(on_device(&numbers(shape, 1)));
    for parts in [vec![], vec![constant(&[3, 2])], vec![constant(&[2, 2]), constant(&[2, 3])]] {
        assert!(join_views(&Tape::new(), &parts).is_err());
    }
}
