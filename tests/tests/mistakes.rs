//! Mistakes of users: each is one message that names what is wrong, and nothing panics.
#![allow(clippy::unwrap_used, missing_docs)]

use anyhow::Result;
use serde_json::json;
use simclr_core::cli::{CommonArgs, DeviceChoice};
use simclr_core::config::Config;
use simclr_core::progress::ProgressMode;
use simclr_finetune::FinetuneArgs;
use std::path::{Path, PathBuf};

const EXPERIMENT: &str = r#"
name = "mistakes"
[data]
dataset = "textures"
image_size = 16
limit = 60
[model]
depth = 18
width = 0.0625
[pretrain.training]
length = { steps = 1 }
batch = 8
learning_rate = 0.1
[finetune.training]
length = { steps = 1 }
batch = 8
learning_rate = 0.1
[supervised.training]
length = { steps = 1 }
batch = 8
learning_rate = 0.1
[distill.self.training]
length = { steps = 1 }
batch = 8
learning_rate = 0.1
"#;

struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("experiment.toml"), EXPERIMENT).unwrap();
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn args(&self, out: &str) -> CommonArgs {
        CommonArgs {
            config: self.path("experiment.toml"),
            out: self.path(out),
            resume: false,
            device: DeviceChoice::Auto,
            set: vec![],
            threads: None,
            progress: ProgressMode::Off,
        }
    }

    fn config(&self, set: &[&str]) -> Result<Config> {
        Config::load(&self.path("experiment.toml"), &set.iter().map(|s| s.to_string()).collect::<Vec<_>>())
    }

    fn pretrain(&self, out: &str, set: &[&str]) -> Result<()> {
        simclr_pretrain::run(&self.args(out), &self.config(set)?)
    }

    fn finetune(&self, from: &str, labels: f64, out: &str) -> Result<()> {
        let from = if from == "scratch" { from.into() } else { self.path(from).to_string_lossy().into_owned() };
        let args = FinetuneArgs { common: self.args(out), from, labels, subset: 0 };
        simclr_finetune::run(&args, &self.config(&[])?)
    }

    fn load(&self, dataset: &str, dir: &Path) -> Result<simclr_data::Dataset> {
        let set = [format!("data.dataset=\"{dataset}\""), format!("data.dir=\"{}\"", dir.display())];
        simclr_data::load(&Config::load(&self.path("experiment.toml"), &set)?.data)
    }
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
    expect(desk.config(&["model.depth=\"deep\""]), &["depth"]);
    expect(desk.config(&["model.depth=19"]), &["model.depth = 19", "18, 34"]);
    expect(desk.config(&["pretrain.training.learning_rate=-1.0"]), &["pretrain.training.learning_rate"]);
    expect(desk.config(&["pretrain.training"]), &["key=value"]);
    expect(desk.config(&["data.dataset=\"mnist\""]).and_then(|c| simclr_data::load(&c.data)), &["mnist", "textures"]);
    expect(DeviceChoice::Cuda(0).open(), &["cuda"]);
}

#[test]
fn checkpoints_and_folders() {
    let desk = Desk::new();
    expect(desk.finetune("nowhere", 1.0, "a"), &["nowhere"]);
    desk.pretrain("pretrained", &[]).unwrap();
    // The same run again is done; another in its place is refused, and the first stays.
    let model = desk.path("pretrained/checkpoint/model.safetensors");
    let before = std::fs::read(&model).unwrap();
    desk.pretrain("pretrained", &[]).unwrap();
    expect(desk.pretrain("pretrained", &["seed=9"]), &["pretrained", "--out"]);
    assert_eq!(before, std::fs::read(&model).unwrap());
    // Label fractions.
    expect(desk.finetune("pretrained", 0.0, "b"), &["label", "0"]);
    expect(desk.finetune("pretrained", 2.0, "b"), &["label", "2"]);
    expect(desk.finetune("scratch", 0.01, "c"), &["0.01", "class 0", "at least"]);
    // A teacher must have been given a classifier of these classes; a student must exist.
    let distill = |teacher: &str, student: &str, out: &str| {
        let args = simclr_distill::DistillArgs {
            common: desk.args(out),
            teacher: desk.path(teacher),
            student: student.into(),
            labels: 1.0,
            subset: 0,
        };
        simclr_distill::run(&args, &desk.config(&[])?)
    };
    expect(distill("pretrained", "tiny", "d"), &["tiny", "self"]);
    // A network of another shape beside the tensors.
    let config = desk.path("pretrained/checkpoint/config.json");
    let mut json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&config).unwrap()).unwrap();
    json["width"] = json!(0.125);
    std::fs::write(&config, json.to_string()).unwrap();
    expect(desk.finetune("pretrained", 1.0, "e"), &["conv1.weight", "[4, 3, 3, 3]", "[8, 3, 3, 3]"]);
    // Bytes that are no safetensors file.
    std::fs::write(&model, &before[..before.len() / 2]).unwrap();
    expect(desk.finetune("pretrained", 1.0, "f"), &["model.safetensors"]);
    std::fs::write(&model, b"\xff\xff\xff\xff\xff\xff\xff\x7fgarbage").unwrap();
    expect(desk.finetune("pretrained", 1.0, "g"), &["model.safetensors"]);
}

#[test]
fn a_loss_that_explodes_names_its_step() {
    let desk = Desk::new();
    let set = [
        "pretrain.training.length={steps=60}",
        "pretrain.training.learning_rate=1e30",
        "pretrain.training.optimizer=\"sgd\"",
    ];
    expect(desk.pretrain("x", &set), &["step", "learning_rate"]);
}

#[test]
fn image_files() {
    let desk = Desk::new();
    let dir = desk.path("images");
    std::fs::create_dir(&dir).unwrap();
    expect(desk.load("cifar10", &dir), &["images", "data_batch_1.bin"]);
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
    assert_eq!(desk.load("fashion-mnist", &dir).unwrap().train.labels, [3, 9]);
    write("train-images-idx3-ubyte", &[header(0x802, &[2, 28, 28]).as_slice(), &[7; 2 * 784]].concat());
    expect(desk.load("fashion-mnist", &dir), &["train-images-idx3-ubyte", "magic"]);
    write("train-images-idx3-ubyte", &whole_images[..800]);
    expect(desk.load("fashion-mnist", &dir), &["train-images-idx3-ubyte"]);
    write("train-images-idx3-ubyte", &header(0x803, &[u32::MAX, u32::MAX, u32::MAX]));
    expect(desk.load("fashion-mnist", &dir), &["train-images-idx3-ubyte"]);
    write("train-images-idx3-ubyte", &whole_images);
    write("train-labels-idx1-ubyte", &header(0x801, &[3]));
    expect(desk.load("fashion-mnist", &dir), &["train-labels-idx1-ubyte"]);
}
