//! Declaring parameters: a name, a shape and the initial numbers of the reference.

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use simclr_core::params::{Kind, ParamId, ParamStore, Part};
use simclr_core::rng::{Purpose, Rng};

/// Adds parameters to a store under a name prefix, as of one part of the network.
pub struct Builder<'a> {
    store: &'a mut ParamStore,
    prefix: String,
    part: Part,
    seed: Option<u64>,
    shapes: bool,
}

impl<'a> Builder<'a> {
    /// Parameters go to `store`; their numbers follow from `seed` and their names, and are zero without one. Until
    /// [`Builder::part`] says otherwise they are of the stem.
    pub fn new(store: &'a mut ParamStore, seed: Option<u64>) -> Self {
        Self { store, prefix: String::new(), part: Part::Stem, seed, shapes: false }
    }

    /// As [`Builder::new`], for parameters of which names, kinds and shapes alone are wanted: they take no memory, however
    /// large they are said to be.
    pub fn of_shapes(store: &'a mut ParamStore) -> Self {
        Self { shapes: true, ..Self::new(store, None) }
    }

    /// The same builder for what belongs to `part`.
    pub fn part(&mut self, part: Part) -> Builder<'_> {
        Builder { store: self.store, prefix: self.prefix.clone(), part, seed: self.seed, shapes: self.shapes }
    }

    /// The same builder for what stands under `name.`.
    pub fn under(&mut self, name: impl AsRef<str>) -> Builder<'_> {
        let prefix = self.full(name.as_ref());
        Builder { store: self.store, prefix, part: self.part, seed: self.seed, shapes: self.shapes }
    }

    /// Parameters declared so far.
    pub fn declared(&self) -> usize {
        self.store.ids().len()
    }

    fn full(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_string() } else { format!("{}.{name}", self.prefix) }
    }

    /// A parameter of any shape; `number` draws one of its numbers after the other, row-major.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn tensor(
        &mut self,
        name: &str,
        kind: Kind,
        shape: &[usize],
        mut number: impl FnMut(&mut Rng) -> f32,
    ) -> Result<ParamId> {
        let (name, part) = (self.full(name), self.part);
        if self.shapes {
            let one = Tensor::zeros((), DType::F32, &Device::Cpu)?;
            return self.store.add(&name, kind, part, one.broadcast_as(shape)?);
        }
        let len = shape.iter().product();
        let Some(seed) = self.seed else {
            return self.store.add(&name, kind, part, Tensor::from_vec(vec![0.0f32; len], shape, &Device::Cpu)?);
        };
        // The stream is named by the parameter, so one layer's shape never changes another's numbers.
        let path: Vec<u64> = name.bytes().map(u64::from).collect();
        let mut rng = Rng::stream(seed, Purpose::Init, &path);
        let data: Vec<f32> = (0..len).map(|_| number(&mut rng)).collect();
        self.store.add(&name, kind, part, Tensor::from_vec(data, shape, &Device::Cpu)?)
    }

    /// A convolution `[O, K, K, C]`: truncated normal of variance 1 / fan-in, as Keras' `VarianceScaling`.
    pub fn conv(&mut self, name: &str, o: usize, k: usize, c: usize) -> Result<ParamId> {
        // The deviation of a normal cut at two deviations is 0.8796 of the uncut one.
        let std = (1.0 / (k * k * c) as f32).sqrt() / 0.879_626;
        self.tensor(name, Kind::Conv, &[o, k, k, c], |rng| {
            loop {
                let x = rng.normal();
                if x.abs() < 2.0 {
                    return x * std;
                }
            }
        })
    }

    /// A linear layer's weight `[O, D]`: normal with deviation 0.01.
    pub fn linear(&mut self, name: &str, kind: Kind, o: usize, d: usize) -> Result<ParamId> {
        self.tensor(name, kind, &[o, d], |rng| 0.01 * rng.normal())
    }

    /// A vector of one value.
    pub fn constant(&mut self, name: &str, kind: Kind, len: usize, value: f32) -> Result<ParamId> {
        self.tensor(name, kind, &[len], |_| value)
    }
}
