//! Tests of the loader: purity, order, parts of ranks, damaged images.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::access::{Source, Stored};
use crate::image::Picture;
use simclr_core::config::{AugmentConfig, Corrupt, DataConfig, EvalConfig};

fn loader(n: usize, batch: usize) -> Loader {
    let images = crate::source::memory::textures::split(1, 200);
    let maker = ViewMaker::contrastive(&AugmentConfig::default(), 32).unwrap();
    Loader::new(Arc::new(images.into()), (0..n as u32).collect(), maker, (2, batch), (5, Purpose::Contrastive))
}

#[test]
fn batches_are_pure_functions_of_the_step() {
    let a = loader(50, 16);
    let later = a.batch(7).unwrap();
    a.batch(0).unwrap();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    let again = pool.install(|| loader(50, 16).batch(7).unwrap());
    assert_eq!(later.images, again.images);
    assert_ne!(later.images[..32 * 32 * 3], later.images[16 * 32 * 32 * 3..][..32 * 32 * 3], "two views differ");
}

#[test]
fn batches_are_made_where_they_are_wanted() {
    let l = loader(50, 16);
    assert_eq!(l.sent(), Sent::default(), "random crops are resized");
    let want = l.batch(3).unwrap();
    assert_eq!(l.shape(), want.shape);
    let mut floats = vec![f32::NAN; want.images.len()];
    let made = l.fill(3, Pixels::F32(&mut floats)).unwrap();
    assert!(floats == want.images);
    assert_eq!((made.samples, made.labels), (want.samples.clone(), want.labels.clone()));
    let mut bytes = vec![0; want.images.len()];
    l.fill(3, Pixels::Bytes(&mut bytes)).unwrap();
    assert!(bytes.iter().zip(&want.images).all(|(b, v)| *b == u8::of(*v)));
    for rank in 0..3 {
        let part = loader(50, 16).part(rank, 3).unwrap();
        assert_eq!(part.shape(), part.batch(0).unwrap().shape, "rank {rank}");
    }
}

#[test]
fn pictures_that_are_shown_as_they_are_may_go_up_as_bytes() {
    let images = || Arc::new(Pictures::from(crate::source::memory::textures::split(1, 20)));
    let maker = || ViewMaker::eval(&EvalConfig::default(), 32);
    let of = |pictures: Arc<Pictures>, maker: ViewMaker| {
        Loader::new(pictures, (0..20).collect(), maker, (1, 8), (5, Purpose::Labeled))
    };
    let shown = of(images(), maker());
    assert!(shown.sent().bytes);
    let batch = shown.batch(0).unwrap();
    assert!(batch.images.iter().all(|v| (f32::from(u8::of(*v)) * (1.0 / 255.0)).to_bits() == v.to_bits()));
    assert!(!of(images(), ViewMaker::eval(&EvalConfig::default(), 40)).sent().bytes);
    assert!(!of(mixed(&[], Corrupt::Skip), ViewMaker::eval(&EvalConfig::default(), 8)).sent().bytes, "of many sizes");
    // Whoever allows rounding, of views that are finished or not.
    assert_eq!(loader(50, 16).as_bytes(true).sent(), Sent { bytes: true, unfinished: false });
    assert_eq!(loader(50, 16).as_bytes(true).finish_on_gpu(true).sent(), Sent { bytes: true, unfinished: true });
}

#[test]
fn an_epoch_shows_every_sample_once() {
    let l = loader(48, 16);
    let mut seen: Vec<u32> = (0..3).flat_map(|s| l.batch(s).unwrap().samples).collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..48).collect::<Vec<_>>());
    assert_ne!(l.batch(0).unwrap().samples, l.batch(3).unwrap().samples, "the next epoch has another order");
    // A batch larger than the set.
    let mut twice = loader(5, 12).batch(0).unwrap().samples;
    twice.sort_unstable();
    assert_eq!(twice.len(), 12);
    assert!((0..5).all(|i| twice.iter().filter(|s| **s == i).count() >= 2));
}

#[test]
fn parts_of_all_ranks_are_the_batch() {
    let whole = loader(50, 16).batch(3).unwrap();
    for ranks in [1, 2, 3, 16] {
        let parts: Vec<Batch> =
            (0..ranks).map(|rank| loader(50, 16).part(rank, ranks).unwrap().batch(3).unwrap()).collect();
        let samples: Vec<u32> = parts.iter().flat_map(|p| p.samples.clone()).collect();
        assert_eq!(samples, whole.samples, "{ranks} ranks");
        for view in 0..2 {
            let of = |b: &Batch| b.images[view * b.images.len() / 2..(view + 1) * b.images.len() / 2].to_vec();
            assert!(parts.iter().flat_map(of).collect::<Vec<_>>() == of(&whole), "{ranks} ranks, view {view}");
        }
    }
    assert!(loader(50, 16).part(2, 2).is_err() && loader(50, 16).part(0, 17).is_err());
}

/// Twenty pictures of one colour each, of many sizes, some of them damaged.
struct Mixed(Vec<u32>);

impl Source for Mixed {
    fn len(&self) -> usize {
        20
    }
    fn label(&self, index: usize) -> Option<u32> {
        (index != 4).then_some(index as u32)
    }
    fn read(&self, index: usize) -> Result<Stored<'_>> {
        let (height, width) = (1 + index * 7 % 30, 1 + index * 3 % 40);
        anyhow::ensure!(!self.0.contains(&(index as u32)), "damaged");
        Ok(Stored::Read(Picture { height, width, channels: 1, data: vec![10 * index as u8; height * width] }))
    }
}

fn mixed(damaged: &[u32], corrupt: Corrupt) -> Arc<Pictures> {
    let config = DataConfig { corrupt, ..DataConfig::new("folder", 8) };
    Arc::new(Pictures::new(Arc::new(Mixed(damaged.to_vec())), 1, &config))
}

#[test]
fn damaged_images_give_their_place_to_the_next() {
    let (maker, seed) = (ViewMaker::labeled(0.5, 0.0, true, 8), (1, Purpose::Labeled));
    let draw = |damaged: &[u32]| {
        let loader = Loader::new(mixed(damaged, Corrupt::Skip), (0..20).collect(), maker.clone(), (2, 20), seed);
        loader.batch(0).unwrap()
    };
    let whole = draw(&[]);
    let (first, last) = (whole.samples[3], whole.samples[19]);
    let skipped = draw(&[first, whole.samples[4], last]);
    let mut want = whole.samples.clone();
    (want[3], want[4], want[19]) = (whole.samples[5], whole.samples[5], whole.samples[0]);
    assert_eq!(skipped.samples, want, "the next good one of the epoch, around its end");
    assert_eq!(skipped.images[3 * 64..4 * 64], whole.images[5 * 64..6 * 64], "with the views that it always has");
    assert_eq!(skipped.images[..3 * 64], whole.images[..3 * 64]);
    assert_eq!(skipped.labels, want.iter().map(|s| (*s != 4).then_some(*s)).collect::<Vec<_>>());
    assert!(whole.all_labels().is_err());

    let all: Vec<u32> = (0..20).collect();
    let loader = Loader::new(mixed(&all, Corrupt::Skip), all.clone(), maker.clone(), (2, 20), seed);
    assert!(loader.batch(0).unwrap_err().to_string().contains("none of the 20 images"));
    let loader = Loader::new(mixed(&[7], Corrupt::Fail), all, maker, (2, 20), seed);
    assert!(format!("{:#}", loader.batch(0).unwrap_err()).contains("image 7: damaged"));
}

#[test]
fn evaluation_leaves_damaged_images_out() {
    let maker = ViewMaker::eval(&EvalConfig::default(), 8);
    let samples: Vec<u32> = (0..20).collect();
    let pictures = mixed(&[0, 1, 2, 3, 7, 19], Corrupt::Skip);
    let batches: Vec<Batch> = eval_batches(&pictures, &samples, &maker, 4).map(Result::unwrap).collect();
    assert_eq!(batches.len(), 4, "the first of five holds nothing good");
    let seen: Vec<u32> = batches.iter().flat_map(|b| b.samples.clone()).collect();
    assert_eq!(seen, (0..20).filter(|s| ![0, 1, 2, 3, 7, 19].contains(s)).collect::<Vec<u32>>());
    for batch in &batches {
        assert_eq!(batch.shape, [batch.samples.len(), 8, 8, 1]);
        for (view, sample) in batch.images.chunks(64).zip(&batch.samples) {
            assert!(view.iter().all(|v| (v * 255.0 - 10.0 * *sample as f32).abs() < 0.01), "{sample}");
        }
    }
    let strict = mixed(&[9], Corrupt::Fail);
    assert!(eval_batches(&strict, &samples, &maker, 20).next().unwrap().is_err());
}

/// The batches that in-memory datasets have had since the first version, worked out step by step: runs go on across
/// versions by them.
#[test]
fn in_memory_batches_are_drawn_by_number() {
    let images = crate::source::memory::textures::split(1, 50);
    let maker = ViewMaker::contrastive(&AugmentConfig::default(), 32).unwrap();
    let mut epochs = [0u64, 1].map(|epoch| {
        let mut order: Vec<u32> = (0..50).collect();
        Rng::stream(5, Purpose::Shuffle, &[Purpose::Contrastive as u64, epoch]).shuffle(&mut order);
        order.into_iter().map(move |sample| (epoch, sample))
    });
    let [first, second] = &mut epochs;
    let drawn: Vec<(u64, u32)> = first.chain(second).skip(3 * 16).take(16).collect();
    let mut want = Vec::new();
    for view in 0..2 {
        for (epoch, sample) in &drawn {
            let mut out = vec![0.0; 32 * 32 * 3];
            let rng = Rng::stream(5, Purpose::Contrastive, &[*epoch, u64::from(*sample), view]);
            maker.view(images.get(*sample as usize), &rng, &mut out);
            want.extend(out);
        }
    }
    let batch = loader(50, 16).batch(3).unwrap();
    assert_eq!(batch.samples, drawn.iter().map(|(_, sample)| *sample).collect::<Vec<_>>());
    assert!(batch.images == want);
}

#[test]
fn pictures_of_any_shape_have_views() {
    let config = AugmentConfig { blur_probability: 1.0, ..AugmentConfig::default() };
    for (height, width) in [(1, 1), (1, 300), (300, 1), (2, 3)] {
        let data = vec![77; height * width * 3];
        let image = crate::ImageRef { height, width, channels: 3, data: &data };
        for maker in [
            ViewMaker::contrastive(&config, 40).unwrap(),
            ViewMaker::labeled(0.08, 0.0, true, 40),
            ViewMaker::eval(&EvalConfig::default(), 40),
        ] {
            for draw in 0..20 {
                let mut out = vec![f32::NAN; 40 * 40 * 3];
                maker.view(image, &Rng::stream(draw, Purpose::Test, &[]), &mut out);
                assert!(out.iter().all(|v| (0.0..=1.0).contains(v)), "{height}x{width}");
            }
        }
    }
}

#[test]
fn what_is_left_to_a_gpu_comes_in_the_order_of_the_views() {
    let (whole, left) = (loader(50, 60).batch(2).unwrap(), loader(50, 60).finish_on_gpu(true).batch(2).unwrap());
    assert!(whole.distortions.is_empty(), "finished views have nothing left to do");
    assert_eq!((left.samples, left.shape), (whole.samples, whole.shape));
    assert_eq!(left.distortions.len(), whole.shape[0]);
    let mut plain = 0;
    let views = left.images.chunks(32 * 32 * 3).zip(whole.images.chunks(32 * 32 * 3));
    for ((before, after), distortion) in views.zip(&left.distortions) {
        let same = before.iter().zip(after).all(|(a, b)| a.clamp(0.0, 1.0) == *b);
        // A narrow blur may change nothing.
        if distortion.blur.is_empty() || distortion.jitter.is_some() {
            assert_eq!(same, *distortion == Distortion::default(), "{distortion:?}");
        }
        plain += usize::from(same);
    }
    assert!(plain > 0 && plain < whole.shape[0], "{plain} views are plain");
}
