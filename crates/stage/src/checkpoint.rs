//! Checkpoints between stages: what a network is built and filled from.

use crate::classes::order_of;
use anyhow::{Context, Result, anyhow, bail, ensure};
use candle_core::{Device, Tensor};
use serde_json::{Value as Json, json};
use simclr_core::params::{Match, Param, Part};
use simclr_core::run::checkpoint::{self, Loaded};
use simclr_core::run::layout::CONFIG;
use simclr_model::{ModelSpec, SimClr};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A checkpoint in memory.
pub struct Checkpoint {
    /// The network that it is of.
    pub spec: ModelSpec,
    /// SHA-256 of its tensors' file.
    pub sha256: String,
    tensors: BTreeMap<String, Tensor>,
    path: String,
}

impl Checkpoint {
    /// Reads a run folder, a checkpoint folder, a `model.safetensors` or `hf://OWNER/NAME[@REV][/FILE]`.
    ///
    /// # Errors
    /// When files are missing or malformed.
    pub fn load(path: &Path) -> Result<Self> {
        let Loaded { tensors, sha256, config, file } = checkpoint::load(path)?;
        let spec = ModelSpec::from_json(&config, &file.with_file_name(CONFIG)).with_context(|| {
            let foreign = ["architecture", "architectures", "num_features"].iter().any(|key| config.get(key).is_some());
            let hint = if foreign {
                ": another library's; `cargo xtask import-torch` turns its ResNets into checkpoints"
            } else {
                ""
            };
            format!("{}{hint}", path.display())
        })?;
        SimClr::expect(&spec, &tensors).with_context(|| format!("loading {}", file.display()))?;
        Ok(Self { spec, sha256, tensors, path: path.display().to_string() })
    }

    /// The network itself.
    ///
    /// # Errors
    /// When tensors do not fit the configuration beside them.
    pub fn model(&self) -> Result<SimClr> {
        let model = SimClr::blank(&self.spec)?;
        self.fill(&model, Match::EXACT)?;
        Ok(model)
    }

    /// Copies tensors into `model`.
    ///
    /// # Errors
    /// When tensors are missing, left over or of another shape, beyond what `matching` accepts.
    pub fn fill(&self, model: &SimClr, matching: Match) -> Result<()> {
        model.store.load_map(&self.tensors, matching).with_context(|| format!("loading {}", self.path))
    }

    /// Gives `model` the encoder of this checkpoint, and of its projection head the first layers, as far as shapes agree;
    /// the rest of the head and the classifier keep their numbers. Gives how many layers of the head that were.
    ///
    /// # Errors
    /// When the encoders are not of one shape: the message names the keys that differ.
    pub fn begin(&self, model: &SimClr) -> Result<usize> {
        self.expect_encoder(&model.spec)?;
        let given = self.model()?;
        let fits = |p: &Param| given.store.by_name(&p.name).is_some_and(|own| own.tensor.dims() == p.tensor.dims());
        let layers = (1..=model.spec.model.proj_layers).take_while(|k| {
            let part = Part::HeadLayer(*k);
            let count = |model: &SimClr| model.store.iter().filter(|p| p.part == part).count();
            count(model) == count(&given) && model.store.iter().filter(|p| p.part == part).all(fits)
        });
        let layers = layers.count();
        let taken = |part: Part| part.in_encoder() || matches!(part, Part::HeadLayer(k) if k <= layers);
        let mut tensors = given.store.save_map()?;
        tensors.retain(|name, _| model.store.by_name(name).is_some_and(|p| taken(p.part)));
        let matching = Match { may_lack: |part| !part.in_encoder(), leave: Part::in_classifier };
        model.store.load_map(&tensors, matching).with_context(|| format!("loading {}", self.path))?;
        Ok(layers)
    }

    /// Checks that the encoder of `spec` has the shape of this one.
    fn expect_encoder(&self, spec: &ModelSpec) -> Result<()> {
        self.expect_channels(spec.in_channels)?;
        let tables = [&self.spec.model, &spec.model].map(|model| {
            let mut table = serde_json::to_value(model).unwrap_or_default();
            // What is left out at its default, so that it can be named.
            table["max_pool"] = json!(model.max_pool);
            table
        });
        let [own, wanted] = &tables;
        let head = ["proj_layers", "proj_dim"];
        let keys: BTreeSet<&String> = tables.iter().filter_map(Json::as_object).flat_map(|t| t.keys()).collect();
        let differing: Vec<_> =
            keys.into_iter().filter(|key| !head.contains(&key.as_str()) && own[*key] != wanted[*key]).collect();
        if differing.is_empty() {
            return Ok(());
        }
        let plain = |value: &Json| value.as_str().map_or_else(|| value.to_string(), String::from);
        let first = &differing[..differing.len().min(3)];
        let differences: Vec<_> = first
            .iter()
            .map(|key| format!("model.{key} is {} there and {} here", plain(&own[*key]), plain(&wanted[*key])))
            .collect();
        let settable = first.iter().filter(|key| !own[**key].is_null());
        let set: Vec<_> = settable.map(|key| format!("model.{key}={}", plain(&own[*key]))).collect();
        let stem = match first.iter().any(|key| *key == "stem") {
            true => format!(
                ". (Where model.stem is \"auto\" it follows from data.image_size, {} here: up to 32 pixels it is cifar. The ImageNet \
                 stem leaves a quarter of a picture's side to the first group, so that larger pictures suit it better)",
                spec.image_size
            ),
            false => String::new(),
        };
        bail!(
            "{}: {} of another shape than the experiment's network: {}. To begin with it, set {}{stem}",
            self.path,
            self.spec.model.title(),
            differences.join("; "),
            set.join(" ")
        )
    }

    /// Checks that images of the experiment fit the network.
    ///
    /// # Errors
    /// When the number of channels differs.
    pub fn expect_channels(&self, channels: usize) -> Result<()> {
        let own = self.spec.in_channels;
        ensure!(
            own == channels,
            "{} takes images of {own} channels, the dataset has {channels}; set data.channels = {own} where the pictures may be \
             read so, or take a checkpoint of {channels} channels",
            self.path
        );
        Ok(())
    }

    /// Checks that there is a classifier.
    ///
    /// # Errors
    /// When there is none.
    pub fn expect_classifier(&self) -> Result<()> {
        ensure!(self.spec.classes > 0, "{}: this network has no classifier; fine-tune it first", self.path);
        Ok(())
    }

    /// The same, its classifier's outputs in the order of the dataset's classes, and called as they are.
    ///
    /// # Errors
    /// When there is no classifier, or it knows other classes: by their names where both sides have names, else by their
    /// number.
    pub fn for_classes(mut self, classes: &[String]) -> Result<Self> {
        self.expect_classifier()?;
        let own = (self.spec.classes, self.spec.class_names.as_slice());
        // One message, which begins with the network's place.
        let order = order_of(own, classes).map_err(|error| anyhow!("{} {error}", self.path))?;
        if let Some(order) = order {
            let rows: Vec<u32> = order.into_iter().map(|output| output as u32).collect();
            let rows = Tensor::from_vec(rows, classes.len(), &Device::Cpu)?;
            let model = SimClr::blank(&self.spec)?;
            for p in model.store.iter().filter(|p| p.part.in_classifier()) {
                let tensor = self.tensors.get_mut(&p.name).with_context(|| format!("{}: no {}", self.path, p.name))?;
                ensure!(tensor.dim(0)? == classes.len(), "{}: {} has other classes", self.path, p.name);
                *tensor = tensor.index_select(&rows, 0)?;
            }
        }
        self.spec = self.spec.named(classes);
        Ok(self)
    }
}

/// Trained numbers that classification uses: the head's layers past the classifier's are left out.
pub fn used_parameters(model: &SimClr) -> usize {
    let (layers, selector) = (model.spec.model.proj_layers as i64, model.spec.proj_selector);
    let used = if selector < 0 { layers } else { selector };
    model.store.count(|p| !matches!(p.part, Part::HeadLayer(layer) if layer as i64 > used))
}
