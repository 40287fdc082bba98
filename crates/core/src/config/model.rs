//! The table `[model]` of an experiment file: the shape of a network.

use super::named::Named;
use super::resnet::Layout;
use crate::bounds;
use crate::keys::Range;
use crate::{table, words};
use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

table! {
    /// The shape of a network. Keys up to `max_pool` are those of a ResNet: any other backbone has its keys in its own table.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct ModelConfig {
        /// The encoder: `"resnet"`, or one of `simclr_model`'s other backbones, such as `{ name = "...", key = value }`.
        #[serde(default = "resnet", skip_serializing_if = "is_resnet")]
        pub backbone: Named = resnet();
        /// Layers with weights of a ResNet, which has to be told: 18, 34, 50, 101, 152 or 200.
        #[serde(default, skip_serializing_if = "is_unset")]
        pub depth: usize, from "He et al. 2016, table 1";
        /// Multiplies the 64 base channels; fractions are welcome.
        #[serde(default = "one")]
        pub width: f64 = one(), in WIDTH, from "SimCLRv2, table 1 (1 to 3)";
        /// Selective kernels: ratio of the attention's hidden width, 0 for none (the paper: 0.0625). Blocks of 18 and 34 layers have no
        /// place for them: there, as in the reference, a ratio brings only what comes along: shortcuts that are averaged before
        /// their stride, and three 3x3 in the ImageNet stem.
        #[serde(default)]
        pub sk_ratio: f64 = 0.0, in Range::SHARE, from "SimCLRv2, section 2; Li et al. 2019";
        /// Squeeze-and-excitation: ratio of its hidden width, 0 for none.
        #[serde(default)]
        pub se_ratio: f64 = 0.0, in Range::SHARE, from "Hu et al. 2018";
        /// `cifar` (3x3, no pool), `imagenet` (7x7 or three 3x3, max pool) or `auto` (by image size, up to 32 is cifar).
        #[serde(default)]
        pub stem: Stem = Stem::Auto;
        /// How the max pool of the ImageNet stem is padded.
        #[serde(default, skip_serializing_if = "MaxPool::is_default")]
        pub max_pool: MaxPool = MaxPool::Tensorflow;
        /// Layers of the projection head.
        #[serde(default = "three")]
        pub proj_layers: usize = three(), in Range::of(&bounds::PROJECTION_LAYERS), from "SimCLRv2, section 2 (3)";
        /// Width of the projection head's output.
        #[serde(default = "proj_dim")]
        pub proj_dim: usize = proj_dim(), in Range::of(&bounds::PROJECTION_DIM), from "Chen et al. 2020, section 2.1 (128)";
    }
    also relations
}

/// What multiplies the base channels.
const WIDTH: Range = Range::closed(*bounds::WIDTH.start(), *bounds::WIDTH.end());

/// The name of the backbone whose keys stand in the table `[model]` itself.
const RESNET: &str = "resnet";

table! {
    /// A ResNet's keys are those of the table `[model]`.
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct ResNetSettings {}
}

words! {
    /// The first layers of a network.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub enum Stem {
        /// By image size.
        #[default]
        Auto = "auto",
        /// One 3x3 convolution at full resolution.
        Cifar = "cifar",
        /// A strided 7x7 convolution (three 3x3 with selective kernels) and a max pool.
        Imagenet = "imagenet",
    }
}

words! {
    /// How a 3x3 max pool of stride 2 is padded. On maps of an odd size the two are the same; on those of an even size the windows
    /// of one lie a pixel beside those of the other.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub enum MaxPool {
        /// As TensorFlow's SAME, and so the reference: an odd cell of padding stands at the end.
        #[default]
        Tensorflow = "tensorflow",
        /// A cell at each side, as in the ResNets of torchvision and timm.
        Torch = "torch",
    }
}

impl MaxPool {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

fn resnet() -> Named {
    Named::new(RESNET)
}
fn is_resnet(backbone: &Named) -> bool {
    backbone.is_plain(RESNET)
}
fn is_unset(depth: &usize) -> bool {
    *depth == 0
}
fn one() -> f64 {
    1.0
}
fn three() -> usize {
    3
}
fn proj_dim() -> usize {
    128
}

impl ModelConfig {
    /// A ResNet of this depth, all else at its default.
    pub fn resnet(depth: usize) -> Self {
        let (width, proj_layers, proj_dim) = (one(), three(), proj_dim());
        Self {
            backbone: resnet(),
            depth,
            width,
            sk_ratio: 0.0,
            se_ratio: 0.0,
            stem: Stem::Auto,
            max_pool: MaxPool::Tensorflow,
            proj_layers,
            proj_dim,
        }
    }

    /// Any backbone but a ResNet, all else at its default.
    pub fn of(backbone: Named) -> Self {
        Self { backbone, ..Self::resnet(0) }
    }

    /// Whether the backbone is a ResNet.
    pub fn is_resnet(&self) -> bool {
        self.backbone.name == RESNET
    }

    /// The blocks of a ResNet; `None` for another backbone.
    pub fn layout(&self) -> Option<Layout> {
        self.is_resnet().then(|| Layout::ALL.into_iter().find(|layout| layout.depth == self.depth))?
    }

    /// Whether blocks choose between kernels. Basic blocks have no such choice, whatever `sk_ratio` is: as in the reference,
    /// it only averages their shortcuts.
    pub fn has_selective_kernels(&self) -> bool {
        self.sk_ratio > 0.0 && self.layout().is_some_and(|layout| layout.bottleneck)
    }

    /// What people call the encoder, such as `ResNet-50 of width 2 with selective kernels`.
    pub fn title(&self) -> String {
        if !self.is_resnet() {
            return format!("backbone {}", self.backbone.name);
        }
        let mut title = format!("ResNet-{}", self.depth);
        if self.width != 1.0 {
            title += &format!(" of width {}", self.width);
        }
        if self.sk_ratio > 0.0 {
            title += if self.has_selective_kernels() { " with selective kernels" } else { " with averaged shortcuts" };
        }
        if self.se_ratio > 0.0 {
            title += " with squeeze-and-excitation";
        }
        title
    }

    /// What keys must be to one another; `key` is the path of the table. Settings of a backbone are checked by the backbone.
    fn relations(&self, key: &str) -> Result<()> {
        match self.is_resnet() {
            true => self.check_resnet(key),
            false => self.check_other(key),
        }
    }

    fn check_other(&self, key: &str) -> Result<()> {
        let plain = Self::resnet(0);
        let own = [
            ("depth", self.depth != plain.depth),
            ("width", self.width != plain.width),
            ("sk_ratio", self.sk_ratio != plain.sk_ratio),
            ("se_ratio", self.se_ratio != plain.se_ratio),
            ("stem", self.stem != plain.stem),
            ("max_pool", self.max_pool != plain.max_pool),
        ];
        match own.iter().find(|(_, set)| *set) {
            Some((name, _)) => bail!(
                "{key}.{name} is a key of the backbone \"{RESNET}\", and the backbone here is \"{}\": take it out; what \
                 another backbone needs stands beside its name, {key}.backbone = {{ name = \"{0}\", ... }}",
                self.backbone.name
            ),
            None => Ok(()),
        }
    }

    fn check_resnet(&self, key: &str) -> Result<()> {
        self.backbone.settings::<ResNetSettings>(&format!("{key}.backbone"))?;
        if self.depth == 0 {
            bail!("missing key {key}.depth: {}", Layout::known())
        }
        Layout::of(&format!("{key}.depth"), self.depth).map(drop)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::keys::Settings;

    fn message(keys: &str) -> String {
        toml::from_str::<ModelConfig>(keys).unwrap().check("model").unwrap_err().to_string()
    }

    #[test]
    fn a_resnet_is_written_as_it_always_was() {
        let written = toml::to_string(&ModelConfig::resnet(18)).unwrap();
        let known = "depth = 18\nwidth = 1.0\nsk_ratio = 0.0\nse_ratio = 0.0\nstem = \"auto\"\nproj_layers = 3\nproj_dim = 128\n";
        assert_eq!(written, known);
        assert_eq!(
            toml::from_str::<ModelConfig>("backbone = \"resnet\"\ndepth = 18").unwrap(),
            ModelConfig::resnet(18)
        );
    }

    /// What a network has, not what its keys ask for.
    #[test]
    fn only_bottlenecks_have_selective_kernels() {
        let title = |depth| ModelConfig { sk_ratio: 0.0625, ..ModelConfig::resnet(depth) }.title();
        assert_eq!(title(50), "ResNet-50 with selective kernels");
        assert_eq!(title(34), "ResNet-34 with averaged shortcuts");
    }

    #[test]
    fn other_backbones_keep_their_keys_apart() {
        let keys = "backbone = { name = \"patches\", side = 4 }\nproj_dim = 8";
        let config: ModelConfig = toml::from_str(keys).unwrap();
        config.check("model").unwrap();
        let written = toml::to_string(&config).unwrap();
        assert!(!written.contains("depth") && toml::from_str::<ModelConfig>(&written).unwrap() == config, "{written}");
        let json = serde_json::to_value(&config).unwrap();
        assert_eq!(serde_json::from_value::<ModelConfig>(json).unwrap(), config);
        assert!(message(&format!("{keys}\nwidth = 2.0")).contains("model.width is a key of the backbone \"resnet\""));
        assert!(message("").contains("missing key model.depth"));
        assert!(message("depth = 18\nbackbone = { name = \"resnet\", depth = 18 }").contains("model.backbone.depth"));
    }
}
