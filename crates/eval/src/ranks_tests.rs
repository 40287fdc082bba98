//! What ranks find together is what one process finds: features, accuracy, neighbours, a file of features.
#![allow(clippy::unwrap_used)]

use crate::knn::Gallery;
use anyhow::{Result, ensure};
use simclr_core::config::{Config, Corrupt, DataConfig};
use simclr_core::rng::{Purpose, Rng};
use simclr_core::run::checkpoint;
use simclr_data::access::{Source, Stored};
use simclr_data::{Picture, Pictures, decode};
use simclr_model::{Accuracy, ModelSpec, SimClr};
use simclr_ops::Group;
use simclr_ops::collective::threads;
use simclr_stage::EvalSet;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

const SIDE: usize = 16;
const CLASSES: usize = 7;

/// So many pictures of noise, some of them damaged; every fifth has no label.
struct Noise(usize, &'static [usize]);

impl Source for Noise {
    fn len(&self) -> usize {
        self.0
    }

    fn label(&self, index: usize) -> Option<u32> {
        (index % 5 != 3).then_some((index % CLASSES) as u32)
    }

    fn read(&self, index: usize) -> Result<Stored<'_>> {
        ensure!(!self.1.contains(&index), "damaged");
        let mut rng = Rng::stream(7, Purpose::Test, &[index as u64]);
        let shade = (index % CLASSES * 30) as f32;
        let data = (0..SIDE * SIDE * 3).map(|_| (shade + 60.0 * rng.unit()) as u8).collect();
        Ok(Stored::Read(Picture { height: SIDE, width: SIDE, channels: 3, data }))
    }
}

fn pictures(count: usize, damaged: &'static [usize]) -> Arc<Pictures> {
    let config = DataConfig { corrupt: Corrupt::Skip, ..DataConfig::new("folder", SIDE) };
    Arc::new(Pictures::new(Arc::new(Noise(count, damaged)), 3, &config))
}

fn config() -> Config {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/quickstart.toml");
    let set = ["model.width=0.125", "data.image_size=16", "eval.batch=4"].map(String::from);
    Config::load(&path, &set).unwrap()
}

fn network() -> SimClr {
    SimClr::new(&ModelSpec::new(&config().model, 3, SIDE, CLASSES, 0), 3).unwrap()
}

/// What `work` gives on each of so many ranks; a rank that fails ends the others.
fn on_ranks<R: Send>(size: usize, work: impl Fn(&Group) -> Result<R> + Sync) -> Vec<Result<R>> {
    std::thread::scope(|scope| {
        let rank = |collective| {
            let (group, work) = (Group::of(collective), &work);
            scope.spawn(move || work(&group).inspect_err(|error| group.abort(&format!("{error:#}"))))
        };
        let started: Vec<_> = threads(size).into_iter().map(rank).collect();
        started.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

/// Samples, labels and bits of features, accuracy of the classifier, accuracy by neighbours.
type Found = (Vec<u32>, Vec<u32>, Vec<u32>, Accuracy, Accuracy);

fn found(group: &Group, test: &Arc<Pictures>) -> Result<Found> {
    let (config, model) = (config(), network());
    let (train, train_seen) = EvalSet::new(&config, pictures(40, &[0, 39]), group).features(&model, 0)?;
    let set = EvalSet::new(&config, test.clone(), group);
    let (rows, seen) = set.features(&model, 0)?;
    let gallery = Gallery::new(&train, &train_seen.labels)?;
    let near = gallery.accuracy((&rows, &seen.labels), CLASSES, (5, 0.1), group)?;
    let bits = rows.iter().map(|v| v.to_bits()).collect();
    Ok((seen.samples, seen.labels, bits, set.accuracy(&model)?, near))
}

#[test]
fn figures_of_ranks_are_those_of_one_process() {
    // Damaged ones at both ends of a part and within; then fewer images than ranks; then parts whose only image is damaged.
    for (count, damaged) in [(23, &[4usize, 11, 12, 22][..]), (2, &[]), (5, &[1]), (1, &[])] {
        let alone = found(&Group::default(), &pictures(count, damaged)).unwrap();
        assert!(alone.0.iter().all(|sample| !damaged.contains(&(*sample as usize))) && !alone.0.is_empty());
        for size in [2, 3, 4] {
            // Each rank opens its own pictures, as it does in a run.
            for (rank, of_rank) in on_ranks(size, |group| found(group, &pictures(count, damaged))).iter().enumerate() {
                assert!(*of_rank.as_ref().unwrap() == alone, "{count} images, rank {rank} of {size}");
            }
        }
    }
    let [first, second] = [4, 5].map(|count| found(&Group::default(), &pictures(count, &[])).unwrap());
    assert!(first != second, "what is compared tells sets apart");
}

#[test]
fn images_that_all_are_damaged_end_every_rank() {
    for size in [1, 3] {
        let outcomes =
            on_ranks(size, |group| EvalSet::new(&config(), pictures(4, &[0, 1, 2, 3]), group).accuracy(&network()));
        for outcome in outcomes {
            let message = format!("{:#}", outcome.unwrap_err());
            assert!(message.contains("no labeled test image that can be decoded") || size > 1, "{message}");
            assert!(message.contains("can be decoded") || message.contains("has ended"), "{message}");
        }
    }
}

#[test]
fn a_rank_that_fails_ends_the_others() {
    let outcomes = on_ranks(3, |group| {
        ensure!(group.rank() != 2, "the disk is gone");
        EvalSet::new(&config(), pictures(9, &[]), group).accuracy(&network())
    });
    for outcome in outcomes {
        let message = format!("{:#}", outcome.unwrap_err());
        assert!(message.contains("the disk is gone"), "{message}");
    }
}

fn tool(line: &[&str]) -> Result<()> {
    crate::command::run(["simclr-eval"].iter().chain(line).map(OsString::from).collect())
}

#[test]
fn files_of_ranks_are_those_of_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    let model = network();
    checkpoint::save(&dir.path().join("net"), &model.store, &model.spec.to_json()).unwrap();
    for i in 0..5 {
        let Stored::Read(picture) = Noise(5, &[]).read(i).unwrap() else { panic!("pixels") };
        let file = format!("pictures/{i}.png");
        std::fs::create_dir_all(dir.path().join("pictures")).unwrap();
        image::save_buffer(dir.path().join(file), &picture.data, 16, 16, image::ExtendedColorType::Rgb8).unwrap();
    }
    std::fs::write(dir.path().join("pictures/3.png"), b"\x89PNG broken").unwrap();
    assert!(decode::decode(b"\x89PNG broken", 3, &Default::default()).is_err());
    let written = |command: &str, ranks: &str, ending: &str| {
        let out = path(&format!("{command}-{ranks}.{ending}"));
        let line = [command, "--checkpoint", &path("net"), "--images", &path("pictures"), "--out", &out];
        tool(&[&line[..], &["--batch", "2", "--progress", "off", "--device", "cpu", "--ranks", ranks]].concat())?;
        anyhow::Ok(std::fs::read(out)?)
    };
    for (command, ending) in [("embed", "safetensors"), ("embed", "csv"), ("classify", "jsonl")] {
        let alone = written(command, "1", ending).unwrap();
        for ranks in ["2", "3", "7"] {
            assert!(written(command, ranks, ending).unwrap() == alone, "{command} to {ending} on {ranks} ranks");
        }
    }
    let files = String::from_utf8(written("embed", "3", "csv").unwrap()).unwrap();
    assert_eq!(files.lines().count(), 1 + 4, "{files}");
}
