//! Which variable of a checkpoint is what: layers and batch norms in the order in which the reference creates them.
//!
//! That order is the order in which a network of this crate declares its parameters (stem; in each block the shortcut,
//! then the main path), so nothing else is needed to give every variable its name here.

use super::bundle::Bundle;
use anyhow::{Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};

/// Kinds of optimiser state that TF1 hangs below a variable's name.
const SLOTS: [&str; 3] = ["Momentum", "Adam", "Adam_1"];
/// Variables of the optimiser itself.
const OPTIMIZER: [&str; 2] = ["beta1_power", "beta2_power"];
/// Leaves of a convolution or dense layer.
pub const LAYER: [&str; 2] = ["kernel", "bias"];
/// Leaves of a batch norm.
pub const NORM: [&str; 4] = ["gamma", "beta", "moving_mean", "moving_variance"];

/// One layer or batch norm: its name for messages, and the checkpoint's key of each of its variables.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Unit {
    /// Where it stands in the checkpoint's own terms.
    pub path: String,
    /// Key by leaf (`kernel`, `gamma`, ...).
    pub keys: BTreeMap<String, String>,
}

/// The units of a part of the network, in order of creation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Units {
    /// Convolutions or dense layers.
    pub layers: Vec<Unit>,
    /// Batch norms.
    pub norms: Vec<Unit>,
}

/// Everything in a checkpoint.
#[derive(Clone, Debug, Default)]
pub struct Variables {
    /// The ResNet.
    pub encoder: Units,
    /// The projection head.
    pub head: Units,
    /// The classifier: one dense layer, or nothing.
    pub classifier: Units,
    /// Whether shortcuts pool before they project, where the checkpoint says so.
    pub pooled_shortcut: Option<bool>,
    /// Key of the training step.
    pub step: Option<String>,
    /// Keys of variables that optimiser state belongs to.
    pub slots: BTreeSet<String>,
    /// What is left aside knowingly: how many variables of which kind.
    pub skipped: BTreeMap<String, usize>,
}

impl Variables {
    /// Counts a variable that is left aside.
    pub fn skip(&mut self, kind: &str) {
        *self.skipped.entry(kind.into()).or_default() += 1;
    }

    /// The variables of a TF1 checkpoint, by their names.
    ///
    /// # Errors
    /// For variables of unknown meaning, and for gaps in the numbering: both are named.
    pub fn of_names(bundle: &Bundle) -> Result<Self> {
        let (mut found, mut unknown) = (Self::default(), Vec::new());
        let mut units: BTreeMap<(Place, usize), Unit> = BTreeMap::new();
        for key in bundle.keys() {
            let (path, leaf) = key.rsplit_once('/').unwrap_or(("", key));
            if let Some((place, number)) = place(path).filter(|(place, _)| place.leaves().contains(&leaf)) {
                let unit = units.entry((place, number)).or_default();
                unit.path = path.into();
                unit.keys.insert(leaf.into(), key.into());
            } else if key == "global_step" {
                found.step = Some(key.into());
                found.skip("global_step");
            } else if SLOTS.contains(&leaf) && bundle.has(path) {
                found.slots.insert(path.into());
                found.skip(&format!("{leaf} slots"));
            } else if OPTIMIZER.contains(&leaf) {
                found.skip("optimiser variables");
            } else {
                unknown.push(key);
            }
        }
        refuse(&unknown)?;
        let mut expected = BTreeMap::new();
        for ((place, number), unit) in units {
            let next = expected.entry(place).or_insert(0);
            ensure!(
                number == *next,
                "{} is missing: {} comes next. The checkpoint is incomplete",
                place.name(*next),
                unit.path
            );
            *next += 1;
            let (part, norm) = match place {
                Place::Conv => (&mut found.encoder, false),
                Place::Norm => (&mut found.encoder, true),
                Place::HeadLayer => (&mut found.head, false),
                Place::HeadNorm => (&mut found.head, true),
                Place::Classifier => (&mut found.classifier, false),
            };
            if norm { &mut part.norms } else { &mut part.layers }.push(unit);
        }
        Ok(found)
    }
}

/// Stops at variables of unknown meaning.
pub fn refuse(unknown: &[&str]) -> Result<()> {
    if unknown.is_empty() {
        return Ok(());
    }
    let more = if unknown.len() > 5 { format!(" and {} more", unknown.len() - 5) } else { String::new() };
    bail!(
        "variables of unknown meaning: {}{more}. Only networks of google-research/simclr can be imported (an encoder, a \
         projection head, a classifier); save the checkpoint without these variables",
        unknown[..unknown.len().min(5)].join(", ")
    )
}

/// Kinds of units in TF1 names; each is numbered on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Conv,
    Norm,
    HeadLayer,
    HeadNorm,
    Classifier,
}

impl Place {
    fn leaves(self) -> &'static [&'static str] {
        match self {
            Self::Norm | Self::HeadNorm => &NORM,
            _ => &LAYER,
        }
    }

    /// The name of unit `n`.
    fn name(self, n: usize) -> String {
        let numbered = |stem: &str| if n == 0 { stem.to_string() } else { format!("{stem}_{n}") };
        match self {
            Self::Conv => numbered("base_model/conv2d"),
            Self::Norm => numbered("base_model/batch_normalization"),
            Self::HeadLayer => format!("head_contrastive/nl_{n}/dense"),
            Self::HeadNorm => format!("head_contrastive/nl_{n}/batch_normalization"),
            Self::Classifier => "head_supervised/linear_layer/dense".into(),
        }
    }
}

/// What stands at `path`, and its number.
fn place(path: &str) -> Option<(Place, usize)> {
    let numbered = |name: &str, stem: &str| match name.strip_prefix(stem)? {
        "" => Some(0),
        rest => rest.strip_prefix('_')?.parse::<usize>().ok().filter(|n| *n > 0),
    };
    match path.split('/').collect::<Vec<_>>()[..] {
        ["base_model", unit] => match numbered(unit, "conv2d") {
            Some(n) => Some((Place::Conv, n)),
            None => numbered(unit, "batch_normalization").map(|n| (Place::Norm, n)),
        },
        ["head_contrastive", layer, unit] => {
            // A head of one layer is called l_0 by the reference's `linear` mode.
            let n = if layer == "l_0" { 0 } else { layer.strip_prefix("nl_")?.parse().ok()? };
            match unit {
                "dense" => Some((Place::HeadLayer, n)),
                "batch_normalization" => Some((Place::HeadNorm, n)),
                _ => None,
            }
        }
        ["head_supervised", "linear_layer", "dense"] => Some((Place::Classifier, 0)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        assert_eq!(place("base_model/conv2d"), Some((Place::Conv, 0)));
        assert_eq!(place("base_model/conv2d_12"), Some((Place::Conv, 12)));
        assert_eq!(place("base_model/batch_normalization_3"), Some((Place::Norm, 3)));
        assert_eq!(place("head_contrastive/nl_2/dense"), Some((Place::HeadLayer, 2)));
        assert_eq!(place("head_contrastive/l_0/batch_normalization"), Some((Place::HeadNorm, 0)));
        for other in [
            "base_model/conv2d_0",
            "base_model/conv2dx",
            "base_model",
            "",
            "other/conv2d",
            "head_contrastive/nl_x/dense",
        ] {
            assert_eq!(place(other), None, "{other}");
        }
        for place_of in [Place::Conv, Place::Norm, Place::HeadLayer, Place::HeadNorm] {
            assert_eq!(place(&place_of.name(0)), Some((place_of, 0)));
            assert_eq!(place(&place_of.name(7)), Some((place_of, 7)));
        }
    }
}
