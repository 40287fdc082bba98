//! The loader: batches of views as a pure function of the step.

use crate::dataset::Images;
use crate::view::ViewMaker;
use rayon::prelude::*;
use simclr_core::rng::{Purpose, Rng};
use std::sync::{Arc, Mutex, PoisonError};

/// Views of some images.
#[derive(Clone, Debug)]
pub struct Batch {
    /// `[views * B, S, S, C]`: all first views, then all second views.
    pub images: Vec<f32>,
    /// `[B]`.
    pub labels: Vec<u32>,
    /// Indices of the images in their set, `[B]`.
    pub samples: Vec<u32>,
    /// `[views * B, S, S, C]` as numbers.
    pub shape: [usize; 4],
}

/// Draws batches without end: epoch after epoch, each a fresh permutation of the samples. A batch may straddle two
/// epochs and may be larger than one.
pub struct Loader {
    images: Arc<Images>,
    samples: Vec<u32>,
    maker: ViewMaker,
    views: usize,
    batch: usize,
    seed: u64,
    purpose: Purpose,
    // The permutation of the epoch at hand: a step needs one or two, and the next step mostly the same.
    order: Mutex<Option<(u64, Arc<Vec<u32>>)>>,
}

impl Loader {
    /// `views` views of each of `batch` images a step, drawn from `samples`, which must not be empty.
    pub fn new(
        images: Arc<Images>,
        samples: Vec<u32>,
        maker: ViewMaker,
        (views, batch): (usize, usize),
        (seed, purpose): (u64, Purpose),
    ) -> Self {
        assert!(!samples.is_empty(), "a loader needs at least one sample");
        Self { images, samples, maker, views, batch, seed, purpose, order: Mutex::new(None) }
    }

    fn permutation(&self, epoch: u64) -> Arc<Vec<u32>> {
        let mut slot = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        match &*slot {
            Some((e, order)) if *e == epoch => order.clone(),
            _ => {
                let mut order = self.samples.clone();
                Rng::stream(self.seed, Purpose::Shuffle, &[self.purpose as u64, epoch]).shuffle(&mut order);
                let order = Arc::new(order);
                *slot = Some((epoch, order.clone()));
                order
            }
        }
    }

    /// The batch of a step, whatever was drawn before and on any number of threads.
    pub fn batch(&self, step: u64) -> Batch {
        let n = self.samples.len() as u64;
        let first = step * self.batch as u64;
        let mut chosen = Vec::with_capacity(self.batch);
        while chosen.len() < self.batch {
            let position = first + chosen.len() as u64;
            let (epoch, start) = (position / n, (position % n) as usize);
            let order = self.permutation(epoch);
            let end = (start + self.batch - chosen.len()).min(order.len());
            chosen.extend(order[start..end].iter().map(|s| (epoch, *s)));
        }
        let (s, c) = (self.maker.size(), self.images.channels);
        let mut images = vec![0.0; self.views * self.batch * s * s * c];
        images.par_chunks_mut(s * s * c).enumerate().for_each(|(i, out)| {
            let (view, (epoch, sample)) = (i / self.batch, chosen[i % self.batch]);
            let mut rng = Rng::stream(self.seed, self.purpose, &[epoch, u64::from(sample), view as u64]);
            self.maker.view(self.images.get(sample as usize), &mut rng, out);
        });
        let samples: Vec<u32> = chosen.iter().map(|(_, s)| *s).collect();
        let labels = samples.iter().map(|s| self.images.labels[*s as usize]).collect();
        Batch { images, labels, samples, shape: [self.views * self.batch, s, s, c] }
    }
}

/// Evaluation views of `samples` in order, at most `batch` at a time.
pub fn eval_batches<'a>(
    images: &'a Images,
    samples: &'a [u32],
    maker: &'a ViewMaker,
    batch: usize,
) -> impl Iterator<Item = Batch> + 'a {
    let (s, c) = (maker.size(), images.channels);
    samples.chunks(batch).map(move |samples| {
        let mut views = vec![0.0; samples.len() * s * s * c];
        views.par_chunks_mut(s * s * c).zip(samples).for_each(|(out, sample)| {
            let mut rng = Rng::stream(0, Purpose::Test, &[u64::from(*sample)]);
            maker.view(images.get(*sample as usize), &mut rng, out);
        });
        let labels = samples.iter().map(|s| images.labels[*s as usize]).collect();
        Batch { images: views, labels, samples: samples.to_vec(), shape: [samples.len(), s, s, c] }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use simclr_core::config::AugmentConfig;

    fn loader(n: usize, batch: usize) -> Loader {
        let images = crate::sources::textures::split(1, 200);
        let maker = ViewMaker::contrastive(&AugmentConfig::default(), 32);
        Loader::new(Arc::new(images), (0..n as u32).collect(), maker, (2, batch), (5, Purpose::Contrastive))
    }

    #[test]
    fn batches_are_pure_functions_of_the_step() {
        let a = loader(50, 16);
        let later = a.batch(7);
        a.batch(0);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let again = pool.install(|| loader(50, 16).batch(7));
        assert_eq!(later.images, again.images);
        assert_ne!(later.images[..32 * 32 * 3], later.images[16 * 32 * 32 * 3..][..32 * 32 * 3], "two views differ");
    }

    #[test]
    fn an_epoch_shows_every_sample_once() {
        let l = loader(48, 16);
        let mut seen: Vec<u32> = (0..3).flat_map(|s| l.batch(s).samples).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..48).collect::<Vec<_>>());
        assert_ne!(l.batch(0).samples, l.batch(3).samples, "the next epoch has another order");
        // A batch larger than the set.
        let mut twice = loader(5, 12).batch(0).samples;
        twice.sort_unstable();
        assert_eq!(twice.len(), 12);
        assert!((0..5).all(|i| twice.iter().filter(|s| **s == i).count() >= 2));
    }
}
