//! Values that no experiment may hold, refused with the dotted path of their key.

use crate::config::{Config, Duration, ModelConfig, check_fraction};
use anyhow::{Result, bail};

impl Config {
    /// Checks every value that its type does not.
    pub(crate) fn check(&self) -> Result<()> {
        let positive = |key: &str, value: f64| {
            if value.is_finite() && value > 0.0 {
                Ok(())
            } else {
                bail!("{key} = {value}: must be finite and positive")
            }
        };
        let share = |key: &str, value: f64| {
            if (0.0..=1.0).contains(&value) { Ok(()) } else { bail!("{key} = {value}: must lie in 0..=1") }
        };
        self.model.check("model")?;
        self.data.check()?;
        positive("pretrain.temperature", self.pretrain.temperature)?;
        let mut trainings = vec![
            ("pretrain".to_string(), &self.pretrain.training),
            ("finetune".into(), &self.finetune.training),
            ("supervised".into(), &self.supervised.training),
        ];
        for (name, student) in &self.distill {
            if let Some(model) = &student.model {
                model.check(&format!("distill.{name}.model"))?;
            }
            positive(&format!("distill.{name}.temperature"), student.temperature)?;
            share(&format!("distill.{name}.teacher_weight"), student.teacher_weight)?;
            if student.teacher != "finetuned"
                && (&student.teacher == name || !self.distill.contains_key(&student.teacher))
            {
                bail!("distill.{name}.teacher = \"{}\": must be \"finetuned\" or another student", student.teacher)
            }
            trainings.push((format!("distill.{name}"), &student.training));
        }
        for (stage, t) in trainings {
            positive(&format!("{stage}.training.learning_rate"), t.learning_rate)?;
            if t.batch == 0 {
                bail!("{stage}.training.batch = 0: must be at least 1")
            }
            if let Some(chunk) = t.chunk {
                check_chunk(&stage, chunk, t.batch)?;
            }
            if !(t.weight_decay.is_finite() && t.weight_decay >= 0.0) {
                bail!("{stage}.training.weight_decay = {}: must be finite and not negative", t.weight_decay)
            }
            share(&format!("{stage}.training.momentum"), t.momentum)?;
            let warmup = ("warmup", Some(t.warmup), false);
            let every = [("eval_every", t.eval_every, true), ("checkpoint_every", t.checkpoint_every, true)];
            for (key, duration, nonzero) in [("length", Some(t.length), true), warmup].into_iter().chain(every) {
                if let Some(d) = duration {
                    d.check(&format!("{stage}.training.{key}"), nonzero)?;
                }
            }
        }
        for &labels in &self.reproduce.labels {
            check_fraction("reproduce.labels holds", labels)?;
        }
        if self.reproduce.subsets == 0 {
            bail!("reproduce.subsets = 0: must be at least 1")
        }
        let a = &self.augment;
        share("augment.min_area", a.min_area as f64)?;
        share("augment.color_probability", a.color_probability as f64)?;
        share("augment.grayscale_probability", a.grayscale_probability as f64)?;
        share("augment.blur_probability", a.blur_probability as f64)?;
        for (key, share_of_area) in [("finetune", self.finetune.min_area), ("supervised", self.supervised.min_area)] {
            share(&format!("{key}.min_area"), share_of_area as f64)?;
        }
        let counts = [("batch", self.eval.batch), ("knn_k", self.eval.knn_k), ("linear.batch", self.eval.linear.batch)];
        for (key, count) in counts.into_iter().chain([("linear.views", self.eval.linear.views)]) {
            if count == 0 {
                bail!("eval.{key} = 0: must be at least 1")
            }
        }
        positive("eval.linear.learning_rate", self.eval.linear.learning_rate)?;
        share("eval.crop", self.eval.crop as f64)?;
        positive("eval.knn_temperature", self.eval.knn_temperature)
    }
}

/// Batch norm and the online head need two images a chunk; a chunk of the whole batch or more is the batch at once.
fn check_chunk(stage: &str, chunk: usize, batch: usize) -> Result<()> {
    let key = format!("{stage}.training.chunk");
    if stage != "pretrain" {
        bail!("{key} = {chunk}: only pretraining runs in chunks; leave the key out")
    }
    if chunk < 2 {
        bail!("{key} = {chunk}: must be at least 2 images")
    }
    if chunk < batch && batch % chunk == 1 {
        bail!("{key} = {chunk}: leaves one image of a batch of {batch} alone; each chunk needs two")
    }
    Ok(())
}

impl Duration {
    fn check(self, key: &str, nonzero: bool) -> Result<()> {
        let amount = match self {
            Self::Epochs(e) => e,
            Self::Steps(n) | Self::Images(n) => n as f64,
        };
        if !amount.is_finite() || amount < 0.0 || (nonzero && amount == 0.0) {
            bail!("{key} = {amount}: must be finite and {}", if nonzero { "positive" } else { "not negative" })
        }
        Ok(())
    }
}

impl ModelConfig {
    fn check(&self, key: &str) -> Result<()> {
        if ![18, 34, 50, 101, 152, 200].contains(&self.depth) {
            bail!("{key}.depth = {}: must be 18, 34, 50, 101, 152 or 200", self.depth)
        }
        if !(self.width.is_finite() && self.width * 64.0 >= 1.0) {
            bail!("{key}.width = {}: must give at least one channel (1/64)", self.width)
        }
        for (name, ratio) in [("sk_ratio", self.sk_ratio), ("se_ratio", self.se_ratio)] {
            if !(0.0..=1.0).contains(&ratio) {
                bail!("{key}.{name} = {ratio}: must lie in 0..=1, 0 for none")
            }
        }
        if self.proj_dim == 0 {
            bail!("{key}.proj_dim = 0: must be at least 1")
        }
        Ok(())
    }
}
