//! Mistakes of users: each is one message that names what is wrong, and nothing panics.
#![allow(clippy::unwrap_used, missing_docs)]

mod desk;

use anyhow::Result;
use desk::Desk;
use serde_json::json;
use simclr_core::cli::DeviceChoice;
use simclr_core::config::{Config, Named};
use simclr_core::run::checkpoint;
use simclr_model::{ModelSpec, SimClr};
use std::path::Path;

fn load(desk: &Desk, dataset: &str, dir: &Path) -> Result<simclr_data::Dataset> {
    let set = [format!("data.dataset=\"{dataset}\""), format!("data.dir=\"{}\"", dir.display())];
    simclr_data::load(&desk.config(&[&set[0], &set[1]])?.data)
}

/// The message as a user sees it; it must hold every part.
fn expect<T>(result: Result<T>, parts: &[&str]) {
    let Err(error) = result else { panic!("no error, expected one with {parts:?}") };
    let message = format!("{error:#}");
    for part in parts {
        assert!(message.contains(part), "expected {part:?} in: {message}");
    }
}

#[test]
fn configurations() {
    let desk = Desk::new();
    expect(Config::load(&desk.path("none.toml"), &[]), &["none.toml"]);
    expect(desk.config(&["pretrain.temprature=1"]), &["temprature", "temperature"]);
    expect(desk.config(&["model.depth=\"deep\""]), &["experiment.toml", "model.depth", "deep"]);
    expect(desk.config(&["model.depth=19"]), &["model.depth = 19", "18, 34"]);
    expect(desk.config(&["pretrain.training.learning_rate=-1.0"]), &["pretrain.training.learning_rate"]);
    expect(desk.config(&["pretrain.training"]), &["key=value"]);
    expect(desk.config(&["data.dataset=\"mnist\""]).and_then(|c| simclr_data::load(&c.data)), &["mnist", "textures"]);
    // No machine has so many GPUs.
    expect(DeviceChoice::Cuda(9999).open(), &["--device cuda:9999", "--device cpu"]);
}

/// A dataset or a transform that there is not is found when a stage starts, before it has a folder, and by the plan.
#[test]
fn names_of_tables() {
    let desk = Desk::new();
    let list = "augment.transforms=[\"crop\", {name=\"jitter\", strenght=0.5}]";
    for (set, parts) in [
        (list, ["augment.transforms[1].strenght", "did you mean strength?"]),
        ("augment.transforms=[\"crop\", \"flop\"]", ["augment.transforms[1] = \"flop\"", "must be one of crop"]),
        ("data.dataset=\"mnist\"", ["data.dataset = \"mnist\"", "must be one of textures"]),
    ] {
        expect(desk.pretrain("names", &[set]), &parts);
        assert!(!desk.path("names").exists(), "{set}");
        expect(simclr_report::plan::jobs(&desk.config(&[set]).unwrap(), &desk.path("plan")), &parts);
    }
    let beside = [list, "augment.blur_probability=0.25"];
    expect(desk.config(&beside), &["augment.blur_probability would have no effect beside augment.transforms"]);
}

#[test]
fn labels_and_heads() {
    let desk = Desk::new();
    expect(desk.finetune("scratch", (0.0, 0), "a", &[]), &["--labels 0", "(0, 1]"]);
    expect(desk.finetune("scratch", (2.0, 0), "a", &[]), &["--labels 2", "(0, 1]"]);
    expect(desk.finetune("scratch", (f64::NAN, 0), "a", &[]), &["--labels NaN"]);
    expect(desk.finetune("scratch", (1.0, 0), "b", &["supervised.freeze_after=9"]), &["freeze_after = 9", "groups"]);
    // The corrected command may name the same folder.
    desk.finetune("scratch", (1.0, 0), "b", &[]).unwrap();
    expect(
        desk.finetune("scratch", (1.0, 0), "c", &["supervised.proj_selector=4"]),
        &["proj_selector = 4", "3 layers"],
    );
}

#[test]
fn checkpoints() {
    let desk = Desk::new();
    let finetune = |out: &str| desk.finetune("pretrained", (1.0, 0), out, &[]);
    expect(finetune("a"), &["pretrained", "no such file or folder"]);
    desk.pretrain("pretrained", &[]).unwrap();
    let file = desk.path("pretrained/checkpoint/model.safetensors");
    let bytes = std::fs::read(&file).unwrap();
    // The configuration of another network beside the tensors.
    let config = desk.path("pretrained/checkpoint/config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    json["width"] = json!(0.125);
    std::fs::write(&config, json.to_string()).unwrap();
    expect(finetune("a"), &["pretrained", "conv1.weight", "[4, 3, 3, 3]", "[8, 3, 3, 3]"]);
    std::fs::write(&config, "{\"depth\": 18}").unwrap();
    expect(finetune("a"), &["pretrained", "config.json", "missing field"]);
    std::fs::write(&config, &text[..text.len() / 2]).unwrap();
    expect(finetune("a"), &["config.json", "not valid JSON"]);
    std::fs::write(&config, text).unwrap();
    // Bytes that are no safetensors file: cut within the header, cut within the tensors, garbage.
    let garbage = b"\xff\xff\xff\xff\xff\xff\xff\x7fgarbage";
    for damaged in [&bytes[..5], &bytes[..100], &bytes[..bytes.len() / 2], garbage] {
        std::fs::write(&file, damaged).unwrap();
        expect(finetune("a"), &["model.safetensors is damaged"]);
    }
}

#[test]
fn folders_of_other_runs() {
    let desk = Desk::new();
    desk.pretrain("run", &[]).unwrap();
    let model = desk.path("run/checkpoint/model.safetensors");
    let before = std::fs::read(&model).unwrap();
    // The same run again is done; another in its place is refused, and the first stays.
    desk.pretrain("run", &[]).unwrap();
    expect(desk.pretrain("run", &["seed=9"]), &["run holds another run", "seed is 0 there and 9 here", "--out"]);
    expect(
        desk.finetune("scratch", (1.0, 0), "run", &[]),
        &["another run: stage is \"pretrain\" there and \"supervised\" here. Choose"],
    );
    assert_eq!(before, std::fs::read(&model).unwrap());
    expect(desk.pretrain("experiment.toml", &[]), &["cannot make the folder", "experiment.toml"]);
}

#[test]
fn teachers_and_students() {
    let desk = Desk::new();
    let config = desk.config(&[]).unwrap();
    for (name, channels, classes) in [("headless", 3, 0), ("of three", 3, 3), ("gray", 1, 10)] {
        let model = SimClr::new(&ModelSpec::new(&config.model, channels, 16, classes, 0), 0).unwrap();
        checkpoint::save(&desk.path(name), &model.store, &model.spec.to_json()).unwrap();
    }
    expect(desk.distill("headless", "self", "a"), &["headless", "no classifier", "fine-tune"]);
    expect(desk.distill("of three", "self", "b"), &["of three knows 3 classes", "has 10"]);
    expect(desk.distill("gray", "self", "c"), &["gray takes images of 1 channels", "has 3"]);
    expect(desk.distill("gray", "tiny", "d"), &["[distill.tiny]", "self, small"]);
    expect(desk.eval("headless", false, "e"), &["headless", "classifier", "--linear"]);
    expect(desk.eval("of three", false, "f"), &["of three knows 3 classes", "the dataset has 10", "--linear"]);
    // Features need no classifier: whose classes it knows does not matter.
    desk.eval("of three", true, "g").unwrap();
    // What an evaluation leaves is no checkpoint.
    assert!(desk.path("g/probe.safetensors").is_file() && !desk.path("g/checkpoint").exists());
    expect(desk.finetune("g", (1.0, 0), "h", &[]), &["g: this run measured a checkpoint"]);
    for (after, why) in [("5", "this encoder has 4 groups"), ("-2", "-1 freezes nothing")] {
        let set = format!("supervised.freeze_after={after}");
        expect(
            desk.finetune("scratch", (1.0, 0), "i", &[&set]),
            &["supervised", &format!("freeze_after = {after}"), why],
        );
    }
}

#[test]
fn backbones_and_losses() {
    let desk = Desk::new();
    let pretrain = |set: &str| desk.pretrain("a", &[set]);
    expect(pretrain("model.backbone=\"none\""), &["model.depth", "backbone \"resnet\"", "\"none\"", "take it out"]);
    expect(pretrain("pretrain.loss=\"none\""), &["pretrain.loss = \"none\": must be one of nt-xent"]);
    expect(pretrain("pretrain.loss={name=\"nt-xent\", queue=4}"), &["unknown key pretrain.loss.queue"]);
    expect(pretrain("pretrain.lss=\"nt-xent\""), &["pretrain.lss", "did you mean loss"]);
    let student = ModelSpec::new(&simclr_core::config::ModelConfig::of(Named::new("none")), 3, 16, 0, 0);
    expect(SimClr::blank(&student), &["model.backbone = \"none\": must be one of resnet"]);
}

#[test]
fn a_loss_that_explodes_names_its_step() {
    let desk = Desk::new();
    let set = [
        "pretrain.training.length={steps=60}",
        "pretrain.training.learning_rate=10000",
        "pretrain.training.weight_decay=10",
        "pretrain.training.scaling=none",
        "pretrain.training.optimizer=\"sgd\"",
    ];
    expect(desk.pretrain("x", &set), &["step ", " of 60", "not a finite number", "learning_rate"]);
    assert!(!desk.path("x/result.json").exists() && !desk.path("x/checkpoint").exists());
}

#[test]
fn image_files() {
    let desk = Desk::new();
    let dir = desk.path("images");
    std::fs::create_dir(&dir).unwrap();
    expect(load(&desk, "cifar10", &dir), &["images", "data_batch_1.bin"]);
    let header =
        |magic: u32, dims: &[u32]| -> Vec<u8> { [magic].iter().chain(dims).flat_map(|v| v.to_be_bytes()).collect() };
    let write = |name: &str, bytes: &[u8]| std::fs::write(dir.join(name), bytes).unwrap();
    let (images, labels) = (header(0x803, &[2, 28, 28]), header(0x801, &[2]));
    let whole_images = [images.as_slice(), &[7; 2 * 784]].concat();
    let whole_labels = [labels.as_slice(), &[3, 9]].concat();
    for part in ["train", "t10k"] {
        write(&format!("{part}-images-idx3-ubyte"), &whole_images);
        write(&format!("{part}-labels-idx1-ubyte"), &whole_labels);
    }
    assert_eq!(load(&desk, "fashion-mnist", &dir).unwrap().train.all_labels("").unwrap(), [3, 9]);
    write("train-images-idx3-ubyte", &[header(0x802, &[2, 28, 28]).as_slice(), &[7; 2 * 784]].concat());
    expect(load(&desk, "fashion-mnist", &dir), &["train-images-idx3-ubyte", "magic"]);
    write("train-images-idx3-ubyte", &whole_images[..800]);
    expect(load(&desk, "fashion-mnist", &dir), &["train-images-idx3-ubyte", "bytes"]);
    write("train-images-idx3-ubyte", &header(0x803, &[u32::MAX, u32::MAX, u32::MAX]));
    expect(load(&desk, "fashion-mnist", &dir), &["train-images-idx3-ubyte"]);
    write("train-images-idx3-ubyte", &whole_images);
    write("train-labels-idx1-ubyte", &header(0x801, &[3]));
    expect(load(&desk, "fashion-mnist", &dir), &["train-labels-idx1-ubyte"]);
}

#[test]
fn files_of_pictures() {
    let desk = Desk::new();
    let load = |set: &[&str]| desk.config(set).and_then(|config| simclr_data::load(&config.data));
    let dir = desk.path("pictures");
    let at = format!("data.dir=\"{}\"", dir.display());
    expect(load(&["data.dataset=folder"]), &["\"folder\" needs data.dir"]);
    expect(load(&["data.dataset=tar", "data.hub=a/b"]), &["data.hub is for", "parquet", "not \"tar\""]);
    expect(load(&["data.dataset=parquet", "data.hub=imagenet"]), &["imagenet", "OWNER/NAME"]);
    expect(load(&["data.dataset=parquet", "data.hub=a/b", &at]), &["data.hub and data.dir are both set"]);
    expect(load(&["data.train=train"]), &["data.train is for files", "\"textures\""]);
    expect(load(&["data.dataset=folder", &at]), &["pictures is no folder"]);
    std::fs::create_dir_all(dir.join("train/a")).unwrap();
    expect(load(&["data.dataset=folder", &at]), &["training images", "holds no picture", "jpg"]);
    expect(load(&["data.dataset=folder", &at, "data.test=none"]), &["data.test = \"none\"", "is no folder"]);
    expect(load(&["data.dataset=tar", &at]), &["no .tar file there"]);
    std::fs::write(dir.join("train-0.tar"), b"no tar").unwrap();
    expect(load(&["data.dataset=tar", &at]), &["train-0.tar", "tar"]);
    expect(load(&["data.dataset=tar", &at, "data.train=train-{0..3}.tar"]), &["train-{0..3}.tar", "no train-1.tar"]);
    expect(load(&["data.dataset=tar", &at, "data.train=train-{3..0}.tar"]), &["data.train", "two numbers that ascend"]);
    std::fs::write(dir.join("train-0.parquet"), b"no parquet").unwrap();
    expect(load(&["data.dataset=parquet", &at]), &["train-0.parquet", "no whole parquet file"]);
    expect(load(&["data.channels=2"]), &["data.channels = 2", "1 (gray)"]);
    expect(load(&["data.max_pixels=0"]), &["data.max_pixels = 0"]);
    expect(load(&["data.corrupt=ignore"]), &["data.corrupt", "ignore", "skip"]);
    expect(load(&["data.shufle_buffer=3"]), &["data.shufle_buffer", "did you mean shuffle_buffer"]);
    expect(load(&["data.lists=[{labels=2.0, file=\"x\"}]"]), &["data.lists", "(0, 1]"]);
    let twice = "data.lists=[{labels=0.1, file=\"x\"}, {labels=0.1, file=\"y\"}]";
    expect(load(&[twice]), &["two lists for labels = 0.1"]);
}
