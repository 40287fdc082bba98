//! The table `[augment]` of an experiment file: how contrastive views are made.

use super::named::Named;
use crate::keys::Range;
use crate::table;
use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

table! {
    /// The random views of contrastive learning (paper, appendix; "v2" colour jitter).
    #[derive(Clone, Debug, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct AugmentConfig with defaults {
        /// Smallest share of the image's area that a crop keeps.
        pub min_area: f32 = 0.08, in Range::SOME_SHARE, from "Chen et al. 2020, appendix A";
        /// Strength `s` of the colour jitter.
        pub color_strength: f32 = 1.0, in STRENGTH, from "Chen et al. 2020, appendix A";
        /// Probability of the jitter.
        pub color_probability: f32 = 0.8, in Range::SHARE, from "Chen et al. 2020, appendix A";
        /// Probability of dropping colour.
        pub grayscale_probability: f32 = 0.2, in Range::SHARE, from "Chen et al. 2020, appendix A";
        /// Probability of Gaussian blur; 0 for small images.
        pub blur_probability: f32 = 0.5, in Range::SHARE, from "Chen et al. 2020, appendix A";
        /// Mirror half of the views left to right.
        pub flip: bool = true, from "Chen et al. 2020, appendix A";
        /// On a GPU, let it do the jitter, grayscale and blur of pretraining's views, by the same draws: the loader's threads
        /// only crop, resize and flip. Views differ in the last bits. On the CPU the key changes nothing.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        pub on_device: bool = false;
        /// The transforms of pretraining's views, in order, in place of crop, flip, jitter, grayscale and blur as the keys
        /// above have them: names, or tables of a name and settings. `flip` still says whether labeled views are mirrored.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub transforms: Option<Vec<Named>> = None;
    }
    also check_list
}

/// Strengths of colour jitter: 1 is that of the paper; from 1.25 on some views are black.
pub const STRENGTH: Range = Range::closed(0.0, 10.0);

impl AugmentConfig {
    /// Keys must not stand beside a list of transforms without effect. What names the default may: a run's own file names
    /// every default.
    fn check_list(&self, _: &str) -> Result<()> {
        let usual = Self::default();
        let keys = [
            ("min_area", self.min_area != usual.min_area),
            ("color_strength", self.color_strength != usual.color_strength),
            ("color_probability", self.color_probability != usual.color_probability),
            ("grayscale_probability", self.grayscale_probability != usual.grayscale_probability),
            ("blur_probability", self.blur_probability != usual.blur_probability),
        ];
        let idle: Vec<String> = keys.iter().filter(|(_, set)| *set).map(|(key, _)| format!("augment.{key}")).collect();
        if self.transforms.is_some() && !idle.is_empty() {
            bail!(
                "{} would have no effect beside augment.transforms: leave it out or at its default, and give the \
                 transforms their own settings, such as {{ name = \"jitter\", strength = 0.5 }}",
                idle.join(", ")
            )
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::keys::Settings;

    #[test]
    fn a_list_of_transforms_stands_alone() {
        let config = |text: &str| toml::from_str::<AugmentConfig>(text).unwrap();
        let list = "transforms = [\"crop\", { name = \"jitter\", strength = 0.5 }]\n";
        config(&format!("{list}min_area = 0.08\nflip = false\non_device = true")).check("augment").unwrap();
        let message =
            config(&format!("{list}min_area = 0.2\nblur_probability = 0.0")).check("augment").unwrap_err().to_string();
        assert!(message.starts_with("augment.min_area, augment.blur_probability would have no effect"), "{message}");
        // What a run writes of itself loads again, and an experiment without a list keeps its bytes.
        let again = config(&toml::to_string(&config(list)).unwrap());
        assert_eq!(again.transforms, config(list).transforms);
        again.check("augment").unwrap();
        assert!(!toml::to_string(&AugmentConfig::default()).unwrap().contains("transforms"));
    }
}
