//! The table `[eval]` of an experiment file.

use super::crop::Crop;
use super::training::{DECAY, RATE};
use crate::bounds;
use crate::keys::Range;
use crate::{table, words};
use serde::{Deserialize, Serialize};

table! {
    /// What `simclr-eval` does.
    #[derive(Clone, Debug, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct EvalConfig with defaults {
        /// Images a forward pass.
        pub batch: usize = 256, in Range::of(&bounds::BATCH);
        /// What of an image is shown.
        pub crop: Crop = Crop::default(), in Range::SOME_SHARE, from "the reference, data_util.py";
        /// Whose bicubic resize makes the evaluation view.
        pub resize: Resize = Resize::Tf2;
        /// Neighbours of the weighted k-NN.
        pub knn_k: usize = 50, in Range::of(&bounds::COUNT), from "Wu et al. 2018, section 3.4";
        /// Temperature of its weights, exp(similarity / temperature).
        pub knn_temperature: f64 = 0.1, in TEMPERATURE, from "Wu et al. 2018, section 3.4";
        /// The linear probe on frozen features.
        pub linear: LinearConfig = LinearConfig::default();
    }
}

/// Temperatures of a softmax: below, all but the largest vanish; above, all are alike.
pub const TEMPERATURE: Range = Range::closed(0.001, 1000.0);

words! {
    /// Which of TensorFlow's two bicubic resizes: pixels of the same picture differ by up to a tenth.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub enum Resize {
        /// Half-pixel centres, a = -0.5, weights outside the image dropped: what trains here.
        #[default]
        Tf2 = "tf2",
        /// No half-pixel offset, a = -0.75, edge pixels repeated: what the published checkpoints were trained and
        /// evaluated with.
        Tf1 = "tf1",
    }
}

table! {
    /// The linear probe: a classifier on features that are computed once (running statistics frozen, as in the TF1 code).
    #[derive(Clone, Debug, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct LinearConfig with defaults {
        /// Passes over the features.
        pub epochs: usize = 60, in Range::closed(1.0, bounds::EPOCHS), from "Chen et al. 2020, appendix B.6 (90)";
        /// Features a step.
        pub batch: usize = 256, in Range::of(&bounds::BATCH);
        /// Learning rate of SGD with Nesterov momentum, before the linear scaling.
        pub learning_rate: f64 = 0.1, in RATE, from "Chen et al. 2020, appendix B.6";
        /// Half squared norm of the weights.
        pub weight_decay: f64 = 1e-6, in DECAY;
        /// Views of each training image whose features are kept: 1 the central crop alone, more adds random crops.
        pub views: usize = 1, in Range::of(&bounds::VIEWS);
    }
}
