//! What determines a network: `config.json` of a checkpoint.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use simclr_core::config::{ModelConfig, Stem};

/// Images of at most this side get the CIFAR stem when it is chosen by size.
const CIFAR_SIDE: usize = 32;

/// All that determines a network; `config.json` of a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelSpec {
    /// Shape of encoder and projection head; a ResNet's stem is resolved, never `auto`.
    #[serde(flatten)]
    pub model: ModelConfig,
    /// Channels of an image: 1 or 3.
    pub in_channels: usize,
    /// Side of the images that it was trained on.
    pub image_size: usize,
    /// Classes of the classifier; 0 for none.
    pub classes: usize,
    /// The head layer that the classifier stands on.
    pub proj_selector: i64,
}

impl ModelSpec {
    /// Resolves a ResNet's stem `auto` by the image size.
    pub fn new(model: &ModelConfig, in_channels: usize, image_size: usize, classes: usize, proj_selector: i64) -> Self {
        let stem = match model.stem {
            Stem::Auto if !model.is_resnet() => Stem::Auto,
            Stem::Auto if image_size <= CIFAR_SIDE => Stem::Cifar,
            Stem::Auto => Stem::Imagenet,
            chosen => chosen,
        };
        Self { model: ModelConfig { stem, ..model.clone() }, in_channels, image_size, classes, proj_selector }
    }

    /// As `config.json` of a checkpoint.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// From `config.json`.
    ///
    /// # Errors
    /// When keys are missing or of another type.
    pub fn from_json(json: &serde_json::Value) -> Result<Self> {
        serde_json::from_value(json.clone()).context("config.json of the checkpoint does not describe a network")
    }
}
