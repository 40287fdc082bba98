//! Checkpoints between stages: what a network is built and filled from.

use crate::classes::order_of;
use anyhow::{Context, Result, anyhow, ensure};
use candle_core::{Device, Tensor};
use simclr_core::params::{Match, Part};
use simclr_core::run::checkpoint::{self, Loaded};
use simclr_model::{ModelSpec, SimClr};
use std::collections::BTreeMap;
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
        let Loaded { tensors, sha256, config } = checkpoint::load(path)?;
        let spec = ModelSpec::from_json(&config).with_context(|| path.display().to_string())?;
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

    /// Checks that images of the experiment fit the network.
    ///
    /// # Errors
    /// When the number of channels differs.
    pub fn expect_channels(&self, channels: usize) -> Result<()> {
        let own = self.spec.in_channels;
        ensure!(own == channels, "{} takes images of {own} channels, the dataset has {channels}", self.path);
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
