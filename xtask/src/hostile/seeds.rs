//! What malformed inputs are made from: a data set of 16 pictures of 16 pixels, an experiment on it, and a run of each stage.

use super::bytes;
use super::case::{Seeds, write};
use crate::workspace::{self, Binaries};
use anyhow::{Context, Result, ensure};
use std::path::PathBuf;

/// The experiment: the smallest network, two steps of four pictures.
pub const EXPERIMENT: &str = r#"name = "hostile"
[data]
dataset = "idx"
dir = "IDX"
image_size = 16
[model]
depth = 18
width = 0.015625
proj_dim = 4
[pretrain.training]
length = { steps = 2 }
checkpoint_every = { steps = 1 }
batch = 4
learning_rate = 0.1
optimizer = "sgd"
[finetune]
proj_selector = 1
[finetune.training]
length = { steps = 2 }
batch = 4
learning_rate = 0.1
optimizer = "sgd"
[supervised.training]
length = { steps = 2 }
batch = 4
learning_rate = 0.1
optimizer = "sgd"
[distill.self]
init_from_teacher = true
[distill.self.training]
length = { steps = 2 }
batch = 4
learning_rate = 0.1
optimizer = "sgd"
[distill.small]
teacher = "self"
model = { depth = 18, width = 0.015625, proj_dim = 4 }
[distill.small.training]
length = { steps = 2 }
batch = 4
learning_rate = 0.1
optimizer = "adam"
[eval.linear]
epochs = 1
batch = 4
"#;

/// The data set's training and test files.
pub const IDX: [(&str, u32); 2] = [("train", 16), ("t10k", 8)];

/// Makes them all.
///
/// # Errors
/// When a run fails, which it must not.
pub fn make(binaries: &Binaries, root: PathBuf) -> Result<Seeds> {
    let seeds = Seeds { root };
    for (name, count) in IDX {
        let pixels: Vec<u8> = (0..count * 256).map(|i| (i * 37 % 251) as u8).collect();
        let labels: Vec<u8> = (0..count).map(|i| (i % 4) as u8).collect();
        write(&seeds.at(&format!("idx/{name}-images-idx3-ubyte")), bytes::idx(0x803, &[count, 16, 16], &pixels))?;
        write(&seeds.at(&format!("idx/{name}-labels-idx1-ubyte")), bytes::idx(0x801, &[count], &labels))?;
    }
    write(&seeds.at("hostile.toml"), EXPERIMENT.replace("IDX", &seeds.path("idx")))?;
    for i in 0..3 {
        write(&seeds.at(&format!("pictures/{i}.png")), bytes::png(12 + i, 10, 40 * i as u8))?;
    }
    let run = |program: &str, line: &str| -> Result<()> {
        let mut command = binaries.command(program);
        command.args(line.split_whitespace()).current_dir(&seeds.root).env("HF_HUB_OFFLINE", "1");
        let output = command.output().with_context(|| format!("starting {program}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{program} {line}: {}", said.trim());
        Ok(())
    };
    let common = "--config hostile.toml --device cpu --out";
    run("simclr-pretrain", &format!("{common} pretrained"))?;
    run("simclr-finetune", &format!("{common} finetuned --from pretrained --labels 1"))?;
    run("simclr-distill", &format!("{common} distilled --teacher finetuned --student self"))?;
    run("simclr-eval", &format!("{common} measured --checkpoint finetuned"))?;
    let golden = workspace::root().join("tests/golden/tf_checkpoints/resnet50_sk_64px");
    for kind in ["tf1", "tf2", "saved_model"] {
        super::case::copy(&golden.join(kind), &seeds.at(kind))?;
    }
    Ok(seeds)
}
