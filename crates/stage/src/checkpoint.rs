//! Checkpoints between stages: what a network is built and filled from.

use anyhow::{Context, Result, ensure};
use candle_core::Tensor;
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

    /// Checks that the classifier knows the classes of the dataset.
    ///
    /// # Errors
    /// When there is none, or their numbers differ.
    pub fn expect_classes(&self, classes: usize) -> Result<()> {
        self.expect_classifier()?;
        let (own, path) = (self.spec.classes, &self.path);
        ensure!(own == classes, "{path} knows {own} classes, the dataset has {classes}");
        Ok(())
    }
}

/// Trained numbers that classification uses: the head's layers past the classifier's are left out.
pub fn used_parameters(model: &SimClr) -> usize {
    let (layers, selector) = (model.spec.model.proj_layers as i64, model.spec.proj_selector);
    let used = if selector < 0 { layers } else { selector };
    model.store.count(|p| !matches!(p.part, Part::HeadLayer(layer) if layer as i64 > used))
}
