//! LARS, SGD and Adam, three steps each, against the optimisers of the training loop.

use super::*;
use crate::cuda::optimizer::{LarsStep, Slot, Slots};
use candle_core::Device;
use candle_core::backprop::GradStore;
use simclr_core::optimizer::{Adam, Lars, Optimizer, Sgd};
use simclr_core::params::{Kind, ParamStore};

/// Several tensors: one element, many, several chunks with an odd rest; `bias` is excluded.
const PARAMETERS: [(&str, Kind, usize); 4] = [
    ("a.weight", Kind::Linear, 300),
    ("b.bias", Kind::Bias, 37),
    ("c.weight", Kind::Linear, 1),
    ("d.weight", Kind::Linear, 40_001),
];
const LR: f64 = 0.3;

fn check(what: &str, mut cpu: impl FnMut(&ParamStore) -> Box<dyn Optimizer>, gpu: impl Fn(&Slots<Emulator>, i32)) {
    let mut store = ParamStore::new(Device::Cpu);
    for (i, (name, kind, len)) in PARAMETERS.into_iter().enumerate() {
        store.add(name, kind, tensor(&numbers::<f32>(len, i), len)).unwrap();
    }
    let gradient = |i: usize, step: usize, len: usize| numbers::<f32>(len, 100 * step + i);
    let mut optimizer = cpu(&store);
    for step in 1..=3 {
        let mut grads = GradStore::default();
        for (i, p) in store.trainable().enumerate() {
            grads.insert(&p.tensor, tensor(&gradient(i, step, PARAMETERS[i].2), PARAMETERS[i].2));
        }
        optimizer.step(&store, &grads, LR).unwrap();
    }
    let found = in_any_order(|| {
        let of = |f: &dyn Fn(usize, usize) -> Vec<f32>| -> Vec<Guarded<f32>> {
            PARAMETERS.iter().enumerate().map(|(i, p)| up(&f(i, p.2))).collect()
        };
        let zeros = || of(&|_, len| vec![0.0; len]);
        let (w, first, second) = (of(&|i, len| numbers(len, i)), zeros(), zeros());
        for step in 1..=3 {
            let g = of(&|i, len| gradient(i, step, len));
            let slots: Vec<Slot> = (0..w.len())
                .map(|i| {
                    let adapted = !PARAMETERS[i].0.contains("bias");
                    let second = Some(at(&second[i]));
                    Slot { w: at(&w[i]), g: at(&g[i]), first: at(&first[i]), second, len: PARAMETERS[i].2, adapted }
                })
                .collect();
            gpu(&Slots::new(Emulator::get(), &slots).unwrap(), step as i32);
        }
        w.iter().map(Guarded::numbers).collect::<Vec<_>>()
    });
    for (found, p) in found.iter().zip(store.trainable()) {
        assert_close(&format!("{} after {what}", p.name), found, &elements::<f32>(&p.tensor));
    }
}

fn lars(classic: bool, nesterov: bool) {
    let step = LarsStep { lr: LR, eta: 0.001, momentum: 0.9, decay: 0.1, classic, nesterov };
    check(
        &format!("LARS, classic {classic}, Nesterov {nesterov}"),
        |store| {
            let mut lars = Lars::new(store, step.momentum, step.decay, &["bias".into()]).unwrap();
            (lars.classic, lars.nesterov) = (classic, nesterov);
            Box::new(lars)
        },
        |slots, _| slots.lars(Emulator::get(), step).unwrap(),
    );
}

pub fn small() {
    lars(true, false);
}

pub fn all() {
    for (classic, nesterov) in [(true, false), (true, true), (false, false), (false, true)] {
        lars(classic, nesterov);
    }
    check(
        "SGD",
        |store| Box::new(Sgd::new(store, 0.9).unwrap()),
        |slots, _| slots.sgd(Emulator::get(), LR as f32, 0.9).unwrap(),
    );
    check(
        "Adam",
        |store| Box::new(Adam::new(store).unwrap()),
        |slots, t| {
            let lr = LR * (1.0 - 0.999f64.powi(t)).sqrt() / (1.0 - 0.9f64.powi(t));
            slots.adam(Emulator::get(), lr as f32, (0.9, 0.999), 1e-7).unwrap();
        },
    );
}

#[test]
fn as_on_the_cpu() {
    all();
}
