//! The experiment: every choice of a run, read from its file, resolved and checked.

use super::augment::AugmentConfig;
use super::data::DataConfig;
use super::eval::EvalConfig;
use super::file;
use super::model::ModelConfig;
use super::stages::{DistillConfig, FinetuneConfig, PretrainConfig, ReproduceConfig};
use super::training::Dtype;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// A whole experiment.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Short name; the run folder is called after it.
    pub name: String,
    /// Everything random follows from it.
    #[serde(default)]
    pub seed: u64,
    /// How feature maps are stored and multiplied: `f32` or `bf16`.
    #[serde(default)]
    pub dtype: Dtype,
    /// Where images come from.
    pub data: DataConfig,
    /// The network that is pretrained, and its projection head.
    pub model: ModelConfig,
    /// How the two contrastive views are made.
    #[serde(default)]
    pub augment: AugmentConfig,
    /// What `cargo xtask reproduce` runs.
    #[serde(default)]
    pub reproduce: ReproduceConfig,
    /// Step one.
    pub pretrain: PretrainConfig,
    /// Step two.
    pub finetune: FinetuneConfig,
    /// The baseline: the same network from scratch on the same labels.
    pub supervised: FinetuneConfig,
    /// Step three: students by name (`self`, `small`, ...).
    #[serde(default)]
    pub distill: BTreeMap<String, DistillConfig>,
    /// Linear probe and nearest neighbours.
    #[serde(default)]
    pub eval: EvalConfig,
}

impl Config {
    /// Reads `path`, applies `--set key=value` pairs, and checks every value.
    ///
    /// # Errors
    /// A message that names the file and the key: unknown keys come with the nearest valid one.
    pub fn load(path: &Path, set: &[String]) -> Result<Self> {
        let table = file::read(path, set)?;
        Self::from_table(table)
            .and_then(|config| config.check_overrides().map(|()| config))
            .with_context(|| format!("in {}", path.display()))
    }

    /// Every `at` entry must give a valid configuration.
    fn check_overrides(&self) -> Result<()> {
        let named = [("finetune".to_string(), &self.finetune.at), ("supervised".to_string(), &self.supervised.at)];
        let students = self.distill.iter().map(|(name, student)| (format!("distill.{name}"), &student.at));
        for (stage, entries) in named.into_iter().chain(students) {
            for entry in entries {
                let labels = file::labels(entry).with_context(|| format!("{stage}.at"))?;
                self.at_labels(labels).with_context(|| format!("[[{stage}.at]] with labels = {labels}"))?;
            }
        }
        Ok(())
    }

    fn from_table(table: toml::Table) -> Result<Self> {
        let config: Self = file::typed(table)?;
        config.check()?;
        Ok(config)
    }

    /// Checks every value that its type does not.
    fn check(&self) -> Result<()> {
        self.data.check()?;
        self.model.check("model")?;
        self.augment.check()?;
        self.reproduce.check()?;
        self.pretrain.check()?;
        self.finetune.check("finetune")?;
        self.supervised.check("supervised")?;
        for (name, student) in &self.distill {
            student.check(&format!("distill.{name}"))?;
            let (teacher, known) = (&student.teacher, self.distill.contains_key(&student.teacher));
            if teacher != "finetuned" && (teacher == name || !known) {
                bail!("distill.{name}.teacher = \"{teacher}\": must be \"finetuned\" or another student")
            }
        }
        self.eval.check()
    }

    /// The configuration for one label fraction: `at` tables of that fraction are merged into their stage.
    ///
    /// # Errors
    /// When an override is not a valid table of its stage.
    pub fn at_labels(&self, fraction: f64) -> Result<Self> {
        let mut table = toml::Table::try_from(self).context("writing the configuration")?;
        for key in ["finetune", "supervised"] {
            file::apply_overrides(&mut table, &[key], fraction)?;
        }
        for student in self.distill.keys() {
            file::apply_overrides(&mut table, &["distill", student], fraction)?;
        }
        Self::from_table(table)
    }

    /// As TOML, every default written out.
    ///
    /// # Errors
    /// Never, for a configuration that was loaded.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).context("writing the configuration")
    }

    /// The student called `name`.
    ///
    /// # Errors
    /// When there is none, with those that there are.
    pub fn student(&self, name: &str) -> Result<&DistillConfig> {
        self.distill.get(name).with_context(|| {
            let known: Vec<_> = self.distill.keys().map(String::as_str).collect();
            format!("no table [distill.{name}] in the configuration; it has: {}", known.join(", "))
        })
    }
}
