//! What ranks find of the parts of a batch is what one process finds of the whole.
#![allow(clippy::unwrap_used)]

use crate::collective::{Group, part, threads};
use crate::contrastive::nt_xent;
use crate::norm::{Fused, Statistics, batch_norm};
use crate::tape::{Tape, Value};
use crate::testing::numbers::{device, flat, numbers};
use candle_core::{Device, Result, Tensor};
use std::thread::scope;

/// Runs `work` on `size` threads, each of which is a rank.
pub fn on_ranks<R: Send>(size: usize, work: impl Fn(&Group) -> R + Sync) -> Vec<R> {
    scope(|scope| {
        let work = &work;
        let ranks: Vec<_> = threads(size).into_iter().map(|rank| scope.spawn(move || work(&Group::of(rank)))).collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

/// Runs `work` on groups of `size` ranks over all that moves numbers in this build: by way of the host, all ranks on the device
/// that is tested; and over NCCL, each on a GPU of its own, where there are as many. What each rank found, by group.
fn on_all_ranks<R: Send>(size: usize, work: impl Fn(&Group, &Device) -> R + Sync) -> Vec<Vec<R>> {
    let by_host = on_ranks(size, |group| work(group, &device()));
    #[cfg(all(unix, feature = "nccl"))]
    if let Some(by_nccl) = crate::collective::on_gpus(size, &work) {
        return vec![by_host, by_nccl];
    }
    vec![by_host]
}

/// The largest difference, relative to the largest number.
fn difference(found: &[f32], want: &[f32]) -> f32 {
    assert_eq!(found.len(), want.len());
    let largest = want.iter().fold(0f32, |a, v| a.max(v.abs()));
    found.iter().zip(want).fold(0f32, |a, (f, w)| a.max((f - w).abs())) / largest.max(1e-6)
}

/// Two batch norms with ReLU and a residual, then NT-Xent: output rows are views by images `[2 B, D]`.
fn network(tape: &Tape, x: &Value, gamma: &Value, beta: &Value) -> Result<Value> {
    let (y, _) =
        batch_norm(tape, x, Some(gamma), Some(beta), &Statistics::Batch, 1e-5, Fused { residual: None, relu: true })?;
    let fused = Fused { residual: Some(x), relu: true };
    let (y, _) = batch_norm(tape, &y, Some(gamma), None, &Statistics::Batch, 1e-5, fused)?;
    nt_xent(tape, &y, 0.5, true).map(|found| found.loss)
}

/// Loss, and gradients of the input, gamma and beta, on rank `group` of a batch of `[2 B, D]`.
fn of_part(group: &Group, device: &Device, x: &Tensor, learned: [&Tensor; 2]) -> (f32, [Vec<f32>; 3]) {
    let images = x.dim(0).unwrap() / 2;
    let own = group.part(images);
    let views = [0, images].map(|view| x.narrow(0, view + own.start, own.len()).unwrap());
    let x = Tensor::cat(&views, 0).unwrap().to_device(device).unwrap();
    let [gamma, beta] = learned.map(|t| t.to_device(device).unwrap());
    let tape = Tape::new().among(group, images);
    let leaves = [&x, &gamma, &beta].map(|t| tape.leaf(t));
    let loss = network(&tape, &leaves[0], &leaves[1], &leaves[2]).unwrap();
    let share = own.len() as f32 / images as f32;
    let mut found = [vec![], vec![], vec![]];
    let value = loss.tensor().to_scalar::<f32>().unwrap() * share;
    tape.backward_scaled(&loss, share, |leaf, gradient| {
        let place = [&x, &gamma, &beta].iter().position(|t| t.id() == leaf.id()).unwrap();
        found[place] = flat(&gradient);
        Ok(())
    })
    .unwrap();
    (value, found)
}

#[test]
fn ranks_find_what_one_process_finds() {
    for (images, d, ranks) in [(8, 5, 2), (8, 20, 4), (7, 3, 2), (5, 6, 4), (4, 17, 4)] {
        let (x, gamma, beta) = (numbers(&[2 * images, d], 1), numbers(&[d], 2), numbers(&[d], 3));
        let (want, gradients) = of_part(&Group::default(), &device(), &x, [&gamma, &beta]);
        let all = on_all_ranks(ranks, |group, device| of_part(group, device, &x, [&gamma, &beta]));
        for found in all {
            let what = format!("{images} images of {d} on {ranks} ranks");
            let loss: f32 = found.iter().map(|(loss, _)| loss).sum();
            assert!((loss - want).abs() < 1e-5 * want.abs(), "{what}: {loss} for {want}");
            let mut of_x = vec![0.0; 2 * images * d];
            for (rank, (_, [dx, ..])) in found.iter().enumerate() {
                let own = part(images, rank, ranks);
                for (view, rows) in dx.chunks(own.len() * d).enumerate() {
                    of_x[(view * images + own.start) * d..][..rows.len()].copy_from_slice(rows);
                }
            }
            assert!(difference(&of_x, &gradients[0]) < 1e-5, "{what}: input {}", difference(&of_x, &gradients[0]));
            for k in [1, 2] {
                let sum: Vec<f32> = (0..d).map(|j| found.iter().map(|(_, g)| g[k][j]).sum()).collect();
                assert!(difference(&sum, &gradients[k]) < 1e-5, "{what}: {k} {}", difference(&sum, &gradients[k]));
            }
        }
    }
}

/// Features that no network shapes: the loss over two ranks is that over all rows, not that over a rank's own, which hovers at
/// the logarithm of the number of negatives whatever is learned.
#[test]
fn the_loss_of_ranks_falls_below_chance() {
    let images = 6;
    // Each image has a direction of its own, in both views.
    let own = Tensor::eye(images, candle_core::DType::F32, &Device::Cpu).unwrap();
    let x = Tensor::cat(&[&own, &own], 0).unwrap();
    let losses = on_all_ranks(2, |group, device| {
        let part = group.part(images);
        let views = [0, images].map(|view| x.narrow(0, view + part.start, part.len()).unwrap());
        let x = Value::constant(Tensor::cat(&views, 0).unwrap().to_device(device).unwrap());
        let found = nt_xent(&Tape::inference().among(group, images), &x, 0.1, true).unwrap();
        assert_eq!(found.logits_ab.dims(), [3, 6]);
        let scalar = |t: &Tensor| t.to_dtype(candle_core::DType::F64).unwrap().to_scalar::<f64>().unwrap();
        (scalar(found.loss.tensor()), scalar(&found.accuracy))
    });
    // Both directions: 2 log(1 + 10 exp(-10)).
    let want = 2.0 * libm::log(1.0 + 10.0 * libm::exp(-10.0));
    for (loss, accuracy) in losses.concat() {
        assert!((loss - want).abs() < 1e-5 && accuracy == 1.0, "{loss} for {want}, accuracy {accuracy}");
    }
}

/// Batch norm whose moments are a rank's own tells which images share a rank: features then depend on where an image is, and
/// the positive, which is always on the same rank, is found by that alone.
#[test]
fn features_do_not_tell_the_rank() {
    let (images, d) = (8, 4);
    let x = numbers(&[images, d], 5);
    let shuffled: Vec<u32> = vec![3, 6, 0, 5, 7, 1, 4, 2];
    let normalised = |order: &[u32], together: bool| -> Vec<Vec<f32>> {
        let index = Tensor::new(order, x.device()).unwrap();
        let x = x.index_select(&index, 0).unwrap();
        let parts = on_ranks(2, |group| {
            let own = group.part(images);
            let x = Value::constant(x.narrow(0, own.start, own.len()).unwrap().to_device(&device()).unwrap());
            let alone = Group::default();
            let tape = Tape::inference().among(if together { group } else { &alone }, images);
            let (y, _) = batch_norm(&tape, &x, None, None, &Statistics::Batch, 1e-5, Fused::default()).unwrap();
            y.tensor().to_vec2::<f32>().unwrap()
        });
        let mut by_image = vec![vec![]; images];
        for (row, image) in parts.concat().into_iter().zip(order) {
            by_image[*image as usize] = row;
        }
        by_image
    };
    let order: Vec<u32> = (0..images as u32).collect();
    let moved =
        |together| difference(&normalised(&shuffled, together).concat(), &normalised(&order, together).concat());
    assert!(moved(true) < 1e-5, "{}", moved(true));
    assert!(moved(false) > 0.05, "{}", moved(false));
}
