//! The contrast with keys on the emulated GPU.
#![allow(clippy::unwrap_used)]

use super::gpu::launch_key_rows;
use super::{cpu, unit_rows};
use crate::collective::part;
use crate::contrastive::gpu::{self as contrastive, Place, unit_rows_gradient};
use crate::gpu::machine::At;
use crate::products::{Panels, product};
use crate::testing::emulated::{Emulated, assert_close, at, elements, in_any_order, numbers, tensor, up};

/// By the kernels; matrices are multiplied on the CPU, as cuBLAS does it on a GPU.
fn contrast((images, ranks, rank): (usize, usize, usize), queued: usize, d: usize) {
    let own = part(images, rank, ranks);
    let (rows, place) = (2 * own.len(), Place { images, own: own.len(), first: own.start });
    let hidden = numbers::<f32>(rows * d, 1);
    let unit = |count: usize, seed| unit_rows(&tensor(&numbers::<f32>(count * d, seed), (count, d))).unwrap();
    let keys = unit(2 * images, 2);
    let queue = (queued > 0).then(|| unit(queued, 3));
    let want = cpu::contrast_keys(&tensor(&hidden, (rows, d)), &keys, queue.as_ref(), own, 0.5).unwrap();
    let of_keys = elements::<f32>(&keys);
    let of_queue = queue.as_ref().map(elements::<f32>).unwrap_or_default();
    let (value, gradient, ab) = in_any_order(|| {
        let m = Emulated::get();
        let [z, norms] = contrastive::unit_rows(m, at(&up(&hidden)), (rows, d), true).unwrap();
        let of_rows = z.numbers();
        let similarities = |with: &[f32]| {
            let mut found = vec![0.0; rows * with.len() / d];
            product(&of_rows, d, &Panels::transposed(with, with.len() / d), &mut found, false);
            up(&found)
        };
        let p = similarities(&of_keys);
        let q = (queued > 0).then(|| similarities(&of_queue));
        let ends = [at(&p), q.as_ref().map_or(At::none(), at)];
        let [value, ab] = launch_key_rows(m, ends, place, queued, 0.5).unwrap();
        let mut gradient = vec![0.0; rows * d];
        let mut add = |p: &[f32], with: &[f32]| {
            let width = with.len() / d;
            product(p, width, &Panels::of_rows(width, d, |row| &with[row * d..][..d]), &mut gradient, true);
        };
        add(&p.numbers(), &of_keys);
        if let Some(q) = &q {
            add(&q.numbers(), &of_queue);
        }
        let gradient = up(&gradient);
        unit_rows_gradient(m, [at(&z), at(&norms)], (rows, d), at(&gradient)).unwrap();
        (value.numbers(), gradient.numbers(), ab.numbers())
    });
    let ([loss, of_hidden], _, logits) = want;
    let what = format!("keys of {images} images and {queued} queued, rank {rank} of {ranks}, width {d}");
    assert_close(&what, &value, &elements::<f32>(&loss));
    assert_close(&format!("gradient of {what}"), &gradient, &elements::<f32>(&of_hidden));
    assert_close(&format!("logits of {what}"), &ab, &elements::<f32>(&logits));
}

#[test]
fn as_on_the_cpu() {
    for (place, queued, d) in
        [((2, 1, 0), 0, 3), ((1, 1, 0), 2, 5), ((10, 1, 0), 300, 7), ((11, 3, 1), 5, 5), ((140, 2, 1), 517, 20)]
    {
        contrast(place, queued, d);
    }
}
