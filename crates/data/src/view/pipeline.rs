//! Views: what becomes of an image before a network sees it.

use super::resize::{self, Scratch};
use super::{blur, color, crop};
use crate::image::ImageRef;
use simclr_core::config::{AugmentConfig, EvalConfig, Resize};
use simclr_core::rng::Rng;
use simclr_ops::Distortion;
use simclr_ops::cpu::vectorized;
use std::cell::RefCell;

/// Images of at most this side are not cropped for evaluation.
const NO_CROP_SIDE: usize = 32;
/// Share of labeled views that are jittered, where a strength is set.
const JITTER: f32 = 0.8;

/// Pixels that change their layout at a time.
const GROUP: usize = 16;

#[derive(Clone, Debug)]
enum Recipe {
    Random(AugmentConfig),
    Central(f32, Resize),
}

/// Makes views of side `size`: f32 `[S, S, C]` in 0..1.
#[derive(Clone, Debug)]
pub struct ViewMaker {
    recipe: Recipe,
    size: usize,
}

#[derive(Default)]
struct Buffers {
    resize: Scratch,
    planes: Vec<f32>,
    blur: Vec<f32>,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::default();
}

impl ViewMaker {
    /// The random views of contrastive learning: crop, flip, colour jitter, grayscale, blur.
    pub fn contrastive(config: &AugmentConfig, size: usize) -> Self {
        Self { recipe: Recipe::Random(config.clone()), size }
    }

    /// Random crop and flip, as in fine-tuning and distillation; jitter too where `color_strength` is above 0.
    pub fn labeled(min_area: f32, color_strength: f32, flip: bool, size: usize) -> Self {
        let config = AugmentConfig {
            min_area,
            color_strength,
            color_probability: if color_strength > 0.0 { JITTER } else { 0.0 },
            grayscale_probability: 0.0,
            blur_probability: 0.0,
            flip,
            on_device: false,
        };
        Self { recipe: Recipe::Random(config), size }
    }

    /// The evaluation view: a central crop of a share of the shorter side (none up to 32 pixels), bicubic, clipped.
    pub fn eval(config: &EvalConfig, size: usize) -> Self {
        Self { recipe: Recipe::Central(config.crop, config.resize), size }
    }

    /// Side of the views.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Makes one view. `out` is `[S, S, C]`; `rng` is not used by evaluation views.
    pub fn view(&self, image: ImageRef<'_>, rng: &mut Rng, out: &mut [f32]) {
        BUFFERS.with_borrow_mut(|buffers| {
            let distortion = self.start(image, rng, buffers);
            self.distort(&distortion, image.channels, buffers);
            interleave(&buffers.planes, image.channels, out, |v| v.clamp(0.0, 1.0));
        });
    }

    /// Makes one view but for its colours: not clipped, and with what [`ViewMaker::view`] would do to it then.
    pub fn undistorted(&self, image: ImageRef<'_>, rng: &mut Rng, out: &mut [f32]) -> Distortion {
        BUFFERS.with_borrow_mut(|buffers| {
            let distortion = self.start(image, rng, buffers);
            interleave(&buffers.planes, image.channels, out, |v| v);
            distortion
        })
    }

    /// Crops, resizes and flips into the buffers' planes, and draws the rest.
    fn start(&self, image: ImageRef<'_>, rng: &mut Rng, buffers: &mut Buffers) -> Distortion {
        let s = self.size;
        buffers.planes.resize(s * s * image.channels, 0.0);
        let Buffers { resize, planes, .. } = buffers;
        match &self.recipe {
            Recipe::Central(share, kind) => {
                let share = if s <= NO_CROP_SIDE { 1.0 } else { *share };
                let rect = crop::central(image.height, image.width, share);
                resize::bicubic(image, rect, (s, s), (*kind, false), resize, planes);
                Distortion::default()
            }
            Recipe::Random(config) => {
                let rect = crop::random(image.height, image.width, config.min_area, rng);
                let flip = rng.chance(0.5) && config.flip;
                resize::bicubic(image, rect, (s, s), (Resize::Tf2, flip), resize, planes);
                self.draw(config, rng)
            }
        }
    }

    fn draw(&self, config: &AugmentConfig, rng: &mut Rng) -> Distortion {
        let jitter = rng.chance(config.color_probability).then(|| color::draw(config.color_strength, rng));
        let grayscale = rng.chance(config.grayscale_probability);
        let blurred = rng.chance(config.blur_probability);
        let radius = blur::radius(self.size);
        let blur = if blurred { blur::weights(radius, rng.uniform(0.1, 2.0)) } else { Vec::new() };
        Distortion { jitter, grayscale, blur }
    }

    fn distort(&self, distortion: &Distortion, channels: usize, buffers: &mut Buffers) {
        let planes = &mut buffers.planes;
        if let Some(ops) = &distortion.jitter {
            color::jitter(planes, channels, ops);
        }
        if distortion.grayscale && channels == 3 {
            color::grayscale(planes);
        }
        if !distortion.blur.is_empty() {
            color::clip(planes);
            blur::gaussian(planes, (self.size, self.size), &distortion.blur, &mut buffers.blur);
        }
    }
}

/// Planes `[C, pixels]` to `[pixels, C]`, each number as `end` leaves it.
fn interleave(planes: &[f32], c: usize, out: &mut [f32], end: impl Fn(f32) -> f32 + Copy) {
    let pixels = planes.len() / c;
    vectorized(
        #[inline(always)]
        || {
            if c == 3 {
                let (r, rest) = planes.split_at(pixels);
                let (g, b) = rest.split_at(pixels);
                interleave_colours(r, g, b, out, end);
            } else {
                for (i, out) in out.iter_mut().enumerate() {
                    *out = end(planes[i % c * pixels + i / c]);
                }
            }
        },
    )
}

/// A whole group is a fixed shuffle of registers.
#[inline(always)]
fn interleave_colours(r: &[f32], g: &[f32], b: &[f32], out: &mut [f32], end: impl Fn(f32) -> f32 + Copy) {
    let (groups, rest) = out.as_chunks_mut::<{ 3 * GROUP }>();
    let (r, r_rest) = r.as_chunks::<GROUP>();
    let (g, g_rest) = g.as_chunks::<GROUP>();
    let (b, b_rest) = b.as_chunks::<GROUP>();
    for (((r, g), b), out) in r.iter().zip(g).zip(b).zip(groups) {
        let ended = [r.map(end), g.map(end), b.map(end)];
        *out = std::array::from_fn(|i| ended[i % 3][i / 3]);
    }
    for (((r, g), b), out) in r_rest.iter().zip(g_rest).zip(b_rest).zip(rest.as_chunks_mut::<3>().0) {
        *out = [end(*r), end(*g), end(*b)];
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
            for maker in [ViewMaker::contrastive(&AugmentConfig::default(), 40), ViewMaker::labeled(0.2, 0.5, true, 24)]
            {
                let views: Vec<_> = (0..64).map(|i| view(&maker, channels, 32, i)).collect();
                assert!(views.iter().flatten().all(|x| (0.0..=1.0).contains(x)));
                assert_eq!(views[3], view(&maker, channels, 32, 3));
                assert!(views[1..].iter().all(|v| v != &views[0]));
            }
        }
    }

    #[test]
    fn a_view_is_what_its_distortion_makes_of_it() {
        let config = AugmentConfig { grayscale_probability: 0.5, ..AugmentConfig::default() };
        let maker = ViewMaker::contrastive(&config, 40);
        let data: Vec<u8> = (0..48 * 48 * 3).map(|i| (i * i * 31 % 251) as u8).collect();
        let image = ImageRef { height: 48, width: 48, channels: 3, data: &data };
        let mut overshoots = 0;
        for draw in 0..32 {
            let stream = || Rng::stream(3, Purpose::Test, &[draw]);
            let (mut whole, mut rest) = (vec![0.0; 40 * 40 * 3], vec![0.0; 40 * 40 * 3]);
            maker.view(image, &mut stream(), &mut whole);
            let distortion = maker.undistorted(image, &mut stream(), &mut rest);
            overshoots += usize::from(rest.iter().any(|v| !(0.0..=1.0).contains(v)));
            let planes = (0..3).flat_map(|k| rest.iter().skip(k).step_by(3).copied()).collect();
            let mut buffers = Buffers { planes, ..Buffers::default() };
            maker.distort(&distortion, 3, &mut buffers);
            interleave(&buffers.planes, 3, &mut rest, |v| v.clamp(0.0, 1.0));
            assert!(rest == whole, "draw {draw}");
        }
        assert!(overshoots > 0, "bicubic views are handed on as they are, not clipped");
    }

    #[test]
    fn evaluation_crops_large_views_only_and_draws_nothing() {
        let (config, uncropped) = (EvalConfig::default(), EvalConfig { crop: 1.0, ..EvalConfig::default() });
        let whole = view(&ViewMaker::eval(&config, 32), 3, 64, 0);
        assert_eq!(whole, view(&ViewMaker::eval(&uncropped, 32), 3, 64, 1));
        let cropped = view(&ViewMaker::eval(&config, 56), 3, 64, 0);
        // 0.875 of 64 is 56: the crop itself, from (4, 4).
        let first = (4 * 64 + 4) * 3;
        assert!((cropped[0] - (first * first * 31 % 251) as f32 / 255.0).abs() < 1e-6);
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
        let gray = |v: &[f32]| v.chunks(3).all(|p| p[0] == p[1] && p[1] == p[2]);
        let count = (0..2000).filter(|&i| gray(&view(&maker, 3, 16, i))).count();
        assert!((540..660).contains(&count), "{count} of 2000 are gray");
    }
}
