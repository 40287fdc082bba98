//! The experiment: every choice of a run, read from its file, resolved and checked.

use super::augment::AugmentConfig;
use super::data::DataConfig;
use super::eval::EvalConfig;
use super::file;
use super::model::ModelConfig;
use super::stages::{DistillConfig, FinetuneConfig, PretrainConfig, ReproduceConfig};
use super::training::{Dtype, TrainingConfig};
use crate::amount::LabelAmount;
use crate::bounds;
use crate::fit::short;
use crate::keys::{self, Range, Settings};
use crate::stages::{self, FINETUNED};
use crate::table;
use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

table! {
    /// A whole experiment.
    #[derive(Clone, Debug, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Config {
        /// Short name; the run folder is called after it.
        pub name: String, in Range::Name;
        /// Everything random follows from it.
        #[serde(default)]
        pub seed: u64 = 0;
        /// How feature maps are stored and multiplied: `f32` or `bf16`.
        #[serde(default)]
        pub dtype: Dtype = Dtype::F32;
        /// Where images come from.
        pub data: DataConfig;
        /// The network that is pretrained, and its projection head.
        pub model: ModelConfig;
        /// How the two contrastive views are made.
        #[serde(default)]
        pub augment: AugmentConfig = AugmentConfig::default();
        /// What `cargo xtask reproduce` runs.
        #[serde(default)]
        pub reproduce: ReproduceConfig = ReproduceConfig::default();
        /// Step one.
        pub pretrain: PretrainConfig;
        /// Step two.
        pub finetune: FinetuneConfig;
        /// The baseline: the same network from scratch on the same labels.
        pub supervised: FinetuneConfig;
        /// Step three: students by name (`self`, `small`, ...).
        #[serde(default)]
        pub distill: BTreeMap<String, DistillConfig> = BTreeMap::new();
        /// Linear probe and nearest neighbours.
        #[serde(default)]
        pub eval: EvalConfig = EvalConfig::default();
        /// Tables `[stage.NAME]` of further stages, whose crates know their keys.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        pub stage: BTreeMap<String, toml::Table> = BTreeMap::new();
    }
    also relations
}

/// Views of each image in pretraining.
const PRETRAINING_VIEWS: usize = 2;

/// The stages whose tables are fields of [`Config`].
const OWN_TABLE: [&str; 5] = [stages::SUPERVISED, stages::PRETRAIN, stages::EVAL, stages::FINETUNE, stages::DISTILL];

impl Config {
    /// Reads `path`, applies `--set key=value` pairs, and checks every value.
    ///
    /// # Errors
    /// A message that names the file and the key: unknown keys come with the nearest valid one.
    pub fn load(path: &Path, set: &[String]) -> Result<Self> {
        let table = file::read(path, set)?;
        Self::from_table(table)
            .and_then(|config| config.check_overrides().map(|()| config))
            .and_then(|config| config.check_stages().map(|()| config))
            .with_context(|| format!("in {}", path.display()))
    }

    /// Every `at` entry must give a valid configuration.
    fn check_overrides(&self) -> Result<()> {
        let named = [("finetune".to_string(), &self.finetune.at), ("supervised".to_string(), &self.supervised.at)];
        let students = self.distill.iter().map(|(name, student)| (format!("distill.{name}"), &student.at));
        for (stage, entries) in named.into_iter().chain(students) {
            let mut seen: Vec<LabelAmount> = Vec::new();
            for entry in entries {
                let labels = file::labels(entry).with_context(|| format!("{stage}.at"))?;
                if seen.contains(&labels) {
                    bail!("[[{stage}.at]] stands twice for labels = {labels}: make one table of the two")
                }
                seen.push(labels);
                self.at_labels(labels).with_context(|| format!("[[{stage}.at]] with labels = {labels}"))?;
            }
        }
        Ok(())
    }

    fn from_table(table: toml::Table) -> Result<Self> {
        let given = toml::Value::Table(table.clone());
        let config: Self = file::typed(table)?;
        Settings::check(&config, "")?;
        let read = toml::Value::try_from(&config).context("the experiment cannot be written out")?;
        no_list_for_a_table(&given, &read, "")?;
        Ok(config)
    }

    /// Nobody reads the table of an unknown stage: it is a typing error.
    fn check_stages(&self) -> Result<()> {
        let further = stages::STAGES.iter().map(|stage| stage.name).filter(|name| !OWN_TABLE.contains(name));
        known_stages(&self.stage, &further.collect::<Vec<_>>())
    }

    /// What tables must be to one another.
    fn relations(&self, _: &str) -> Result<()> {
        for (stage, table) in [("finetune", &self.finetune), ("supervised", &self.supervised)] {
            table.fits(stage, &self.model)?;
        }
        self.check_teachers()?;
        self.check_sizes()
    }

    /// Each student's teacher must be there, and the teachers must begin with a fine-tuned network.
    fn check_teachers(&self) -> Result<()> {
        for (name, student) in &self.distill {
            let (mut line, mut teacher) = (vec![name.as_str()], student.teacher.as_str());
            while teacher != FINETUNED {
                let (pupil, known) = (line[line.len() - 1], self.distill.get(teacher));
                let Some(next) = known.filter(|_| teacher != pupil) else {
                    let (pupil, teacher) = (short(&pupil), short(&teacher));
                    bail!("distill.{pupil}.teacher = \"{teacher}\": must be \"{FINETUNED}\" or another student")
                };
                line.push(teacher);
                if line[..line.len() - 1].contains(&teacher) {
                    bail!(
                        "distill.{name}.teacher = \"{}\": teachers in a circle, {}: one of them must have \"{FINETUNED}\"",
                        student.teacher,
                        short(&line.join(", taught by "))
                    )
                }
                teacher = next.teacher.as_str();
            }
        }
        Ok(())
    }

    /// The views of a batch must be bytes that can be counted, and that a machine may have.
    fn check_sizes(&self) -> Result<()> {
        let side = self.data.image_size;
        let channels = self.data.file_channels();
        let batches = [
            ("pretrain.training.batch".to_string(), self.pretrain.training.batch, PRETRAINING_VIEWS),
            ("finetune.training.batch".to_string(), self.finetune.training.batch, 1),
            ("supervised.training.batch".to_string(), self.supervised.training.batch, 1),
            ("eval.batch".to_string(), self.eval.batch, 1),
        ];
        let students = self.distill.iter();
        let students = students.map(|(name, s)| (format!("distill.{name}.training.batch"), s.training.batch, 1));
        for (key, batch, views) in batches.into_iter().chain(students) {
            let factors = [batch, views, side, side, channels, size_of::<f32>()];
            let bytes = factors.into_iter().try_fold(1usize, usize::checked_mul);
            if bytes.is_none_or(|bytes| bytes > bounds::BATCH_BYTES) {
                bail!(
                    "{key} = {batch} with data.image_size = {side}: the views of a batch would have {} GiB, and {} are the most",
                    bytes.map_or("countless".into(), |bytes| (bytes >> 30).to_string()),
                    bounds::BATCH_BYTES >> 30
                )
            }
        }
        Ok(())
    }

    /// The configuration for one amount of labels: `at` tables of that amount are merged into their stage.
    ///
    /// # Errors
    /// When an override is not a valid table of its stage.
    pub fn at_labels(&self, amount: LabelAmount) -> Result<Self> {
        let mut table = toml::Table::try_from(self).context("writing the configuration")?;
        for key in ["finetune", "supervised"] {
            file::apply_overrides(&mut table, &[key], amount)?;
        }
        for student in self.distill.keys() {
            file::apply_overrides(&mut table, &["distill", student], amount)?;
        }
        for name in self.stage.keys() {
            file::apply_overrides(&mut table, &["stage", name], amount)?;
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
            format!("no table [distill.{}] in the configuration; it has: {}", short(&name), known.join(", "))
        })
    }

    /// The table `[stage.NAME]` as the crate of that stage knows it. Overrides by amount of labels, which
    /// [`at_labels`](Self::at_labels) merges, are left out. `T` should deny unknown fields.
    ///
    /// # Errors
    /// When there is none, or a key of it is unknown, missing or of a wrong type.
    pub fn further<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let table = self.stage.get(name);
        let mut table = table.with_context(|| format!("no table [stage.{name}] in the configuration"))?.clone();
        table.remove("at");
        file::typed_at(&format!("stage.{name}"), table)
    }

    /// Whether the experiment has a table of this stage: one without is not run.
    pub fn has_table(&self, stage: &str) -> bool {
        OWN_TABLE.contains(&stage) || self.stage.contains_key(stage)
    }

    /// How a stage trains, by the name that [`stages`] has for it; `student` is the one that it trains, where it trains
    /// students.
    ///
    /// # Errors
    /// When the configuration has no table of it.
    pub fn training(&self, stage: &str, student: Option<&str>) -> Result<TrainingConfig> {
        #[derive(Deserialize)]
        struct Trains {
            training: TrainingConfig,
        }
        Ok(match (stage, student) {
            (_, Some(student)) => self.student(student)?.training.clone(),
            (stages::PRETRAIN, _) => self.pretrain.training.clone(),
            (stages::SUPERVISED, _) => self.supervised.training.clone(),
            (stages::FINETUNE, _) => self.finetune.training.clone(),
            (name, _) => {
                let Trains { training } = self.further(name)?;
                Settings::check(&training, &format!("stage.{name}.training"))?;
                training.at_once(&format!("stage.{name}"))?;
                training
            }
        })
    }
}

/// A list in the place of a table: serde would take it for the table's values in their order.
fn no_list_for_a_table(given: &toml::Value, read: &toml::Value, at: &str) -> Result<()> {
    match (given, read) {
        (toml::Value::Table(given), toml::Value::Table(read)) => {
            for (key, value) in given {
                let at = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                read.get(key).map_or(Ok(()), |read| no_list_for_a_table(value, read, &at))?;
            }
            Ok(())
        }
        (toml::Value::Array(_), toml::Value::Array(_)) => Ok(()),
        (toml::Value::Array(_), read) => bail!("{at}: expected a {}, found a list", read.type_str()),
        _ => Ok(()),
    }
}

/// The keys of tables that begin with `prefix`, such as `pretrain`, for a stage's `--help`.
pub fn keys_help(prefix: &str) -> String {
    let all = keys::help(Config::table(), "");
    let own = all.lines().filter(|line| line.trim_start().starts_with(&format!("{prefix}.")));
    let own: Vec<&str> = own.filter(|line| !line.contains(".model.")).collect();
    format!(
        "Keys of the experiment's table [{prefix}], with what each may be and its default (`simclr-eval keys` tells what they \
         mean, and has all others):\n{}",
        own.join("\n")
    )
}

fn known_stages(tables: &BTreeMap<String, toml::Table>, known: &[&str]) -> Result<()> {
    match tables.keys().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) if known.is_empty() => {
            bail!("unknown table [stage.{}]: no stage has a table of this kind", short(name))
        }
        Some(name) => bail!("unknown table [stage.{}]; valid ones: {}", short(name), known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::Duration;

    const FURTHER: &str = r#"
        strength = 0.5
        training = { length = { epochs = 2 }, batch = 8, learning_rate = 0.1 }
        [[at]]
        labels = 0.1
        strength = 0.25
    "#;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Further {
        strength: f64,
        #[serde(rename = "training")]
        _training: TrainingConfig,
    }

    #[test]
    fn a_further_stage_has_a_table_that_its_crate_reads() {
        let mut config = crate::run::folder_tests::config();
        assert!(!config.to_toml().unwrap().contains("stage"), "no trace where there is none");
        config.stage.insert("spare".into(), FURTHER.parse().unwrap());
        let again: Config = toml::from_str(&config.to_toml().unwrap()).unwrap();
        assert_eq!(again.further::<Further>("spare").unwrap().strength, 0.5);
        assert_eq!(again.training("spare", None).unwrap().length, Duration::Epochs(2.0));
        let mut table = toml::Table::try_from(&again).unwrap();
        file::apply_overrides(&mut table, &["stage", "spare"], LabelAmount::Share(0.1)).unwrap();
        let tenth: Config = file::typed(table).unwrap();
        assert_eq!(tenth.further::<Further>("spare").unwrap().strength, 0.25);

        known_stages(&config.stage, &["spare"]).unwrap();
        assert!(known_stages(&config.stage, &["spire"]).unwrap_err().to_string().contains("[stage.spare]; valid ones"));
        assert!(
            config.check_stages().unwrap_err().to_string().contains("[stage.spare]"),
            "the table of stages lacks it"
        );
        config.stage.get_mut("spare").unwrap().insert("strenght".into(), 1.into());
        let message = config.further::<Further>("spare").err().unwrap().to_string();
        assert!(message.contains("unknown key stage.spare.strenght; did you mean strength?"), "{message}");
        assert!(config.further::<Further>("other").err().unwrap().to_string().contains("no table [stage.other]"));
    }
}
