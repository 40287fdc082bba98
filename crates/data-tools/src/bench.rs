//! How many source images a second become two contrastive views.

use simclr_data::decode::{Options, decode_into};

use anyhow::{Context, Result, ensure};
use image::codecs::jpeg::JpegEncoder;
use rayon::prelude::*;
use simclr_core::config::AugmentConfig;
use simclr_core::rng::{Purpose, Rng};
use simclr_data::{ImageRef, ViewMaker};
use std::time::Instant;

/// Views of at most this side are of raw 32x32 pictures, as CIFAR's are; larger ones of JPEG files.
const SMALL: usize = 32;
/// Height and width of the JPEG files: those of many photographs of ImageNet.
const LARGE: (usize, usize) = (375, 500);
/// Quality of the JPEG files.
const QUALITY: u8 = 90;
/// A few different sources: one would stay in the cache.
const SOURCES: u64 = 32;

/// A picture as a file or a dataset holds it.
enum Sample {
    Raw(Vec<u8>),
    Jpeg(Vec<u8>),
}

impl Sample {
    fn new(image_size: usize, seed: u64) -> Result<Self> {
        if image_size <= SMALL {
            return Ok(Self::Raw(picture((SMALL, SMALL), seed)));
        }
        let ((height, width), mut file) = (LARGE, Vec::new());
        JpegEncoder::new_with_quality(&mut file, QUALITY).encode(
            &picture(LARGE, seed),
            width as u32,
            height as u32,
            image::ExtendedColorType::Rgb8,
        )?;
        Ok(Self::Jpeg(file))
    }

    /// The pixels, which `buffer` holds where a file has to be decoded.
    fn pixels<'a>(&'a self, buffer: &'a mut Vec<u8>) -> Result<ImageRef<'a>> {
        let (data, (height, width)) = match self {
            Self::Raw(data) => (data, (SMALL, SMALL)),
            Self::Jpeg(file) => {
                let size = decode_into(file, 3, &Options::default(), buffer)?;
                (&*buffer, size)
            }
        };
        Ok(ImageRef { height, width, channels: 3, data })
    }
}

/// Smooth waves of every colour with a little noise on top, so that a JPEG file of it is as long as a photograph's.
fn picture((height, width): (usize, usize), seed: u64) -> Vec<u8> {
    let mut rng = Rng::stream(seed, Purpose::Test, &[]);
    let waves: [(f32, f32, f32); 3] =
        std::array::from_fn(|k| (rng.uniform(5.0, 40.0), rng.uniform(5.0, 40.0), k as f32));
    let mut data = Vec::with_capacity(height * width * 3);
    for y in 0..height {
        for x in 0..width {
            data.extend(waves.map(|(across, down, phase)| {
                let wave = libm::sinf(x as f32 / across + phase) * libm::cosf(y as f32 / down + phase);
                (127.0 + 90.0 * wave + 6.0 * rng.normal()) as u8
            }));
        }
    }
    data
}

/// Makes both views of `count` RGB images on `threads` threads; source images a second. Views larger than 32 pixels are
/// made from JPEG files in memory, each decoded once for its two views.
///
/// Blur is in for large views and out for small ones, as in the recipes of ImageNet and CIFAR.
///
/// # Errors
/// When an argument is 0 or threads cannot be started.
pub fn bench_augment(image_size: usize, count: usize, threads: usize) -> Result<f64> {
    ensure!(image_size > 0 && count > 0 && threads > 0, "image size, count and threads must be at least 1");
    let mut config = AugmentConfig::default();
    if image_size <= SMALL {
        (config.blur_probability, config.color_strength) = (0.0, 0.5);
    }
    let maker = ViewMaker::contrastive(&config, image_size)?;
    let sources =
        (0..SOURCES.min(count as u64)).map(|seed| Sample::new(image_size, seed)).collect::<Result<Vec<_>>>()?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().context("starting threads")?;
    let run = |count: usize| {
        (0..count).into_par_iter().try_for_each_init(
            || (vec![0.0; image_size * image_size * 3], Vec::new()),
            |(out, buffer), i| -> Result<()> {
                let image = sources[i % sources.len()].pixels(buffer)?;
                for view in 0..2 {
                    let rng = Rng::stream(0, Purpose::Contrastive, &[0, i as u64, view]);
                    maker.view(image, &rng, out);
                    std::hint::black_box(&out);
                }
                Ok(())
            },
        )
    };
    pool.install(|| {
        run(count.div_ceil(10))?;
        let start = Instant::now();
        run(count)?;
        Ok(count as f64 / start.elapsed().as_secs_f64())
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn runs_at_both_kinds_of_size() {
        assert!(bench_augment(32, 20, 1).is_ok_and(|rate| rate > 0.0));
        assert!(bench_augment(64, 4, 2).is_ok_and(|rate| rate > 0.0));
        assert!(bench_augment(32, 0, 1).is_err());
    }

    #[test]
    fn files_hold_the_pictures() {
        let (mut buffer, want) = (Vec::new(), picture(LARGE, 3));
        let source = Sample::new(224, 3).unwrap();
        let Sample::Jpeg(file) = &source else { panic!("raw pixels at 224") };
        assert!((50_000..250_000).contains(&file.len()), "{} bytes", file.len());
        let image = source.pixels(&mut buffer).unwrap();
        assert_eq!((image.height, image.width, image.data.len()), (375, 500, want.len()));
        let off: u64 = image.data.iter().zip(&want).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        let mean = off as f64 / want.len() as f64;
        assert!(mean < 6.0, "off by {mean}");
    }
}
