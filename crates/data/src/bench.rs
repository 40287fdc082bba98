//! How many source images a second become two contrastive views.

use crate::dataset::ImageRef;
use crate::view::ViewMaker;
use anyhow::{Context, Result, ensure};
use rayon::prelude::*;
use simclr_core::config::AugmentConfig;
use simclr_core::rng::{Purpose, Rng};
use std::time::Instant;

/// Sources of views of at most this side are raw 32x32 pictures; larger ones are 500x375.
const SMALL: usize = 32;

/// Makes both views of `count` in-memory RGB images on `threads` threads; source images a second.
///
/// Blur is in for large views and out for small ones, as in the recipes of ImageNet and CIFAR.
///
/// # Errors
/// When an argument is 0 or threads cannot be started.
pub fn bench_augment(image_size: usize, count: usize, threads: usize) -> Result<f64> {
    ensure!(image_size > 0 && count > 0 && threads > 0, "image size, count and threads must be at least 1");
    let (height, width) = if image_size <= SMALL { (32, 32) } else { (375, 500) };
    let mut config = AugmentConfig::default();
    if image_size <= SMALL {
        config.blur_probability = 0.0;
    }
    let maker = ViewMaker::contrastive(&config, image_size);
    let mut rng = Rng::stream(0, Purpose::Test, &[]);
    // A few different sources: one would stay in the cache.
    let sources: Vec<Vec<u8>> =
        (0..16).map(|_| (0..height * width * 3).map(|_| rng.next_u64() as u8).collect()).collect();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().context("starting threads")?;
    let run = |count: usize| {
        (0..count).into_par_iter().for_each_init(
            || vec![0.0; image_size * image_size * 3],
            |out, i| {
                let image = ImageRef { height, width, channels: 3, data: &sources[i % sources.len()] };
                for view in 0..2 {
                    let mut rng = Rng::stream(0, Purpose::Contrastive, &[0, i as u64, view]);
                    maker.view(image, &mut rng, out);
                    std::hint::black_box(&out);
                }
            },
        );
    };
    Ok(pool.install(|| {
        run(count.div_ceil(10));
        let start = Instant::now();
        run(count);
        count as f64 / start.elapsed().as_secs_f64()
    }))
}

#[cfg(test)]
mod tests {
    use super::bench_augment;

    #[test]
    fn runs_at_both_kinds_of_size() {
        assert!(bench_augment(32, 20, 1).is_ok_and(|rate| rate > 0.0));
        assert!(bench_augment(64, 4, 2).is_ok_and(|rate| rate > 0.0));
        assert!(bench_augment(32, 0, 1).is_err());
    }
}
