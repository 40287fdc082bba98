//! Every experiment file loads, and holds the published values.

use anyhow::{Context, Result, ensure};
use simclr_core::config::{Config, Duration, LabelAmount, OptimizerConfig, Scaling, TrainingConfig};
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs")
}

fn load(name: &str) -> Result<Config> {
    Config::load(&folder().join(format!("{name}.toml")), &[])
}

/// The learning rate after scaling with the batch.
fn scaled(t: &TrainingConfig) -> f64 {
    match t.scaling {
        Scaling::Linear => t.learning_rate * t.batch as f64 / 256.0,
        Scaling::Sqrt => t.learning_rate * (t.batch as f64).sqrt(),
        Scaling::None => t.learning_rate,
    }
}

fn near(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-9, "{a} is not {b}");
}

#[test]
fn every_file_loads_at_every_fraction() -> Result<()> {
    let mut seen = 0;
    for entry in std::fs::read_dir(folder())? {
        let path = entry?.path();
        if path.extension().is_none_or(|e| e != "toml") {
            continue;
        }
        seen += 1;
        let config = Config::load(&path, &[])?;
        let stem = path.file_stem().and_then(|s| s.to_str()).context("a file name")?;
        ensure!(config.name == stem, "{}: name = {:?} should be {stem:?}", path.display(), config.name);
        for &labels in &config.reproduce.labels {
            config.at_labels(labels).with_context(|| format!("{} at labels = {labels}", path.display()))?;
        }
        let text = std::fs::read_to_string(&path)?;
        let header: String = text.lines().take_while(|l| l.starts_with('#')).collect();
        for word in ["command", "hardware", "time", "result"] {
            ensure!(header.contains(word), "{}: the header lacks `{word}`", path.display());
        }
    }
    ensure!(seen >= 3, "only {seen} files in {}", folder().display());
    Ok(())
}

#[test]
fn imagenet_pretraining_is_as_published() -> Result<()> {
    for (name, depth, width, sk_ratio) in [("imagenet-r50", 50, 1.0, 0.0), ("imagenet-r152x3-sk", 152, 3.0, 0.0625)] {
        let c = load(name)?;
        assert_eq!((c.model.depth, c.model.width, c.model.sk_ratio), (depth, width, sk_ratio), "{name}");
        assert_eq!((c.model.proj_layers, c.model.proj_dim), (3, 128), "{name}");
        let t = &c.pretrain.training;
        near(scaled(t), 6.4);
        assert_eq!(t.optimizer, OptimizerConfig::lars());
        near(t.weight_decay, 1e-4);
        near(t.momentum, 0.9);
        near(c.pretrain.temperature, 0.1);
        // 800 epochs of 1 281 167 images, of which 5 % warm up.
        assert_eq!((t.length, t.warmup), (Duration::Epochs(800.0), Duration::Epochs(40.0)));
        assert_eq!(t.length.steps(1_281_167, t.batch), 250_227);
        near(c.augment.color_strength as f64, 1.0);
        near(c.augment.blur_probability as f64, 0.5);
    }
    Ok(())
}

#[test]
fn imagenet_fine_tuning_follows_the_fraction() -> Result<()> {
    for (name, rate) in [("imagenet-r50", 0.16), ("imagenet-r152x3-sk", 0.064)] {
        let c = load(name)?;
        for (labels, epochs, selector) in [(0.01, 60.0, 1), (0.1, 30.0, 1), (1.0, 30.0, 0)] {
            let f = c.at_labels(LabelAmount::Share(labels))?.finetune;
            near(scaled(&f.training), rate);
            assert_eq!(f.training.length, Duration::Epochs(epochs), "{name} at {labels}");
            assert_eq!(f.proj_selector, selector, "{name} at {labels}");
            near(f.training.weight_decay, 0.0);
            assert_eq!((f.training.batch, f.training.warmup.steps(128_116, 1024)), (1024, 0));
        }
    }
    Ok(())
}

#[test]
fn imagenet_students_are_as_published() -> Result<()> {
    for name in ["imagenet-r50", "imagenet-r152x3-sk"] {
        let c = load(name)?;
        for (student, teacher, temperature) in [("self", "finetuned", 0.1), ("small", "self", 1.0)] {
            let s = c.student(student)?;
            assert_eq!(s.teacher, teacher);
            near(s.temperature, temperature);
            near(s.teacher_weight, 1.0);
            near(scaled(&s.training), 6.4);
            assert_eq!(s.training.length, Duration::Epochs(400.0));
        }
        assert!(c.student("self")?.model.is_none());
        assert_eq!(c.student("small")?.model.as_ref().map(|m| (m.depth, m.width)), Some((50, 1.0)));
    }
    Ok(())
}

#[test]
fn cifar_is_the_authors_recipe() -> Result<()> {
    let c = load("cifar10")?;
    let t = &c.pretrain.training;
    near(scaled(t), 2.0);
    assert_eq!((t.batch, t.length), (512, Duration::Epochs(1000.0)));
    near(c.pretrain.temperature, 0.5);
    near(c.augment.color_strength as f64, 0.5);
    near(c.augment.blur_probability as f64, 0.0);
    assert_eq!((c.model.depth, c.data.image_size), (18, 32));
    // An epoch of 1 % of the labels holds 500 images: the batch must fit in it.
    assert!(c.at_labels(LabelAmount::Share(0.01))?.supervised.training.batch <= 500);
    assert!(c.at_labels(LabelAmount::Share(0.01))?.finetune.training.batch <= 500);
    Ok(())
}

/// The reference is what the declarations say: `SIMCLR_WRITE_DOCS=1 cargo test -p simclr-tests --test configs` writes it anew.
#[test]
fn the_reference_of_keys_is_not_stale() -> Result<()> {
    let page = folder().join("../docs/config.md");
    let declared = format!("{}\n", simclr_eval::keys::markdown().trim_end());
    if std::env::var_os("SIMCLR_WRITE_DOCS").is_some() {
        std::fs::write(&page, &declared)?;
    }
    let written = std::fs::read_to_string(&page)?;
    let first = written.lines().zip(declared.lines()).find(|(written, declared)| written != declared);
    ensure!(
        written == declared,
        "docs/config.md is stale ({first:?}): write it with `simclr-eval keys --markdown > docs/config.md`"
    );
    Ok(())
}
