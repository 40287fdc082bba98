//! The encoder: a backbone, and how its maps are stored.

use crate::backbone::{Backbone, declare};
use crate::init::Builder;
use crate::outline::Outline;
use crate::pass::Pass;
use crate::spec::ModelSpec;
use anyhow::Result;
use candle_core::DType;
use simclr_ops::Value;

/// A network from images to features.
pub struct Encoder {
    backbone: Box<dyn Backbone>,
    map_dtype: DType,
}

impl Encoder {
    /// Declares the parameters of the backbone that `spec` names; maps are f32.
    ///
    /// # Errors
    /// When there is no such backbone.
    pub fn new(b: &mut Builder<'_>, spec: &ModelSpec) -> Result<Self> {
        Ok(Self { backbone: declare(b, spec)?, map_dtype: DType::F32 })
    }

    /// Width `D` of the features.
    pub fn features(&self) -> usize {
        self.backbone.features()
    }

    /// Groups of layers after the stem, which can be frozen one after the other.
    pub fn groups(&self) -> usize {
        self.backbone.groups()
    }

    /// Whether it recomputes its activations where the tape asks for it.
    pub fn recomputes(&self) -> bool {
        self.backbone.recomputes()
    }

    /// How maps are stored.
    pub fn map_dtype(&self) -> DType {
        self.map_dtype
    }

    /// Asks for maps to be stored as `dtype`; a backbone that does not know how keeps f32.
    pub fn store_maps_as(&mut self, dtype: DType) {
        self.map_dtype = self.backbone.map_dtype(dtype);
    }

    /// Features `[N, D]` of images `[N, H, W, C]` in 0..1.
    ///
    /// # Errors
    /// When the images have other channels than the network.
    pub fn forward(&self, pass: &Pass<'_>, images: &Value) -> Result<Value> {
        self.forward_with(pass, images, |_| ())
    }

    /// As [`Encoder::forward`], handing each intermediate map (stem, groups) to `see`.
    ///
    /// # Errors
    /// As [`Encoder::forward`].
    pub fn forward_with(&self, pass: &Pass<'_>, images: &Value, mut see: impl FnMut(&Value)) -> Result<Value> {
        pass.prepare(self.map_dtype)?;
        match images.tensor().dtype() == self.map_dtype {
            true => self.backbone.forward(pass, images, &mut see),
            false => {
                let images = Value::constant(images.tensor().to_dtype(self.map_dtype)?);
                self.backbone.forward(pass, &images, &mut see)
            }
        }
    }

    /// Adds what a forward does, where the backbone says so.
    pub fn outline<'a>(&self, outline: Outline<'a>) -> Option<Outline<'a>> {
        self.backbone.outline(outline)
    }
}
