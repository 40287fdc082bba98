//! What a network does to one image, as a list of operations with their sizes: what estimates of time and memory are
//! made from. Layers describe themselves beside their forward; sizes of weights are read from the parameters.

use simclr_core::params::{ParamId, ParamStore};

/// A feature map of one image: `side` by `side` pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Map {
    /// Pixels of a side.
    pub side: usize,
    /// Channels of a pixel.
    pub channels: usize,
}

impl Map {
    /// Numbers of the map.
    pub fn numbers(self) -> usize {
        self.side * self.side * self.channels
    }
}

/// One operation on one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// A convolution with a kernel of `kernel` by `kernel`. No gradient flows to the image itself.
    Conv {
        /// What it reads.
        from: Map,
        /// What it writes.
        to: Map,
        /// Side of the kernel.
        kernel: usize,
        /// It reads the image.
        first: bool,
    },
    /// Batch norm with what is fused to it.
    Norm {
        /// What it reads and writes.
        map: Map,
        /// Another map is added before ReLU.
        residual: bool,
        /// The output is kept for the backward pass.
        kept: bool,
    },
    /// Maxima or means over windows.
    Pool {
        /// What it reads.
        from: Map,
        /// What it writes.
        to: Map,
    },
    /// Means over pixels, gates made of them, and the map under the gates (all streams of `from` into `to`).
    Gate {
        /// What it reads.
        from: Map,
        /// What it writes.
        to: Map,
    },
    /// Another map added.
    Add {
        /// What it writes.
        map: Map,
    },
    /// A linear layer on one row of numbers.
    Dense {
        /// Numbers that it reads.
        from: usize,
        /// Numbers that it writes.
        to: usize,
    },
}

impl Op {
    /// Multiply-adds of its forward.
    pub fn multiply_adds(self) -> usize {
        match self {
            Self::Conv { from, to, kernel, .. } => to.numbers() * kernel * kernel * from.channels,
            Self::Dense { from, to } => from * to,
            _ => 0,
        }
    }

    /// Numbers of its parameters that are trained, biases and a missing beta aside.
    pub fn parameters(self) -> usize {
        match self {
            Self::Conv { from, to, kernel, .. } => kernel * kernel * from.channels * to.channels,
            Self::Dense { from, to } => from * to,
            Self::Norm { map, .. } => 2 * map.channels,
            Self::Pool { .. } | Self::Gate { .. } | Self::Add { .. } => 0,
        }
    }

    /// Numbers of maps that the backward pass needs of it, its input left out: that is the output of another operation.
    pub fn kept(self) -> usize {
        match self {
            Self::Norm { kept: false, .. } | Self::Dense { .. } => 0,
            Self::Norm { map, .. } | Self::Add { map } => map.numbers(),
            Self::Conv { to, .. } | Self::Pool { to, .. } | Self::Gate { to, .. } => to.numbers(),
        }
    }
}

/// The operations of a network in order: the stem, each block, the head.
pub struct Outline<'a> {
    store: &'a ParamStore,
    /// What the next operation reads.
    pub(crate) map: Map,
    /// The parts: those between the first and the last are blocks, which can be recomputed.
    pub parts: Vec<Vec<Op>>,
}

impl<'a> Outline<'a> {
    pub(crate) fn new(store: &'a ParamStore, image: Map) -> Self {
        Self { store, map: image, parts: vec![Vec::new()] }
    }

    /// Begins the next part.
    pub(crate) fn next_part(&mut self) {
        self.parts.push(Vec::new());
    }

    pub(crate) fn push(&mut self, op: Op) {
        if let Some(part) = self.parts.last_mut() {
            part.push(op);
        }
    }

    /// All operations.
    pub fn ops(&self) -> impl Iterator<Item = Op> {
        self.parts.iter().flatten().copied()
    }

    pub(crate) fn conv(&mut self, weight: ParamId, stride: usize) {
        let (from, dims) = (self.map, self.store.get(weight).tensor.dims());
        let to = Map { side: from.side.div_ceil(stride), channels: dims[0] };
        self.push(Op::Conv { from, to, kernel: dims[1], first: self.parts.len() == 1 && self.parts[0].is_empty() });
        self.map = to;
    }

    pub(crate) fn norm(&mut self, residual: bool, kept: bool) {
        self.push(Op::Norm { map: self.map, residual, kept });
    }

    /// Batch norm on the rows that a layer on rows writes.
    pub(crate) fn norm_rows(&mut self, weight: ParamId) {
        let channels = self.store.get(weight).tensor.dims()[0];
        self.push(Op::Norm { map: Map { side: 1, channels }, residual: false, kept: false });
    }

    pub(crate) fn pool(&mut self, stride: usize) {
        let from = self.map;
        self.map.side = from.side.div_ceil(stride);
        self.push(Op::Pool { from, to: self.map });
    }

    /// A layer on rows: of a linear layer or of a 1x1 convolution's weights, `[O, ..., C]`.
    pub(crate) fn dense(&mut self, weight: ParamId) {
        let tensor = &self.store.get(weight).tensor;
        let to = tensor.dims()[0];
        self.push(Op::Dense { from: tensor.elem_count() / to, to });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{ModelSpec, SimClr};

    fn outlined(json: serde_json::Value, size: usize) -> (Vec<Op>, usize) {
        let config = serde_json::from_value(json).unwrap();
        let model = SimClr::blank(&ModelSpec::new(&config, 3, size, 0, 0)).unwrap();
        let outline = model.outline(size).unwrap();
        let weights = |op: Op| if matches!(op, Op::Norm { .. }) { 0 } else { op.parameters() };
        let found: usize = outline.ops().map(weights).sum();
        let matrices = model.store.trainable().filter(|p| p.tensor.rank() > 1).map(|p| p.tensor.elem_count());
        assert_eq!(found, matrices.sum::<usize>(), "every weight is used once");
        let channels = |op: Op| if let Op::Norm { map, .. } = op { map.channels } else { 0 };
        let statistics = model.store.iter().filter(|p| p.kind.is_statistic()).map(|p| p.tensor.elem_count());
        assert_eq!(
            2 * outline.ops().map(channels).sum::<usize>(),
            statistics.sum::<usize>(),
            "every normalisation, too"
        );
        (outline.ops().collect(), model.encoder.features())
    }

    #[test]
    fn resnet_50_multiplies_as_often_as_the_literature_says() {
        let json = serde_json::json!({"depth": 50, "stem": "imagenet", "proj_layers": 3, "proj_dim": 128});
        let (ops, features) = outlined(json, 224);
        let convolutions = ops.iter().filter(|op| matches!(op, Op::Conv { .. }));
        let giga = convolutions.map(|op| op.multiply_adds()).sum::<usize>() as f64 / 1e9;
        // 4.09 with the stride in the 3x3 convolution, without the classifier's 0.002.
        assert!((giga - 4.09).abs() < 0.01, "{giga}");
        assert_eq!(features, 2048);
        assert_eq!(ops.iter().filter(|op| matches!(op, Op::Norm { residual: true, .. })).count(), 16);
    }

    #[test]
    fn every_kind_of_network_is_outlined() {
        for json in [
            serde_json::json!({"depth": 18, "width": 0.25, "proj_layers": 2, "proj_dim": 16}),
            serde_json::json!({"depth": 50, "width": 0.25, "sk_ratio": 0.0625, "stem": "imagenet"}),
            serde_json::json!({"depth": 50, "width": 0.25, "se_ratio": 0.25}),
        ] {
            outlined(json, 64);
        }
    }
}
