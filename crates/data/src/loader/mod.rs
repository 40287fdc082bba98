//! The loader: batches of views as a pure function of the step.

use crate::set::{Order, Pictures};
use crate::view::ViewMaker;
use anyhow::{Context, Result, bail};
use rayon::prelude::*;
use simclr_core::rng::{Purpose, Rng};
use simclr_ops::tensor::filled;
use simclr_ops::{Distortion, Pixel, Pixels, Sent};
use std::sync::{Arc, Mutex, PoisonError};

/// Views of some images.
#[derive(Clone, Debug)]
pub struct Batch {
    /// `[views * B, S, S, C]`: all first views, then all second views.
    pub images: Vec<f32>,
    /// `[B]`; `None` for an image without a label.
    pub labels: Vec<Option<u32>>,
    /// Indices of the images in their set, `[B]`.
    pub samples: Vec<u32>,
    /// `[views * B, S, S, C]` as numbers.
    pub shape: [usize; 4],
    /// What a GPU has still to do to each view, `[views * B]`; empty where views are finished.
    pub distortions: Vec<Distortion>,
}

/// What is known of a batch besides its pixels, as in [`Batch`].
#[derive(Clone, Debug)]
pub struct Made {
    /// `[B]`; `None` for an image without a label.
    pub labels: Vec<Option<u32>>,
    /// Indices of the images in their set, `[B]`.
    pub samples: Vec<u32>,
    /// What a GPU has still to do to each view, `[views * B]`; empty where views are finished.
    pub distortions: Vec<Distortion>,
}

impl Batch {
    /// The labels, where every image has one.
    ///
    /// # Errors
    /// When one has none.
    pub fn all_labels(&self) -> Result<Vec<u32>> {
        let labels: Option<Vec<u32>> = self.labels.iter().copied().collect();
        labels.context("an image of the batch has no label")
    }
}

/// Draws batches without end: epoch after epoch, each in an order of its own. A batch may straddle two epochs and may be
/// larger than one.
///
/// A damaged image gives its place to the next good one of its epoch, where such images are to be skipped.
pub struct Loader {
    pictures: Arc<Pictures>,
    order: Order,
    maker: ViewMaker,
    views: usize,
    batch: usize,
    part: (usize, usize),
    seed: u64,
    purpose: Purpose,
    on_gpu: bool,
    as_bytes: bool,
    // The order of the epoch at hand: a step needs that of one or two epochs, and the next step mostly of the same.
    recent: Mutex<Option<(u64, Epoch)>>,
}

type Epoch = Arc<Vec<u32>>;

/// A place in an epoch.
struct Slot {
    epoch: u64,
    order: Epoch,
    place: usize,
}

impl Loader {
    /// `views` views of each of `batch` images a step, drawn from `samples`, which must not be empty.
    pub fn new(
        pictures: Arc<Pictures>,
        samples: Vec<u32>,
        maker: ViewMaker,
        (views, batch): (usize, usize),
        (seed, purpose): (u64, Purpose),
    ) -> Self {
        assert!(!samples.is_empty(), "a loader needs at least one sample");
        let order = Order::new(samples, &pictures.source().shards(), pictures.shuffle_buffer(), (seed, purpose));
        Self {
            pictures,
            order,
            maker,
            views,
            batch,
            part: (0, 1),
            seed,
            purpose,
            on_gpu: false,
            as_bytes: false,
            recent: Mutex::new(None),
        }
    }

    /// Rank `rank` of `ranks`: of each batch it makes its own part alone. The parts of all ranks, in order, are the batch
    /// of a single process; a batch need not divide by the number of ranks.
    ///
    /// # Errors
    /// When there is no such rank, or the batch is too small to give each rank an image.
    pub fn part(self, rank: usize, ranks: usize) -> Result<Self> {
        if rank >= ranks {
            bail!("there is no rank {rank} of {ranks}")
        }
        if self.batch < ranks {
            bail!("a batch of {} images leaves some of {ranks} ranks without any", self.batch)
        }
        Ok(Self { part: (rank, ranks), ..self })
    }

    /// Where `on_gpu`, does not finish the views: what a GPU can do to them comes with the batch, as
    /// [`Batch::distortions`].
    pub fn finish_on_gpu(self, on_gpu: bool) -> Self {
        Self { on_gpu, ..self }
    }

    /// Where `as_bytes`, allows whoever sends the batches to a GPU to round every number to the nearest `k / 255`.
    pub fn as_bytes(self, as_bytes: bool) -> Self {
        Self { as_bytes, ..self }
    }

    /// How batches may be sent to a GPU.
    pub fn sent(&self) -> Sent {
        let keep = |size: (usize, usize)| self.maker.keeps_pixels(size, self.on_gpu);
        Sent { bytes: self.as_bytes || self.pictures.size().is_some_and(keep), unfinished: self.on_gpu }
    }

    /// Numbers of every batch: `[views * B, S, S, C]`.
    pub fn shape(&self) -> [usize; 4] {
        let (s, (rank, ranks)) = (self.maker.size(), self.part);
        let images = self.batch * (rank + 1) / ranks - self.batch * rank / ranks;
        [self.views * images, s, s, self.pictures.channels()]
    }

    fn epoch(&self, epoch: u64) -> Epoch {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        match &*recent {
            Some((e, order)) if *e == epoch => order.clone(),
            _ => {
                let order = Arc::new(self.order.epoch(epoch));
                *recent = Some((epoch, order.clone()));
                order
            }
        }
    }

    /// The places whose images make this rank's part of a step.
    fn slots(&self, step: u64) -> Vec<Slot> {
        let (n, (rank, ranks)) = (self.order.len() as u64, self.part);
        let at = |rank: usize| step * self.batch as u64 + (self.batch * rank / ranks) as u64;
        let slot = |position: u64| {
            let epoch = position / n;
            Slot { epoch, order: self.epoch(epoch), place: (position % n) as usize }
        };
        (at(rank)..at(rank + 1)).map(slot).collect()
    }

    /// The batch of a step, whatever was drawn before and on any number of threads. Each image is read and decoded once
    /// for all its views.
    ///
    /// # Errors
    /// When an image is damaged and that ends the run, or no image is good.
    pub fn batch(&self, step: u64) -> Result<Batch> {
        let (shape, mut made) = (self.shape(), None);
        let images = filled(shape.iter().product(), |images| made = Some(self.make(step, images)));
        let Made { labels, samples, distortions } = made.context("no memory to make a batch in")??;
        Ok(Batch { images, labels, samples, shape, distortions })
    }

    /// Makes the batch of a step as [`Self::batch`] does, of the shape [`Self::shape`], in the memory that it is sent from.
    ///
    /// # Errors
    /// As there; then not every number is written.
    ///
    /// # Panics
    /// When there is not room for as many numbers.
    pub fn fill(&self, step: u64, pixels: Pixels<'_>) -> Result<Made> {
        match pixels {
            Pixels::Bytes(to) => self.make(step, to),
            Pixels::F32(to) => self.make(step, to),
            Pixels::Bf16(to) => self.make(step, to),
        }
    }

    fn make<T: Pixel>(&self, step: u64, images: &mut [T]) -> Result<Made> {
        let (slots, [_, s, _, c]) = (self.slots(step), self.shape());
        assert_eq!(images.len(), self.views * slots.len() * s * s * c, "room for a batch");
        let images = of_each_image(images, slots.len(), s * s * c).into_par_iter().zip(&slots);
        let made = images.map(|(mut views, slot)| self.views_of(slot, &mut views)).collect::<Result<Vec<_>>>()?;
        let (samples, left): (Vec<u32>, Vec<Vec<Distortion>>) = made.into_iter().unzip();
        let mut left: Vec<_> = left.into_iter().map(Vec::into_iter).collect();
        // All first views, then all second views, as the images are.
        let distortions = (0..self.views).flat_map(|_| left.iter_mut().filter_map(Iterator::next).collect::<Vec<_>>());
        let distortions = distortions.collect();
        let labels = samples.iter().map(|s| self.pictures.label(*s as usize)).collect();
        Ok(Made { labels, samples, distortions })
    }

    /// Makes the views of a place; returns the sample that they are of, and what is left to do to them.
    fn views_of<T: Pixel>(&self, slot: &Slot, views: &mut [&mut [T]]) -> Result<(u32, Vec<Distortion>)> {
        let n = slot.order.len();
        for sample in (slot.place..slot.place + n).map(|place| slot.order[place % n]) {
            let key = self.pictures.key(sample as usize);
            let made = self.pictures.with(sample as usize, |image| {
                let mut left = Vec::new();
                for (view, out) in views.iter_mut().enumerate() {
                    let rng = Rng::stream(self.seed, self.purpose, &[slot.epoch, key, view as u64]);
                    match self.on_gpu {
                        true => left.push(self.maker.view_for_gpu(image, &rng, out)),
                        false => self.maker.view(image, &rng, out),
                    }
                }
                left
            })?;
            if let Some(left) = made {
                return Ok((sample, left));
            }
        }
        let first = self.pictures.reasons().into_iter().next().unwrap_or_default();
        bail!("none of the {n} images can be decoded; the log names them all. The first is {}: {}", first.0, first.1)
    }
}

/// Cuts `[views, count, numbers]` into the views of each image.
fn of_each_image<T>(images: &mut [T], count: usize, numbers: usize) -> Vec<Vec<&mut [T]>> {
    let mut all: Vec<Vec<&mut [T]>> = (0..count).map(|_| Vec::new()).collect();
    for view in images.chunks_mut(count * numbers) {
        all.iter_mut().zip(view.chunks_mut(numbers)).for_each(|(own, out)| own.push(out));
    }
    all
}

/// Evaluation views of `samples` in order, at most `batch` at a time. A damaged image is left out where such images are
/// to be skipped, so a batch may hold fewer; an empty one is left out too.
pub fn eval_batches<'a>(
    pictures: &'a Pictures,
    samples: &'a [u32],
    maker: &'a ViewMaker,
    batch: usize,
) -> impl Iterator<Item = Result<Batch>> + 'a {
    let make = move |samples: &[u32]| eval_batch(pictures, samples, maker);
    samples.chunks(batch).map(make).filter(|batch| !matches!(batch, Ok(batch) if batch.samples.is_empty()))
}

fn eval_batch(pictures: &Pictures, samples: &[u32], maker: &ViewMaker) -> Result<Batch> {
    let (s, c) = (maker.size(), pictures.channels());
    let mut images = vec![0.0; samples.len() * s * s * c];
    let made = images
        .par_chunks_mut(s * s * c)
        .zip(samples)
        .map(|(out, sample)| {
            let rng = Rng::stream(0, Purpose::Test, &[u64::from(*sample)]);
            pictures.with(*sample as usize, |image| maker.view(image, &rng, out))
        })
        .collect::<Result<Vec<Option<()>>>>()?;
    let mut good = Vec::with_capacity(samples.len());
    for (i, sample) in samples.iter().enumerate().filter(|(i, _)| made[*i].is_some()) {
        images.copy_within(i * s * s * c..(i + 1) * s * s * c, good.len() * s * s * c);
        good.push(*sample);
    }
    images.truncate(good.len() * s * s * c);
    let labels = good.iter().map(|s| pictures.label(*s as usize)).collect();
    Ok(Batch { images, labels, shape: [good.len(), s, s, c], samples: good, distortions: Vec::new() })
}

#[cfg(test)]
mod tests;
