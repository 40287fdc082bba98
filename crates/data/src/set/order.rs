//! In which order an epoch shows its samples: a pure function of (seed, purpose, epoch).

use simclr_core::rng::{Purpose, Rng};
use std::ops::Range;

/// Bits of a place below 1: ties between samples are rarer than one in millions.
const FRACTION: u32 = 24;

/// The samples of a set, and how they are shuffled.
///
/// Without shards each epoch is a random permutation. With shards, so that files are read from front to back: the shards
/// are permuted, and within their sequence each sample is moved by fewer than `buffer` places. Whoever reads along needs
/// the shards of `buffer` samples at a time, as with a buffer that is filled from the shards and drawn from at random.
pub(crate) struct Order {
    samples: Vec<u32>,
    /// Ranges of `samples`.
    shards: Vec<Range<usize>>,
    buffer: usize,
    seed: u64,
    purpose: Purpose,
}

impl Order {
    /// `shards` are runs of sample numbers, in order and without gaps, as a source gives them.
    pub(crate) fn new(
        mut samples: Vec<u32>,
        shards: &[Range<u32>],
        buffer: usize,
        (seed, purpose): (u64, Purpose),
    ) -> Self {
        let shards = match (shards, buffer) {
            ([], _) | (_, 0) => Vec::new(),
            (shards, _) => {
                samples.sort_unstable();
                let at = |edge: u32| samples.partition_point(|s| *s < edge);
                shards.iter().map(|shard| at(shard.start)..at(shard.end)).filter(|range| !range.is_empty()).collect()
            }
        };
        Self { samples, shards, buffer, seed, purpose }
    }

    pub(crate) fn len(&self) -> usize {
        self.samples.len()
    }

    /// The samples of an epoch, each once.
    pub(crate) fn epoch(&self, epoch: u64) -> Vec<u32> {
        let mut rng = Rng::stream(self.seed, Purpose::Shuffle, &[self.purpose as u64, epoch]);
        if self.shards.is_empty() {
            let mut order = self.samples.clone();
            rng.shuffle(&mut order);
            return order;
        }
        let mut shards = self.shards.clone();
        rng.shuffle(&mut shards);
        let sequence = shards.into_iter().flat_map(|range| self.samples[range].iter().copied());
        // Each sample draws a place between its own and the one `buffer` further on; then they line up by it.
        let span = self.buffer << FRACTION;
        let mut placed: Vec<(u64, u32)> = sequence
            .enumerate()
            .map(|(i, sample)| (((i as u64) << FRACTION) + rng.below(span) as u64, sample))
            .collect();
        placed.sort_unstable();
        placed.into_iter().map(|(_, sample)| sample).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(mut order: Vec<u32>) -> Vec<u32> {
        order.sort_unstable();
        order
    }

    fn order(shards: &[Range<u32>], buffer: usize) -> Order {
        Order::new((0..1000).collect(), shards, buffer, (3, Purpose::Contrastive))
    }

    fn tens() -> Vec<Range<u32>> {
        (0..20).map(|i| 50 * i..50 * (i + 1)).collect()
    }

    #[test]
    fn each_epoch_is_another_permutation() {
        for order in [order(&[], 100), order(&tens(), 0), order(&tens(), 100), order(&tens(), 1 << 30)] {
            let (first, second) = (order.epoch(0), order.epoch(1));
            assert_eq!(sorted(first.clone()), (0..1000).collect::<Vec<_>>());
            assert_eq!(first, order.epoch(0));
            assert_ne!(first, second);
        }
        assert_eq!(order(&tens(), 0).epoch(4), order(&[], 100).epoch(4), "no buffer: every sample anywhere");
    }

    #[test]
    fn samples_stay_near_their_shard() {
        for buffer in [1, 7, 120] {
            let order = order(&tens(), buffer).epoch(2);
            // Where the sequence of permuted shards put each sample.
            let still = self::order(&tens(), 1).epoch(2);
            assert!(still.chunks(50).all(|shard| shard.windows(2).all(|w| w[1] == w[0] + 1)), "shards stay whole");
            assert_ne!(still, (0..1000).collect::<Vec<_>>(), "and change places");
            for (place, sample) in order.iter().enumerate() {
                let from = still.iter().position(|s| s == sample).unwrap_or(usize::MAX);
                assert!(from.abs_diff(place) < buffer, "{sample} went from {from} to {place}");
            }
            let moved = order.iter().zip(&still).filter(|(a, b)| a != b).count();
            assert!(buffer == 1 || moved > 700, "{moved} of 1000 moved");
        }
    }

    #[test]
    fn subsets_keep_to_the_shards_that_they_have() {
        let samples: Vec<u32> = (0..1000).filter(|s| s % 7 == 0 && !(100..400).contains(s)).collect();
        let order = Order::new(samples.iter().rev().copied().collect(), &tens(), 1, (3, Purpose::Labeled));
        assert_eq!((order.len(), order.shards.len()), (samples.len(), 14));
        assert_eq!(sorted(order.epoch(5)), samples);
    }
}
