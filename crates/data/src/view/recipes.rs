//! The lists of transforms of SimCLR: contrastive views, labeled ones, those of evaluation; and a list of one's own.

use super::TRANSFORMS;
use super::blur::Blur;
use super::central_crop::CentralCrop;
use super::flip::Flip;
use super::grayscale::Grayscale;
use super::jitter::Jitter;
use super::pipeline::ViewMaker;
use super::random_crop::RandomCrop;
use super::transform::Transform;
use super::whole::Whole;
use anyhow::{Result, bail};
use simclr_core::config::{AugmentConfig, Crop, EvalConfig, Named};

/// Where a list of one's own stands in the experiment file.
const KEY: &str = "augment.transforms";
/// Images of at most this side are not cropped for evaluation.
const NO_CROP_SIDE: usize = 32;
/// Share of labeled views that are jittered, where a strength is set.
const JITTER: f32 = 0.8;

/// Probability of a mirror image.
fn flip(on: bool) -> Flip {
    Flip { probability: if on { 0.5 } else { 0.0 } }
}

/// The transforms that a list names, with their settings.
fn read(list: &[Named]) -> Result<Vec<Box<dyn Transform>>> {
    let names: Vec<&str> = TRANSFORMS.iter().map(|info| info.name).collect();
    let mut transforms = Vec::with_capacity(list.len());
    for (i, choice) in list.iter().enumerate() {
        let key = format!("{KEY}[{i}]");
        let Some(info) = TRANSFORMS.iter().find(|info| info.name == choice.name) else {
            return Err(choice.unknown(&key, &names));
        };
        if info.is_crop && i > 0 {
            bail!("{key} = \"{}\": a crop chooses what the view shows, so it must come first", info.name)
        }
        transforms.push((info.read)(choice, &key)?);
    }
    Ok(transforms)
}

/// Checks the list of transforms of an experiment.
///
/// # Errors
/// When a transform or a setting is unknown or out of range, or a crop does not come first; the message names it as
/// `augment.transforms[i]`.
pub fn check(config: &AugmentConfig) -> Result<()> {
    config.transforms.as_deref().map_or(Ok(()), |list| read(list).map(drop))
}

impl ViewMaker {
    /// The random views of contrastive learning: the experiment's own list, or else crop, flip, colour jitter, grayscale,
    /// blur (Chen et al. 2020, appendix A).
    ///
    /// # Errors
    /// As [`check`].
    pub fn contrastive(config: &AugmentConfig, size: usize) -> Result<Self> {
        let transforms: Vec<Box<dyn Transform>> = match &config.transforms {
            Some(list) => read(list)?,
            None => vec![
                Box::new(RandomCrop { min_area: config.min_area }),
                Box::new(flip(config.flip)),
                Box::new(Jitter { probability: config.color_probability, strength: config.color_strength }),
                Box::new(Grayscale { probability: config.grayscale_probability }),
                Box::new(Blur { probability: config.blur_probability, ..Blur::default() }),
            ],
        };
        Ok(Self::new(transforms, size))
    }

    /// Random crop and flip, as in fine-tuning and distillation; jitter too where `color_strength` is above 0.
    pub fn labeled(min_area: f32, color_strength: f32, mirrored: bool, size: usize) -> Self {
        let probability = if color_strength > 0.0 { JITTER } else { 0.0 };
        let transforms: Vec<Box<dyn Transform>> = vec![
            Box::new(RandomCrop { min_area }),
            Box::new(flip(mirrored)),
            Box::new(Jitter { probability, strength: color_strength }),
        ];
        Self::new(transforms, size)
    }

    /// The evaluation view: a central crop of a share of the shorter side (all of it up to 32 pixels), or the whole image,
    /// bicubic, clipped. It draws nothing.
    pub fn eval(config: &EvalConfig, size: usize) -> Self {
        let resize = config.resize;
        let shown: Box<dyn Transform> = match config.crop {
            Crop::Center(_) if size <= NO_CROP_SIDE => Box::new(CentralCrop { share: 1.0, resize }),
            Crop::Center(share) => Box::new(CentralCrop { share, resize }),
            Crop::Whole => Box::new(Whole { resize }),
        };
        Self::new(vec![shown], size)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn config(list: &str) -> AugmentConfig {
        serde_json::from_str(&format!("{{\"transforms\": {list}}}")).unwrap()
    }

    #[test]
    fn every_transform_is_known_by_its_name_and_has_defaults() {
        for info in TRANSFORMS {
            let transform = (info.read)(&Named::new(info.name), "here").unwrap();
            assert_eq!(transform.info().name, info.name);
            assert_eq!(TRANSFORMS.iter().filter(|other| other.name == info.name).count(), 1, "{}", info.name);
        }
    }

    #[test]
    fn mistakes_name_the_place_in_the_list() {
        for (list, want) in [
            (r#"["crop", "flop"]"#, "augment.transforms[1] = \"flop\": must be one of crop, central_crop, whole, flip"),
            (
                r#"["crop", {"name": "jitter", "strenght": 1}]"#,
                "unknown key augment.transforms[1].strenght; did you mean strength?",
            ),
            (r#"[{"name": "flip", "probability": 2.0}]"#, "augment.transforms[0].probability = 2: must lie in 0 to 1"),
            (r#"[{"name": "crop", "min_area": -1.0}]"#, "augment.transforms[0].min_area"),
            (r#"[{"name": "blur", "sigma": [2.0, 1.0]}]"#, "augment.transforms[0].sigma = [2, 1]: must be two numbers"),
            (r#"[{"name": "jitter", "strength": -1.0}]"#, "augment.transforms[0].strength"),
            (r#"[{"name": "solarize", "threshold": 1.5}]"#, "augment.transforms[0].threshold"),
            (r#"["flip", "crop"]"#, "augment.transforms[1] = \"crop\": a crop chooses"),
        ] {
            let message = format!("{:#}", check(&config(list)).unwrap_err());
            assert!(message.contains(want), "{list}: {message}");
        }
        check(&config("[]")).unwrap();
        check(&AugmentConfig::default()).unwrap();
    }
}
