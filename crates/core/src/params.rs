//! Parameters: an ordered list of named tensors, and their layout on disk.

use crate::fit::short;
use crate::tensors;
use anyhow::{Context, Result, bail};
use candle_core::{Device, Tensor};
use simclr_ops::optim;
use std::collections::{BTreeMap, HashMap};

/// Place of a parameter in its store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParamId(usize);

impl ParamId {
    /// The position, counted in order of declaration.
    pub fn index(self) -> usize {
        self.0
    }
}

/// What a parameter is; optimisers treat kinds differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A convolution's weight, `[O, K, K, C]` in memory and `[O, C, K, K]` on disk.
    Conv,
    /// A linear layer's weight, `[O, D]`.
    Linear,
    /// Scale or shift of a batch norm.
    BatchNorm,
    /// Scale or shift of another normalisation, such as a layer norm.
    Norm,
    /// A table that is added or looked up, such as positions or tokens.
    Embedding,
    /// A bias.
    Bias,
    /// The classifier's weight, `[classes, D]`.
    Classifier,
    /// A running statistic: saved, never trained.
    Statistic,
    /// A running statistic that is a variance: never negative.
    Variance,
}

impl Kind {
    /// Whether it scales or shifts what was normalised: weight decay would work against the normalisation.
    pub fn is_norm(self) -> bool {
        matches!(self, Self::BatchNorm | Self::Norm)
    }

    /// Whether it is a running statistic, which no optimiser moves.
    pub fn is_statistic(self) -> bool {
        matches!(self, Self::Statistic | Self::Variance)
    }

    /// The word that exclusion patterns see: parameters are matched as `label:name`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Conv => "conv",
            Self::Linear => "linear",
            Self::BatchNorm => "batch_norm",
            Self::Norm => "norm",
            Self::Embedding => "embedding",
            Self::Bias => "bias",
            Self::Classifier => "classifier",
            Self::Statistic | Self::Variance => "statistic",
        }
    }
}

/// Where in a network a parameter stands: what is frozen, left out or counted is told by it, never by a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The encoder's first layers.
    Stem,
    /// Group `k` of the encoder's layers, counted from 1.
    Group(usize),
    /// Layer `k` of the projection head, counted from 1.
    HeadLayer(usize),
    /// The classifier.
    Classifier,
    /// None of these, such as an optimiser's count of its steps.
    Other,
}

impl Part {
    /// Whether it belongs to the encoder.
    pub fn in_encoder(self) -> bool {
        self.depth().is_some()
    }

    /// Whether it belongs to the projection head.
    pub fn in_head(self) -> bool {
        matches!(self, Self::HeadLayer(_))
    }

    /// Whether it belongs to the classifier.
    pub fn in_classifier(self) -> bool {
        self == Self::Classifier
    }

    /// How deep in the encoder it stands: 0 for the stem, `k` for group `k`.
    pub fn depth(self) -> Option<usize> {
        match self {
            Self::Stem => Some(0),
            Self::Group(k) => Some(k),
            _ => None,
        }
    }
}

/// A named tensor. Its numbers change in place, its identity never: gradients are keyed by it.
pub struct Param {
    /// Name in checkpoints.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Where it stands.
    pub part: Part,
    /// The numbers.
    pub tensor: Tensor,
}

impl Param {
    /// What exclusion patterns are matched against.
    pub fn tag(&self) -> String {
        format!("{}:{}", self.kind.label(), self.name)
    }

    /// Whether it is a running statistic, which no gradient moves.
    pub fn is_statistic(&self) -> bool {
        self.kind.is_statistic()
    }

    fn on_disk(&self) -> bool {
        self.kind == Kind::Conv && self.tensor.rank() == 4
    }

    fn disk_shape(&self) -> Vec<usize> {
        match (self.on_disk(), self.tensor.dims()) {
            (true, &[o, k, l, c]) => vec![o, c, k, l],
            (_, dims) => dims.to_vec(),
        }
    }
}

/// Which differences between a store and a file are accepted when loading; all others are errors.
#[derive(Clone, Copy)]
pub struct Match {
    /// Parts of the store that the file may lack.
    pub may_lack: fn(Part) -> bool,
    /// Parts of the store that keep their own numbers, whatever the file says of them.
    pub leave: fn(Part) -> bool,
}

impl Match {
    /// Names and shapes agree one to one.
    pub const EXACT: Self = Self { may_lack: |_| false, leave: |_| false };
    /// All but the classifier is taken over.
    pub const BUT_CLASSIFIER: Self = Self { leave: Part::in_classifier, ..Self::EXACT };
}

/// Parameters in order of declaration.
pub struct ParamStore {
    device: Device,
    params: Vec<Param>,
    index: HashMap<String, usize>,
}

impl ParamStore {
    /// An empty store.
    pub fn new(device: Device) -> Self {
        Self { device, params: Vec::new(), index: HashMap::new() }
    }

    /// Where the parameters are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Moves all parameters. They are other tensors then: to be called before anything is keyed by them.
    ///
    /// # Errors
    /// When memory is short.
    pub fn move_to(&mut self, device: &Device) -> Result<()> {
        self.device = device.clone();
        for p in &mut self.params {
            p.tensor = p.tensor.to_device(device)?;
        }
        Ok(())
    }

    /// Adds a parameter at the end.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn add(&mut self, name: &str, kind: Kind, part: Part, tensor: Tensor) -> Result<ParamId> {
        if self.index.insert(name.to_string(), self.params.len()).is_some() {
            bail!("two parameters are called {name}")
        }
        let tensor = tensor.to_device(&self.device)?;
        self.params.push(Param { name: name.to_string(), kind, part, tensor });
        Ok(ParamId(self.params.len() - 1))
    }

    /// A parameter by id.
    pub fn get(&self, id: ParamId) -> &Param {
        &self.params[id.0]
    }

    /// A parameter by name.
    pub fn by_name(&self, name: &str) -> Option<&Param> {
        self.index.get(name).map(|i| &self.params[*i])
    }

    /// The ids of all parameters, in order.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = ParamId> + use<> {
        (0..self.params.len()).map(ParamId)
    }

    /// All parameters in order.
    pub fn iter(&self) -> impl Iterator<Item = &Param> {
        self.params.iter()
    }

    /// All but running statistics, in order.
    pub fn trainable(&self) -> impl Iterator<Item = &Param> {
        self.params.iter().filter(|p| !p.is_statistic())
    }

    /// Number of trained numbers of the parameters that satisfy `keep`.
    pub fn count(&self, keep: impl Fn(&Param) -> bool) -> usize {
        self.trainable().filter(|p| keep(p)).map(|p| p.tensor.elem_count()).sum()
    }

    /// Copies of all tensors on the CPU, in the layout of the disk.
    ///
    /// # Errors
    /// When a tensor cannot be copied.
    pub fn save_map(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut map = BTreeMap::new();
        for p in &self.params {
            let t = p.tensor.to_device(&Device::Cpu)?;
            // A copy, always: the other order of a 1x1 kernel would be the same memory, which changes in place.
            let t = t.copy()?;
            let t = if p.on_disk() { t.permute((0, 3, 1, 2))?.contiguous()? } else { t };
            map.insert(p.name.clone(), t);
        }
        Ok(map)
    }

    /// Checks the parameters' own numbers, as [`tensors::check`] does.
    ///
    /// # Errors
    /// When one is not finite, or a variance is negative: the message names the tensor.
    pub fn check(&self) -> Result<()> {
        tensors::check(self.params.iter().map(|p| (p.name.as_str(), &p.tensor, p.kind == Kind::Variance)))
    }

    /// Takes over the numbers of `tensors` (in the layout of the disk) in place.
    ///
    /// # Errors
    /// As [`fits`](Self::fits). Nothing is changed then.
    pub fn load_map(&self, tensors: &BTreeMap<String, Tensor>, matching: Match) -> Result<()> {
        for (p, t) in self.fits(tensors, matching)? {
            let t = t.to_dtype(candle_core::DType::F32)?;
            let t = if p.on_disk() { t.permute((0, 2, 3, 1))?.contiguous()? } else { t.contiguous()? };
            optim::assign(&p.tensor, &t).with_context(|| p.name.clone())?;
        }
        Ok(())
    }

    /// Checks that the numbers of `tensors` (in the layout of the disk) are ones that the parameters may be filled with, and
    /// pairs them.
    ///
    /// # Errors
    /// When tensors are missing, left over or of another shape, beyond what `matching` accepts, hold no floats, numbers that are
    /// not finite, or negative variances: the message names them.
    pub fn fits<'a>(
        &'a self,
        tensors: &'a BTreeMap<String, Tensor>,
        matching: Match,
    ) -> Result<Vec<(&'a Param, &'a Tensor)>> {
        let (mut missing, mut shapes) = (Vec::new(), Vec::new());
        let mut pairs = Vec::new();
        for p in &self.params {
            match tensors.get(&p.name) {
                _ if (matching.leave)(p.part) => (),
                None if (matching.may_lack)(p.part) => (),
                None => missing.push(p.name.clone()),
                Some(t) if t.dims() != p.disk_shape() => shapes.push(format!(
                    "{} is {:?}, expected {:?}",
                    p.name,
                    &t.dims()[..t.rank().min(8)],
                    p.disk_shape()
                )),
                Some(t) => pairs.push((p, t)),
            }
        }
        let unexpected: Vec<_> = tensors.keys().filter(|n| !self.index.contains_key(*n)).map(|n| short(n)).collect();
        let mut problems = Vec::new();
        for (what, list) in [("missing", missing), ("unexpected", unexpected), ("of another shape", shapes)] {
            if !list.is_empty() {
                let more = if list.len() > 5 { format!(" and {} more", list.len() - 5) } else { String::new() };
                problems.push(format!("{what}: {}{more}", list[..list.len().min(5)].join(", ")));
            }
        }
        if !problems.is_empty() {
            bail!("the checkpoint's tensors do not fit this network; {}", problems.join("; "))
        }
        tensors::check(pairs.iter().map(|(p, t)| (p.name.as_str(), *t, p.kind == Kind::Variance)))
            .context("the checkpoint holds what no network has")?;
        Ok(pairs)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use simclr_ops::tensor;

    fn store() -> ParamStore {
        let mut s = ParamStore::new(Device::Cpu);
        let t = Tensor::arange(0f32, 24., &Device::Cpu).unwrap().reshape((2, 2, 2, 3)).unwrap();
        s.add("conv1.weight", Kind::Conv, Part::Stem, t).unwrap();
        let zeros = Tensor::zeros(3, candle_core::DType::F32, &Device::Cpu).unwrap();
        s.add("fc.bias", Kind::Bias, Part::Classifier, zeros).unwrap();
        s
    }

    #[test]
    fn what_is_saved_stays_while_parameters_change() {
        let mut store = ParamStore::new(Device::Cpu);
        for (name, shape) in [("a.weight", [4, 1, 1, 2]), ("b.weight", [2, 3, 3, 2])] {
            store
                .add(name, Kind::Conv, Part::Stem, Tensor::ones(&shape, candle_core::DType::F32, &Device::Cpu).unwrap())
                .unwrap();
        }
        let saved = store.save_map().unwrap();
        let zeros = saved.iter().map(|(name, t)| (name.clone(), t.zeros_like().unwrap())).collect();
        store.load_map(&zeros, Match::EXACT).unwrap();
        for tensor in saved.values() {
            assert_eq!(tensor.min_all().unwrap().to_scalar::<f32>().unwrap(), 1.0, "a copy");
        }
        store.load_map(&saved, Match::EXACT).unwrap();
        assert_eq!(store.by_name("a.weight").unwrap().tensor.min_all().unwrap().to_scalar::<f32>().unwrap(), 1.0);
    }

    #[test]
    fn weights_change_layout_on_the_way_to_disk_and_back() {
        let (a, b) = (store(), store());
        let map = a.save_map().unwrap();
        let w = &map["conv1.weight"];
        assert_eq!(w.dims(), [2, 3, 2, 2]);
        // [o 1, k 0 1, c 2] of memory is [o 1, c 2, k 0 1] of disk.
        let at: f32 = w.get(1).unwrap().get(2).unwrap().get(0).unwrap().get(1).unwrap().to_scalar().unwrap();
        assert_eq!(at, 12.0 + 3.0 + 2.0);
        tensor::update(&b.params[0].tensor, |v| v.fill(0.0)).unwrap();
        b.load_map(&map, Match::EXACT).unwrap();
        let all = |s: &ParamStore| s.params[0].tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(all(&a), all(&b));
    }

    #[test]
    fn misfits_are_named() {
        let s = store();
        let mut map = s.save_map().unwrap();
        let bias = map.remove("fc.bias").unwrap();
        map.insert("stray".into(), bias.clone());
        map.insert("conv1.weight".into(), bias);
        let message = s.load_map(&map, Match::EXACT).unwrap_err().to_string();
        for part in ["missing: fc.bias", "unexpected: stray", "conv1.weight is [3], expected [2, 3, 2, 2]"] {
            assert!(message.contains(part), "{message}");
        }
        // What is no part of the store is a mistake, whatever is left.
        let some = Match { may_lack: Part::in_classifier, leave: |part| part == Part::Stem };
        let message = s.load_map(&map, some).unwrap_err().to_string();
        assert!(message.ends_with("; unexpected: stray"), "{message}");
        map.remove("stray");
        s.load_map(&map, some).unwrap();
        assert_eq!(s.params[0].tensor.max_all().unwrap().to_scalar::<f32>().unwrap(), 23.0, "the stem is left");
    }
}
