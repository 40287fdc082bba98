//! Networks, heads and losses against the reference's numbers.
#![allow(clippy::unwrap_used, missing_docs)]

use candle_core::{Device, Tensor};
use simclr_core::config::{ModelConfig, Stem};
use simclr_core::params::{Match, Param, ParamStore, Part};
use simclr_model::{Mode, ModelSpec, Pass, SimClr};
use simclr_ops::collective::part;
use simclr_ops::{Figures, Tape, Value, distillation, nt_xent, nt_xent_share};
use simclr_tests::{Golden, assert_close, device, golden_files, golden_list, log};
use std::collections::BTreeMap;

fn tensor(golden: &Golden, name: &str) -> Tensor {
    let (shape, data) = golden.get(name);
    Tensor::from_vec(data.clone(), shape.clone(), &device()).unwrap()
}

fn flat(t: &Tensor) -> Vec<f32> {
    t.to_device(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn spec(golden: &Golden) -> ModelSpec {
    let number = |key: &str| golden.metadata.get(key).map(|v| v.parse::<f64>().unwrap());
    let model = ModelConfig {
        width: number("base_channels").unwrap() / 64.0,
        sk_ratio: number("sk_ratio").unwrap_or(0.0),
        se_ratio: number("se_ratio").unwrap_or(0.0),
        proj_layers: number("num_proj_layers").unwrap_or(3.0) as usize,
        proj_dim: number("proj_out_dim").unwrap_or(128.0) as usize,
        ..ModelConfig::resnet(number("depth").unwrap() as usize)
    };
    ModelSpec::new(&model, 3, number("image_size").unwrap() as usize, 0, 0)
}

/// A network of the file's shape with the file's `prefix.*` weights.
fn network(golden: &Golden, spec: &ModelSpec, prefix: &str) -> SimClr {
    let model = SimClr::blank(spec).unwrap();
    let weights: BTreeMap<String, Tensor> = golden
        .names()
        .filter_map(|n| n.strip_prefix(prefix).map(|short| (short.to_string(), tensor(golden, n))))
        .collect();
    let headless = Match { may_lack: Part::in_head, ..Match::EXACT };
    let matching = if weights.keys().any(|k| k.starts_with("projection")) { Match::EXACT } else { headless };
    model.store.load_map(&weights, matching).unwrap();
    model.on(&device()).unwrap()
}

fn disk(store: &ParamStore) -> BTreeMap<String, Tensor> {
    store.save_map().unwrap()
}

const TOLERANCE: f32 = 1e-4;

#[test]
fn networks() {
    for file in golden_files("resnet").into_iter().chain(golden_files("se_resnet")) {
        let golden = Golden::load(&file);
        let spec = spec(&golden);
        let model = network(&golden, &spec, "w.");
        let x = tensor(&golden, "x");
        let tape = Tape::inference();
        let pass = Pass::new(&tape, &model.store, Mode::Eval);
        let mut maps = Vec::new();
        let pooled = model.encoder.forward_with(&pass, &Value::constant(x.clone()), |m| maps.push(m.clone())).unwrap();
        for (name, map) in ["stem", "layer1", "layer2", "layer3", "layer4"].iter().zip(&maps) {
            let want = golden.get(&format!("eval.{name}"));
            assert_eq!(map.tensor().dims(), want.0, "{file} {name}");
            assert_close(&format!("{file} eval.{name}"), &flat(map.tensor()), &want.1, TOLERANCE);
        }
        assert_close(&format!("{file} eval.pooled"), &flat(pooled.tensor()), &golden.get("eval.pooled").1, TOLERANCE);

        let tape = Tape::new();
        let images = tape.leaf(&x);
        let pass = Pass::new(&tape, &model.store, Mode::Train);
        let pooled = model.encoder.forward(&pass, &images).unwrap();
        assert_close(&format!("{file} train.pooled"), &flat(pooled.tensor()), &golden.get("train.pooled").1, TOLERANCE);
        // The loss is a sum with cancellation: its scale is the sum of absolute terms.
        let terms: Vec<f64> =
            flat(pooled.tensor()).iter().zip(&golden.get("c").1).map(|(a, b)| *a as f64 * *b as f64).collect();
        let (loss, scale) = (terms.iter().sum::<f64>(), terms.iter().map(|t| t.abs()).sum::<f64>());
        let want = golden.get("train.loss").1[0] as f64;
        let error = (loss - want).abs() / scale;
        assert!(error <= TOLERANCE as f64, "{file} train.loss {loss}, expected {want}");
        log(&format!("{file} train.loss"), 1, "of the absolute terms", error, TOLERANCE as f64);
        drop(pass);
        let grads = tape.backward_over([(&pooled, tensor(&golden, "c"))]).unwrap();
        assert_close(
            &format!("{file} train.grad.x"),
            &flat(grads.get(&x).unwrap()),
            &golden.get("train.grad.x").1,
            TOLERANCE,
        );
        let mut seen = 0;
        for p in model.store.trainable().filter(|p| !p.name.starts_with("projection")) {
            let g = grads.get(&p.tensor).unwrap_or_else(|| panic!("{file}: no gradient for {}", p.name));
            let g = g.to_device(&Device::Cpu).unwrap();
            let g = if g.rank() == 4 { g.permute((0, 3, 1, 2)).unwrap().contiguous().unwrap() } else { g.clone() };
            let want = golden.get(&format!("train.grad.{}", p.name));
            assert_close(&format!("{file} train.grad.{}", p.name), &flat(&g), &want.1, TOLERANCE);
            seen += 1;
        }
        assert_eq!(seen + 1, golden.names().filter(|n| n.starts_with("train.grad.")).count(), "{file}: gradients");
        let after = disk(&model.store);
        for name in golden.names().filter(|n| n.starts_with("train.new.")) {
            let short = name.strip_prefix("train.new.").unwrap();
            assert_close(&format!("{file} {name}"), &flat(&after[short]), &golden.get(name).1, TOLERANCE);
        }
    }
}

#[test]
fn heads() {
    for file in golden_files("heads") {
        let golden = Golden::load(&file);
        let classes = golden.metadata["num_classes"].parse().unwrap();
        let x = Value::constant(tensor(&golden, "x"));
        let base = network(&golden, &spec(&golden), "w.");
        let tape = Tape::inference();
        let pass = Pass::new(&tape, &base.store, Mode::Eval);
        let features = base.encoder.forward(&pass, &x).unwrap();
        let out = base.projection.forward(&pass, &features, -1).unwrap();
        let want = golden.get("projection.out");
        assert_close(&format!("{file} projection.out"), &flat(out.tensor()), &want.1, TOLERANCE);
        let selectors: Vec<i64> =
            golden.names().filter_map(|n| n.strip_prefix("select")?.strip_suffix(".logits")?.parse().ok()).collect();
        assert!(!selectors.is_empty());
        for selector in selectors {
            let spec = ModelSpec { classes, proj_selector: selector, ..spec(&golden) };
            let model = SimClr::blank(&spec).unwrap().on(&device()).unwrap();
            let mut weights = disk(&base.store);
            for part in ["weight", "bias"] {
                weights.insert(format!("fc.{part}"), tensor(&golden, &format!("select{selector}.fc.{part}")));
            }
            model.store.load_map(&weights, Match::EXACT).unwrap();
            let logits = model.logits(&Pass::new(&tape, &model.store, Mode::Eval), &x).unwrap();
            let want = golden.get(&format!("select{selector}.logits"));
            assert_close(&format!("{file} select{selector}"), &flat(logits.tensor()), &want.1, TOLERANCE);
        }
    }
}

#[test]
fn contrastive_loss() {
    for file in golden_files("ntxent") {
        let golden = Golden::load(&file);
        let cases: Vec<String> =
            golden.names().filter_map(|n| n.strip_suffix(".logits_ab")).map(String::from).collect();
        assert!(!cases.is_empty());
        for case in cases {
            let normalize = case.starts_with("norm1");
            let temperature: f64 = case.split_once(".t").unwrap().1.parse().unwrap();
            let hidden = tensor(&golden, if normalize { "hidden" } else { "hidden_unnormalised" });
            let tape = Tape::new();
            let out = nt_xent(&tape, &tape.leaf(&hidden), temperature, normalize).unwrap();
            let what = |part: &str| format!("{file} {case}.{part}");
            let want = |part: &str| golden.get(&format!("{case}.{part}")).1.clone();
            assert_close(&what("loss"), &flat(out.loss.tensor()), &want("loss"), TOLERANCE);
            assert_close(&what("logits_ab"), &flat(&out.logits_ab), &want("logits_ab"), TOLERANCE);
            let figures = Figures::of(&[&out.accuracy, &out.entropy]).unwrap().read().unwrap();
            assert_close(&what("acc"), &[figures[0] as f32], &want("acc"), TOLERANCE);
            assert_close(&what("entropy"), &[figures[1] as f32], &want("entropy"), TOLERANCE);
            let grads = tape.backward(&out.loss).unwrap();
            assert_close(&what("grad"), &flat(grads.get(&hidden).unwrap()), &want("grad"), TOLERANCE);
        }
    }
}

/// The batch over several ranks, each with its images' rows against all: every rank's loss, and their mean's gradient.
#[test]
fn contrastive_loss_over_ranks() {
    for file in golden_files("ntxent") {
        let golden = Golden::load(&file);
        let temperature: f64 = golden.metadata["replica_temperature"].parse().unwrap();
        let hidden = tensor(&golden, "hidden").to_device(&Device::Cpu).unwrap();
        let mut seen = 0;
        for case in golden.names().filter_map(|n| n.strip_suffix(".loss_per_replica")) {
            let ranks: usize = case.strip_prefix("replicas").unwrap().parse().unwrap();
            let images = hidden.dim(0).unwrap() / 2;
            let share = |rank| nt_xent_share(&hidden, part(images, rank, ranks), temperature, true).unwrap();
            let shares: Vec<_> = (0..ranks).map(share).collect();
            let losses: Vec<f32> = shares.iter().map(|s| s.loss as f32).collect();
            let want = |part: &str| golden.get(&format!("{case}.{part}")).1.clone();
            assert_close(&format!("{file} {case}.loss"), &losses, &want("loss_per_replica"), TOLERANCE);
            let sum = |i: usize| shares.iter().map(|s| s.gradient[i]).sum::<f32>();
            let gradient: Vec<f32> = (0..shares[0].gradient.len()).map(|i| sum(i) / ranks as f32).collect();
            assert_close(&format!("{file} {case}.grad"), &gradient, &want("grad_of_mean"), TOLERANCE);
            seen += 1;
        }
        assert!(seen > 0, "{file}: no ranks");
    }
}

#[test]
fn distillation_loss() {
    for file in golden_files("distillation") {
        let golden = Golden::load(&file);
        let (student, teacher) = (tensor(&golden, "student"), Value::constant(tensor(&golden, "teacher")));
        let temperatures: Vec<String> =
            golden.names().filter_map(|n| n.strip_prefix('t')?.strip_suffix(".loss")).map(String::from).collect();
        assert!(!temperatures.is_empty());
        for t in temperatures {
            let tape = Tape::new();
            let loss = distillation(&tape, &tape.leaf(&student), &teacher, t.parse().unwrap()).unwrap();
            assert_close(
                &format!("{file} loss at {t}"),
                &flat(loss.tensor()),
                &golden.get(&format!("t{t}.loss")).1,
                TOLERANCE,
            );
            let grads = tape.backward(&loss).unwrap();
            let want = golden.get(&format!("t{t}.grad"));
            assert_close(&format!("{file} gradient at {t}"), &flat(grads.get(&student).unwrap()), &want.1, TOLERANCE);
        }
    }
}

#[test]
fn parameter_counts() {
    for entry in golden_list("param_counts") {
        let depth = entry["depth"].as_u64().unwrap() as usize;
        let (width, sk) = (entry["width"].as_f64().unwrap(), entry["sk"].as_bool().unwrap());
        let model = ModelConfig {
            width,
            sk_ratio: if sk { 0.0625 } else { 0.0 },
            stem: Stem::Imagenet,
            ..ModelConfig::resnet(depth)
        };
        let model = SimClr::blank(&ModelSpec::new(&model, 3, 224, 1000, 0)).unwrap();
        let what = format!("depth {depth} width {width} sk {sk}");
        let count = |keep: &dyn Fn(&Param) -> bool| model.store.count(keep) as u64;
        let encoder = count(&|p| !p.name.starts_with("projection") && !p.name.starts_with("fc."));
        assert_eq!(encoder, entry["encoder_params"].as_u64().unwrap(), "{what}");
        assert_eq!(encoder, count(&|p| p.part.in_encoder()), "{what}");
        assert_eq!(count(&|p| !p.part.in_head()), entry["with_1000_class_head"].as_u64().unwrap(), "{what}");
        let head = count(&|p| p.name.starts_with("projection"));
        assert_eq!(head, entry["projection_head_3x_out128"].as_u64().unwrap(), "{what}");
        log(&what, 3, "exact", 0.0, 0.0);
    }
}
