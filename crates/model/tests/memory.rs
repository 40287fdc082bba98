//! Networks that keep less: recomputed blocks and chunks give what the ordinary way gives.
#![allow(clippy::unwrap_used, missing_docs)]

use candle_core::{Device, Tensor};
use serde_json::json;
use simclr_core::params::{Kind, Param};
use simclr_core::rng::{Purpose, Rng};
use simclr_core::testing::assert_close;
use simclr_model::{Mode, ModelSpec, Pass, SimClr};
use simclr_ops::{Tape, Value, cross_entropy, nt_xent, tensor, weighted_sum};
use std::collections::BTreeMap;

const IMAGES: usize = 8;
const SIDE: usize = 16;
const LABELS: [u32; 2 * IMAGES] = [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0];

fn random(shape: &[usize]) -> Tensor {
    let mut rng = Rng::stream(7, Purpose::Test, &[1]);
    let data: Vec<f32> = (0..shape.iter().product()).map(|_| rng.unit()).collect();
    Tensor::from_vec(data, shape, &Device::Cpu).unwrap()
}

/// A network with numbers of its own everywhere: fresh ones have zeros that keep gradients from what lies below.
fn network(depth: usize, sk: f64, se: f64) -> SimClr {
    let config = json!({
        "depth": depth, "width": 0.125, "sk_ratio": sk, "se_ratio": se, "proj_layers": 2, "proj_dim": 16,
    });
    let spec = ModelSpec::new(&serde_json::from_value(config).unwrap(), 3, SIDE, 5, 0);
    let model = SimClr::new(&spec, 3).unwrap();
    let mut rng = Rng::stream(7, Purpose::Test, &[2]);
    for p in model.store.iter().filter(|p| p.kind == Kind::BatchNorm || p.kind.is_statistic()) {
        tensor::update(&p.tensor, |v| v.iter_mut().for_each(|v| *v += 0.2 + 0.3 * rng.unit())).unwrap();
    }
    model
}

type Numbers = BTreeMap<String, Vec<f32>>;

/// One step: the loss, gradients of all weights, and the running statistics after it.
struct Step {
    loss: f32,
    gradients: Numbers,
    statistics: Numbers,
}

fn step(model: &SimClr, mode: Mode, recompute: bool, chunk: Option<usize>, trainable: &dyn Fn(&Param) -> bool) -> Step {
    let tape = Tape::new().recomputing(recompute);
    let pass = Pass::with_trainable(&tape, &model.store, mode, trainable);
    let images = Value::constant(random(&[2 * IMAGES, SIDE, SIDE, 3]));
    let (features, hidden) = model.project(&pass, &images, chunk).unwrap();
    let contrast = nt_xent(&tape, &hidden, 0.3, true).unwrap().loss;
    let logits = model.classifier.as_ref().unwrap().forward(&pass, &features).unwrap();
    let supervised = cross_entropy(&tape, &logits, &LABELS).unwrap();
    let loss = weighted_sum(&tape, &[(1.0, &contrast), (1.0, &supervised)]).unwrap();
    drop((pass, features, hidden, contrast, logits, supervised));
    let value = loss.tensor().to_scalar::<f32>().unwrap();
    let store = tape.backward(&loss).unwrap();
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1().unwrap();
    let gradients = model.store.trainable().filter_map(|p| Some((p.name.clone(), flat(store.get(&p.tensor)?))));
    let statistics = model.store.iter().filter(|p| p.kind.is_statistic());
    Step {
        loss: value,
        gradients: gradients.collect(),
        statistics: statistics.map(|p| (p.name.clone(), flat(&p.tensor))).collect(),
    }
}

fn same_bits(what: &str, a: &Step, b: &Step) {
    assert_eq!(a.loss, b.loss, "{what}: loss");
    for (kind, a, b) in [("gradient", &a.gradients, &b.gradients), ("statistic", &a.statistics, &b.statistics)] {
        assert!(a.keys().eq(b.keys()), "{what}: names of {kind}s");
        for (name, numbers) in a {
            assert!(numbers.iter().all(|v| v.is_finite()), "{what}: {kind} of {name}");
            assert!(numbers == &b[name], "{what}: {kind} of {name} differs");
        }
    }
}

fn everything(_: &Param) -> bool {
    true
}

#[test]
fn recomputed_blocks_give_the_same_bits() {
    for (depth, sk, se) in [(18, 0.0, 0.0), (50, 0.0, 0.25), (50, 0.0625, 0.0)] {
        let what = format!("ResNet-{depth}, sk {sk}, se {se}");
        let run = |recompute| step(&network(depth, sk, se), Mode::Train, recompute, None, &everything);
        let (kept, again) = (run(false), run(true));
        assert_eq!(kept.gradients.len(), network(depth, sk, se).store.trainable().count(), "{what}");
        assert!(kept.gradients.values().all(|g| g.iter().any(|g| *g != 0.0)), "{what}: a gradient is zero");
        same_bits(&what, &kept, &again);
    }
}

#[test]
fn frozen_groups_stay_frozen() {
    let trainable = |name: &str| !["conv1", "bn1", "layer1", "layer2"].iter().any(|g| name.starts_with(g));
    let by_name = |p: &Param| trainable(&p.name);
    let run = |recompute, chunk| step(&network(18, 0.0, 0.0), Mode::Train, recompute, chunk, &by_name);
    let kept = run(false, None);
    assert!(kept.gradients.keys().all(|name| trainable(name)));
    same_bits("frozen", &kept, &run(true, None));
    assert!(run(true, Some(4)).gradients.keys().eq(kept.gradients.keys()));
}

/// With running statistics, batch norm treats each image alone: chunks change nothing but the order of sums.
#[test]
fn chunks_give_the_gradient_of_the_whole_batch() {
    let model = network(50, 0.0625, 0.0);
    // Statistics that fit the activations, so that gradients are of a common size.
    let images = Value::constant(random(&[2 * IMAGES, SIDE, SIDE, 3]));
    for _ in 0..30 {
        model.project(&Pass::new(&Tape::inference(), &model.store, Mode::Train), &images, None).unwrap();
    }
    let run = |recompute, chunk| step(&model, Mode::Eval, recompute, chunk, &everything);
    let whole = run(false, None);
    for chunk in [4, 3, 2] {
        let chunked = run(false, Some(chunk));
        assert_eq!(whole.statistics, chunked.statistics, "nothing moves them");
        assert_close("loss", &[chunked.loss], &[whole.loss], 1e-5);
        assert_eq!(whole.gradients.len(), chunked.gradients.len());
        for (name, gradient) in &whole.gradients {
            assert_close(&format!("chunks of {chunk}, gradient of {name}"), &chunked.gradients[name], gradient, 1e-5);
        }
        same_bits("chunks that recompute", &chunked, &run(true, Some(chunk)));
    }
    same_bits("one chunk", &whole, &run(false, Some(IMAGES)));
}

/// In training each chunk is normalised by its own moments, and moves the running statistics once, in order.
#[test]
fn running_statistics_move_once_a_chunk() {
    let fresh = || network(18, 0.0, 0.0);
    let chunked = step(&fresh(), Mode::Train, false, Some(3), &everything);
    same_bits("with recomputation", &chunked, &step(&fresh(), Mode::Train, true, Some(3), &everything));
    same_bits(
        "chunks as large as the batch",
        &step(&fresh(), Mode::Train, false, None, &everything),
        &step(&fresh(), Mode::Train, false, Some(IMAGES), &everything),
    );
    // The same chunks one after the other, each as a batch of its own.
    let model = fresh();
    let images = random(&[2 * IMAGES, SIDE, SIDE, 3]);
    for (start, size) in [(0, 3), (3, 3), (6, 2)] {
        let part = |first| images.narrow(0, first, size).unwrap();
        let views = Tensor::cat(&[part(start), part(IMAGES + start)], 0).unwrap();
        let tape = Tape::new();
        let pass = Pass::new(&tape, &model.store, Mode::Train);
        model.project(&pass, &Value::constant(views), None).unwrap();
    }
    for p in model.store.iter().filter(|p| p.kind.is_statistic()) {
        let want: Vec<f32> = p.tensor.to_vec1().unwrap();
        assert!(chunked.statistics[&p.name] == want, "{}", p.name);
    }
}
