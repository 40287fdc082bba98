//! ResNets (He et al. 2016), with the selective kernels of SimCLRv2 (section 2) or squeeze-and-excitation where asked for.

mod block;
mod units;

use super::contract::Backbone;
use crate::init::Builder;
use crate::layers::{BatchNorm, Conv};
use crate::outline::Outline;
use crate::pass::Pass;
use crate::spec::ModelSpec;
use anyhow::Result;
use block::{Block, Style};
use candle_core::DType;
use simclr_core::config::{BASE_CHANNELS, Layout, MaxPool, Stem};
use simclr_core::params::Part;
use simclr_ops::{PoolPadding, Value, global_avg_pool, max_pool2d};
use std::rc::Rc;

/// A ResNet: a stem and four groups of residual blocks.
pub struct ResNet {
    stem: Vec<(Conv, BatchNorm)>,
    max_pool: Option<PoolPadding>,
    groups: Vec<Vec<Rc<Block>>>,
    features: usize,
}

impl ResNet {
    /// Declares its parameters.
    ///
    /// # Errors
    /// When there is no ResNet of such a depth.
    pub fn new(b: &mut Builder<'_>, spec: &ModelSpec) -> Result<Self> {
        let m = &spec.model;
        let Layout { bottleneck, blocks, .. } = Layout::of("depth", m.depth)?;
        let style = Style { bottleneck, sk_ratio: m.sk_ratio, se_ratio: m.se_ratio };
        let base = ((BASE_CHANNELS as f64 * m.width).round() as usize).max(1);
        let imagenet = m.stem == Stem::Imagenet;
        let input = spec.in_channels;
        let stem = if imagenet && m.sk_ratio > 0.0 {
            let half = (base / 2).max(1);
            let mut c = b.under("conv1");
            let first = (Conv::new(&mut c, "0", half, 3, input, 2)?, BatchNorm::new(&mut c, "1", half, 1.0, true)?);
            let second = (Conv::new(&mut c, "3", half, 3, half, 1)?, BatchNorm::new(&mut c, "4", half, 1.0, true)?);
            let third = Conv::new(&mut c, "6", base, 3, half, 1)?;
            vec![first, second, (third, BatchNorm::new(b, "bn1", base, 1.0, true)?)]
        } else {
            let (k, stride) = if imagenet { (7, 2) } else { (3, 1) };
            vec![(Conv::new(b, "conv1", base, k, input, stride)?, BatchNorm::new(b, "bn1", base, 1.0, true)?)]
        };
        let (mut groups, mut channels) = (Vec::new(), base);
        for (g, &count) in blocks.iter().enumerate() {
            let (f, mut b) = (base << g, b.under(format!("layer{}", g + 1)));
            let mut b = b.part(Part::Group(g + 1));
            let mut group = Vec::new();
            for i in 0..count {
                let stride = if g > 0 && i == 0 { 2 } else { 1 };
                group.push(Rc::new(Block::new(&mut b.under(i.to_string()), style, channels, f, stride, i == 0)?));
                channels = style.out_channels(f);
            }
            groups.push(group);
        }
        let padding = match m.max_pool {
            MaxPool::Tensorflow => PoolPadding::Same,
            MaxPool::Torch => PoolPadding::Around,
        };
        Ok(Self { stem, max_pool: imagenet.then_some(padding), groups, features: channels })
    }
}

impl Backbone for ResNet {
    fn features(&self) -> usize {
        self.features
    }

    fn recomputes(&self) -> bool {
        true
    }

    fn groups(&self) -> usize {
        self.groups.len()
    }

    fn map_dtype(&self, asked: DType) -> DType {
        asked
    }

    fn forward(&self, pass: &Pass<'_>, images: &Value, see: &mut dyn FnMut(&Value)) -> Result<Value> {
        let mut x = images.clone();
        for (conv, bn) in &self.stem {
            x = bn.relu(pass, &conv.forward(pass, &x)?)?;
        }
        if let Some(padding) = self.max_pool {
            x = max_pool2d(pass.tape, &x, 3, 2, padding)?;
        }
        see(&x);
        for group in &self.groups {
            for block in group {
                x = block.forward(pass, &x)?;
            }
            see(&x);
        }
        Ok(global_avg_pool(pass.tape, &x)?)
    }

    fn outline<'a>(&self, mut outline: Outline<'a>) -> Option<Outline<'a>> {
        for (conv, _) in &self.stem {
            conv.outline(&mut outline);
            outline.norm(false, true);
        }
        if self.max_pool.is_some() {
            outline.pool(2);
        }
        for block in self.groups.iter().flatten() {
            outline.next_part();
            block.outline(&mut outline);
        }
        outline.next_part();
        Some(outline)
    }
}
