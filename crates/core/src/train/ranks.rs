//! A step's gradients and figures summed over the ranks that share its batch, bucket by bucket, while the backward pass runs.

use super::task::Task;
use crate::disk;
use crate::params::{Param, ParamStore};
use anyhow::{Context, Result, bail, ensure};
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Shape, Tensor, TensorId};
use simclr_ops::collective::PendingSum;
use simclr_ops::{Group, Tape, Value, optim, tensor};
use std::collections::HashMap;

/// Numbers of a bucket, beyond which another one begins: 16 MB.
const BUCKET: usize = 4 << 20;
/// Where gradients begin in a bucket: at multiples of so many numbers, so that kernels may load them by 16 bytes.
const ALIGNED: usize = 64;

/// Numbers that are hashed at a time.
const HASHED: usize = 1 << 16;

/// What is summed beside gradients, each as one number: a mean over images, weighted.
pub(super) struct Figure {
    /// The mean over this rank's images.
    pub value: Tensor,
    /// The share of all images that it is over; 0 where there are none, and the value says nothing.
    pub weight: f32,
}

/// Sums the gradients of one store's parameters over ranks.
pub(super) struct Ranks {
    group: Group,
    images: usize,
    buckets: Vec<Bucket>,
    places: HashMap<TensorId, Place>,
    /// What is summed last: figures, their weights, and how many parameters had no gradient.
    tail: Option<Tensor>,
    constants: HashMap<u32, Tensor>,
}

struct Bucket {
    values: Tensor,
    /// Parameters whose gradients it holds.
    parameters: usize,
    /// Those that are still to come in this step.
    missing: usize,
    sum: Option<Box<dyn PendingSum>>,
}

struct Place {
    bucket: usize,
    offset: usize,
    shape: Shape,
    arrived: bool,
}

impl Ranks {
    /// For the parameters of `store` that `trains` accepts, and batches of `images` over all ranks.
    ///
    /// # Errors
    /// When there are more ranks than images, or memory is short.
    pub fn new(group: &Group, images: usize, store: &ParamStore, trains: impl Fn(&Param) -> bool) -> Result<Self> {
        let (size, group) = (group.size(), group.clone());
        ensure!(images >= size, "a batch of {images} images leaves some of {size} ranks without any");
        let mut new =
            Self { group, images, buckets: vec![], places: HashMap::new(), tail: None, constants: HashMap::new() };
        if size == 1 {
            return Ok(new);
        }
        // Gradients come from the last layer to the first.
        let trained: Vec<&Param> = store.trainable().filter(|p| trains(p)).collect();
        let (mut lengths, mut parameters) = (vec![0], vec![0]);
        for p in trained.into_iter().rev() {
            let room = p.tensor.elem_count().next_multiple_of(ALIGNED);
            if lengths[lengths.len() - 1] > 0 && lengths[lengths.len() - 1] + room > BUCKET {
                lengths.push(0);
                parameters.push(0);
            }
            let bucket = lengths.len() - 1;
            let (offset, shape) = (lengths[bucket], p.tensor.shape().clone());
            new.places.insert(p.tensor.id(), Place { bucket, offset, shape, arrived: false });
            lengths[bucket] += room;
            parameters[bucket] += 1;
        }
        for (length, parameters) in lengths.into_iter().zip(parameters) {
            let values = Tensor::zeros(length.max(1), DType::F32, store.device())?;
            new.buckets.push(Bucket { values, parameters, missing: parameters, sum: None });
        }
        Ok(new)
    }

    /// A tape of this rank's part of a batch.
    pub fn tape(&self, recompute: bool) -> Tape {
        Tape::new().recomputing(recompute).among(&self.group, self.images)
    }

    /// This rank's share of a batch.
    pub fn share(&self) -> f32 {
        self.group.part(self.images).len() as f32 / self.images as f32
    }

    /// Gradients of the mean of `loss` over all images, with respect to the parameters of `store`; and scalars of which
    /// [`Summed`] makes the means of `figures` once they are read. `stop` says that this rank was asked to end.
    ///
    /// # Errors
    /// When a rank has ended.
    pub fn backward(
        &mut self,
        tape: Tape,
        loss: &Value,
        store: &ParamStore,
        (figures, stop): (&[Figure], bool),
    ) -> Result<(GradStore, Vec<Tensor>, Summed)> {
        let mut summed = Summed { size: self.group.size(), weights: vec![], absent: 0, stop };
        summed.weights = figures.iter().map(|figure| figure.weight).collect();
        if self.group.is_alone() {
            return Ok((tape.backward(loss)?, figures.iter().map(|figure| figure.value.clone()).collect(), summed));
        }
        let share = self.share();
        let Self { group, buckets, places, .. } = self;
        let mut next = 0;
        tape.backward_scaled(loss, share, |leaf, gradient| {
            // A parameter that is not trained.
            let Some(place) = places.get_mut(&leaf.id()) else { return Ok(()) };
            let to = buckets[place.bucket].values.narrow(0, place.offset, place.shape.elem_count())?;
            optim::assign(&to, &gradient.flatten_all()?.contiguous()?)?;
            place.arrived = true;
            buckets[place.bucket].missing -= 1;
            // In their order, so that all ranks make the same calls.
            while let Some(bucket) = buckets.get_mut(next).filter(|bucket| bucket.missing == 0) {
                bucket.sum = group.all_reduce_later(&bucket.values)?;
                next += 1;
            }
            Ok(())
        })?;
        for bucket in &mut buckets[next..] {
            bucket.sum = group.all_reduce_later(&bucket.values)?;
        }
        summed.absent = self.places.values().filter(|place| !place.arrived).count();
        let tail = self.tail(figures, &summed)?;
        let last = self.group.all_reduce_later(&tail)?;
        let sums: Vec<_> = self.buckets.iter_mut().map(|bucket| bucket.sum.take()).chain([last]).collect();
        for sum in sums.into_iter().flatten() {
            self.group.waited(sum.wait()?);
        }
        self.buckets.iter_mut().for_each(|bucket| bucket.missing = bucket.parameters);
        Ok((self.collect(store)?, tail.chunk(tail.elem_count(), 0)?, summed))
    }

    /// The summed gradients of the parameters that have one.
    fn collect(&mut self, store: &ParamStore) -> Result<GradStore> {
        let mut grads = GradStore::default();
        for p in store.trainable() {
            let Some(place) = self.places.get_mut(&p.tensor.id()) else { continue };
            if std::mem::take(&mut place.arrived) {
                let values = &self.buckets[place.bucket].values;
                let gradient = values.narrow(0, place.offset, place.shape.elem_count())?.reshape(&place.shape)?;
                grads.insert(&p.tensor, gradient);
            }
        }
        Ok(grads)
    }

    /// What [`Summed`] reads, before it is summed.
    fn tail(&mut self, figures: &[Figure], summed: &Summed) -> Result<Tensor> {
        let device = self.buckets.first().context("ranks without buckets")?.values.device().clone();
        let tail = match self.tail.take() {
            Some(tail) if tail.elem_count() == summed.len() => tail,
            _ => Tensor::zeros(summed.len(), DType::F32, &device)?,
        };
        let slot = |i: usize| tail.narrow(0, i, 1);
        for (i, Figure { value, weight }) in figures.iter().enumerate() {
            let factor = self.constant(*weight, &device)?;
            if *weight > 0.0 {
                // On a GPU figures are f32.
                let value = if value.dtype() == DType::F32 { value.clone() } else { value.to_dtype(DType::F32)? };
                optim::assign(&slot(i)?, &value.reshape(1)?)?;
                tensor::scale_by(&slot(i)?, &factor.reshape(())?)?;
            } else {
                optim::assign(&slot(i)?, &factor)?;
            }
            optim::assign(&slot(figures.len() + i)?, &factor)?;
        }
        for (i, value) in [summed.absent as f32, f32::from(u8::from(summed.stop))].into_iter().enumerate() {
            optim::assign(&slot(2 * figures.len() + i)?, &self.constant(value, &device)?)?;
        }
        self.tail = Some(tail.clone());
        Ok(tail)
    }

    /// One number on the device; those of a run are few.
    fn constant(&mut self, value: f32, device: &Device) -> Result<Tensor> {
        if let Some(known) = self.constants.get(&value.to_bits()) {
            return Ok(known.clone());
        }
        let made = Tensor::new(&[value], &Device::Cpu)?.to_device(device)?;
        self.constants.insert(value.to_bits(), made.clone());
        Ok(made)
    }
}

/// Checks that all ranks have the same weights after as many steps.
///
/// # Errors
/// When they have not, or a rank has ended.
pub(super) fn agree<T: Task>(task: &T, group: &Group, step: u64) -> Result<()> {
    if group.is_alone() {
        return Ok(());
    }
    let mut hash = disk::Hash::new();
    for p in task.store().iter() {
        let values = p.tensor.to_device(&Device::Cpu)?.flatten_all()?;
        tensor::with_slice(&values, |v| {
            v.chunks(HASHED).for_each(|v| hash.add(&v.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>()));
            Ok(())
        })?;
    }
    let own = format!("step {step}, weights {}", hash.finish());
    if let Some((first, rank, other)) = group.disagreement(&own)? {
        bail!("the ranks have come apart: rank 0 is at {first}, rank {rank} at {other}")
    }
    Ok(())
}

/// What the scalars that [`Ranks::backward`] gives come to.
pub(super) struct Summed {
    size: usize,
    /// Those of this rank's figures.
    weights: Vec<f32>,
    /// Parameters without a gradient.
    absent: usize,
    stop: bool,
}

impl Summed {
    /// How many scalars there are: of one rank alone the figures; else the sums over ranks of figures times weights, of the
    /// weights, of how many parameters had no gradient, and of those that were asked to stop.
    pub fn len(&self) -> usize {
        if self.size == 1 { self.weights.len() } else { 2 * self.weights.len() + 2 }
    }

    /// The mean of each figure over all ranks, `None` where no rank had one; and whether a rank was asked to stop.
    ///
    /// # Errors
    /// When ranks found gradients of different parameters.
    pub fn read(&self, numbers: &[f64]) -> Result<(Vec<Option<f64>>, bool)> {
        let n = self.weights.len();
        if self.size == 1 {
            let own = numbers.iter().zip(&self.weights).map(|(value, weight)| (*weight > 0.0).then_some(*value));
            return Ok((own.collect(), self.stop));
        }
        let absent = numbers[2 * n];
        ensure!(
            absent == (self.absent * self.size) as f64,
            "the ranks found gradients of different parameters: {} had none here, and {absent} in all of {} ranks",
            self.absent,
            self.size
        );
        let means = (0..n).map(|i| (numbers[n + i] > 0.0).then(|| numbers[i] / numbers[n + i])).collect();
        Ok((means, numbers[2 * n + 1] > 0.0))
    }
}
