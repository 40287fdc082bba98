//! What comes of a classifier of one's own pictures: names of classes, calibration, what to label next, the report.
#![allow(clippy::unwrap_used, missing_docs)]

mod desk;

use candle_core::{Device, Tensor};
use desk::Desk;
use serde_json::Value as Json;
use simclr_core::run::checkpoint;
use simclr_model::{ModelSpec, SimClr};
use simclr_stage::Checkpoint;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// `simclr-eval` with these arguments; its message where it fails.
fn tool(line: &[&str]) -> Result<(), String> {
    let line = ["simclr-eval"].iter().chain(line).map(OsString::from).collect();
    simclr_eval::command::run(line).map_err(|error| format!("{error:#}"))
}

fn json(path: &Path) -> Json {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Classes that sort otherwise as text: each of its own shade, with `count` pictures in `dir/train` and two in `dir/val`.
fn pictures(dir: &Path, classes: &[&str], count: u32) {
    for (c, class) in classes.iter().enumerate() {
        for i in 0..count + 2 {
            let folder = dir.join(if i < count { "train" } else { "val" }).join(class);
            std::fs::create_dir_all(&folder).unwrap();
            let color = |x: u32, y: u32| image::Rgb([(c * 20) as u8, (9 * x + i) as u8, (7 * y + 3 * i) as u8]);
            image::RgbImage::from_fn(20, 20, color).save(folder.join(format!("{class}_{i}.png"))).unwrap();
        }
    }
}

fn logits(model: &SimClr) -> Vec<f32> {
    let images: Vec<f32> = (0..2 * 16 * 16 * 3).map(|i| (i * 37 % 101) as f32 / 101.0).collect();
    let images = Tensor::from_vec(images, (2, 16, 16, 3), &Device::Cpu).unwrap();
    model.predict(std::iter::once(Ok(images))).unwrap()
}

#[test]
fn outputs_follow_the_names_of_classes() {
    let desk = Desk::new();
    let names = |text: &str| text.split(' ').map(String::from).collect::<Vec<_>>();
    let spec = ModelSpec::new(&desk.config(&[]).unwrap().model, 3, 16, 3, 1).named(&names("ant bee cat"));
    let model = SimClr::new(&spec, 1).unwrap();
    checkpoint::save(&desk.path("own"), &model.store, &spec.to_json()).unwrap();
    let load = || Checkpoint::load(&desk.path("own")).unwrap();
    let plain = logits(&load().model().unwrap());
    let other = load().for_classes(&names("cat ant bee")).unwrap();
    assert_eq!(other.spec.class_names, names("cat ant bee"));
    let other = logits(&other.model().unwrap());
    for row in 0..2 {
        let expected = [2, 0, 1].map(|class| plain[3 * row + class]);
        assert_eq!(&other[3 * row..][..3], expected);
    }
    assert_eq!(logits(&load().for_classes(&names("0 1 2")).unwrap().model().unwrap()), plain, "numbers are no names");
    let message = load().for_classes(&names("ant bee cow")).err().unwrap().to_string();
    for part in ["own", "the dataset lacks 1 of them (cat)", "the network lacks 1 of them (cow)"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn numbered_classes_keep_their_names_to_the_prediction() {
    let desk = Desk::new();
    let classes: Vec<String> = (0..12).map(|class| class.to_string()).collect();
    pictures(&desk.path("many"), &classes.iter().map(String::as_str).collect::<Vec<_>>(), 3);
    pictures(&desk.path("few"), &["a", "b", "c"], 4);
    let set = |dir: &str| {
        let dir = desk.path(dir);
        ["data.dataset=folder".to_string(), format!("data.dir={}", dir.display()), "data.limit=1000".into()]
    };
    let finetune = |dir: &str, out: &str| {
        let set = set(dir);
        desk.finetune("scratch", (1.0, 0), out, &set.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    };
    finetune("many", "of twelve");
    finetune("few", "of three");
    let config = json(&desk.path("of twelve/checkpoint/config.json"));
    assert_eq!(config["class_names"], serde_json::json!(classes), "natural order");
    let (run, out, pictures) = (desk.path("of twelve"), desk.path("out/p.jsonl"), desk.path("many/val"));
    let [run, out, pictures] = [&run, &out, &pictures].map(|path| path.to_str().unwrap());
    tool(&["classify", "--checkpoint", run, pictures, "--top", "12", "--out", out, "--progress", "off"]).unwrap();
    let text = std::fs::read_to_string(out).unwrap();
    assert_eq!(text.lines().count(), 24);
    for line in text.lines().map(|line| serde_json::from_str::<Json>(line).unwrap()) {
        let of = line["classes"].as_array().unwrap();
        let mut named: Vec<u32> = of.iter().map(|c| c["class"].as_str().unwrap().parse().unwrap()).collect();
        named.sort_unstable();
        assert_eq!(named, (0..12).collect::<Vec<_>>());
        let sum: f64 = of.iter().map(|c| c["probability"].as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-3, "{line}");
    }
    // Of three classes on twelve, and the other way round: a message, no panic and no figure.
    let eval = |checkpoint: &str, dir: &str| {
        let (checkpoint, config, out) = (desk.path(checkpoint), desk.path("experiment.toml"), desk.path("measured"));
        let mut line = vec!["--checkpoint", checkpoint.to_str().unwrap(), "--config", config.to_str().unwrap()];
        let set = set(dir);
        set.iter().for_each(|pair| line.extend(["--set", pair]));
        tool(&[&line[..], &["--out", out.to_str().unwrap(), "--progress", "off"]].concat())
    };
    let message = eval("of three", "many").unwrap_err();
    assert!(message.contains("of three knows 3 classes, the dataset has 12"), "{message}");
    let message = eval("of twelve", "few").unwrap_err();
    assert!(message.contains("of twelve knows 12 classes, the dataset has 3"), "{message}");
    eval("of twelve", "many").unwrap();
}

/// A folder was renamed while a run stood still: its classifier's outputs would mean other classes.
#[test]
fn a_run_goes_on_with_its_own_classes() {
    let desk = Desk::new();
    pictures(&desk.path("few"), &["a", "b", "c"], 4);
    let dir = format!("data.dir={}", desk.path("few").display());
    let set = ["data.dataset=folder", &dir, "data.limit=1000"];
    desk.finetune("scratch", (1.0, 0), "run", &set).unwrap();
    assert_eq!(json(&desk.path("run/classes.json")), serde_json::json!(["a", "b", "c"]));
    std::fs::remove_file(desk.path("run/result.json")).unwrap();
    for split in ["train", "val"] {
        std::fs::rename(desk.path("few").join(split).join("c"), desk.path("few").join(split).join("d")).unwrap();
    }
    let common = simclr_core::cli::CommonArgs { resume: true, ..desk.args("run") };
    let (from, labels, subset) = ("scratch".to_string(), simclr_core::config::LabelAmount::ALL, 0);
    let args = simclr_finetune::FinetuneArgs { common, from, labels, subset };
    let message = format!("{:#}", simclr_finetune::run(&args, &desk.config(&set).unwrap()).unwrap_err());
    for part in ["run began with other classes", "the dataset lacks 1 of them (c)", "lacks 1 of them (d)"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_review_calibrates_and_tells_what_to_label() {
    let desk = Desk::new();
    let experiment = desk.path("experiment of mine");
    let config = desk.path("experiment.toml");
    desk.pretrain("experiment of mine/pretrain", &[]).unwrap();
    let [run, toml] = [&experiment, &config].map(|path: &PathBuf| path.to_str().unwrap());
    let sets = ["--set", "reproduce.labels=[0.5]", "--set", "distill={}"];
    let review = |count: &str| {
        tool(&[&["review", "--config", toml, "--run", run, "--count", count, "--progress", "off"], &sets[..]].concat())
    };
    // Before anything has a label: what to label first.
    review("7").unwrap();
    let next = std::fs::read_to_string(experiment.join("next-to-label.csv")).unwrap();
    assert_eq!(next.lines().count(), 8, "{next}");
    assert!(!experiment.join("predictions.csv").exists());

    let tuned = "experiment of mine/labels-0.5/subset-0/finetuned";
    desk.finetune("experiment of mine/pretrain", (0.5, 0), tuned, &[]).unwrap();
    let network = desk.path(tuned);
    let classify = |out: &str, raw: &[&str]| -> Vec<f64> {
        let picture = desk.path("one.png");
        image::RgbImage::from_fn(20, 20, |x, y| image::Rgb([(9 * x) as u8, (7 * y) as u8, 99])).save(&picture).unwrap();
        let (out, network) = (desk.path(out), network.to_str().unwrap());
        let line = ["classify", "--checkpoint", network, "--images", picture.to_str().unwrap(), "--progress", "off"];
        tool(&[&line[..], &["--top", "2", "--out", out.to_str().unwrap()][..], raw].concat()).unwrap();
        let text = std::fs::read_to_string(out).unwrap();
        text.lines().nth(1).unwrap().split(',').filter_map(|cell| cell.parse().ok()).collect()
    };
    let before = classify("before.csv", &[]);
    review("7").unwrap();
    let found = json(&experiment.join("review.json"));
    let calibration = json(&network.join("checkpoint/calibration.json"));
    assert_eq!(
        (&found["network"], &found["labeled"], &found["unlabeled"]),
        (&serde_json::json!("labels-0.5/subset-0/finetuned"), &serde_json::json!(30), &serde_json::json!(30),)
    );
    assert_eq!(classify("raw.csv", &["--raw"]), before, "calibration changes nothing that is not asked for");
    let temperature = calibration["temperature"].as_f64().unwrap();
    let (calibrated, odds) = (classify("after.csv", &[]), |p: &[f64]| libm::log(p[0] / p[1]));
    assert!((odds(&calibrated) * temperature - odds(&before)).abs() < 0.02, "{calibrated:?} {before:?} {temperature}");
    // Each picture that has no label and each held-out one, once; the next to label among the first.
    let predictions = std::fs::read_to_string(experiment.join("predictions.csv")).unwrap();
    assert_eq!(predictions.lines().count(), 1 + 30 + 2000);
    let labels = json(&network.join("labels.json"));
    let labeled: Vec<String> =
        labels["indices"].as_array().unwrap().iter().map(|index| format!("image {index}")).collect();
    let next = std::fs::read_to_string(experiment.join("next-to-label.csv")).unwrap();
    let mut files: Vec<&str> = next.lines().skip(1).map(|line| line.split(',').next().unwrap()).collect();
    assert!(files.len() == 7 && files.iter().all(|file| !labeled.contains(&file.to_string())), "{next}");
    files.sort_unstable();
    files.dedup();
    assert_eq!(files.len(), 7, "none twice");
    // The same again gives the same.
    review("7").unwrap();
    assert_eq!(std::fs::read_to_string(experiment.join("next-to-label.csv")).unwrap(), next);
    assert_eq!(json(&experiment.join("review.json")), found);
    tool(&[&["report", "--config", toml, "--run", run], &sets[..]].concat()).unwrap();
    let page = std::fs::read_to_string(experiment.join("report/index.html")).unwrap();
    for part in
        ["Pictures by predicted class", "Label these next", "Most doubtful", "Mistakes", "By class", "Calibration"]
    {
        assert!(page.contains(&format!("<h2>{part}</h2>")), "no section {part}");
    }
    assert!(!page.contains("not drawn"), "a picture is not drawn");
}
