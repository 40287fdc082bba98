//! Recipes of views: contrastive, labelled and evaluation.

use super::blur::{self, Blur};
use super::resize::Resizer;
use super::{color, crop};
use crate::dataset::ImageRef;
use simclr_core::config::AugmentConfig;
use simclr_core::rng::Rng;
use std::cell::RefCell;

/// Probability of colour jitter in labelled views that ask for some.
const LABELED_COLOR_PROBABILITY: f32 = 0.8;
/// Evaluation views of at most this side are not cropped: small pictures have no margin to lose.
const UNCROPPED: usize = 32;
/// Range of the blur's deviation in pixels.
const SIGMA: [f32; 2] = [0.1, 2.0];

/// Makes views of one size from source images of any.
#[derive(Clone, Debug)]
pub struct ViewMaker {
    size: usize,
    recipe: Recipe,
}

#[derive(Clone, Debug)]
enum Recipe {
    /// Central crop of this share of the shorter side.
    Central(f32),
    Random(AugmentConfig),
}

#[derive(Default)]
struct Scratch {
    resizer: Resizer,
    blur: Blur,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl ViewMaker {
    /// Random crop, mirror, colour jitter, grayscale and blur, as configured: views of contrastive learning.
    pub fn contrastive(config: &AugmentConfig, image_size: usize) -> Self {
        Self { size: image_size, recipe: Recipe::Random(config.clone()) }
    }

    /// Random crop and mirror, and colour jitter where `color_strength` is above 0: views of learning from labels.
    pub fn labeled(min_area: f32, color_strength: f32, image_size: usize) -> Self {
        let config = AugmentConfig {
            min_area,
            color_strength,
            color_probability: LABELED_COLOR_PROBABILITY,
            grayscale_probability: 0.0,
            blur_probability: 0.0,
            flip: true,
        };
        Self { size: image_size, recipe: Recipe::Random(config) }
    }

    /// The central square of `crop` of the shorter side (all of it for views of at most 32 pixels): nothing random.
    pub fn eval(crop: f32, image_size: usize) -> Self {
        let crop = if image_size <= UNCROPPED { 1.0 } else { crop };
        Self { size: image_size, recipe: Recipe::Central(crop) }
    }

    /// The side of a view in pixels.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Writes one view of `image` to `out`, `[S, S, C]` in 0..=1. The same `rng` gives the same view.
    ///
    /// # Panics
    /// When `out` has another length.
    pub fn view(&self, image: ImageRef<'_>, rng: &mut Rng, out: &mut [f32]) {
        assert_eq!(out.len(), self.size * self.size * image.channels, "length of a view");
        SCRATCH.with_borrow_mut(|scratch| match &self.recipe {
            Recipe::Central(share) => {
                let rect = crop::central(image.height, image.width, *share);
                scratch.resizer.resize(image, rect, false, [self.size; 2], out);
                color::clip(out);
            }
            Recipe::Random(config) => self.random(config, image, rng, scratch, out),
        });
    }

    fn random(&self, config: &AugmentConfig, image: ImageRef<'_>, rng: &mut Rng, scratch: &mut Scratch, out: &mut [f32]) {
        let rect = crop::random(image.height, image.width, config.min_area, rng);
        let mirror = config.flip && rng.chance(0.5);
        scratch.resizer.resize(image, rect, mirror, [self.size; 2], out);
        // As in the reference, the jitter's first operation sees what the resize overshot.
        if config.color_strength > 0.0 && rng.chance(config.color_probability) {
            color::jitter(out, image.channels, config.color_strength, rng);
        }
        if rng.chance(config.grayscale_probability) && image.channels == 3 {
            color::grayscale(out);
        }
        color::clip(out);
        if rng.chance(config.blur_probability) {
            let sigma = rng.uniform(SIGMA[0], SIGMA[1]);
            scratch.blur.apply(out, self.size, image.channels, blur::radius(self.size), sigma);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use simclr_core::rng::Purpose;

    fn view(maker: &ViewMaker, channels: usize, side: usize, draw: u64) -> Vec<f32> {
        let data: Vec<u8> = (0..side * side * channels).map(|i| (i * i * 31 % 251) as u8).collect();
        let mut out = vec![f32::NAN; maker.size() * maker.size() * channels];
        let mut rng = Rng::stream(0, Purpose::Test, &[draw]);
        maker.view(ImageRef { height: side, width: side, channels, data: &data }, &mut rng, &mut out);
        out
    }

    #[test]
    fn views_are_in_range_reproducible_and_random() {
        for channels in [1, 3] {
            for maker in [ViewMaker::contrastive(&AugmentConfig::default(), 40), ViewMaker::labeled(0.2, 0.5, 24)] {
                let views: Vec<_> = (0..64).map(|i| view(&maker, channels, 32, i)).collect();
                assert!(views.iter().flatten().all(|x| (0.0..=1.000_001).contains(x)));
                assert_eq!(views[3], view(&maker, channels, 32, 3));
                assert!(views[1..].iter().all(|v| v != &views[0]));
            }
        }
    }

    #[test]
    fn evaluation_crops_large_views_only_and_draws_nothing() {
        let whole = view(&ViewMaker::eval(0.875, 32), 3, 64, 0);
        assert_eq!(whole, view(&ViewMaker::eval(1.0, 32), 3, 64, 1));
        let cropped = view(&ViewMaker::eval(0.875, 56), 3, 64, 0);
        // 0.875 of 64 is 56: the crop itself, from (4, 4).
        assert!((cropped[0] - (780 * 780 * 31 % 251) as f32 / 255.0).abs() < 1e-6);
    }

    #[test]
    fn probabilities_are_those_of_the_configuration() {
        let config = AugmentConfig {
            color_strength: 0.0,
            grayscale_probability: 0.3,
            blur_probability: 0.0,
            ..AugmentConfig::default()
        };
        let maker = ViewMaker::contrastive(&config, 8);
        let grey = |v: &[f32]| v.chunks(3).all(|p| p[0] == p[1] && p[1] == p[2]);
        let count = (0..2000).filter(|&i| grey(&view(&maker, 3, 16, i))).count();
        assert!((540..660).contains(&count), "{count} of 2000 are grey");
    }
}
