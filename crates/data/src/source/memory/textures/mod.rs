//! The `textures` dataset: 32x32 colour pictures of ten pattern families, rendered by code.
//!
//! The class is the family. Colours, scale, stretch, rotation, phase, lighting and noise are drawn alike for all classes.

mod patterns;

use super::in_memory::InMemory;
use crate::image::Images;
use crate::source::dataset::{Count, DatasetInfo};
use patterns::{Lattice, NAMES, share};
use rayon::prelude::*;
use simclr_core::rng::{Purpose, Rng};
use simclr_ops::simd::vectorized;

/// The pictures of this project.
pub const DATASET: DatasetInfo = DatasetInfo {
    name: "textures",
    title: "textures (rendered by this project)",
    about: "ten families of patterns, rendered by code: nothing to fetch",
    citation: None,
    train: Count::Exactly(TRAIN),
    test: Count::Exactly(TEST),
    classes: Some(NAMES.len()),
    hub: None,
    of_files: false,
    open: |config| load().checked(config),
};

/// Side of a picture in pixels.
pub const SIDE: usize = 32;
const PIXELS: usize = SIDE * SIDE;
const BYTES: usize = 3 * PIXELS;
const TRAIN: usize = 10_000;
const TEST: usize = 2_000;
/// The dataset is one and the same for everybody: not a setting.
const SEED: u64 = 2020;

/// Renders the dataset, on all threads.
fn load() -> InMemory {
    InMemory {
        name: "textures".into(),
        classes: NAMES.map(String::from).into(),
        train: split(0, TRAIN),
        test: split(1, TEST),
    }
}

/// `count` pictures, class `i % 10`; splits share no random numbers.
pub fn split(number: u64, count: usize) -> Images {
    let mut data = vec![0; count * BYTES];
    data.par_chunks_exact_mut(BYTES).enumerate().for_each(|(i, picture)| {
        let mut rng = Rng::stream(SEED, Purpose::Render, &[number, i as u64]);
        render(i % NAMES.len(), &mut rng, picture);
    });
    let labels = (0..count).map(|i| (i % NAMES.len()) as u32).collect();
    Images { height: SIDE, width: SIDE, channels: 3, data, labels }
}

/// Two colours on opposite sides of a near grey: their brightness differs enough to outlast noise and the loss of colour,
/// and the mean colour, which a network sees before any pattern, tells pictures apart only a little.
fn colours(rng: &mut Rng) -> [[f32; 3]; 2] {
    let middle = [(); 3].map(|()| 0.5 + rng.uniform(-0.1, 0.1));
    loop {
        let away = [(); 3].map(|()| rng.uniform(-0.4, 0.4));
        let brightness: f32 = 0.3 * away[0] + 0.59 * away[1] + 0.11 * away[2];
        if brightness.abs() > 0.2 {
            return [-1.0, 1.0].map(|side| std::array::from_fn(|c| middle[c] + side * away[c]));
        }
    }
}

/// One picture, `[SIDE, SIDE, 3]`.
fn render(class: usize, rng: &mut Rng, picture: &mut [u8]) {
    let [first, second] = colours(rng);
    let (sin, cos) = libm::sincosf(rng.uniform(0.0, std::f32::consts::TAU));
    let period = rng.uniform(6.0, 9.0);
    let stretch = rng.uniform(0.85, 1.18);
    // Far enough from the origin that coordinates stay positive, as the lattice wants them.
    let phase = [rng.uniform(16.0, 32.0), rng.uniform(16.0, 32.0)];
    let light = [rng.uniform(-0.3, 0.3), rng.uniform(-0.3, 0.3)];
    let grain = rng.uniform(0.02, 0.06);
    let lattice = Lattice(std::array::from_fn(|_| [rng.unit(), rng.unit()]));
    let soft = 1.2 / period;
    let (du, dv) = (stretch / period, 1.0 / (stretch * period));

    let mut shares = [0.0f32; PIXELS];
    let mut lights = [0.0f32; PIXELS];
    vectorized(
        #[inline(always)]
        || {
            // A constant class inlines its family into a loop of its own.
            macro_rules! fill {
                ($class:expr) => {
                    for row in 0..SIDE {
                        for column in 0..SIDE {
                            let (x, y) = (column as f32 - 15.5, row as f32 - 15.5);
                            let u = (cos * x + sin * y) * du + phase[0];
                            let v = (cos * y - sin * x) * dv + phase[1];
                            shares[row * SIDE + column] = share($class, u, v, soft, &lattice);
                            lights[row * SIDE + column] = 1.0 + (light[0] * x + light[1] * y) / 16.0;
                        }
                    }
                };
            }
            match class {
                0 => fill!(0),
                1 => fill!(1),
                2 => fill!(2),
                3 => fill!(3),
                4 => fill!(4),
                5 => fill!(5),
                6 => fill!(6),
                7 => fill!(7),
                8 => fill!(8),
                _ => fill!(9),
            }
        },
    );
    let mut noise = Noise::new(rng, grain);
    for ((pixel, share), light) in picture.chunks_exact_mut(3).zip(shares).zip(lights) {
        for c in 0..3 {
            let colour = first[c] + share * (second[c] - first[c]);
            pixel[c] = (255.0 * (colour * light + noise.next()) + 0.5) as u8;
        }
    }
}

/// Nearly normal noise at two numbers for each draw of the generator: sums of bytes.
struct Noise<'a> {
    rng: &'a mut Rng,
    scale: f32,
    bits: u64,
}

impl<'a> Noise<'a> {
    fn new(rng: &'a mut Rng, deviation: f32) -> Self {
        // Four uniform bytes have variance 4 (256^2 - 1) / 12.
        Self { rng, scale: deviation / 147.8, bits: 0 }
    }

    fn next(&mut self) -> f32 {
        // The lowest bit of a fresh draw is set to tell it from an empty store.
        if self.bits == 0 {
            self.bits = self.rng.next_u64() | 1 << 32;
        }
        let sum: u32 = (self.bits as u32).to_le_bytes().iter().map(|&b| u32::from(b)).sum();
        self.bits >>= 32;
        (sum as f32 - 510.0) * self.scale
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_are_reproducible_balanced_and_disjoint() {
        let (a, b) = (split(0, 40), split(1, 40));
        assert_eq!(a, split(0, 40));
        assert_eq!(a.get(7).data, split(0, 8).get(7).data, "a picture depends on its index alone");
        assert_ne!(a.get(7).data, b.get(7).data);
        assert_eq!(a.labels[..12], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]);
    }

    #[test]
    fn mean_colour_says_nothing_about_the_class() {
        let images = split(0, 2000);
        for class in 0..10 {
            let mut mean = 0.0;
            for i in (class..2000).step_by(10) {
                mean += images.get(i).data.iter().map(|&p| f64::from(p)).sum::<f64>() / (BYTES * 200) as f64;
            }
            // A picture's mean colour lies within a tenth of grey but for its lighting: the mean of 200 has a deviation of 1.
            assert!((mean - 127.5).abs() < 10.0, "class {class}: {mean}");
        }
    }

    #[test]
    fn noise_has_its_deviation() {
        let mut rng = Rng::stream(0, Purpose::Test, &[]);
        let mut noise = Noise::new(&mut rng, 0.5);
        let (mut mean, mut square) = (0.0, 0.0);
        for _ in 0..40_000 {
            let x = f64::from(noise.next());
            mean += x / 40_000.0;
            square += x * x / 40_000.0;
        }
        assert!(mean.abs() < 0.01 && (square - 0.25).abs() < 0.01, "{mean} {square}");
    }
}
