//! Stages that go on: from given weights, further than they were, and to the best network on the way.
#![allow(clippy::unwrap_used, missing_docs)]

mod desk;

use anyhow::Result;
use desk::Desk;
use serde_json::{Value as Json, json};
use simclr_core::cli::CommonArgs;
use simclr_core::config::LabelAmount;
use simclr_core::params::Part;
use simclr_core::run::checkpoint;
use simclr_distill::DistillArgs;
use simclr_eval::EvalArgs;
use simclr_finetune::FinetuneArgs;
use simclr_model::SimClr;
use simclr_stage::Checkpoint;
use std::path::Path;

fn json(path: &Path) -> Json {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn model(desk: &Desk, run: &str) -> SimClr {
    Checkpoint::load(&desk.path(run)).unwrap().model().unwrap()
}

fn numbers(model: &SimClr, name: &str) -> Vec<f32> {
    model.store.by_name(name).unwrap().tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn extending(desk: &Desk, out: &str) -> CommonArgs {
    CommonArgs { extend: true, ..desk.args(out) }
}

fn pretrain_from(desk: &Desk, from: &str, out: &str, set: &[&str]) -> Result<()> {
    simclr_pretrain::run_from(&desk.args(out), &desk.config(set)?, Some(&desk.path(from)))
}

#[track_caller]
fn expect(result: Result<()>, parts: &[&str]) {
    let message = format!("{:#}", result.expect_err("an error"));
    parts.iter().for_each(|part| assert!(message.contains(part), "expected {part:?} in: {message}"));
}

#[test]
fn every_stage_is_trained_further() {
    let desk = Desk::new();
    desk.pretrain("pretrained", &[]).unwrap();
    desk.finetune("pretrained", (0.5, 0), "finetuned", &[]).unwrap();
    desk.finetune("scratch", (0.5, 0), "supervised", &[]).unwrap();
    desk.distill("finetuned", "small", "small").unwrap();
    let finetune = |from: &str, out: &str, set: &str| {
        let (common, from) = (
            extending(&desk, out),
            if from == "scratch" { from.into() } else { desk.path(from).display().to_string() },
        );
        simclr_finetune::run(
            &FinetuneArgs { common, from, labels: LabelAmount::Share(0.5), subset: 0 },
            &desk.config(&[set])?,
        )
    };
    let checkpoints = ["finetuned", "supervised", "small"]
        .map(|run| std::fs::read(desk.path(run).join("checkpoint/model.safetensors")).unwrap());
    finetune("pretrained", "finetuned", "finetune.training.length={steps=5}").unwrap();
    finetune("scratch", "supervised", "supervised.training.length={epochs=2}").unwrap();
    // Its teacher is another network now: one with the old teacher goes on.
    let (common, student) = (extending(&desk, "small"), "small".to_string());
    let set = ["distill.small.training.length={steps=4}"];
    let distill = |teacher: &str, common: CommonArgs| {
        let (teacher, student) = (desk.path(teacher), student.clone());
        simclr_distill::run(
            &DistillArgs { common, teacher, student, labels: LabelAmount::Share(0.5), subset: 0 },
            &desk.config(&set).unwrap(),
        )
    };
    expect(distill("finetuned", common.clone()), &["another run", "inputs.teacher"]);
    distill("finetuned/before-extend-2", common).unwrap();
    for (run, steps, before) in [("finetuned", 5, 2), ("supervised", 8, 4), ("small", 4, 2)] {
        let out = desk.path(run);
        assert_eq!(json(&out.join("result.json"))["steps"], steps, "{run}");
        assert_eq!(json(&out.join("manifest.json"))["extended"][0]["from_step"], before, "{run}");
        let kept = out.join(format!("before-extend-{before}"));
        assert_eq!(json(&kept.join("result.json"))["steps"], before, "{run}");
        let at = ["finetuned", "supervised", "small"].iter().position(|name| *name == run).unwrap();
        assert!(std::fs::read(kept.join("checkpoint/model.safetensors")).unwrap() == checkpoints[at], "{run}");
        let config = std::fs::read_to_string(out.join("config.toml")).unwrap();
        assert!(simclr_core::config::Config::load(&out.join("config.toml"), &[]).is_ok(), "{config}");
    }
    let text = std::fs::read_to_string(desk.path("finetuned/metrics.jsonl")).unwrap();
    let lines: Vec<Json> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let steps: Vec<_> = lines.iter().filter(|l| l.get("loss").is_some()).map(|l| l["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, [1, 2, 3, 4, 5]);
    // Mistakes: a shorter run, nothing to go on with, and what measures.
    let shorter = "finetune.training.length={steps=3}";
    expect(
        finetune("pretrained", "finetuned", shorter),
        &["finetuned is trained for 5 steps already", "comes to 3", "longer"],
    );
    expect(finetune("pretrained", "nothing", shorter), &["nothing holds no run"]);
    assert!(!desk.path("nothing").exists());
    expect(
        desk.finetune("pretrained", (0.5, 0), "finetuned", &[]),
        &["another run", "length.steps is 5 there and 2 here", "--extend"],
    );
    let args =
        EvalArgs { common: extending(&desk, "eval"), checkpoint: desk.path("pretrained"), linear: false, knn: true };
    expect(simclr_eval::run(&args, &desk.config(&[]).unwrap()), &["--extend", "measures"]);
}

#[test]
fn pretraining_begins_with_given_weights() {
    let desk = Desk::new();
    // What is given moves no further: a rate of nothing shows what it began with.
    let still = "pretrain.training.learning_rate=1e-30";
    desk.pretrain("given", &[]).unwrap();
    pretrain_from(&desk, "given", "same", &[still]).unwrap();
    let (given, same) = (model(&desk, "given"), model(&desk, "same"));
    for p in given.store.trainable().filter(|p| !p.part.in_classifier()) {
        assert_eq!(numbers(&given, &p.name), numbers(&same, &p.name), "{}", p.name);
    }
    let sha256 = checkpoint::load(&desk.path("given")).unwrap().sha256;
    assert_eq!(json(&desk.path("same/manifest.json"))["inputs"], json!({"checkpoint": sha256}));
    // It is a run of its own, and not the one that begins with nothing.
    expect(desk.pretrain("same", &[still]), &["another run", "inputs.checkpoint"]);
    // Of another head the layers that fit are taken, up to the first that does not.
    pretrain_from(&desk, "given", "narrow", &[still, "model.proj_dim=6"]).unwrap();
    pretrain_from(&desk, "given", "deep", &[still, "model.proj_layers=4"]).unwrap();
    desk.pretrain("fresh", &[still, "model.proj_layers=4"]).unwrap();
    let (narrow, deep, fresh) = (model(&desk, "narrow"), model(&desk, "deep"), model(&desk, "fresh"));
    let last = |part: Part| part.in_classifier() || part == Part::HeadLayer(3);
    for p in given.store.trainable().filter(|p| !last(p.part)) {
        for other in [&narrow, &deep] {
            assert_eq!(numbers(&given, &p.name), numbers(other, &p.name), "{}", p.name);
        }
    }
    assert_ne!(numbers(&narrow, "projection.2.weight")[..32], numbers(&given, "projection.2.weight")[..32]);
    for layer in ["projection.2.weight", "projection.3.weight"] {
        assert_eq!(
            numbers(&deep, layer),
            numbers(&fresh, layer),
            "{layer} is fresh: the one before has no such layer behind it"
        );
    }
    // Other networks are named by the keys that differ, with what to set.
    let from = |out: &str, set: &[&str]| pretrain_from(&desk, "given", out, set);
    expect(
        from("a", &["model.depth=34"]),
        &["given: ResNet-18", "model.depth is 18 there and 34 here", "set model.depth=18"],
    );
    expect(from("b", &["model.width=0.125"]), &["model.width is 0.0625 there and 0.125 here"]);
    expect(
        from("c", &["data.image_size=64"]),
        &["model.stem is cifar there and imagenet here", "set model.stem=cifar", "data.image_size, 64"],
    );
    expect(
        from("d", &["model.stem=imagenet", "model.max_pool=torch"]),
        &["model.max_pool is tensorflow there and torch here"],
    );
    expect(pretrain_from(&desk, "nowhere", "e", &[]), &["nowhere: no such file"]);
    assert!(["a", "b", "c", "d", "e"].iter().all(|out| !desk.path(out).exists()), "the folders are free");
    // The network of another library.
    std::fs::create_dir(desk.path("timm")).unwrap();
    std::fs::copy(desk.path("given/checkpoint/model.safetensors"), desk.path("timm/model.safetensors")).unwrap();
    std::fs::write(desk.path("timm/config.json"), "{\"architecture\": \"resnet50\", \"num_classes\": 1000}").unwrap();
    expect(pretrain_from(&desk, "timm", "f", &[]), &["timm", "import-torch"]);
}

#[test]
fn an_imported_network_goes_through_every_stage() {
    let desk = Desk::new();
    // A ResNet-18 without a head, as torchvision has it; 33 pixels are the smallest pictures that get its stem.
    let set = ["data.image_size=33", "model.proj_layers=0", "model.max_pool=torch", "finetune.proj_selector=0"];
    desk.pretrain("own", &set).unwrap();
    let mut tensors = checkpoint::load(&desk.path("own")).unwrap().tensors;
    tensors.retain(|name, _| !name.starts_with("layer1.0.downsample") && !name.starts_with("fc."));
    let file = desk.path("resnet.safetensors");
    checkpoint::write_tensors(&file, &tensors, ("format", "pt")).unwrap();
    simclr_model::torch::import(&file, &desk.path("imported"), Default::default()).unwrap();
    let size = "data.image_size=33";
    pretrain_from(&desk, "imported", "pretrained", &[size, "model.max_pool=torch"]).unwrap();
    desk.finetune("imported", (1.0, 0), "finetuned", &[size, "finetune.proj_selector=0"]).unwrap();
    desk.finetune("pretrained", (1.0, 0), "on the head", &[size]).unwrap();
    let on_a_head = desk.finetune("imported", (1.0, 0), "x", &[size]);
    expect(on_a_head, &["proj_selector = 1", "no projection head; use 0"]);
    expect(pretrain_from(&desk, "imported", "y", &[size]), &["model.max_pool is torch there and tensorflow here"]);
    expect(
        pretrain_from(&desk, "imported", "z", &[]),
        &["model.stem is imagenet there and cifar here", "model.stem=imagenet"],
    );
}

#[test]
fn the_best_network_is_a_checkpoint() {
    let desk = Desk::new();
    let set = ["supervised.training.eval_every={steps=1}", "supervised.training.length={steps=6}"];
    desk.finetune("scratch", (1.0, 0), "run", &set).unwrap();
    let (result, best) = (json(&desk.path("run/result.json")), json(&desk.path("run/best/best.json")));
    assert_eq!(result["best"], best);
    let text = std::fs::read_to_string(desk.path("run/metrics.jsonl")).unwrap();
    let measured =
        text.lines().map(|line| serde_json::from_str::<Json>(line).unwrap()).filter(|l| l.get("test_top1").is_some());
    let highest = measured.fold((0, -1.0), |(step, top1), line| {
        let own = line["test_top1"].as_f64().unwrap();
        if own > top1 { (line["step"].as_u64().unwrap(), own) } else { (step, top1) }
    });
    assert_eq!((best["step"].as_u64(), best["top1"].as_f64()), (Some(highest.0), Some(highest.1)));
    // It gives the accuracy that is said of it.
    desk.eval("run/best", false, "again").unwrap();
    assert_eq!(json(&desk.path("again/result.json"))["top1"], best["top1"]);
    // That of pretraining has the plain classifier of its checkpoint.
    let set = ["pretrain.training.eval_every={steps=1}"];
    desk.pretrain("pretrained", &set).unwrap();
    let best = json(&desk.path("pretrained/best/best.json"));
    desk.eval("pretrained/best", false, "online").unwrap();
    assert_eq!(json(&desk.path("online/result.json"))["top1"], best["top1"]);
    // Nothing of it changes what is trained, and nothing is there to choose from without eval_every.
    desk.pretrain("plain", &[]).unwrap();
    let weights = |run: &str| std::fs::read(desk.path(run).join("checkpoint/model.safetensors")).unwrap();
    assert!(weights("plain") == weights("pretrained"));
    assert!(!desk.path("plain/best").exists() && json(&desk.path("plain/result.json")).get("best").is_none());
}

#[test]
fn patience_is_a_key() {
    let desk = Desk::new();
    expect(
        desk.config(&["supervised.training.patience=2"]).map(drop),
        &["supervised.training.patience = 2", "eval_every"],
    );
    let every = "supervised.training.eval_every={steps=1}";
    expect(desk.config(&[every, "supervised.training.patience=0"]).map(drop), &["patience = 0", "must lie in 1 to"]);
    // At a rate of nothing no evaluation is better than the first.
    let set = [
        every,
        "supervised.training.patience=3",
        "supervised.training.length={steps=50}",
        "supervised.training.learning_rate=1e-30",
        "supervised.training.optimizer=sgd",
    ];
    desk.finetune("scratch", (1.0, 0), "run", &set).unwrap();
    let result = json(&desk.path("run/result.json"));
    assert!(result["steps"].as_u64().unwrap() < 50, "{result}");
    assert_eq!((&result["stopped"]["step"], &result["stopped"]["of"]), (&result["steps"], &json!(50)));
    let why = result["stopped"]["why"].as_str().unwrap();
    assert!(
        why.contains(&format!("3 evaluations in a row were no better than that after step {}", result["best"]["step"])),
        "{why}"
    );
    assert!(desk.path("run/checkpoint/model.safetensors").is_file());
    let manifest = std::fs::read_to_string(desk.path("run/manifest.json")).unwrap();
    assert!(manifest.contains("patience"));
    desk.finetune("scratch", (1.0, 0), "plain", &[]).unwrap();
    let manifest = std::fs::read_to_string(desk.path("plain/manifest.json")).unwrap();
    assert!(
        ["patience", "extended", "max_pool"].iter().all(|key| !manifest.contains(key)),
        "old manifests keep their bytes"
    );
}
