//! NT-Xent on the emulated GPU.
#![allow(clippy::unwrap_used)]

use super::cpu::{mean_entropy, nt_xent_share};
use super::gpu::{Place, launch_mean_entropy, launch_nt_xent, unit_rows, unit_rows_gradient};
use crate::collective::part;
use crate::products::{Panels, product, turned};
use crate::testing::emulated::{Emulated, assert_close, at, in_any_order, numbers, tensor, up};

/// NT-Xent by the kernels; matrices are multiplied on the CPU, as cuBLAS does it on a GPU.
fn contrast((images, ranks, rank): (usize, usize, usize), d: usize, normalize: bool) {
    let (rows, part) = (2 * images, part(images, rank, ranks));
    let (first, own) = (part.start, part.len());
    let input = numbers::<f32>(rows * d, 1);
    let want = nt_xent_share(&tensor(&input, (rows, d)), part, 0.5, normalize).unwrap();
    let (value, gradient, ab) = in_any_order(|| {
        let m = Emulated::get();
        let [z, norms] = unit_rows(m, at(&up(&input)), (rows, d), normalize).unwrap();
        let unit = z.numbers();
        let mine: Vec<f32> = [0, images].iter().flat_map(|v| unit[(v + first) * d..][..own * d].to_vec()).collect();
        let mut p = vec![0.0; 2 * own * rows];
        product(&mine, d, &Panels::transposed(&unit, rows), &mut p, false);
        let similarities = up(&p);
        let [value, ab] = launch_nt_xent(m, at(&similarities), Place { images, own, first }, 0.5).unwrap();
        let p = similarities.numbers();
        let mut gradient = vec![0.0; rows * d];
        let of_mine = Panels::of_rows(2 * own, d, |row| &mine[row * d..][..d]);
        product(&turned(&p, rows, 0..rows), 2 * own, &of_mine, &mut gradient, false);
        let of_all = Panels::of_rows(rows, d, |row| &unit[row * d..][..d]);
        for view in [0, 1] {
            let g = &mut gradient[(view * images + first) * d..][..own * d];
            product(&p[view * own * rows..][..own * rows], rows, &of_all, g, true);
        }
        let gradient = up(&gradient);
        if normalize {
            unit_rows_gradient(m, [at(&z), at(&norms)], (rows, d), at(&gradient)).unwrap();
        }
        (value.numbers(), gradient.numbers(), ab.numbers())
    });
    let what = format!("NT-Xent of {images} images, rank {rank} of {ranks}, width {d}");
    assert_close(&what, &value, &[want.loss as f32]);
    assert_close(&format!("gradient of {what}"), &gradient, &want.gradient);
    assert_close(&format!("logits of {what}"), &ab, &want.logits_ab);
}

fn entropy(rows: usize, b: usize) {
    let logits = numbers::<f32>(rows * b, 4);
    let found = in_any_order(|| launch_mean_entropy(Emulated::get(), at(&up(&logits)), (rows, b)).unwrap().numbers());
    assert_close("entropy", &found, &[mean_entropy(&logits, b) as f32]);
}

pub fn small() {
    contrast((10, 1, 0), 7, true);
}

#[test]
fn as_on_the_cpu() {
    for (place, d) in [
        ((2, 1, 0), 1),
        ((5, 1, 0), 3),
        ((10, 1, 0), 7),
        ((12, 3, 1), 20),
        ((140, 2, 1), 300),
        ((11, 3, 1), 5),
        ((11, 3, 2), 5),
    ] {
        contrast(place, d, true);
    }
    contrast((6, 1, 0), 16, false);
    entropy(3, 3);
    entropy(20, 70);
}
