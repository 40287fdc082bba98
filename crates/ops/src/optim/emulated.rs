//! LARS, SGD and Adam on the emulated GPU, three steps each, and sums over all weights, against the CPU's.
#![allow(clippy::unwrap_used)]

use super::gpu::{Slot, Slots, launch_decay, launch_round, launch_squares_of_each, launch_sum_of_squares};
use super::{AdamStep, LarsStep, Parameter, adam, decay, lars, round, sgd, squares_of_each, sum_of_squares};
use crate::gpu::machine::At;
use crate::testing::emulated::{Emulated, Memory, assert_close, at, elements, in_any_order, numbers, room, tensor, up};
use half::bf16;

/// Several tensors: one element, many, several chunks with an odd rest; `bias` is excluded.
const PARAMETERS: [(&str, usize); 4] = [("a.weight", 300), ("b.bias", 37), ("c.weight", 1), ("d.weight", 40_001)];
const LR: f64 = 0.3;

/// What `f` of place and length makes for each parameter.
fn each<R>(f: impl Fn(usize, usize) -> R) -> Vec<R> {
    PARAMETERS.iter().enumerate().map(|(i, p)| f(i, p.1)).collect()
}

fn adapted(name: &str) -> bool {
    !name.contains("bias")
}

fn gradient(i: usize, step: usize, len: usize) -> Vec<f32> {
    numbers(len, 100 * step + i)
}

fn check(what: &str, cpu: impl Fn(&[Parameter<'_>], i32), gpu: impl Fn(&Slots<Emulated>, i32)) {
    let list = |zero: bool| each(|i, len| tensor(&if zero { vec![0.0f32; len] } else { numbers(len, i) }, len));
    let (weights, firsts, seconds) = (list(false), list(true), list(true));
    for step in 1..=3 {
        let gradients = each(|i, len| tensor(&gradient(i, step, len), len));
        let parameter = |i: usize| Parameter {
            name: PARAMETERS[i].0,
            weight: &weights[i],
            gradient: &gradients[i],
            first: &firsts[i],
            second: Some(&seconds[i]),
            adapted: adapted(PARAMETERS[i].0),
        };
        cpu(&(0..weights.len()).map(parameter).collect::<Vec<_>>(), step as i32);
    }
    let found = in_any_order(|| {
        let zeros = || each(|_, len| up(&vec![0.0f32; len]));
        let (w, first, second) = (each(|i, len| up(&numbers::<f32>(len, i))), zeros(), zeros());
        for step in 1..=3 {
            let g = each(|i, len| up(&gradient(i, step, len)));
            let slots = each(|i, len| {
                let (second, adapted) = (Some(at(&second[i])), adapted(PARAMETERS[i].0));
                Slot { w: at(&w[i]), g: at(&g[i]), first: at(&first[i]), second, len, adapted }
            });
            gpu(&Slots::new(Emulated::get(), &slots).unwrap(), step as i32);
        }
        w.iter().map(Memory::numbers).collect::<Vec<_>>()
    });
    for (i, found) in found.iter().enumerate() {
        assert_close(&format!("{} after {what}", PARAMETERS[i].0), found, &elements::<f32>(&weights[i]));
    }
}

/// Weight decay's gradients, and sums of squares.
fn sums() {
    let (squares, parts, gradients) = in_any_order(|| {
        let (w, g) = (each(|i, len| up(&numbers::<f32>(len, i))), each(|i, len| up(&gradient(i, 1, len))));
        let slots =
            each(|i, len| Slot { w: at(&w[i]), g: at(&g[i]), first: At::none(), second: None, len, adapted: false });
        let slots = Slots::new(Emulated::get(), &slots).unwrap();
        launch_decay(Emulated::get(), &slots, 0.25).unwrap();
        let squares = launch_sum_of_squares(Emulated::get(), &slots).unwrap().numbers();
        let each = launch_squares_of_each(Emulated::get(), &slots).unwrap().numbers();
        (squares, each, g.iter().map(Memory::numbers).collect::<Vec<_>>())
    });
    let weights = each(|i, len| tensor(&numbers::<f32>(len, i), len));
    let want = sum_of_squares(&weights.iter().collect::<Vec<_>>()).unwrap().to_scalar::<f64>().unwrap();
    assert!((squares[0] - want).abs() < 1e-9 * want, "{squares:?} is not {want}");
    let want = squares_of_each(&weights.iter().collect::<Vec<_>>()).unwrap().to_vec1::<f64>().unwrap();
    assert_eq!(parts.len(), want.len());
    for (found, want) in parts.iter().zip(&want) {
        assert!((found - want).abs() < 1e-9 * want, "{parts:?} are not {want:?}");
    }
    for (i, found) in gradients.iter().enumerate() {
        let want = tensor(&gradient(i, 1, PARAMETERS[i].1), PARAMETERS[i].1);
        decay(&[(&want, &weights[i])], 0.25).unwrap();
        assert_close(&format!("decay of {}", PARAMETERS[i].0), found, &elements::<f32>(&want));
    }
}

#[test]
fn weights_are_rounded_as_on_the_cpu() {
    let found = in_any_order(|| {
        let (w, to) = (each(|i, len| up(&numbers::<f32>(len, i))), each(|_, len| room::<bf16>(len)));
        let slots = each(|i, len| {
            let g = At::new(at(&to[i]).0);
            Slot { w: at(&w[i]), g, first: At::none(), second: None, len, adapted: false }
        });
        launch_round(Emulated::get(), &Slots::new(Emulated::get(), &slots).unwrap()).unwrap();
        to.iter().map(Memory::numbers).collect::<Vec<_>>()
    });
    let weights = each(|i, len| tensor(&numbers::<f32>(len, i), len));
    let want = round(&weights.iter().collect::<Vec<_>>()).unwrap();
    for (found, want) in found.iter().zip(&want) {
        assert_eq!(found, &elements::<bf16>(want));
    }
}

fn lars_of(classic: bool, nesterov: bool) {
    let step = LarsStep { lr: LR, eta: 0.001, momentum: 0.9, decay: 0.1, classic, nesterov };
    check(
        &format!("LARS, classic {classic}, Nesterov {nesterov}"),
        |parameters, _| lars(parameters, step).unwrap(),
        |slots, _| lars::launch(Emulated::get(), slots, step).unwrap(),
    );
}

pub fn small() {
    lars_of(true, false);
    sums();
}

#[test]
fn as_on_the_cpu() {
    sums();
    for (classic, nesterov) in [(true, false), (true, true), (false, false), (false, true)] {
        lars_of(classic, nesterov);
    }
    check(
        "SGD",
        |parameters, _| sgd(parameters, LR as f32, 0.9).unwrap(),
        |slots, _| sgd::launch(Emulated::get(), slots, LR as f32, 0.9).unwrap(),
    );
    let step = |t: i32| {
        let lr = LR * (1.0 - 0.999f64.powi(t)).sqrt() / (1.0 - 0.9f64.powi(t));
        AdamStep { lr: lr as f32, betas: (0.9, 0.999), eps: 1e-7 }
    };
    check(
        "Adam",
        |parameters, t| adam(parameters, step(t)).unwrap(),
        |slots, t| adam::launch(Emulated::get(), slots, step(t)).unwrap(),
    );
}
