//! Optimisers and learning rates against the reference's numbers.
#![allow(clippy::unwrap_used)]

use candle_core::Tensor;
use candle_core::backprop::GradStore;
use simclr_core::config::{Duration, OptimizerConfig, Scaling, TrainingConfig};
use simclr_core::optim::{Optimizer, Shared, lars};
use simclr_core::params::{Kind, ParamStore, Part};
use simclr_core::train::Schedule;
use simclr_tests::{Golden, assert_close, device, golden_files, golden_list};

fn tensor((shape, data): &(Vec<usize>, Vec<f32>)) -> Tensor {
    Tensor::from_slice(data, shape.as_slice(), &device()).unwrap()
}

/// All steps of the file; the weights after each are held where the file has them.
fn steps(golden: &Golden, case: &str, build: impl FnOnce(&ParamStore) -> Box<dyn Optimizer>, lr: Option<f64>) {
    let names: Vec<&str> = golden.names().filter_map(|n| n.strip_prefix("init.")).collect();
    assert!(!names.is_empty());
    let steps = golden.names().filter_map(|n| n.strip_prefix("grad.")?.split('.').next()?.parse::<usize>().ok()).max();
    let mut store = ParamStore::new(device());
    for name in &names {
        store.add(name, Kind::Linear, Part::Other, tensor(golden.get(&format!("init.{name}")))).unwrap();
    }
    let mut optimizer = build(&store);
    let mut held = 0;
    for step in 0..=steps.unwrap() {
        let mut grads = GradStore::default();
        for name in &names {
            grads.insert(&store.by_name(name).unwrap().tensor, tensor(golden.get(&format!("grad.{step}.{name}"))));
        }
        let lr = lr.unwrap_or_else(|| golden.get("lr").1[step] as f64);
        optimizer.step(&store, &grads, lr).unwrap();
        for name in &names {
            let key = format!("{case}.after{}.{name}", step + 1);
            if golden.names().any(|n| n == key) {
                let got: Vec<f32> = store.by_name(name).unwrap().tensor.flatten_all().unwrap().to_vec1().unwrap();
                assert_close(&key, &got, &golden.get(&key).1, 1e-5);
                held += 1;
            }
        }
    }
    assert!(held >= names.len(), "{case}: the file holds no weights to compare with");
}

#[test]
fn lars() {
    for file in golden_files("optimizers") {
        let golden = Golden::load(&file);
        let meta = &golden.metadata;
        let rule = meta["excluded_from_decay_and_adaptation"].strip_prefix("names containing ").unwrap();
        let exclude: Vec<String> = rule.replace(" or ", ", ").split(", ").map(String::from).collect();
        let cases: Vec<String> = serde_json::from_str(&meta["cases"]).unwrap();
        assert!(!cases.is_empty());
        for case in cases {
            let part = |name: &str| {
                let at = case.find(name).unwrap() + name.len();
                case[at..].split(".nesterov").next().unwrap().split(".classic").next().unwrap().to_string()
            };
            let build = |store: &ParamStore| -> Box<dyn Optimizer> {
                let (momentum, weight_decay) = (meta["momentum"].parse().unwrap(), part(".wd").parse().unwrap());
                let settings = lars::Settings {
                    eta: meta["eeta"].parse().unwrap(),
                    nesterov: part(".nesterov") == "1",
                    classic: part(".classic") == "1",
                };
                let shared = Shared { momentum, weight_decay, exclude: &exclude };
                OptimizerConfig::Lars(settings).build(store, &shared).unwrap()
            };
            steps(&golden, &case, build, None);
        }
    }
}

#[test]
fn sgd_and_adam() {
    for file in golden_files("optimizers") {
        let golden = Golden::load(&file);
        let parameters = |key: &str| serde_json::from_str::<serde_json::Value>(&golden.metadata[key]).unwrap();
        let (sgd, adam) = (parameters("sgd_nesterov"), parameters("adam"));
        let momentum = sgd["momentum"].as_f64().unwrap() as f32;
        let shared = Shared { momentum, weight_decay: 0.0, exclude: &[] };
        steps(&golden, "sgd_nesterov", |s| OptimizerConfig::sgd().build(s, &shared).unwrap(), sgd["lr"].as_f64());
        steps(&golden, "adam", |s| OptimizerConfig::adam().build(s, &shared).unwrap(), adam["lr"].as_f64());
    }
}

#[test]
fn learning_rates() {
    for case in golden_list("lr_schedule") {
        let number = |key: &str| case[key].as_f64().unwrap();
        let training = TrainingConfig {
            length: Duration::Epochs(number("epochs")),
            warmup: Duration::Epochs(number("warmup_epochs")),
            batch: number("batch") as usize,
            learning_rate: number("base_lr"),
            scaling: match case["scaling"].as_str().unwrap() {
                "linear" => Scaling::Linear,
                "sqrt" => Scaling::Sqrt,
                other => panic!("scaling {other}"),
            },
            optimizer: OptimizerConfig::lars(),
            momentum: 0.9,
            weight_decay: 0.0,
            exclude: Vec::new(),
            eval_every: None,
            patience: None,
            checkpoint_every: None,
            keep_states: 1,
            recompute: false,
            chunk: None,
        };
        let schedule = Schedule::new(&training, number("num_examples") as usize);
        assert_eq!((schedule.total, schedule.warmup), (number("train_steps") as u64, number("warmup_steps") as u64));
        let list = |key: &str| case[key].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect::<Vec<_>>();
        let got: Vec<f32> = list("steps").iter().map(|s| schedule.lr(*s as u64) as f32).collect();
        let want: Vec<f32> = list("lr").iter().map(|v| *v as f32).collect();
        // The reference computes in float32: the cosine's last steps differ by some of its units.
        let what = format!("{} batch {}, {} epochs", case["scaling"], case["batch"], case["epochs"]);
        assert_close(&what, &got, &want, 1e-6);
    }
}
