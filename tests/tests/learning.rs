//! Training learns: accuracy on images that were held out, far above chance, in f32 and in bf16.
#![allow(clippy::unwrap_used, missing_docs)]

mod desk;

use desk::Desk;
use serde_json::Value as Json;
use simclr_ops::simd;
use simclr_tests::skipped;

/// Ten classes: who guesses is right once in ten.
const CHANCE: f64 = 0.1;

/// Small enough for a few seconds, large enough to learn: whole pictures, of which three seeds learned 54 to 69 %.
const LEARNS: [&str; 10] = [
    "data.limit=4000",
    "data.image_size=32",
    "model.width=0.125",
    "augment.flip=false",
    "supervised.min_area=1.0",
    "supervised.training.length={steps=150}",
    "supervised.training.batch=64",
    "supervised.training.learning_rate=0.1",
    "supervised.training.scaling=\"none\"",
    "supervised.training.optimizer=\"sgd\"",
];

fn json(desk: &Desk, file: &str) -> Json {
    serde_json::from_str(&std::fs::read_to_string(desk.path(file)).unwrap()).unwrap()
}

fn accuracy(dtype: &str) -> f64 {
    let desk = Desk::new();
    let dtype = format!("dtype={dtype}");
    desk.finetune("scratch", (1.0, 0), "run", &[&LEARNS[..], &[&dtype]].concat()).unwrap();
    json(&desk, "run/result.json")["top1"].as_f64().unwrap()
}

#[test]
fn a_classifier_learns() {
    let top1 = accuracy("f32");
    assert!(top1 > 4.0 * CHANCE, "{top1}");
}

#[test]
fn bf16_learns_as_well_and_passes_through_every_stage() {
    if simd::multiplies_bf16().is_none() {
        skipped("bf16_learns_as_well_and_passes_through_every_stage", "this processor does not multiply bf16");
        return;
    }
    let top1 = accuracy("bf16");
    assert!(top1 > 4.0 * CHANCE, "{top1}");
    let desk = Desk::new();
    let bf16 = &["dtype=bf16"];
    desk.pretrain("pretrained", bf16).unwrap();
    desk.pretrain("plain", &[]).unwrap();
    desk.finetune("pretrained", (0.5, 0), "finetuned", bf16).unwrap();
    desk.distill_with("finetuned", "self", "self", bf16).unwrap();
    desk.distill_with("self", "small", "small", bf16).unwrap();
    desk.eval("small", false, "small again").unwrap();
    for run in ["pretrained", "finetuned", "self", "small"] {
        assert_eq!(json(&desk, &format!("{run}/manifest.json"))["config"]["dtype"], "bf16", "{run}");
        let lines = std::fs::read_to_string(desk.path(&format!("{run}/metrics.jsonl"))).unwrap();
        assert!(!lines.contains("null"), "{run}: a figure is not finite");
    }
    // Weights are f32 in both; that other numbers came out is what tells that bf16 was at work.
    let weights = |run: &str| std::fs::read(desk.path(&format!("{run}/checkpoint/model.safetensors"))).unwrap();
    let (half, whole) = (weights("pretrained"), weights("plain"));
    assert!(half.len() == whole.len() && half != whole, "bf16 gave the bits of f32");
}
