//! Losses over rows, and what linear layers add.

use super::*;
use crate::contrastive::{mean_entropy, nt_xent_share};
use crate::cpu::matmul::{product, turned};
use crate::cpu::panels::Panels;
use crate::cuda::loss::{self, Place};
use crate::loss::{distillation, partial_cross_entropy};
use crate::metrics::accuracy;

/// NT-Xent by the kernels; matrices are multiplied on the CPU, as cuBLAS does it on a GPU.
fn contrast((images, ranks, rank): (usize, usize, usize), d: usize, normalize: bool) {
    let (rows, own) = (2 * images, images / ranks);
    let input = numbers::<f32>(rows * d, 1);
    let want = nt_xent_share(&tensor(&input, (rows, d)), (rank, ranks), 0.5, normalize).unwrap();
    let (value, gradient, ab) = in_any_order(|| {
        let m = Emulator::get();
        let [z, norms] = loss::unit_rows(m, at(&up(&input)), (rows, d), normalize).unwrap();
        let unit = z.numbers();
        let mine: Vec<f32> =
            [0, images].iter().flat_map(|v| unit[(v + rank * own) * d..][..own * d].to_vec()).collect();
        let mut p = vec![0.0; 2 * own * rows];
        product(&mine, d, &Panels::transposed(&unit, rows), &mut p, false);
        let similarities = up(&p);
        let [value, ab] = loss::nt_xent(m, at(&similarities), Place { images, own, rank }, 0.5).unwrap();
        let p = similarities.numbers();
        let mut gradient = vec![0.0; rows * d];
        let of_mine = Panels::of_rows(2 * own, d, |row| &mine[row * d..][..d]);
        product(&turned(&p, rows, 0..rows), 2 * own, &of_mine, &mut gradient, false);
        let of_all = Panels::of_rows(rows, d, |row| &unit[row * d..][..d]);
        for view in [0, 1] {
            let g = &mut gradient[(view * images + rank * own) * d..][..own * d];
            product(&p[view * own * rows..][..own * rows], rows, &of_all, g, true);
        }
        let gradient = up(&gradient);
        if normalize {
            loss::unit_rows_gradient(m, [at(&z), at(&norms)], (rows, d), at(&gradient)).unwrap();
        }
        (value.numbers(), gradient.numbers(), ab.numbers())
    });
    let what = format!("NT-Xent of {images} images, rank {rank} of {ranks}, width {d}");
    assert_close(&what, &value, &[want.loss as f32]);
    assert_close(&format!("gradient of {what}"), &gradient, &want.gradient);
    assert_close(&format!("logits of {what}"), &ab, &want.logits_ab);
}

fn classes(rows: usize, d: usize) {
    let (logits, factor) = (numbers::<f32>(rows * d, 1), 0.25f32);
    let labels: Vec<Option<u32>> = (0..rows).map(|i| (i % 3 != 2).then_some((i * 5 % d) as u32)).collect();
    let dy = tensor(&[factor], ());
    let (want, gradients) =
        on_the_cpu(&[tensor(&logits, (rows, d))], &dy, |tape, v| partial_cross_entropy(tape, &v[0], &labels));
    let numbers: Vec<i32> = labels.iter().map(|l| l.map_or(-1, |l| l as i32)).collect();
    let (value, gradient) = in_any_order(|| {
        let m = Emulator::get();
        let found = loss::cross_entropy(m, at(&up(&logits)), (rows, d), at(&up(&numbers))).unwrap();
        loss::scale_by(m, at(&found.gradient), rows * d, at(&up(&[factor]))).unwrap();
        (found.loss.numbers(), found.gradient.numbers())
    });
    assert_close("cross entropy", &value, &elements::<f32>(&want));
    assert_close("gradient of cross entropy", &gradient, &elements::<f32>(&gradients[0]));
}

/// Retrieval by similarities, some of them equal, and what is known of labels.
fn figures(rows: usize, d: usize, k: usize) {
    let mut logits = numbers::<f32>(rows * d, 3);
    logits.iter_mut().for_each(|v| *v = (*v * 4.0).round());
    logits[d - 1] = f32::NAN;
    let labels: Vec<Option<u32>> = (0..rows).map(|i| (i % 4 != 3).then_some((i * 5 % d) as u32)).collect();
    let want = accuracy(&tensor(&logits, (rows, d)), &labels, k).unwrap().to_scalar::<f64>().unwrap() as f32;
    let numbers: Vec<i32> = labels.iter().map(|l| l.map_or(-1, |l| l as i32)).collect();
    let known = labels.iter().flatten().count();
    let found = in_any_order(|| {
        let (logits, labels) = (up(&logits), up(&numbers));
        loss::accuracy(Emulator::get(), at(&logits), (rows, d), at(&labels), (k, known)).unwrap().numbers()
    });
    assert!(want > 0.0 && want < 1.0, "a test of accuracy should have hits and misses, not {want}");
    assert_close("accuracy", &found, &[want]);
}

fn entropy(b: usize) {
    let logits = numbers::<f32>(b * b, 4);
    let found = in_any_order(|| loss::mean_entropy(Emulator::get(), at(&up(&logits)), b).unwrap().numbers());
    assert_close("entropy", &found, &[mean_entropy(&logits, b) as f32]);
}

fn teacher(rows: usize, d: usize, temperature: f64) {
    let (student, teacher) = (numbers::<f32>(rows * d, 1), numbers::<f32>(rows * d, 2));
    let one = tensor(&[1.0f32], ());
    let (want, gradients) = on_the_cpu(&[tensor(&student, (rows, d))], &one, |tape, v| {
        distillation(tape, &v[0], &Value::constant(tensor(&teacher, (rows, d))), temperature)
    });
    let (value, gradient) = in_any_order(|| {
        let pair = [up(&student), up(&teacher)];
        let found = loss::distillation(Emulator::get(), [at(&pair[0]), at(&pair[1])], (rows, d), temperature).unwrap();
        (found.loss.numbers(), found.gradient.numbers())
    });
    assert_close("distillation", &value, &elements::<f32>(&want));
    assert_close("gradient of distillation", &gradient, &elements::<f32>(&gradients[0]));
}

fn biases(rows: usize, o: usize) {
    let (x, bias) = (numbers::<f32>(rows * o, 1), numbers::<f32>(o, 2));
    let (out, sums) = in_any_order(|| {
        let (m, out) = (Emulator::get(), up(&x));
        let sums = loss::sum_rows(m, at(&out), (rows, o)).unwrap().numbers();
        loss::add_bias(m, at(&out), (rows, o), at(&up(&bias))).unwrap();
        (out.numbers(), sums)
    });
    let want: Vec<f32> = x.iter().enumerate().map(|(i, v)| v + bias[i % o]).collect();
    assert_close("a bias", &out, &want);
    let want: Vec<f32> =
        (0..o).map(|j| x.iter().skip(j).step_by(o).map(|v| f64::from(*v)).sum::<f64>() as f32).collect();
    assert_close("gradient of a bias", &sums, &want);
}

pub fn small() {
    contrast((10, 1, 0), 7, true);
}

pub fn all() {
    for (place, d) in [((2, 1, 0), 1), ((5, 1, 0), 3), ((10, 1, 0), 7), ((12, 3, 1), 20), ((140, 2, 1), 300)] {
        contrast(place, d, true);
    }
    contrast((6, 1, 0), 16, false);
    for (rows, d) in [(1, 2), (4, 10), (7, 300)] {
        classes(rows, d);
        teacher(rows, d, 2.0);
        biases(rows, d);
    }
    for (rows, d, k) in [(9, 10, 1), (40, 300, 5)] {
        figures(rows, d, k);
    }
    entropy(3);
    entropy(70);
}

#[test]
fn as_on_the_cpu() {
    all();
}
