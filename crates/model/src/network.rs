//! The encoder, and the network of every stage: encoder, projection head, classifier.

use crate::blocks::{Block, Style};
use crate::heads::{Classifier, ProjectionHead};
use crate::init::Builder;
use crate::layers::{BatchNorm, Conv};
use crate::outline::{Map, Outline};
use crate::pass::Pass;
use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};
use simclr_core::config::{BASE_CHANNELS, Layout, ModelConfig, Stem};
use simclr_core::params::{ParamStore, Part};
use simclr_ops::{PoolPadding, Value, global_avg_pool, join_views, max_pool2d};
use std::ops::Range;
use std::rc::Rc;

/// Images of at most this side get the CIFAR stem when it is chosen by size.
const CIFAR_SIDE: usize = 32;

/// All that determines a network; `config.json` of a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelSpec {
    /// Shape of encoder and projection head; the stem is resolved, never `auto`.
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
    /// Resolves `auto` by the image size.
    pub fn new(model: &ModelConfig, in_channels: usize, image_size: usize, classes: usize, proj_selector: i64) -> Self {
        let stem = match model.stem {
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

/// A ResNet without its classifier.
pub struct Encoder {
    stem: Vec<(Conv, BatchNorm)>,
    max_pool: bool,
    groups: Vec<Vec<Rc<Block>>>,
    features: usize,
    maps: DType,
}

impl Encoder {
    /// Declares the encoder's parameters.
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
        Ok(Self { stem, max_pool: imagenet, groups, features: channels, maps: DType::F32 })
    }

    /// Width of the pooled features.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Pooled features `[N, D]` of images `[N, H, W, C]` in 0..1.
    ///
    /// # Errors
    /// When the images have other channels than the network.
    pub fn forward(&self, pass: &Pass<'_>, images: &Value) -> Result<Value> {
        self.forward_with(pass, images, |_| ())
    }

    /// As [`Encoder::forward`], handing each intermediate map (stem, four groups) to `see`.
    ///
    /// # Errors
    /// As [`Encoder::forward`].
    pub fn forward_with(&self, pass: &Pass<'_>, images: &Value, mut see: impl FnMut(&Value)) -> Result<Value> {
        let mut x = match images.tensor().dtype() == self.maps {
            true => images.clone(),
            false => Value::constant(images.tensor().to_dtype(self.maps)?),
        };
        for (conv, bn) in &self.stem {
            x = bn.relu(pass, &conv.forward(pass, &x)?)?;
        }
        if self.max_pool {
            x = max_pool2d(pass.tape, &x, 3, 2, PoolPadding::Same)?;
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

    fn outline(&self, o: &mut Outline<'_>) {
        for (conv, _) in &self.stem {
            conv.outline(o);
            o.norm(false, true);
        }
        if self.max_pool {
            o.pool(2);
        }
        for block in self.groups.iter().flatten() {
            o.next_part();
            block.outline(o);
        }
        o.next_part();
    }
}

/// The network of every stage, with its parameters.
pub struct SimClr {
    /// What it is.
    pub spec: ModelSpec,
    /// Its parameters.
    pub store: ParamStore,
    /// The ResNet.
    pub encoder: Rc<Encoder>,
    /// The projection head.
    pub projection: Rc<ProjectionHead>,
    /// The classifier, where there is one.
    pub classifier: Option<Classifier>,
    /// Where the parameters of encoder and projection head stand in the store.
    body: Range<usize>,
}

impl SimClr {
    /// A fresh network; its numbers follow from `seed`.
    ///
    /// # Errors
    /// When the spec is not a valid one.
    pub fn new(spec: &ModelSpec, seed: u64) -> Result<Self> {
        Self::declare(spec, Some(seed))
    }

    /// A network of zeros, to be filled from a checkpoint.
    ///
    /// # Errors
    /// When the spec is not a valid one.
    pub fn blank(spec: &ModelSpec) -> Result<Self> {
        Self::declare(spec, None)
    }

    /// The same network with feature maps stored as `maps`: f32 or bf16.
    pub fn with_maps(mut self, maps: DType) -> Self {
        match Rc::get_mut(&mut self.encoder) {
            Some(encoder) => encoder.maps = maps,
            None => unreachable!("an encoder has one owner until it runs"),
        }
        self
    }

    /// The same network with its parameters on `device`.
    ///
    /// # Errors
    /// When memory is short.
    pub fn on(mut self, device: &Device) -> Result<Self> {
        self.store.move_to(device)?;
        Ok(self)
    }

    /// How feature maps are stored: f32 or bf16.
    pub fn maps(&self) -> DType {
        self.encoder.maps
    }

    /// Sets the classifier to zero, as the reference does before fine-tuning.
    ///
    /// # Errors
    /// When the parameters cannot be changed.
    pub fn reset_classifier(&self) -> Result<()> {
        for p in self.store.iter().filter(|p| p.part.in_classifier()) {
            simclr_ops::step::assign(&p.tensor, &p.tensor.zeros_like()?)?;
        }
        Ok(())
    }

    /// What encoder and projection head do to an image of `size` by `size` pixels.
    pub fn outline(&self, size: usize) -> Outline<'_> {
        let mut outline = Outline::new(&self.store, Map { side: size, channels: self.spec.in_channels });
        self.encoder.outline(&mut outline);
        self.projection.outline(&mut outline);
        outline
    }

    fn declare(spec: &ModelSpec, seed: Option<u64>) -> Result<Self> {
        let mut store = ParamStore::new(Device::Cpu);
        let mut b = Builder::new(&mut store, seed);
        let encoder = Encoder::new(&mut b, spec)?;
        let m = &spec.model;
        let projection = ProjectionHead::new(&mut b, encoder.features(), m.proj_layers, m.proj_dim)?;
        let body = 0..b.declared();
        let classifier = match spec.classes {
            0 => None,
            n => Some(Classifier::new(&mut b, projection.width(spec.proj_selector)?, n)?),
        };
        let (encoder, projection) = (Rc::new(encoder), Rc::new(projection));
        Ok(Self { spec: spec.clone(), store, encoder, projection, classifier, body })
    }

    /// Pooled features, cut off from the tape, and what the projection head's last layer makes of them, of `images`:
    /// all first views, then all second views. With a `chunk`, that many images run at a time, both views together, and
    /// again on the way back, so that the activations of one chunk alone are kept (Gao et al. 2021, GradCache); batch
    /// norm then sees one chunk at a time.
    ///
    /// # Errors
    /// When the views do not pair up, or the network does not fit them.
    pub fn project(&self, pass: &Pass<'_>, images: &Value, chunk: Option<usize>) -> Result<(Value, Value)> {
        let rows = images.tensor().dim(0)?;
        let count = rows / 2;
        ensure!(rows == 2 * count, "{rows} views are not two of each image");
        let chunk = match chunk {
            Some(0) => bail!("a chunk of no images"),
            Some(chunk) if chunk < count => chunk,
            _ => {
                let features = self.encoder.forward(pass, images)?;
                let hidden = self.projection.forward(pass, &features, -1)?;
                return Ok((features.detach(), hidden));
            }
        };
        let (mut features, mut hidden) = (Vec::new(), Vec::new());
        for start in (0..count).step_by(chunk) {
            let size = chunk.min(count - start);
            let (encoder, projection) = (self.encoder.clone(), self.projection.clone());
            // The views are cut out anew each time: copies of all chunks would double the batch.
            let (h, f) = pass.recomputed(&self.body, images, move |pass, images| {
                let views = [start, count + start].map(|first| images.tensor().narrow(0, first, size));
                let [first, second] = views;
                let views = Value::constant(Tensor::cat(&[first?, second?], 0)?);
                let features = encoder.forward(pass, &views)?;
                Ok((projection.forward(pass, &features, -1)?, vec![features.tensor().clone()]))
            })?;
            hidden.push(h);
            features.extend(f.into_iter().map(Value::constant));
        }
        Ok((join_views(pass.tape, &features)?, join_views(pass.tape, &hidden)?))
    }

    /// Logits `[N, classes]` of images, from the head layer of the spec.
    ///
    /// # Errors
    /// When the network has no classifier.
    pub fn logits(&self, pass: &Pass<'_>, images: &Value) -> Result<Value> {
        let features = self.encoder.forward(pass, images)?;
        let selected = self.projection.forward(pass, &features, self.spec.proj_selector)?;
        self.classifier.as_ref().context("this network has no classifier")?.forward(pass, &selected)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The checkpoint format's names tell the same as the parts, which is what everybody asks.
    #[test]
    fn every_parameter_knows_its_part() {
        for json in [
            serde_json::json!({"depth": 18, "width": 0.0625, "proj_layers": 2, "proj_dim": 4, "se_ratio": 0.25}),
            serde_json::json!({"depth": 50, "width": 0.0625, "sk_ratio": 0.5, "stem": "imagenet"}),
        ] {
            let config = serde_json::from_value(json).unwrap();
            let model = SimClr::blank(&ModelSpec::new(&config, 3, 32, 5, 1)).unwrap();
            for p in model.store.iter() {
                let mut words = p.name.split('.');
                let (first, second) = (words.next().unwrap(), words.next().unwrap());
                let part = match (first.strip_prefix("layer"), first) {
                    (Some(group), _) => Part::Group(group.parse().unwrap()),
                    (_, "conv1" | "bn1") => Part::Stem,
                    (_, "projection") => Part::HeadLayer(second.parse::<usize>().unwrap() + 1),
                    (_, "fc") => Part::Classifier,
                    _ => panic!("{}", p.name),
                };
                assert_eq!(p.part, part, "{}", p.name);
            }
        }
    }
}
