//! What determines a network: `config.json` of a checkpoint.

use anyhow::{Context, Result, anyhow, ensure};
use serde::{Deserialize, Serialize};
use simclr_core::bounds::{self, within};
use simclr_core::config::{ModelConfig, Settings, Stem};
use simclr_core::fit::{quoted, short};
use std::path::Path;

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

    /// From `config.json`, which was read from `file`. Every size lies within its bound.
    ///
    /// # Errors
    /// When keys are missing, of another type or out of range: the message names the file and the key.
    pub fn from_json(json: &serde_json::Value, file: &Path) -> Result<Self> {
        let spec: Self = serde_json::from_value(json.clone()).map_err(|error| {
            let key = Self::misfit(json).map(|key| format!("{}: ", short(&key))).unwrap_or_default();
            anyhow!("{} does not describe a network: {key}{}", file.display(), quoted(&error.to_string()))
        })?;
        spec.check().with_context(|| file.display().to_string())?;
        Ok(spec)
    }

    /// The first key that would spoil a description in which all else is as it should be.
    fn misfit(json: &serde_json::Value) -> Option<&str> {
        let whole = Self::new(&ModelConfig::resnet(18), 3, CIFAR_SIDE, 0, 0).to_json();
        let spoils = |key: &str, value: &serde_json::Value| {
            let mut spoilt = whole.clone();
            spoilt[key] = value.clone();
            serde_json::from_value::<Self>(spoilt).is_err()
        };
        json.as_object()?.iter().find(|(key, value)| spoils(key, value)).map(|(key, _)| key.as_str())
    }

    /// Checks every value that its type does not.
    ///
    /// # Errors
    /// When one is out of range: the message names the key.
    pub fn check(&self) -> Result<()> {
        // In this file the keys of the network's shape stand in no table of their own.
        self.model.check("model").map_err(|error| anyhow!(format!("{error:#}").replace("model.", "")))?;
        within("in_channels", self.in_channels, &bounds::CHANNELS)?;
        within("image_size", self.image_size, &bounds::IMAGE_SIZE)?;
        within("classes", self.classes, &bounds::CLASSES)?;
        let (layers, selector) = (self.model.proj_layers, self.proj_selector);
        ensure!(
            layers > 0 || matches!(selector, -1 | 0),
            "proj_selector = {selector}: this network has no projection head; use 0, the encoder"
        );
        within("proj_selector", selector, &(-1..=layers as i64))?;
        let (names, classes) = (self.class_names.len(), self.classes);
        ensure!(
            names == 0 || names == classes,
            "class_names holds {names} names, and classes = {classes}: must be as many, or none"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    const FILE: &str = "a/config.json";

    #[test]
    fn names_travel_and_a_network_without_them_keeps_its_bytes() {
        let names = ["cat".to_string(), "dog".to_string()];
        let model = serde_json::from_str("{\"depth\": 18}").unwrap();
        let bare = ModelSpec::new(&model, 3, 32, 2, 0);
        assert!(!bare.to_json().to_string().contains("class_names"));
        assert_eq!(
            (bare.class_name(1), ModelSpec::from_json(&bare.to_json(), FILE.as_ref()).unwrap()),
            ("1".into(), bare.clone())
        );
        let named = bare.clone().named(&names);
        assert_eq!(ModelSpec::from_json(&named.to_json(), FILE.as_ref()).unwrap().class_name(1), "dog");
        assert!(bare.named(&names[..1]).class_names.is_empty());
        let mut json = named.to_json();
        json["class_names"] = serde_json::json!(["cat"]);
        assert_eq!(
            message(&json),
            "a/config.json: class_names holds 1 names, and classes = 2: must be as many, or none"
        );
    }

    fn message(json: &serde_json::Value) -> String {
        format!("{:#}", ModelSpec::from_json(json, FILE.as_ref()).unwrap_err())
    }

    #[test]
    fn what_no_network_has_is_named_with_its_key() {
        let whole = ModelSpec::new(&serde_json::from_str("{\"depth\": 18}").unwrap(), 3, 32, 2, 1).to_json();
        ModelSpec::from_json(&whole, FILE.as_ref()).unwrap();
        let huge = 10u64.pow(18);
        for (key, value, why) in [
            ("width", json!(1e300), "width = 1e300: must"),
            ("width", json!(1e5), "width = 100000: must"),
            ("width", json!(0), "width = 0"),
            ("width", json!(null), "width: invalid type: null"),
            ("classes", json!(huge), "classes = 1000000000000000000: must"),
            ("classes", json!(-1), "classes: invalid value: integer `-1`"),
            ("proj_dim", json!(huge), "proj_dim = 1000000000000000000: must"),
            ("proj_dim", json!(0), "proj_dim = 0: must"),
            ("proj_layers", json!(1_000_000_000), "proj_layers = 1000000000: must"),
            ("image_size", json!(0), "image_size = 0: must"),
            ("image_size", json!(1_000_000_000), "image_size = 1000000000: must"),
            ("in_channels", json!(0), "in_channels = 0: must"),
            ("in_channels", json!(1_000_000_000), "in_channels = 1000000000: must"),
            ("proj_selector", json!(4), "proj_selector = 4: must lie in -1 to 3"),
            ("proj_selector", json!(-2), "proj_selector = -2: must lie in -1 to 3"),
            ("depth", json!(19), "depth = 19: must be 18, 34, 50, 101, 152 or 200"),
            ("sk_ratio", json!(1e9), "sk_ratio = 1000000000"),
            ("se_ratio", json!(-1), "se_ratio = -1"),
            ("class_names", json!(["a", "b", "c"]), "class_names holds 3 names"),
            ("stem", json!("x".repeat(1 << 20)), "stem: unknown variant"),
        ] {
            let mut json = whole.clone();
            json[key] = value;
            let message = message(&json);
            assert!(message.starts_with("a/config.json") && message.contains(why), "{message}, expected {why}");
            assert!(message.len() < 400, "{} bytes", message.len());
        }
        assert!(message(&json!([])).starts_with("a/config.json does not describe a network: "));
    }
}
