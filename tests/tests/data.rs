//! The same images from folders, tar shards, parquet files and IDX: the same tensors; and training from shards.
#![allow(clippy::unwrap_used, missing_docs)]

mod desk;

use desk::Desk;
use serde_json::Value as Json;
use simclr_core::config::{AugmentConfig, Config, Corrupt, DataConfig, LabelAmount, LabelList};
use simclr_core::rng::{Purpose, Rng};
use simclr_core::testing::write_files;
use simclr_data::access::Stored;
use simclr_data::source::parquet::write::{Row, write_parquet};
use simclr_data::{Batch, Dataset, LabelSubset, Loader, ViewMaker};
use simclr_data_tools::synth::{ONE_PERCENT, Size, png, write};
use simclr_distill::DistillArgs;
use simclr_eval::EvalArgs;
use simclr_finetune::FinetuneArgs;
use simclr_report::inspect::{self, InspectArgs};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

const SIZE: Size = Size { images: 60, classes: 6, pixels: (24, 33), shard: 13 };
const FORMS: [&str; 3] = ["folder", "tar", "parquet"];

fn synthetic() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), SIZE, &|_| ()).unwrap();
    dir
}

fn config(dir: &Path, form: &str) -> DataConfig {
    DataConfig { dir: Some(dir.join(form)), shuffle_buffer: 20, ..DataConfig::new(form, 16) }
}

fn load(dir: &Path, form: &str) -> Dataset {
    simclr_data::load(&config(dir, form)).unwrap()
}

fn loader(data: Dataset, batch: usize) -> Loader {
    let samples = (0..data.train.len() as u32).collect();
    let maker = ViewMaker::contrastive(&AugmentConfig::default(), 16).unwrap();
    Loader::new(Arc::new(data.train), samples, maker, (2, batch), (5, Purpose::Contrastive))
}

/// Views of each sample of the first two epochs, by epoch and name.
fn views(dir: &Path, form: &str, threads: usize) -> BTreeMap<(usize, String), Vec<u32>> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let names: Vec<String> = {
            let data = load(dir, form);
            (0..data.train.len()).map(|i| data.train.source().name(i).unwrap().to_string()).collect()
        };
        let (loader, mut views) = (loader(load(dir, form), 15), BTreeMap::new());
        for step in 0..8 {
            let batch = loader.batch(step).unwrap();
            let row = batch.images.len() / 30;
            for (i, sample) in batch.samples.iter().enumerate() {
                let of = |view: usize| batch.images[(view * 15 + i) * row..][..row].iter().map(|v| v.to_bits());
                let key = (step as usize / 4, names[*sample as usize].clone());
                assert!(views.insert(key, of(0).chain(of(1)).collect()).is_none(), "once an epoch");
            }
        }
        views
    })
}

#[test]
fn a_sample_gives_the_same_views_from_every_form_on_any_number_of_threads() {
    let dir = synthetic();
    let want = views(dir.path(), "folder", 1);
    assert_eq!(want.len(), 120);
    for form in FORMS {
        for threads in [1, 2, 8] {
            assert!(views(dir.path(), form, threads) == want, "{form} on {threads} threads");
        }
    }
}

#[test]
fn classes_labels_and_subsets_are_the_same() {
    let dir = synthetic();
    let list = LabelList { labels: LabelAmount::Share(0.1), file: dir.path().join(ONE_PERCENT) };
    let named = |form: &str, fraction: f64| {
        let (data, mut config) = (load(dir.path(), form), config(dir.path(), form));
        config.lists = vec![list.clone()];
        let subset =
            LabelSubset::of(&data.train, data.classes.len(), LabelAmount::Share(fraction), 7, &config).unwrap();
        let name =
            |i: &u32| (data.train.source().name(*i as usize).unwrap().to_string(), data.train.label(*i as usize));
        let mut names: Vec<_> = subset.indices.iter().map(name).collect();
        names.sort_unstable();
        (names, subset.list)
    };
    for form in FORMS {
        let data = load(dir.path(), form);
        assert_eq!((data.train.len(), data.test.len(), data.classes.len()), (60, 3, 6), "{form}");
        data.expect_labels("a test").unwrap();
        assert_eq!(named(form, 0.5), named("folder", 0.5), "{form}: a random half of each class");
        let (names, file) = named(form, 0.1);
        assert_eq!((names.len(), file.as_ref()), (1, Some(&list.file)), "{form}: the list of a hundredth");
        assert_eq!(names[0], ("n01440000_0".into(), Some(0)));
    }
    std::fs::write(&list.file, "n01440000_0.JPEG\nnobody.JPEG\n").unwrap();
    let (data, config) = (load(dir.path(), "tar"), DataConfig { lists: vec![list], ..config(dir.path(), "tar") });
    let message = format!("{:#}", LabelSubset::of(&data.train, 6, LabelAmount::Share(0.1), 0, &config).unwrap_err());
    assert!(message.contains("1 of its 2 names") && message.contains("nobody") && message.contains("1percent.txt"));
}

#[test]
fn idx_and_parquet_give_identical_tensors() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = Rng::stream(9, Purpose::Test, &[]);
    let big_endian = |words: &[u32]| words.iter().flat_map(|w| w.to_be_bytes()).collect::<Vec<u8>>();
    for (split, name, count) in [("train", "train", 40), ("test", "t10k", 12)] {
        let pixels: Vec<u8> = (0..count * 784).map(|_| rng.next_u64() as u8).collect();
        let labels: Vec<u8> = (0..count).map(|i| (i % 10) as u8).collect();
        let write =
            |kind: &str, bytes: Vec<u8>| std::fs::write(dir.path().join(format!("{name}-{kind}")), bytes).unwrap();
        write("images-idx3-ubyte", [big_endian(&[0x803, count as u32, 28, 28]), pixels.clone()].concat());
        write("labels-idx1-ubyte", [big_endian(&[0x801, count as u32]), labels.clone()].concat());
        let row = |(picture, label): (&[u8], &u8)| Row::of(png(picture, 28, 28, 1).unwrap(), i64::from(*label));
        let rows: Vec<Row> = pixels.chunks(784).zip(&labels).map(row).collect();
        write_parquet(&dir.path().join(format!("{split}.parquet")), &rows, 7, &[]).unwrap();
    }
    let open = |dataset: &str| {
        let at = DataConfig { dir: Some(dir.path().into()), ..DataConfig::new(dataset, 16) };
        let of_files = DataConfig { channels: Some(1), shuffle_buffer: 0, ..at.clone() };
        simclr_data::load(if dataset == "parquet" { &of_files } else { &at }).unwrap()
    };
    let (idx, parquet) = (open("fashion-mnist"), open("parquet"));
    for (a, b) in [(&idx.train, &parquet.train), (&idx.test, &parquet.test)] {
        assert_eq!((a.len(), a.channels()), (b.len(), b.channels()));
        for i in 0..a.len() {
            assert_eq!((a.get(i).unwrap(), a.label(i)), (b.get(i).unwrap(), b.label(i)), "image {i}");
        }
    }
    // Rows without names are drawn by their numbers, and a buffer of 0 permutes them all: batches agree, too.
    let batch = |data: Dataset| -> Vec<Batch> {
        let loader = loader(data, 16);
        (0..5).map(|step| loader.batch(step).unwrap()).collect()
    };
    for (a, b) in batch(idx).iter().zip(&batch(parquet)) {
        assert_eq!((&a.samples, &a.labels), (&b.samples, &b.labels));
        assert!(a.images == b.images);
    }
}

/// The desk's experiment on a form of the synthetic images.
fn experiment(desk: &Desk, dir: &Path, form: &str, more: &[&str]) -> Config {
    let set = [
        format!("data.dataset=\"{form}\""),
        format!("data.dir=\"{}\"", dir.join(form).display()),
        "data.shuffle_buffer=20".into(),
    ];
    let set: Vec<&str> = set.iter().map(String::as_str).chain(more.iter().copied()).collect();
    desk.config(&set).unwrap()
}

#[test]
fn every_stage_runs_on_shards() {
    let (desk, dir) = (Desk::new(), synthetic());
    let config = |form: &str| experiment(&desk, dir.path(), form, &["eval.linear.views=2"]);
    simclr_pretrain::run(&desk.args("pretrained"), &config("tar")).unwrap();
    let checkpoint = desk.path("pretrained");
    let common = desk.args("finetuned");
    let from = checkpoint.display().to_string();
    simclr_finetune::run(
        &FinetuneArgs { common, from, labels: LabelAmount::Share(0.5), subset: 0 },
        &config("parquet"),
    )
    .unwrap();
    let result = |run: &str| -> Json {
        let text = std::fs::read_to_string(desk.path(run).join("result.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    // Shares of the three test images.
    let share = |value: &Json| {
        let thirds = 3.0 * value.as_f64().unwrap_or(f64::NAN);
        assert!((0.0..=3.0).contains(&thirds) && (thirds - thirds.round()).abs() < 1e-5, "{value}");
    };
    let knn: Vec<Json> = FORMS
        .into_iter()
        .map(|form| {
            let (common, checkpoint) = (desk.args(&format!("evaluated-{form}")), checkpoint.clone());
            simclr_eval::run(&EvalArgs { common, checkpoint, linear: true, knn: true }, &config(form)).unwrap();
            let result = result(&format!("evaluated-{form}"));
            for top in ["top1", "top5"] {
                share(&result["linear"][top]);
                share(&result["knn"][top]);
            }
            result["knn"].clone()
        })
        .collect();
    assert!(knn.iter().all(|figures| *figures == knn[0]), "neighbours do not depend on the form: {knn:?}");
    let common = desk.args("distilled");
    let (teacher, student) = (desk.path("finetuned"), "self".into());
    simclr_distill::run(
        &DistillArgs { common, teacher, student, labels: LabelAmount::Share(0.5), subset: 0 },
        &config("tar"),
    )
    .unwrap();
    // Half of ten labels of each of six classes; a student sees the images without a label, too.
    for (run, examples) in [("pretrained", 60), ("finetuned", 30), ("distilled", 60)] {
        assert_eq!(result(run)["examples"], examples, "{run}");
    }
    for run in ["finetuned", "distilled"] {
        share(&result(run)["top1"]);
        share(&result(run)["top5"]);
    }
}

#[test]
fn without_labels_pretraining_runs_and_the_other_stages_say_what_is_missing() {
    let (desk, dir) = (Desk::new(), tempfile::tempdir().unwrap());
    std::fs::create_dir(dir.path().join("folder")).unwrap();
    for i in 0..20u8 {
        std::fs::write(dir.path().join(format!("folder/{i}.png")), png(&[i; 300], 10, 10, 3).unwrap()).unwrap();
    }
    let config = experiment(&desk, dir.path(), "folder", &[]);
    simclr_pretrain::run(&desk.args("pretrained"), &config).unwrap();
    let log = std::fs::read_to_string(desk.path("pretrained/metrics.jsonl")).unwrap();
    assert!(log.contains("contrast_loss") && !log.contains("supervised_loss") && !log.contains("test_top1"), "{log}");
    let crowded = experiment(&desk, dir.path(), "folder", &["pretrain.training.batch=64"]);
    let message = format!("{:#}", simclr_pretrain::run(&desk.args("crowded"), &crowded).unwrap_err());
    assert!(message.contains("pretrain.training.batch = 64, but there are 20 training pictures"), "{message}");
    let finetune = |labels| {
        let from = desk.path("pretrained").display().to_string();
        let args = FinetuneArgs { common: desk.args("finetuned"), from, labels, subset: 0 };
        format!("{:#}", simclr_finetune::run(&args, &config).unwrap_err())
    };
    assert!(
        finetune(LabelAmount::ALL).contains("none of the 20 training images has one"),
        "{}",
        finetune(LabelAmount::ALL)
    );
    let sorted = dir.path().join("sorted");
    for i in 0..4 {
        std::fs::create_dir_all(sorted.join(format!("class {}", i % 2))).unwrap();
        let (from, to) = (dir.path().join(format!("folder/{i}.png")), sorted.join(format!("class {}/{i}.png", i % 2)));
        std::fs::rename(from, to).unwrap();
    }
    let config = |held_out| DataConfig { dir: Some(sorted.clone()), held_out, ..DataConfig::new("folder", 8) };
    let data = simclr_data::load(&config(0.0)).unwrap();
    let message = data.expect_labels("fine-tuning").unwrap_err().to_string();
    assert!(message.contains("data.test") && message.contains("data.held_out"), "{message}");
    let data = simclr_data::load(&config(0.5)).unwrap();
    data.expect_labels("fine-tuning").unwrap();
    assert_eq!((data.train.len(), data.test.len()), (2, 2), "one of each class is held out");
}

#[test]
fn a_line_with_a_path_means_that_picture() {
    let dir = tempfile::tempdir().unwrap();
    write_files(&dir.path().join("train"), ["cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png"]);
    let (list, half) = (dir.path().join("list.txt"), LabelAmount::Share(0.5));
    let subset = |text: &str| {
        std::fs::write(&list, text).unwrap();
        let lists = vec![LabelList { labels: half, file: list.clone() }];
        let dir = Some(dir.path().to_path_buf());
        let config = DataConfig { dir, lists, held_out: 0.0, ..DataConfig::new("folder", 8) };
        let data = simclr_data::load(&config).unwrap();
        LabelSubset::of(&data.train, 2, half, 0, &config)
    };
    assert_eq!(subset("cat/1.png\ndog/2.png\n").unwrap().indices, [0, 3]);
    let message = format!("{:#}", subset("2.png\n").unwrap_err());
    assert!(message.contains("cat/2.png") && message.contains("dog/2.png") && message.contains("path"), "{message}");
}

#[test]
fn pictures_of_five_channels_are_trained_on() {
    let (desk, dir) = (Desk::new(), tempfile::tempdir().unwrap());
    for (split, count) in [("train", 20u8), ("val", 4)] {
        for i in 0..count {
            let class = dir.path().join(format!("folder/{split}/{}", ["dim", "lit"][usize::from(i % 2)]));
            std::fs::create_dir_all(&class).unwrap();
            let text = "{'descr': '|u1', 'fortran_order': False, 'shape': (12, 10, 5), }\n";
            let pixels: Vec<u8> = (0..600).map(|k| (k % 40) as u8 + i + 150 * (i % 2)).collect();
            let file = [b"\x93NUMPY\x01\0".as_slice(), &(text.len() as u16).to_le_bytes(), text.as_bytes(), &pixels];
            std::fs::write(class.join(format!("{split}{i}.npy")), file.concat()).unwrap();
        }
    }
    let config = |more: &[&str]| experiment(&desk, dir.path(), "folder", more);
    let five = ["data.channels=5", "eval.crop=\"whole\""];
    simclr_pretrain::run(&desk.args("pretrained"), &config(&five)).unwrap();
    let spec = std::fs::read_to_string(desk.path("pretrained/checkpoint/config.json")).unwrap();
    assert!(spec.contains("\"in_channels\": 5"), "{spec}");
    let from = desk.path("pretrained").display().to_string();
    let args = FinetuneArgs { common: desk.args("finetuned"), from, labels: LabelAmount::ALL, subset: 0 };
    simclr_finetune::run(&args, &config(&five)).unwrap();
    let manifest = std::fs::read_to_string(desk.path("finetuned/manifest.json")).unwrap();
    assert!(manifest.contains("\"whole\""), "{manifest}");

    let message = format!("{:#}", simclr_pretrain::run(&desk.args("three"), &config(&[])).unwrap_err());
    assert!(message.contains("none of the 20 images") && message.contains("data.channels = 3"), "{message}");
    let on_device = ["data.channels=5", "augment.on_device=true"];
    let message = format!("{:#}", simclr_pretrain::run(&desk.args("device"), &config(&on_device)).unwrap_err());
    assert!(message.contains("augment.on_device") && message.contains("these have 5"), "{message}");
}

#[test]
fn damaged_files_are_skipped_or_fatal_in_every_form() {
    let dir = synthetic();
    let bad = dir.path().join("folder/train/n01440000/n01440000_0.JPEG");
    let bytes = std::fs::read(&bad).unwrap();
    std::fs::write(&bad, &bytes[..bytes.len() / 2]).unwrap();
    std::fs::write(bad.with_file_name("n01440000_6.JPEG"), []).unwrap();
    let shard = dir.path().join("tar/imagenet-train-000000.tar");
    let mut tar = std::fs::read(&shard).unwrap();
    let start = tar.windows(3).position(|w| w == [0xff, 0xd8, 0xff]).unwrap();
    tar[start..start + 40].fill(0);
    std::fs::write(&shard, tar).unwrap();
    // The pictures of the first parquet file, one cut short and one empty.
    let whole = load(dir.path(), "parquet");
    let row = |i: usize| {
        let Stored::File(bytes) = whole.train.source().read(i).unwrap() else { panic!("row {i} is no file") };
        let path = whole.train.source().name(i).map(|name| format!("{name}.JPEG"));
        Row { bytes, path, label: whole.train.label(i).map(i64::from) }
    };
    let mut rows: Vec<Row> = (0..SIZE.shard).map(row).collect();
    let half = rows[0].bytes.len() / 2;
    rows[0].bytes.truncate(half);
    rows[5].bytes.clear();
    let file = dir.path().join("parquet/data/train-00000-of-00005.parquet");
    assert!(file.is_file());
    write_parquet(&file, &rows, 7, &whole.classes).unwrap();
    for (form, damaged) in FORMS.into_iter().zip([2, 1, 2]) {
        let loader = loader(load(dir.path(), form), 60);
        let batch = loader.batch(0).unwrap();
        let mut samples = batch.samples.clone();
        samples.sort_unstable();
        samples.dedup();
        assert_eq!(samples.len(), 60 - damaged, "{form}");
        let strict = DataConfig { corrupt: Corrupt::Fail, ..config(dir.path(), form) };
        let loader = self::loader(simclr_data::load(&strict).unwrap(), 60);
        let message = format!("{:#}", loader.batch(0).unwrap_err());
        let place = match form {
            "folder" => "n01440000",
            "tar" => ".jpg in ",
            _ => "of-00005.parquet",
        };
        assert!(message.contains(place) && message.contains(form), "{message}");
    }
}

#[test]
fn inspection_counts_what_is_there() {
    let (desk, dir) = (Desk::new(), synthetic());
    std::fs::write(dir.path().join("folder/train/n01440000/n01440000_0.JPEG"), b"no picture").unwrap();
    let (out, at) = (desk.path("inspected"), dir.path().join("folder"));
    let set = ["data.dataset=folder".into(), format!("data.dir=\"{}\"", at.display())].to_vec();
    let config = desk.path("experiment.toml");
    inspect::run(&InspectArgs { config, out: Some(out.clone()), check: 0, set, threads: None }).unwrap();
    let found: Json = serde_json::from_str(&std::fs::read_to_string(out.join("data.json")).unwrap()).unwrap();
    assert_eq!(
        (&found["classes"], &found["train"]["images"], &found["test"]["images"]),
        (&6.into(), &60.into(), &3.into())
    );
    assert_eq!((&found["train"]["per_class"]["least"], &found["train"]["height"]["most"]), (&10.into(), &24.into()));
    let damaged = found["train"]["damaged"].as_array().unwrap();
    assert!(damaged.len() == 1 && damaged[0]["place"].as_str().unwrap().ends_with("n01440000_0.JPEG"), "{damaged:?}");
    assert!(found["loader"]["images_per_s"].as_f64().unwrap() > 0.0);
    let sheet = std::fs::read(out.join("sheet.png")).unwrap();
    let (height, width) = simclr_data::decode::size(&sheet).unwrap();
    assert_eq!((height, width), (6 * 66 - 2, 9 * 66 - 2), "18 images with two views each, tiles of 64 pixels");
}
