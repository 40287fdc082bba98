//! The contrast with keys against its definition and finite differences.
#![allow(clippy::unwrap_used)]

use super::{contrast_keys, unit_rows};
use crate::tape::{Tape, Value};
use crate::testing::gradients::{check, constant};
use crate::testing::numbers::{flat, numbers, on_device};
use crate::testing::ranks::on_ranks;
use candle_core::Tensor;

fn units(rows: usize, d: usize, seed: u64) -> Tensor {
    unit_rows(&on_device(&numbers(&[rows, d], seed))).unwrap()
}

fn loss(value: &Value) -> f64 {
    f64::from(value.tensor().to_scalar::<f32>().unwrap())
}

/// As the definition says it, in f64.
fn plain(hidden: &Tensor, keys: &Tensor, queue: Option<&Tensor>, temperature: f64) -> f64 {
    let rows = |t: &Tensor| -> Vec<Vec<f64>> {
        let d = t.dims()[1];
        flat(t).chunks(d).map(|row| row.iter().map(|v| f64::from(*v)).collect()).collect()
    };
    let (hidden, keys, queue) = (rows(hidden), rows(keys), queue.map(rows).unwrap_or_default());
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let n = keys.len() / 2;
    let mut sum = 0.0;
    for (i, row) in hidden.iter().enumerate() {
        let cosine = |key: &[f64]| dot(row, key) / (dot(row, row) * dot(key, key)).sqrt();
        let right = cosine(&keys[(i + n) % (2 * n)]) / temperature;
        let mut all = 0.0;
        for (j, key) in keys.iter().enumerate() {
            all += if j == i { 0.0 } else { libm::exp(cosine(key) / temperature - right) };
        }
        for key in &queue {
            all += libm::exp(cosine(key) / temperature - right);
        }
        sum += libm::log(all);
    }
    sum / hidden.len() as f64
}

/// With blocks of keys that are not full, one of them a single key that is the row's own.
#[test]
fn it_is_what_the_definition_says() {
    for (images, queued, d, temperature) in
        [(2, 0, 3, 0.5), (1, 1, 4, 1.0), (5, 7, 16, 0.1), (33, 600, 20, 0.2), (257, 0, 8, 0.5), (40, 1500, 5, 0.01)]
    {
        let hidden = on_device(&(numbers(&[2 * images, d], 1) * 3.0).unwrap());
        let (keys, queue) = (units(2 * images, d, 2), (queued > 0).then(|| units(queued, d, 3)));
        let found =
            contrast_keys(&Tape::inference(), &Value::constant(hidden.clone()), &keys, queue.as_ref(), temperature);
        let (found, want) = (loss(&found.unwrap().loss), plain(&hidden, &keys, queue.as_ref(), temperature));
        assert!((found - want).abs() < 2e-6 * want.max(1.0), "{images}, {queued}: {found} for {want}");
    }
}

#[test]
fn gradients() {
    for queued in [0, 9, 700] {
        let (keys, queue) = (units(12, 5, 2), (queued > 0).then(|| units(queued, 5, 3)));
        check("contrast with keys", &[numbers(&[12, 5], 3)], &|tape, v| {
            Ok(contrast_keys(tape, &v[0], &keys, queue.as_ref(), 0.5)?.loss)
        });
    }
}

/// Keys that are the queries themselves, each image with a direction of its own.
#[test]
fn accuracy_and_entropy_are_of_first_views_among_second_ones() {
    let one = Tensor::eye(4, candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
    let both = on_device(&Tensor::cat(&[&one, &one], 0).unwrap());
    let queue = units(3, 4, 7);
    let found = |keys: &Tensor| {
        let found = contrast_keys(&Tape::inference(), &Value::constant(both.clone()), keys, Some(&queue), 0.1).unwrap();
        let scalar = |t: &Tensor| t.to_dtype(candle_core::DType::F64).unwrap().to_scalar::<f64>().unwrap();
        (scalar(&found.accuracy), scalar(&found.entropy))
    };
    let (right, sure) = found(&both);
    assert!(right == 1.0 && sure < 2e-3, "{right}, {sure}");
    // Second views of other images: the one in the middle is mistaken, and the last.
    let other = Tensor::cat(&[&one, &one.i(&[0, 2, 1, 3])], 0).unwrap();
    assert_eq!(found(&on_device(&other)).0, 0.5);
}

trait Rows {
    fn i(&self, rows: &[u32]) -> Tensor;
}

impl Rows for Tensor {
    fn i(&self, rows: &[u32]) -> Tensor {
        self.index_select(&Tensor::new(rows, self.device()).unwrap(), 0).unwrap()
    }
}

/// Each rank has its own rows, and the keys of all.
#[test]
fn ranks_find_what_one_process_finds() {
    let (images, d) = (7, 6);
    let (hidden, keys, queue) = (numbers(&[2 * images, d], 1), units(2 * images, d, 2), units(11, d, 3));
    let tape = Tape::new();
    let leaf = tape.leaf(&on_device(&hidden));
    let whole = contrast_keys(&tape, &leaf, &keys, Some(&queue), 0.5).unwrap().loss;
    let want = flat(tape.backward(&whole).unwrap().get(leaf.tensor()).unwrap());
    for ranks in [2, 4] {
        let all = on_ranks(ranks, |group| {
            let own = group.part(images);
            let views = [0, images].map(|view| hidden.narrow(0, view + own.start, own.len()).unwrap());
            let tape = Tape::new().among(group, images);
            let leaf = tape.leaf(&on_device(&Tensor::cat(&views, 0).unwrap()));
            let found = contrast_keys(&tape, &leaf, &keys, Some(&queue), 0.5).unwrap().loss;
            let share = own.len() as f64 / images as f64;
            let value = loss(&found) * share;
            let gradient = flat(tape.backward(&found).unwrap().get(leaf.tensor()).unwrap());
            (own, value, gradient.iter().map(|g| g * share as f32).collect::<Vec<_>>())
        });
        let sum: f64 = all.iter().map(|(_, value, _)| value).sum();
        assert!((sum - loss(&whole)).abs() < 1e-6, "{sum}");
        for (own, _, gradient) in all {
            for (view, rows) in gradient.chunks(own.len() * d).enumerate() {
                let want = &want[(view * images + own.start) * d..][..rows.len()];
                assert!(rows.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6), "{ranks} ranks, {own:?}");
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_told() {
    let tape = Tape::inference();
    let message = |rows: usize, keys: usize, queue: Option<usize>| {
        let (keys, queue) = (units(keys, 3, 1), queue.map(|rows| units(rows, 4, 2)));
        contrast_keys(&tape, &constant(&numbers(&[rows, 3], 1)), &keys, queue.as_ref(), 0.1).err().unwrap().to_string()
    };
    assert!(message(5, 6, None).contains("5 rows"));
    assert!(message(4, 6, None).contains("for 2 images"));
    assert!(message(4, 4, Some(2)).contains("queue Some([2, 4])"));
    assert!(message(2, 2, None).contains("one image"));
}
