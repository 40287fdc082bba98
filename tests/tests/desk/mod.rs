//! A temporary folder with a tiny experiment in it, and the stages run there as their binaries run them.
// Each test binary uses a part of it.
#![allow(dead_code)]

use anyhow::Result;
use simclr_core::cli::ProgressMode;
use simclr_core::cli::{CommonArgs, DeviceChoice};
use simclr_core::config::{Config, LabelAmount};
use simclr_distill::DistillArgs;
use simclr_eval::EvalArgs;
use simclr_finetune::FinetuneArgs;
use simclr_ops::Group;
use std::path::PathBuf;

const EXPERIMENT: &str = r#"
name = "desk"
[data]
dataset = "textures"
image_size = 16
limit = 60
[model]
depth = 18
width = 0.0625
proj_dim = 8
[pretrain.training]
length = { steps = 3 }
warmup = { steps = 1 }
batch = 16
learning_rate = 0.1
[finetune]
proj_selector = 1
[finetune.training]
length = { steps = 2 }
batch = 8
learning_rate = 0.1
optimizer = "sgd"
[supervised.training]
length = { epochs = 1 }
batch = 8
learning_rate = 0.1
optimizer = "adam"
[distill.self]
init_from_teacher = true
[distill.self.training]
length = { images = 32 }
batch = 16
learning_rate = 0.1
[distill.small]
teacher_weight = 0.5
model = { depth = 18, width = 0.03125, sk_ratio = 0.5, proj_layers = 1, proj_dim = 4 }
[distill.small.training]
length = { steps = 2 }
batch = 16
learning_rate = 0.1
[eval.linear]
epochs = 2
batch = 32
views = 2
"#;

pub struct Desk(tempfile::TempDir);

impl Desk {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(dir.path().join("experiment.toml"), EXPERIMENT).expect("a file in it");
        Self(dir)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn config(&self, set: &[&str]) -> Result<Config> {
        Config::load(&self.path("experiment.toml"), &set.iter().map(|s| s.to_string()).collect::<Vec<_>>())
    }

    pub fn args(&self, out: &str) -> CommonArgs {
        CommonArgs {
            config: self.path("experiment.toml"),
            out: self.path(out),
            resume: false,
            extend: false,
            dtype: None,
            device: DeviceChoice::Auto,
            set: vec![],
            threads: None,
            progress: ProgressMode::Off,
            ranks: None,
            group: Group::default(),
        }
    }

    pub fn pretrain(&self, out: &str, set: &[&str]) -> Result<()> {
        simclr_pretrain::run(&self.args(out), &self.config(set)?)
    }

    /// From `scratch`, or the checkpoint in the folder `from`.
    pub fn finetune(&self, from: &str, (labels, subset): (f64, usize), out: &str, set: &[&str]) -> Result<()> {
        let from = if from == "scratch" { from.into() } else { self.path(from).to_string_lossy().into_owned() };
        simclr_finetune::run(
            &FinetuneArgs { common: self.args(out), from, labels: LabelAmount::Share(labels), subset },
            &self.config(set)?,
        )
    }

    pub fn distill(&self, teacher: &str, student: &str, out: &str) -> Result<()> {
        self.distill_with(teacher, student, out, &[])
    }

    pub fn distill_with(&self, teacher: &str, student: &str, out: &str, set: &[&str]) -> Result<()> {
        let (common, teacher, student) = (self.args(out), self.path(teacher), student.into());
        simclr_distill::run(
            &DistillArgs { common, teacher, student, labels: LabelAmount::Share(0.5), subset: 0 },
            &self.config(set)?,
        )
    }

    /// With a linear probe and nearest neighbours on the features, or else the checkpoint's own classifier.
    pub fn eval(&self, checkpoint: &str, features: bool, out: &str) -> Result<()> {
        let (common, checkpoint) = (self.args(out), self.path(checkpoint));
        simclr_eval::run(&EvalArgs { common, checkpoint, linear: features, knn: features }, &self.config(&[])?)
    }
}
