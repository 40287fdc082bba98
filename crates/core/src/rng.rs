//! Random streams that are a pure function of what they are for.
//!
//! A stream is named by integers such as (seed, stage, epoch, sample, view), so any number of loader threads and a
//! resumed run draw the same numbers. The generator is SplitMix64 over a key mixed from those integers.

/// A stream of random numbers. Clone it to draw the same numbers again.
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
}

/// What a stream is for; part of its name, so that two uses never share numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// Initial weights.
    Init = 1,
    /// The order of samples in an epoch.
    Shuffle = 2,
    /// Views of a sample in contrastive pretraining.
    Contrastive = 3,
    /// Views in fine-tuning, supervised training and the linear probe.
    Labeled = 4,
    /// Views in distillation.
    Distill = 5,
    /// Which samples keep their label.
    LabelSubset = 6,
    /// Pictures of an embedded dataset.
    Render = 7,
    /// Anything in a test or a benchmark.
    Test = 8,
    /// Samples and clusters of a review of an experiment.
    Review = 9,
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The state of a stream whose path is longer by `part`.
fn extended(state: u64, part: u64) -> u64 {
    mix(state.wrapping_add(0x9E37_79B9_7F4A_7C15) ^ mix(part.wrapping_add(0xD1B5_4A32_D192_ED03)))
}

impl Rng {
    /// The stream named by a seed, a purpose and any further integers (epoch, sample, view, ...).
    pub fn stream(seed: u64, purpose: Purpose, path: &[u64]) -> Self {
        let mut state = mix(seed ^ 0x5143_4C52_7632_0001);
        for &part in [purpose as u64].iter().chain(path) {
            state = extended(state, part);
        }
        Self { state }
    }

    /// The stream whose path is this one's and `part`, where this one was not drawn from yet. It shares no numbers with
    /// this one.
    pub fn child(&self, part: u64) -> Self {
        Self { state: extended(self.state, part) }
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.state)
    }

    /// Uniform in `[0, 1)`, with 24 bits so that it is exact in f32.
    pub fn unit(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 * (1.0 / (1u64 << 24) as f32)
    }

    /// Uniform in `[low, high)`.
    pub fn uniform(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// Uniform in `0..n`; `n` must not be 0.
    pub fn below(&mut self, n: usize) -> usize {
        // Multiply-shift: the bias is below n / 2^64.
        ((self.next_u64() as u128 * n as u128) >> 64) as usize
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f32) -> bool {
        self.unit() < p
    }

    /// Standard normal (Box-Muller, one of the pair).
    pub fn normal(&mut self) -> f32 {
        let (u, v) = (1.0 - self.unit() as f64, self.unit() as f64);
        ((-2.0 * libm::log(u)).sqrt() * libm::cos(std::f64::consts::TAU * v)) as f32
    }

    /// Fisher-Yates shuffle.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_pure_and_distinct() {
        let draw = |seed, path: &[u64]| Rng::stream(seed, Purpose::Test, path).next_u64();
        assert_eq!(draw(1, &[2, 3]), draw(1, &[2, 3]));
        assert_eq!(Rng::stream(1, Purpose::Test, &[2]).child(3).next_u64(), draw(1, &[2, 3]));
        let all = [draw(1, &[2, 3]), draw(1, &[3, 2]), draw(2, &[2, 3]), draw(1, &[2]), draw(1, &[2, 3, 0])];
        for (i, a) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|b| a != b), "streams {i} and an earlier one coincide");
        }
    }

    #[test]
    fn moments() {
        let mut r = Rng::stream(0, Purpose::Test, &[]);
        let n = 200_000;
        let (mut mean, mut square, mut uniform) = (0.0f64, 0.0f64, 0.0f64);
        for _ in 0..n {
            let x = r.normal() as f64;
            mean += x / n as f64;
            square += x * x / n as f64;
            uniform += r.unit() as f64 / n as f64;
        }
        assert!(mean.abs() < 0.01 && (square - 1.0).abs() < 0.02 && (uniform - 0.5).abs() < 0.005);
    }
}
