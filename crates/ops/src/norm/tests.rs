//! Batch norm against finite differences, and against candle.
#![allow(clippy::unwrap_used)]

use super::{Fused, Statistics, batch_norm};
use crate::tape::Tape;
use crate::testing::gradients::{Op, check, constant, tape_gradients};
use crate::testing::numbers::{assert_close, flat, numbers, on_device};
use candle_core::{Device, Tensor, Var};

#[test]
fn batch_norms() {
    for c in [3, 8, 16, 24, 48] {
        let x = ((numbers(&[3, 4, 5, c], 1) * 2.0).unwrap() + 0.7).unwrap();
        let (gamma, beta, residual) = (numbers(&[c], 2), numbers(&[c], 3), numbers(&[3, 4, 5, c], 4));
        let all = [x.clone(), gamma.clone(), beta.clone(), residual.clone()];
        let running = [numbers(&[c], 5), numbers(&[c], 6).abs().unwrap()].map(|t| on_device(&t));
        let running = Statistics::Running(running[0].clone(), running[1].clone());
        for (mode, statistics) in [("batch", &Statistics::Batch), ("running", &running)] {
            for (with_residual, relu) in [(false, false), (true, false)] {
                let op: Op<'_> = &|t, v| {
                    let fused = Fused { residual: with_residual.then(|| &v[3]), relu };
                    Ok(batch_norm(t, &v[0], Some(&v[1]), Some(&v[2]), statistics, 1e-5, fused)?.0)
                };
                let inputs = if with_residual { &all[..] } else { &all[..3] };
                check(&format!("batch norm {mode} c {c} residual {with_residual}"), inputs, op);
            }
        }
        // ReLU has a kink that differences trip over: hold it against candle's autograd, which shares no code.
        for with_residual in [false, true] {
            let vars: Vec<Var> = all.iter().map(|t| Var::from_tensor(t).unwrap()).collect();
            let rows = vars[0].reshape(((), c)).unwrap();
            let mean = rows.mean_keepdim(0).unwrap();
            let centred = rows.broadcast_sub(&mean).unwrap();
            let var = centred.sqr().unwrap().mean_keepdim(0).unwrap();
            let y = centred.broadcast_div(&(var + 1e-5).unwrap().sqrt().unwrap()).unwrap();
            let y = y.broadcast_mul(&vars[1]).unwrap().broadcast_add(&vars[2]).unwrap().reshape(x.shape()).unwrap();
            let y = if with_residual { (y + vars[3].as_tensor()).unwrap() } else { y };
            let y = y.relu().unwrap();
            let store = (&y * numbers(y.dims(), 99)).unwrap().sum_all().unwrap().backward().unwrap();
            let inputs = if with_residual { &all[..] } else { &all[..3] };
            let ours = tape_gradients(
                &|t, v| {
                    let fused = Fused { residual: with_residual.then(|| &v[3]), relu: true };
                    Ok(batch_norm(t, &v[0], Some(&v[1]), Some(&v[2]), &Statistics::Batch, 1e-5, fused)?.0)
                },
                inputs,
            );
            for (i, g) in ours.iter().enumerate() {
                let what = format!("batch norm + relu c {c} residual {with_residual} gradient {i}");
                assert_close(&what, g, &flat(store.get(&vars[i]).unwrap()), 1e-4);
            }
        }
    }
    let (_, moments) = batch_norm(
        &Tape::inference(),
        &constant(&Tensor::new(&[[1f32], [2.], [6.]], &Device::Cpu).unwrap()),
        None,
        None,
        &Statistics::Batch,
        1e-5,
        Fused::default(),
    )
    .unwrap();
    let found = [numbers(&[1], 1), numbers(&[1], 2)].map(|t| on_device(&t));
    moments.unwrap().blend_into([&found[0], &found[1]], 0.0).unwrap();
    assert_eq!([flat(&found[0]), flat(&found[1])], [[3.0], [14.0 / 3.0]], "the variance is the biased one");
}
