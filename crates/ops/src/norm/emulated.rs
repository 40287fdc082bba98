//! Batch normalisation on the emulated GPU.
#![allow(clippy::unwrap_used)]

use super::gpu::{Learned, Moving, affine, launch_blend, launch_moments, launch_moments_of_ranks, launch_tell, told};
use super::{Fused, Moments, Statistics, batch_norm};
use crate::testing::emulated::{
    Emulated, Map, assert_close, at, both, elements, in_any_order, numbers, on_the_cpu, room, tensor, up,
};

#[derive(Clone, Copy)]
struct Case {
    rows: usize,
    c: usize,
    relu: bool,
    residual: bool,
    learned: bool,
    batch: bool,
}

fn check<T: Map>(case: Case) {
    let Case { rows, c, relu, residual, learned, batch } = case;
    let (x, r, dy) = (numbers::<T>(rows * c, 1), numbers::<T>(rows * c, 2), numbers::<T>(rows * c, 3));
    let (gamma, beta) = (numbers::<f32>(c, 4), numbers::<f32>(c, 5));
    let (mean, var, old) = (numbers::<f32>(c, 6), vec![0.75f32; c], numbers::<f32>(c, 7));

    let mut leaves = vec![tensor(&x, (rows, c))];
    leaves.extend(residual.then(|| tensor(&r, (rows, c))));
    leaves.extend(learned.then(|| [tensor(&gamma, c), tensor(&beta, c)]).into_iter().flatten());
    let statistics = if batch { Statistics::Batch } else { Statistics::Running(tensor(&mean, c), tensor(&var, c)) };
    let mut found = None;
    let (want, gradients) = on_the_cpu(&leaves, &tensor(&dy, (rows, c)), |tape, v| {
        let (gamma, beta) = if learned { (v.get(v.len() - 2), v.last()) } else { (None, None) };
        let fused = Fused { residual: residual.then(|| &v[1]), relu };
        let (value, moments) = batch_norm(tape, &v[0], gamma, beta, &statistics, 1e-5, fused)?;
        found = moments;
        Ok(value)
    });

    let (out, dx, dr, [d_gamma, d_beta], ([m_mean, m_var], running)) = in_any_order(|| {
        let m = Emulated::get();
        let (x, r, dy) = (up(&x), up(&r), up(&dy));
        let given = [up(&mean), up(&var)];
        let terms = learned.then(|| [up(&gamma), up(&beta)]);
        let optional = |i: usize| terms.as_ref().map(|l| at(&l[i]));
        let learned = Learned { gamma: optional(0), beta: optional(1), eps: 1e-5 };
        let running = [up(&old), up(&var)];
        let moving = Some(Moving { mean: at(&running[0]), var: at(&running[1]), keep: 0.9 });
        let (moments, affine) = match batch {
            true => {
                let (moments, affine) = launch_moments(m, at(&x), (rows, c), learned, moving).unwrap();
                (Some(moments), affine)
            }
            false => (None, affine(m, [at(&given[0]), at(&given[1])], learned, moving, c).unwrap()),
        };
        let out = room::<T>(rows * c);
        let masked = relu && residual;
        let flags = (relu, masked);
        let mask = affine.forward(m, at(&x), residual.then(|| at(&r)), flags, (at(&out), rows)).unwrap();
        assert_eq!(mask.is_some(), masked);
        let dx = room::<T>(rows * c);
        let to = if residual { at(&dx) } else { at(&dy) };
        let found = affine.backward(m, (at(&x), rows), mask.as_ref(), [at(&dy), to], (relu, batch)).unwrap();
        let shown = moments.map_or([vec![], vec![]], |m| [m.mean.numbers(), m.var.numbers()]);
        let running = running.map(|r| r.numbers());
        let dx = if residual { dx.numbers() } else { dy.numbers() };
        (out.numbers(), dx, dy.numbers(), found.map(|f| f.numbers()), (shown, running))
    });
    let what = format!("{rows} rows, {c} channels, relu {relu}, residual {residual}, batch {batch}");
    assert_close(&format!("output of {what}"), &out, &elements::<T>(&want));
    assert_close(&format!("gradient of {what}"), &dx, &elements::<T>(&gradients[0]));
    if residual {
        assert_close(&format!("residual's gradient of {what}"), &dr, &elements::<T>(&gradients[1]));
    }
    if learned {
        let [g, b] = [gradients.len() - 2, gradients.len() - 1].map(|i| elements::<f32>(&gradients[i]));
        assert_close(&format!("gamma's gradient of {what}"), &d_gamma, &g);
        assert_close(&format!("beta's gradient of {what}"), &d_beta, &b);
    }
    let (used, was) = (found.clone().unwrap_or(Moments::new([tensor(&mean, c), tensor(&var, c)])), [&old, &var]);
    let want = was.map(|v| tensor(v, c));
    used.blend_into([&want[0], &want[1]], 0.9).unwrap();
    for (running, want) in running.iter().zip(&want) {
        assert_close(&format!("running statistic of {what}"), running, &elements::<f32>(want));
    }
    if let Some(found) = found {
        assert_close(&format!("mean of {what}"), &m_mean, &elements::<f32>(found.mean()));
        assert_close(&format!("variance of {what}"), &m_var, &elements::<f32>(found.var()));
    }
}

const CASE: Case = Case { rows: 70, c: 33, relu: true, residual: false, learned: true, batch: true };

pub fn small() {
    check::<f32>(CASE);
}

#[test]
fn as_on_the_cpu() {
    // One channel and thousands; rows of one thread, of one group, and of several; odd and even channels.
    for (rows, c) in [(2, 1), (3, 2), (7, 3), (49, 5), (64, 8), (70, 33), (300, 24), (1100, 40), (257, 64), (9, 260)] {
        for (relu, residual) in [(false, false), (true, false), (true, true)] {
            let case = Case { rows, c, relu, residual, ..CASE };
            both!(check(case));
        }
    }
    // More parts than a thread of the merge takes at a time.
    check::<f32>(Case { rows: 4300, c: 128, residual: true, ..CASE });
    both!(check(Case { learned: false, ..CASE }));
    both!(check(Case { batch: false, ..CASE }));
    both!(check(Case { batch: false, residual: true, relu: false, ..CASE }));
}

/// With a mean far from zero `E[x^2] - E[x]^2` would have no digit left.
#[test]
fn moments_keep_their_digits() {
    let (rows, c) = (600, 3);
    let x: Vec<f32> = numbers::<f32>(rows * c, 1).iter().map(|v| v + 4000.0).collect();
    let learned = Learned { gamma: None, beta: None, eps: 1e-5 };
    let (found, _) = launch_moments(Emulated::get(), at(&up(&x)), (rows, c), learned, None).unwrap();
    for (j, (mean, var)) in found.mean.numbers().into_iter().zip(found.var.numbers()).enumerate() {
        let column = || (0..rows).map(|r| f64::from(x[r * c + j]));
        let want = column().sum::<f64>() / rows as f64;
        assert!((f64::from(mean) - want).abs() < 1e-3, "mean {mean}, not {want}");
        let want = column().map(|v| (v - want).powi(2)).sum::<f64>() / rows as f64;
        assert!((f64::from(var) - want).abs() < 1e-3 * want, "variance {var}, not {want}");
    }
}

/// What ranks of unequal parts tell one another gives the moments of all rows, with a mean that is not zero, too.
#[test]
fn moments_of_ranks_are_those_of_all_rows() {
    for (ranks, c, shift) in [([40, 41, 39], 33, 0.0), ([1, 500, 2], 5, 8.0), ([70, 1, 1], 260, -3.0)] {
        let rows: usize = ranks.iter().sum();
        let x: Vec<f32> = numbers::<f32>(rows * c, 1).iter().map(|v| v + shift).collect();
        let (gamma, beta) = (up(&numbers::<f32>(c, 2)), up(&numbers::<f32>(c, 3)));
        let learned = Learned { gamma: Some(at(&gamma)), beta: Some(at(&beta)), eps: 1e-5 };
        let old = numbers::<f32>(c, 4);
        let m = Emulated::get();
        let run = |in_parts: bool| {
            let running = [up(&old), up(&old)];
            let moving = Some(Moving { mean: at(&running[0]), var: at(&running[1]), keep: 0.9 });
            let (found, affine, share) = match in_parts {
                false => {
                    let (found, affine) = launch_moments(m, at(&up(&x)), (rows, c), learned, moving).unwrap();
                    (found, affine, up(&[1.0 / rows as f32]))
                }
                true => {
                    let mut first = 0;
                    let tell = |own: &usize| {
                        let part = up(&x[first * c..][..own * c]);
                        first += own;
                        launch_tell(m, at(&part), (*own, c)).unwrap().numbers()
                    };
                    let all: Vec<f64> = ranks.iter().flat_map(tell).collect();
                    assert_eq!(all.len(), ranks.len() * told(c));
                    launch_moments_of_ranks(m, (at(&up(&all)), ranks.len()), c, learned, moving).unwrap()
                }
            };
            let out = room::<f32>(rows * c);
            affine.forward(m, at(&up(&x)), None, (false, false), (at(&out), rows)).unwrap();
            let [mean, var] = running.map(|r| r.numbers());
            [found.mean.numbers(), found.var.numbers(), mean, var, share.numbers(), out.numbers()]
        };
        let (found, want) = (in_any_order(|| run(true)), run(false));
        for (what, (found, want)) in ["mean", "variance", "running mean", "running variance", "share", "output"]
            .iter()
            .zip(found.iter().zip(&want))
        {
            assert_close(&format!("{what} of {rows} rows of {ranks:?} ranks"), found, want);
        }
    }
}

#[test]
fn running_statistics_move_as_on_the_cpu() {
    let (old, batch) = ([1, 2].map(|i| numbers::<f32>(300, i)), [3, 4].map(|i| numbers::<f32>(300, i)));
    let (running, found) = (old.clone().map(|v| up(&v)), batch.clone().map(|v| up(&v)));
    let moving = Moving { mean: at(&running[0]), var: at(&running[1]), keep: 0.9 };
    launch_blend(Emulated::get(), moving, [at(&found[0]), at(&found[1])], 300).unwrap();
    let cpu = old.map(|v| tensor(&v, 300));
    Moments::new(batch.map(|v| tensor(&v, 300))).blend_into([&cpu[0], &cpu[1]], 0.9).unwrap();
    for (running, cpu) in running.iter().zip(&cpu) {
        assert_close("a running statistic", &running.numbers(), &elements::<f32>(cpu));
    }
}

/// Maps that do not stand at 16 bytes are taken element by element; what was written so is read so, and gives the same.
#[test]
fn maps_may_stand_anywhere() {
    let (rows, c) = (40, 16);
    let run = |shifted: bool| {
        let m = Emulated::get();
        let shift = usize::from(shifted);
        let r = up(&[vec![0.0; shift], numbers::<f32>(rows * c, 2)].concat());
        let (x, dy) = (up(&numbers::<f32>(rows * c, 1)), up(&numbers::<f32>(rows * c, 3)));
        let learned = Learned { gamma: None, beta: None, eps: 1e-5 };
        let (_moments, affine) = launch_moments(m, at(&x), (rows, c), learned, None).unwrap();
        let (out, dx) = (room::<f32>(rows * c), room::<f32>(rows * c));
        let to = (at(&out), rows);
        let mask = affine.forward(m, at(&x), Some(at(&r).plus(shift)), (true, true), to).unwrap().unwrap();
        assert_eq!(mask.is_narrow(), shifted);
        affine.backward(m, (at(&x), rows), Some(&mask), [at(&dy), at(&dx)], (true, true)).unwrap();
        [out.numbers(), dx.numbers(), dy.numbers()]
    };
    for ((what, a), b) in ["output", "gradient", "residual's gradient"].iter().zip(run(true)).zip(run(false)) {
        assert_close(what, &a, &b);
    }
}
