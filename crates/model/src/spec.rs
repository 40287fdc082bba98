//! What determines a network: `config.json` of a checkpoint.

use anyhow::{Context, Result, ensure};
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
    /// Names of the classes, in the order of the classifier's outputs; empty where they are not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub class_names: Vec<String>,
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
        let model = ModelConfig { stem, ..model.clone() };
        Self { model, in_channels, image_size, classes, proj_selector, class_names: Vec::new() }
    }

    /// The same, its classes named. Names of another number of classes are left out.
    pub fn named(mut self, names: &[String]) -> Self {
        self.class_names = if names.len() == self.classes { names.to_vec() } else { Vec::new() };
        self
    }

    /// The name of a class, or its number where the network does not know names.
    pub fn class_name(&self, class: usize) -> String {
        self.class_names.get(class).cloned().unwrap_or_else(|| class.to_string())
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
        let spec: Self = serde_json::from_value(json.clone())
            .context("config.json of the checkpoint does not describe a network")?;
        let (names, classes) = (spec.class_names.len(), spec.classes);
        ensure!(
            names == 0 || names == classes,
            "config.json of the checkpoint names {names} classes, and its network has {classes}"
        );
        Ok(spec)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_travel_and_a_network_without_them_keeps_its_bytes() {
        let names = ["cat".to_string(), "dog".to_string()];
        let model = serde_json::from_str("{\"depth\": 18}").unwrap();
        let bare = ModelSpec::new(&model, 3, 32, 2, 0);
        assert!(!bare.to_json().to_string().contains("class_names"));
        assert_eq!((bare.class_name(1), ModelSpec::from_json(&bare.to_json()).unwrap()), ("1".into(), bare.clone()));
        let named = bare.clone().named(&names);
        assert_eq!(ModelSpec::from_json(&named.to_json()).unwrap().class_name(1), "dog");
        assert!(bare.named(&names[..1]).class_names.is_empty());
        let mut json = named.to_json();
        json["class_names"] = serde_json::json!(["cat"]);
        assert!(
            ModelSpec::from_json(&json).unwrap_err().to_string().contains("names 1 classes, and its network has 2")
        );
    }
}
