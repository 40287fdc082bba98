//! The network of every stage: encoder, projection head, classifier.

use crate::encoder::Encoder;
use crate::heads::{Classifier, ProjectionHead};
use crate::init::Builder;
use crate::outline::{Map, Outline};
use crate::pass::Pass;
use crate::spec::ModelSpec;
use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device, Tensor};
use simclr_core::bounds;
use simclr_core::params::{Match, ParamStore};
use simclr_ops::{Value, join_views};
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

/// The network of every stage, with its parameters.
pub struct SimClr {
    /// What it is.
    pub spec: ModelSpec,
    /// Its parameters.
    pub store: ParamStore,
    /// From images to features.
    pub encoder: Rc<Encoder>,
    /// The projection head.
    pub projection: Rc<ProjectionHead>,
    /// The classifier, where there is one.
    pub classifier: Option<Classifier>,
    /// Where the parameters of encoder and projection head stand in the store.
    body: Range<usize>,
}

/// What was declared in a store.
struct Declared {
    encoder: Encoder,
    projection: ProjectionHead,
    classifier: Option<Classifier>,
    body: Range<usize>,
}

impl SimClr {
    /// A fresh network; its numbers follow from `seed`.
    ///
    /// # Errors
    /// When the spec is not a valid one.
    pub fn new(spec: &ModelSpec, seed: u64) -> Result<Self> {
        // Sizes that are each within their range may be too much together.
        Self::sketch(spec)?;
        Self::declare(spec, |store| Builder::new(store, Some(seed)))
    }

    /// A network of zeros, to be filled from a checkpoint.
    ///
    /// # Errors
    /// When the spec is not a valid one.
    pub fn blank(spec: &ModelSpec) -> Result<Self> {
        Self::declare(spec, |store| Builder::new(store, None))
    }

    /// The same network with feature maps stored as `dtype`, f32 or bf16, where its backbone knows how.
    pub fn with_map_dtype(mut self, dtype: DType) -> Self {
        match Rc::get_mut(&mut self.encoder) {
            Some(encoder) => encoder.store_maps_as(dtype),
            None => unreachable!("an encoder has one owner until it runs"),
        }
        self
    }

    /// Another network of the same shape, numbers, device and dtype.
    ///
    /// # Errors
    /// When memory is short.
    pub fn twin(&self) -> Result<Self> {
        let twin = Self::blank(&self.spec)?;
        twin.store.load_map(&self.store.save_map()?, Match::EXACT)?;
        Ok(twin.on(self.store.device())?.with_map_dtype(self.map_dtype()))
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
    pub fn map_dtype(&self) -> DType {
        self.encoder.map_dtype()
    }

    /// Sets the classifier to zero, as the reference does before fine-tuning.
    ///
    /// # Errors
    /// When the parameters cannot be changed.
    pub fn reset_classifier(&self) -> Result<()> {
        for p in self.store.iter().filter(|p| p.part.in_classifier()) {
            simclr_ops::optim::assign(&p.tensor, &p.tensor.zeros_like()?)?;
        }
        Ok(())
    }

    /// What encoder and projection head do to an image of `size` by `size` pixels; `None` where the backbone does not say.
    pub fn outline(&self, size: usize) -> Option<Outline<'_>> {
        let outline = Outline::new(&self.store, Map { side: size, channels: self.spec.in_channels });
        let mut outline = self.encoder.outline(outline)?;
        self.projection.outline(&mut outline);
        Some(outline)
    }

    /// Checks that `tensors` (in the layout of files) are the parameters of the network that `spec` describes. No memory is
    /// asked for that the tensors do not take already, whatever the spec says.
    ///
    /// # Errors
    /// When one is missing, left over, of another shape, or holds what no network has: the message names it.
    pub fn expect(spec: &ModelSpec, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        Self::sketch(spec)?.store.fits(tensors, Match::EXACT).map(|_| ())
    }

    /// The network without its numbers: names, kinds and shapes of its parameters, which take no memory.
    ///
    /// # Errors
    /// When the spec is not a valid one, or the parameters are more than [`bounds::PARAMETERS`].
    pub fn sketch(spec: &ModelSpec) -> Result<Self> {
        spec.check()?;
        let sketch = Self::declare(spec, |store| Builder::of_shapes(store))?;
        let numbers: usize = sketch.store.iter().map(|p| p.tensor.elem_count()).sum();
        ensure!(
            numbers <= bounds::PARAMETERS,
            "model.width = {}: this network has {:.0} million parameters, and {:.0} are the most",
            spec.model.width,
            numbers as f64 / 1e6,
            bounds::PARAMETERS as f64 / 1e6
        );
        Ok(sketch)
    }

    fn declare(spec: &ModelSpec, builder: impl FnOnce(&mut ParamStore) -> Builder<'_>) -> Result<Self> {
        let mut store = ParamStore::new(Device::Cpu);
        let Declared { encoder, projection, classifier, body } = Self::declare_by(builder(&mut store), spec)?;
        Ok(Self {
            spec: spec.clone(),
            store,
            encoder: Rc::new(encoder),
            projection: Rc::new(projection),
            classifier,
            body,
        })
    }

    fn declare_by(mut b: Builder<'_>, spec: &ModelSpec) -> Result<Declared> {
        let encoder = Encoder::new(&mut b, spec)?;
        let m = &spec.model;
        let projection = ProjectionHead::new(&mut b, encoder.features(), m.proj_layers, m.proj_dim)?;
        let body = 0..b.declared();
        let classifier = match spec.classes {
            0 => None,
            n => Some(Classifier::new(&mut b, projection.width(spec.proj_selector)?, n)?),
        };
        Ok(Declared { encoder, projection, classifier, body })
    }

    /// Features, cut off from the tape, and what the projection head's last layer makes of them, of `images`:
    /// all first views, then all second views. With a `chunk`, that many images run at a time, both views together, and
    /// again in the backward pass, so that the activations of one chunk alone are kept (Gao et al. 2021, GradCache); batch
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
        pass.prepare(self.map_dtype())?;
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
    use simclr_core::params::Part;

    /// The checkpoint format's names tell the same as the parts, which is what everybody asks.
    #[test]
    fn what_no_machine_holds_is_refused_before_it_is_made() {
        let shape = simclr_core::config::ModelConfig { width: 64.0, ..simclr_core::config::ModelConfig::resnet(18) };
        let message = SimClr::new(&ModelSpec::new(&shape, 3, 32, 0, 0), 1).err().unwrap().to_string();
        assert!(message.contains("model.width = 64") && message.contains("million parameters"), "{message}");
    }

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
