//! The whole method on a tiny experiment: every stage takes what the one before hands on.
#![allow(clippy::unwrap_used, missing_docs)]

mod desk;

use desk::Desk;
use serde_json::Value as Json;
use simclr_core::params::Match;
use simclr_data::LabelSubset;
use simclr_eval::EvalArgs;
use simclr_model::{ModelSpec, SimClr};
use simclr_stage::Checkpoint;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::time::SystemTime;

const TRAINED: [&str; 5] = ["pretrained", "finetuned", "supervised", "self", "small"];
const EVALUATED: [&str; 3] = ["features", "small again", "pretrained again"];

fn whole_method(desk: &Desk) {
    desk.pretrain("pretrained", &[]).unwrap();
    desk.finetune("pretrained", (0.5, 0), "finetuned", &[]).unwrap();
    desk.finetune("scratch", (0.5, 0), "supervised", &[]).unwrap();
    desk.distill("finetuned", "self", "self").unwrap();
    desk.distill("self", "small", "small").unwrap();
    desk.eval("pretrained", true, "features").unwrap();
    desk.eval("small", false, "small again").unwrap();
    desk.eval("pretrained", false, "pretrained again").unwrap();
}

fn json(path: &Path) -> Json {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn result(desk: &Desk, run: &str) -> Json {
    json(&desk.path(run).join("result.json"))
}

/// A number that is not finite is written as null.
fn assert_finite(json: &Json, place: &str) {
    match json {
        Json::Null => panic!("{place} is not a finite number"),
        Json::Array(items) => items.iter().for_each(|item| assert_finite(item, place)),
        Json::Object(map) => map.iter().for_each(|(key, value)| assert_finite(value, &format!("{place}.{key}"))),
        _ => (),
    }
}

/// Every file below `dir`, with its bytes and the time that it was written.
fn files(dir: &Path) -> BTreeMap<String, (Vec<u8>, SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let written = path.metadata().unwrap().modified().unwrap();
            found.insert(path.display().to_string(), (std::fs::read(&path).unwrap(), written));
        }
    }
    found
}

#[test]
fn from_images_to_a_student_once() {
    let desk = Desk::new();
    whole_method(&desk);
    for run in TRAINED.iter().chain(&EVALUATED) {
        assert_finite(&result(&desk, run), run);
        let metrics = std::fs::read_to_string(desk.path(run).join("metrics.jsonl")).unwrap();
        metrics.lines().for_each(|line| assert_finite(&serde_json::from_str(line).unwrap(), run));
    }
    let top1 = |run: &str| result(&desk, run)["top1"].as_f64().unwrap();
    for run in ["finetuned", "supervised", "self", "small"] {
        let (top1, top5) = (top1(run), result(&desk, run)["top5"].as_f64().unwrap());
        assert!((0.0..=1.0).contains(&top1) && top1 <= top5 && top5 <= 1.0, "{run}: {top1}, {top5}");
    }
    for (run, steps) in [("pretrained", 3), ("finetuned", 2), ("supervised", 4), ("self", 3), ("small", 2)] {
        assert_eq!(result(&desk, run)["steps"], steps, "{run}");
    }
    // What is handed on is what was measured.
    assert_eq!(top1("small again"), top1("small"));
    assert_eq!(top1("pretrained again"), result(&desk, "pretrained")["online_test_top1"].as_f64().unwrap());
    let features = result(&desk, "features");
    assert!(features["linear"]["top1"].is_number() && features["knn"]["top1"].is_number(), "{features}");
    // Self-distillation keeps the network; the small student has the one of its table.
    let network = |run: &str| json(&desk.path(run).join("checkpoint/config.json"));
    assert_eq!(network("self"), network("finetuned"));
    assert_eq!(
        (network("small")["width"].as_f64(), network("small")["proj_selector"].as_i64()),
        (Some(0.03125), Some(0))
    );
    assert!(result(&desk, "small")["params"].as_u64() < result(&desk, "self")["params"].as_u64());
    // Again: nothing is left to do, and no file is touched.
    let before = files(&desk.path(""));
    whole_method(&desk);
    assert!(files(&desk.path("")) == before, "a finished run was changed");
}

/// The second row of the paper's Table 2: labels and a teacher, on the labeled images alone.
#[test]
fn a_student_may_learn_on_the_labeled_images_alone() {
    let desk = Desk::new();
    desk.pretrain("pretrained", &[]).unwrap();
    desk.finetune("pretrained", (0.5, 0), "finetuned", &[]).unwrap();
    let labeled = ["distill.small.teacher=finetuned", "distill.small.unlabeled=false"];
    desk.distill_with("finetuned", "small", "labeled", &labeled).unwrap();
    desk.distill_with("finetuned", "small", "all", &labeled[..1]).unwrap();
    let examples = |run: &str| result(&desk, run)["examples"].as_u64().unwrap();
    assert_eq!(examples("labeled"), examples("finetuned"));
    assert_eq!(examples("all"), 2 * examples("labeled"));
    let manifest = |run: &str| json(&desk.path(run).join("manifest.json"))["config"]["distill"].clone();
    assert_eq!(manifest("labeled")["unlabeled"], false);
    assert_eq!(manifest("all").get("unlabeled"), None, "a run of the default keeps its manifest");
}

#[test]
fn every_stage_gives_the_same_bits_on_any_number_of_threads() {
    let on = |threads| {
        let desk = Desk::new();
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| whole_method(&desk));
        desk
    };
    let (one, three) = (on(1), on(3));
    for run in TRAINED {
        let weights = |desk: &Desk| std::fs::read(desk.path(run).join("checkpoint/model.safetensors")).unwrap();
        assert!(weights(&one) == weights(&three), "{run}: weights");
    }
    for run in TRAINED.iter().chain(&EVALUATED) {
        let figures = |desk: &Desk| {
            let mut result = result(desk, run);
            let timeless = result.as_object_mut().unwrap();
            timeless.retain(|key, _| !["seconds", "images_per_s"].contains(&key.as_str()));
            result
        };
        assert_eq!(figures(&one), figures(&three), "{run}: figures");
    }
}

/// Features of a network whose maps are bf16 are other ones, in the last digits; and the run says what was computed.
#[test]
fn evaluation_computes_in_the_dtype_that_it_is_asked_for() {
    let desk = Desk::new();
    desk.pretrain("pretrained", &[]).unwrap();
    let eval = |dtype: &str| {
        let config = desk.config(&[&format!("dtype={dtype}")]).unwrap();
        let (common, checkpoint) = (desk.args(dtype), desk.path("pretrained"));
        simclr_eval::run(&EvalArgs { common, checkpoint, linear: true, knn: true }, &config).unwrap();
        (result(&desk, dtype), json(&desk.path(dtype).join("neighbours.json")))
    };
    let ((plain, near), (half, near_in_half)) = (eval("f32"), eval("bf16"));
    assert_eq!(plain.get("dtype"), None, "results in f32 are as they were before there was a choice");
    if simclr_ops::simd::multiplies_bf16().is_none() {
        assert_eq!(half["dtype"], "f32");
        assert_eq!(near, near_in_half);
        return simclr_tests::skipped("evaluation in bf16", "this processor does not multiply bf16");
    }
    assert_eq!(half["dtype"], "bf16");
    let similarities = |near: &Json| -> Vec<f64> {
        let queries = near.as_array().unwrap().iter();
        let all = queries.flat_map(|query| query["neighbours"].as_array().unwrap());
        all.map(|neighbour| neighbour[2].as_f64().unwrap()).collect()
    };
    let (plain, half) = (similarities(&near), similarities(&near_in_half));
    assert_eq!(plain.len(), half.len());
    assert!(plain != half, "bf16 was not computed");
    let apart = plain.iter().zip(&half).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(apart < 0.05, "bf16 is {apart} from f32");
}

#[test]
fn label_subsets() {
    let desk = Desk::new();
    desk.pretrain("pretrained", &[]).unwrap();
    let subset = |from: &str, subset: usize, out: &str, set: &[&str]| -> LabelSubset {
        desk.finetune(from, (0.5, subset), out, set).unwrap();
        serde_json::from_value(json(&desk.path(out).join("labels.json"))).unwrap()
    };
    let first = subset("scratch", 0, "a", &[]);
    // Ten classes with six images each, one after the other: three of each.
    for class in 0..10 {
        assert_eq!(first.indices.iter().filter(|i| **i % 10 == class).count(), 3, "class {class}");
    }
    assert_eq!(first, subset("pretrained", 0, "b", &[]), "the baseline sees the same labels");
    let second = subset("pretrained", 1, "c", &[]);
    assert_ne!(first.indices, second.indices);
    assert_ne!(second.indices, subset("pretrained", 2, "d", &[]).indices);
    assert_ne!(first.indices, subset("scratch", 0, "e", &["seed=1"]).indices, "another seed, other labels");
}

/// Amounts and subsets that share one search for neighbours are what each is alone.
#[test]
fn labels_spread_over_pixels_and_over_features() {
    let desk = Desk::new();
    desk.pretrain("pretrained", &[]).unwrap();
    let propagate = |out: &str, labels: &str, subsets: &str, more: &[&str]| {
        let (config, out) = (desk.path("experiment.toml"), desk.path(out));
        let line =
            ["propagate", "--labels", labels, "--subset", subsets, "--neighbours", "4", "--config"].map(OsString::from);
        let line = line.into_iter().chain([config.into(), "--out".into(), out.into()]);
        let line = line.chain(more.iter().map(OsString::from));
        simclr_eval::command::run(["simclr-eval".into()].into_iter().chain(line).collect())
    };
    let spread = |out: &str, labels: &str, subset: usize| {
        let mut result = result(&desk, &format!("{out}/labels-{labels}/subset-{subset}"));
        result.as_object_mut().unwrap().remove("seconds").unwrap();
        result
    };
    propagate("all", "0.5,2-per-class", "0,1", &[]).unwrap();
    propagate("alone", "2-per-class", "1", &[]).unwrap();
    assert_eq!(spread("all", "2-per-class", 1), spread("alone", "2-per-class", 1));
    for (labels, known) in [("0.5", 30), ("2-per-class", 20)] {
        for subset in [0, 1] {
            let result = spread("all", labels, subset);
            assert_eq!(
                (&result["known"], &result["features"]),
                (&Json::from(known), &Json::from("pixels")),
                "{result}"
            );
            let (top1, top5) = (result["top1"].as_f64().unwrap(), result["top5"].as_f64().unwrap());
            assert!(0.0 < top1 && top1 <= top5 && top5 <= 1.0, "{result}");
        }
    }
    let pretrained = desk.path("pretrained").display().to_string();
    propagate("features", "2-per-class", "1", &["--checkpoint", &pretrained]).unwrap();
    assert_eq!(spread("features", "2-per-class", 1)["features"], Json::from(pretrained));
    let refused = propagate("refused", "2-per-class", "0", &["--alpha", "1"]).unwrap_err();
    assert!(format!("{refused:#}").contains("--alpha 1: must be at least 0 and below 1"), "{refused:#}");
    assert!(!desk.path("refused").exists());
}

#[test]
fn checkpoints_carry_the_weights() {
    let desk = Desk::new();
    desk.pretrain("pretrained", &[]).unwrap();
    desk.finetune("pretrained", (1.0, 0), "frozen", &["finetune.freeze_after=4"]).unwrap();
    let (pretrained, frozen) = ["pretrained", "frozen"].map(|run| Checkpoint::load(&desk.path(run)).unwrap()).into();
    let (before, after) = (pretrained.model().unwrap(), frozen.model().unwrap());
    let numbers = |model: &SimClr, name: &str| -> Vec<f32> {
        model.store.by_name(name).unwrap().tensor.flatten_all().unwrap().to_vec1().unwrap()
    };
    // With every group frozen the encoder's weights are those of pretraining, to the bit; the head's are not.
    for p in before.store.trainable().filter(|p| !p.name.starts_with("fc.")) {
        let same = numbers(&before, &p.name) == numbers(&after, &p.name);
        let head = p.name.starts_with("projection.0.");
        assert!(same != head, "{}: {}", p.name, if same { "did not learn" } else { "should be frozen" });
    }
    assert!(numbers(&after, "fc.weight").iter().any(|v| *v != 0.0));

    let wide = ModelSpec {
        model: simclr_core::config::ModelConfig { width: 0.125, ..pretrained.spec.model.clone() },
        ..pretrained.spec.clone()
    };
    let error = pretrained.fill(&SimClr::new(&wide, 0).unwrap(), Match::EXACT).unwrap_err();
    let message = format!("{error:#}");
    for part in ["pretrained", "conv1.weight is [4, 3, 3, 3], expected [8, 3, 3, 3]"] {
        assert!(message.contains(part), "{message}");
    }
    let message = pretrained.expect_channels(1).unwrap_err().to_string();
    assert!(message.contains("3 channels") && message.contains("has 1"), "{message}");
}
