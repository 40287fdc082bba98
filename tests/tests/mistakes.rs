//! Mistakes of users: each is one message that names what is wrong, and nothing panics.
#![allow(clippy::unwrap_used, missing_docs)]

mod desk;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use desk::Desk;
use serde_json::json;
use simclr_core::cli::DeviceChoice;
use simclr_core::config::{Config, Named};
use simclr_core::run::checkpoint;
use simclr_model::{ModelSpec, SimClr};
use simclr_publish::PublishArgs;
use std::path::Path;

fn load(desk: &Desk, dataset: &str, dir: &Path) -> Result<simclr_data::Dataset> {
    let set = [format!("data.dataset=\"{dataset}\""), format!("data.dir=\"{}\"", dir.display())];
    simclr_data::load(&desk.config(&[&set[0], &set[1]])?.data)
}

/// The message as a user sees it; it must hold every part.
fn expect<T>(result: Result<T>, parts: &[&str]) {
    let Err(error) = result else { panic!("no error, expected one with {parts:?}") };
    let message = format!("{error:#}");
    for part in parts {
        assert!(message.contains(part), "expected {part:?} in: {message}");
    }
}

#[test]
fn configurations() {
    let desk = Desk::new();
    expect(Config::load(&desk.path("none.toml"), &[]), &["none.toml"]);
    expect(desk.config(&["pretrain.temprature=1"]), &["temprature", "temperature"]);
    expect(desk.config(&["model.depth=\"deep\""]), &["experiment.toml", "model.depth", "deep"]);
    expect(desk.config(&["model.depth=19"]), &["model.depth = 19", "18, 34"]);
    expect(desk.config(&["pretrain.training.learning_rate=-1.0"]), &["pretrain.training.learning_rate"]);
    expect(desk.config(&["pretrain.training"]), &["key=value"]);
    expect(desk.config(&["data.dataset=\"mnist\""]).and_then(|c| simclr_data::load(&c.data)), &["mnist", "textures"]);
    // No machine has so many GPUs.
    expect(DeviceChoice::Cuda(9999).open(), &["--device cuda:9999", "--device cpu"]);
}

/// A dataset or a transform that there is not is found when a stage starts, before it has a folder, and by the plan.
#[test]
fn names_of_tables() {
    let desk = Desk::new();
    let list = "augment.transforms=[\"crop\", {name=\"jitter\", strenght=0.5}]";
    for (set, parts) in [
        (list, ["augment.transforms[1].strenght", "did you mean strength?"]),
        ("augment.transforms=[\"crop\", \"flop\"]", ["augment.transforms[1] = \"flop\"", "must be one of crop"]),
        ("data.dataset=\"mnist\"", ["data.dataset = \"mnist\"", "must be one of textures"]),
    ] {
        expect(desk.pretrain("names", &[set]), &parts);
        assert!(!desk.path("names").exists(), "{set}");
        expect(simclr_report::plan::jobs(&desk.config(&[set]).unwrap(), &desk.path("plan")), &parts);
    }
    let beside = [list, "augment.blur_probability=0.25"];
    expect(desk.config(&beside), &["augment.blur_probability would have no effect beside augment.transforms"]);
}

#[test]
fn labels_and_heads() {
    let desk = Desk::new();
    expect(desk.finetune("scratch", (0.0, 0), "a", &[]), &["--labels 0", "(0, 1]"]);
    expect(desk.finetune("scratch", (2.0, 0), "a", &[]), &["--labels 2", "(0, 1]"]);
    expect(desk.finetune("scratch", (f64::NAN, 0), "a", &[]), &["--labels NaN"]);
    expect(desk.finetune("scratch", (1.0, 0), "b", &["supervised.freeze_after=9"]), &["freeze_after = 9", "groups"]);
    // The corrected command may name the same folder.
    desk.finetune("scratch", (1.0, 0), "b", &[]).unwrap();
    expect(
        desk.finetune("scratch", (1.0, 0), "c", &["supervised.proj_selector=4"]),
        &["proj_selector = 4", "3 layers"],
    );
}

#[test]
fn checkpoints() {
    let desk = Desk::new();
    let finetune = |out: &str| desk.finetune("pretrained", (1.0, 0), out, &[]);
    expect(finetune("a"), &["pretrained", "no such file or folder"]);
    desk.pretrain("pretrained", &[]).unwrap();
    let file = desk.path("pretrained/checkpoint/model.safetensors");
    let bytes = std::fs::read(&file).unwrap();
    // The configuration of another network beside the tensors.
    let config = desk.path("pretrained/checkpoint/config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    json["width"] = json!(0.125);
    std::fs::write(&config, json.to_string()).unwrap();
    expect(finetune("a"), &["pretrained", "conv1.weight", "[4, 3, 3, 3]", "[8, 3, 3, 3]"]);
    std::fs::write(&config, "{\"depth\": 18}").unwrap();
    expect(finetune("a"), &["pretrained", "config.json", "missing field"]);
    std::fs::write(&config, &text[..text.len() / 2]).unwrap();
    expect(finetune("a"), &["config.json", "not valid JSON"]);
    std::fs::write(&config, text).unwrap();
    // Bytes that are no safetensors file: cut within the header, cut within the tensors, garbage.
    let garbage = b"\xff\xff\xff\xff\xff\xff\xff\x7fgarbage";
    for damaged in [&bytes[..5], &bytes[..100], &bytes[..bytes.len() / 2], garbage] {
        std::fs::write(&file, damaged).unwrap();
        expect(finetune("a"), &["model.safetensors is damaged"]);
    }
}

/// Every file is whole, and holds what no network has: who loads it is told so, and nobody blames the training or the pictures.
#[test]
fn networks_of_no_use() {
    let desk = Desk::new();
    desk.pretrain("run", &[]).unwrap();
    let file = desk.path("run/checkpoint/model.safetensors");
    let (whole, _) = checkpoint::read_tensors(&file).unwrap();
    let first = |tensor: &Tensor, value: f32| {
        let mut numbers = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        numbers[1] = value;
        Tensor::from_vec(numbers, tensor.dims(), &Device::Cpu).unwrap()
    };
    for (name, value, why) in [
        ("conv1.weight", f32::NAN, "conv1.weight: 1 of 108 numbers are not finite, the first is NaN at 1"),
        ("projection.0.weight", f32::INFINITY, "numbers are not finite, the first is inf at 1"),
        ("bn1.running_mean", f32::NAN, "bn1.running_mean: 1 of 4 numbers are not finite"),
        ("bn1.running_var", -1.0, "bn1.running_var: 1 of 4 numbers are negative, and it is a variance"),
    ] {
        let mut tensors = whole.clone();
        tensors.insert(name.into(), first(&whole[name], value));
        checkpoint::write_tensors(&file, &tensors, ("format", "pt")).unwrap();
        let parts = ["run/checkpoint/model.safetensors", "holds what no network has", why];
        expect(desk.finetune("run", (1.0, 0), "a", &[]), &parts);
        expect(desk.eval("run", true, "b"), &parts);
        let (private, dry_run, revision) = (false, true, "main".to_string());
        let (source, repo, license) = (desk.path("run"), "me/net".to_string(), "mit".to_string());
        let publish = PublishArgs { source, repo, private, dry_run, out: Some(desk.path("dry")), revision, license };
        expect(simclr_publish::run(&publish), &parts);
    }
    for dtype in [DType::U8, DType::I64, DType::U32] {
        let mut tensors = whole.clone();
        tensors.insert("bn1.bias".into(), whole["bn1.bias"].to_dtype(dtype).unwrap());
        checkpoint::write_tensors(&file, &tensors, ("format", "pt")).unwrap();
        let why = format!("bn1.bias holds numbers of type {dtype:?}: weights are F32, F16, BF16 or F64");
        expect(desk.finetune("run", (1.0, 0), "a", &[]), &["run/checkpoint/model.safetensors", &why]);
    }
    // The same in a smaller type of floats is a network.
    let half = whole.iter().map(|(name, tensor)| (name.clone(), tensor.to_dtype(DType::BF16).unwrap())).collect();
    checkpoint::write_tensors(&file, &half, ("format", "pt")).unwrap();
    desk.finetune("run", (1.0, 0), "c", &[]).unwrap();
}

/// Nothing that is no regular file is opened, and nothing without an end is read to it.
#[cfg(unix)]
#[test]
fn files_that_are_none() {
    let desk = Desk::new();
    let pipe = |path: &Path| {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = std::fs::remove_file(path);
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    };
    let link = |path: &Path| {
        let _ = std::fs::remove_file(path);
        std::os::unix::fs::symlink("/dev/zero", path).unwrap();
    };
    for (make, why) in [(&pipe as &dyn Fn(&Path), "a named pipe"), (&link, "a device")] {
        let config = desk.path("other.toml");
        make(&config);
        expect(Config::load(&config, &[]), &["other.toml", why]);
        std::fs::remove_file(&config).unwrap();

        let model = SimClr::new(&ModelSpec::new(&desk.config(&[]).unwrap().model, 3, 16, 0, 0), 0).unwrap();
        for name in ["config.json", "model.safetensors"] {
            checkpoint::save(&desk.path("net"), &model.store, &model.spec.to_json()).unwrap();
            make(&desk.path("net").join(name));
            expect(simclr_stage::Checkpoint::load(&desk.path("net")), &[name, why]);
            std::fs::remove_file(desk.path("net").join(name)).unwrap();
        }

        // Beside pictures it is passed over and counted; in the place of a file that is named it is refused.
        let pictures = desk.path("pictures");
        for class in ["a", "b"] {
            std::fs::create_dir_all(pictures.join(class)).unwrap();
            image::RgbImage::new(8, 8).save(pictures.join(class).join("1.png")).unwrap();
        }
        make(&pictures.join("a/2.png"));
        make(&desk.path("labels.csv"));
        let at = format!("data.dir=\"{}\"", pictures.display());
        let load = |set: &[&str]| {
            let set = [&["data.dataset=folder", "data.held_out=0.5", &at], set].concat();
            desk.config(&set).and_then(|config| simclr_data::load(&config.data))
        };
        let found = load(&[]).unwrap().found;
        assert!(found.passed_over.to_string().contains("2.png (a pipe, socket or device)"), "{}", found.passed_over);
        let labels = format!("data.labels=\"{}\"", desk.path("labels.csv").display());
        expect(load(&[&labels]), &["data.labels", "labels.csv", why]);
        std::fs::remove_file(desk.path("labels.csv")).unwrap();
    }
}

/// A class's number that no dataset has is named with its place, and memory follows the pictures.
#[test]
fn numbers_that_are_no_classes() {
    let desk = Desk::new();
    let dir = desk.path("shards");
    std::fs::create_dir(&dir).unwrap();
    let mut png = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(8, 8).write_to(&mut png, image::ImageFormat::Png).unwrap();
    let at = format!("data.dir=\"{}\"", dir.display());
    for (ending, label, number) in [
        ("cls", "3000000000".to_string(), "3000000000"),
        ("cls", "40000000".into(), "40000000"),
        ("cls", "99999999999999999999".into(), "99999999999999999999"),
        ("json", "{\"label\": 3000000000}".into(), "3000000000"),
    ] {
        let mut archive = Vec::new();
        for (name, bytes) in
            [("x.png".to_string(), png.get_ref().as_slice()), (format!("x.{ending}"), label.as_bytes())]
        {
            archive.extend(member(&name, bytes));
        }
        archive.extend([0; 1024]);
        std::fs::write(dir.join("train-0.tar"), archive).unwrap();
        let loaded = desk.config(&["data.dataset=tar", &at]).and_then(|config| simclr_data::load(&config.data));
        expect(loaded, &["train-0.tar", &format!("x.{ending}"), "can be no class", number]);
    }
}

/// A member of a tar file.
fn member(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut header = [0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    header[124..136].copy_from_slice(format!("{:011o}\0", bytes.len()).as_bytes());
    header[148..156].fill(b' ');
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut member = header.to_vec();
    member.extend(bytes);
    member.resize(member.len().next_multiple_of(512), 0);
    member
}

#[test]
fn folders_of_other_runs() {
    let desk = Desk::new();
    desk.pretrain("run", &[]).unwrap();
    let model = desk.path("run/checkpoint/model.safetensors");
    let before = std::fs::read(&model).unwrap();
    // The same run again is done; another in its place is refused, and the first stays.
    desk.pretrain("run", &[]).unwrap();
    expect(desk.pretrain("run", &["seed=9"]), &["run holds another run", "seed is 0 there and 9 here", "--out"]);
    expect(
        desk.finetune("scratch", (1.0, 0), "run", &[]),
        &["another run: stage is \"pretrain\" there and \"supervised\" here. Choose"],
    );
    assert_eq!(before, std::fs::read(&model).unwrap());
    expect(desk.pretrain("experiment.toml", &[]), &["cannot make the folder", "experiment.toml"]);
}

#[test]
fn teachers_and_students() {
    let desk = Desk::new();
    let config = desk.config(&[]).unwrap();
    for (name, channels, classes) in [("headless", 3, 0), ("of three", 3, 3), ("gray", 1, 10)] {
        let model = SimClr::new(&ModelSpec::new(&config.model, channels, 16, classes, 0), 0).unwrap();
        checkpoint::save(&desk.path(name), &model.store, &model.spec.to_json()).unwrap();
    }
    expect(desk.distill("headless", "self", "a"), &["headless", "no classifier", "fine-tune"]);
    expect(desk.distill("of three", "self", "b"), &["of three knows 3 classes", "has 10"]);
    expect(desk.distill("gray", "self", "c"), &["gray takes images of 1 channels", "has 3"]);
    expect(desk.distill("gray", "tiny", "d"), &["[distill.tiny]", "self, small"]);
    expect(desk.eval("headless", false, "e"), &["headless", "classifier", "--linear"]);
    expect(desk.eval("of three", false, "f"), &["of three knows 3 classes", "the dataset has 10", "--linear"]);
    // Features need no classifier: whose classes it knows does not matter.
    desk.eval("of three", true, "g").unwrap();
    // What an evaluation leaves is no checkpoint.
    assert!(desk.path("g/probe.safetensors").is_file() && !desk.path("g/checkpoint").exists());
    expect(desk.finetune("g", (1.0, 0), "h", &[]), &["g: this run measured a checkpoint"]);
    for (after, why) in [("5", "this encoder has 4 groups"), ("-2", "must lie in -1 to 64")] {
        let set = format!("supervised.freeze_after={after}");
        expect(
            desk.finetune("scratch", (1.0, 0), "i", &[&set]),
            &["supervised", &format!("freeze_after = {after}"), why],
        );
    }
}

#[test]
fn backbones_and_losses() {
    let desk = Desk::new();
    let pretrain = |set: &str| desk.pretrain("a", &[set]);
    expect(pretrain("model.backbone=\"none\""), &["model.depth", "backbone \"resnet\"", "\"none\"", "take it out"]);
    expect(pretrain("pretrain.loss=\"none\""), &["pretrain.loss = \"none\": must be one of nt-xent"]);
    expect(pretrain("pretrain.loss={name=\"nt-xent\", queue=4}"), &["unknown key pretrain.loss.queue"]);
    expect(pretrain("pretrain.lss=\"nt-xent\""), &["pretrain.lss", "did you mean loss"]);
    let student = ModelSpec::new(&simclr_core::config::ModelConfig::of(Named::new("none")), 3, 16, 0, 0);
    expect(SimClr::blank(&student), &["model.backbone = \"none\": must be one of resnet"]);
}

#[test]
fn a_loss_that_explodes_names_its_step() {
    let desk = Desk::new();
    let set = [
        "pretrain.training.length={steps=60}",
        "pretrain.training.learning_rate=1e4",
        "pretrain.training.weight_decay=1.0",
        "pretrain.training.optimizer=\"sgd\"",
    ];
    expect(desk.pretrain("x", &set), &["step ", " of 60", "not finite numbers", "learning rate"]);
    assert!(!desk.path("x/result.json").exists() && !desk.path("x/checkpoint").exists());
}

#[test]
fn image_files() {
    let desk = Desk::new();
    let dir = desk.path("images");
    std::fs::create_dir(&dir).unwrap();
    expect(load(&desk, "cifar10", &dir), &["images", "data_batch_1.bin"]);
    let header =
        |magic: u32, dims: &[u32]| -> Vec<u8> { [magic].iter().chain(dims).flat_map(|v| v.to_be_bytes()).collect() };
    let write = |name: &str, bytes: &[u8]| std::fs::write(dir.join(name), bytes).unwrap();
    let (images, labels) = (header(0x803, &[2, 28, 28]), header(0x801, &[2]));
    let whole_images = [images.as_slice(), &[7; 2 * 784]].concat();
    let whole_labels = [labels.as_slice(), &[3, 9]].concat();
    for part in ["train", "t10k"] {
        write(&format!("{part}-images-idx3-ubyte"), &whole_images);
        write(&format!("{part}-labels-idx1-ubyte"), &whole_labels);
    }
    assert_eq!(load(&desk, "fashion-mnist", &dir).unwrap().train.all_labels("").unwrap(), [3, 9]);
    write("train-images-idx3-ubyte", &[header(0x802, &[2, 28, 28]).as_slice(), &[7; 2 * 784]].concat());
    expect(load(&desk, "fashion-mnist", &dir), &["train-images-idx3-ubyte", "magic"]);
    write("train-images-idx3-ubyte", &whole_images[..800]);
    expect(load(&desk, "fashion-mnist", &dir), &["train-images-idx3-ubyte", "bytes"]);
    write("train-images-idx3-ubyte", &header(0x803, &[u32::MAX, u32::MAX, u32::MAX]));
    expect(load(&desk, "fashion-mnist", &dir), &["train-images-idx3-ubyte"]);
    write("train-images-idx3-ubyte", &whole_images);
    write("train-labels-idx1-ubyte", &header(0x801, &[3]));
    expect(load(&desk, "fashion-mnist", &dir), &["train-labels-idx1-ubyte"]);
}

#[test]
fn files_of_pictures() {
    let desk = Desk::new();
    let load = |set: &[&str]| desk.config(set).and_then(|config| simclr_data::load(&config.data));
    let dir = desk.path("pictures");
    let at = format!("data.dir=\"{}\"", dir.display());
    expect(load(&["data.dataset=folder"]), &["\"folder\" needs data.dir"]);
    expect(load(&["data.dataset=tar", "data.hub=a/b"]), &["data.hub is for", "parquet", "not \"tar\""]);
    expect(load(&["data.dataset=parquet", "data.hub=imagenet"]), &["imagenet", "OWNER/NAME"]);
    expect(load(&["data.dataset=parquet", "data.hub=a/b", &at]), &["data.hub and data.dir are both set"]);
    expect(load(&["data.train=train"]), &["data.train is for files", "\"textures\""]);
    expect(load(&["data.dataset=folder", &at]), &["pictures is no folder"]);
    std::fs::create_dir_all(dir.join("train/a")).unwrap();
    expect(load(&["data.dataset=folder", &at]), &["training images", "holds no picture", "jpg"]);
    expect(load(&["data.dataset=folder", &at, "data.test=none"]), &["data.test = \"none\"", "is no folder"]);
    expect(load(&["data.dataset=tar", &at]), &["no .tar file there"]);
    std::fs::write(dir.join("train-0.tar"), b"no tar").unwrap();
    expect(load(&["data.dataset=tar", &at]), &["train-0.tar", "tar"]);
    expect(load(&["data.dataset=tar", &at, "data.train=train-{0..3}.tar"]), &["train-{0..3}.tar", "no train-1.tar"]);
    expect(load(&["data.dataset=tar", &at, "data.train=train-{3..0}.tar"]), &["data.train", "two numbers that ascend"]);
    std::fs::write(dir.join("train-0.parquet"), b"no parquet").unwrap();
    expect(load(&["data.dataset=parquet", &at]), &["train-0.parquet", "no whole parquet file"]);
    expect(load(&["data.channels=2"]), &["data.channels = 2", "1 (gray)"]);
    expect(load(&["data.max_pixels=0"]), &["data.max_pixels = 0"]);
    expect(load(&["data.corrupt=ignore"]), &["data.corrupt", "ignore", "skip"]);
    expect(load(&["data.shufle_buffer=3"]), &["data.shufle_buffer", "did you mean shuffle_buffer"]);
    expect(load(&["data.lists=[{labels=2.0, file=\"x\"}]"]), &["data.lists", "(0, 1]"]);
    let twice = "data.lists=[{labels=0.1, file=\"x\"}, {labels=0.1, file=\"y\"}]";
    expect(load(&[twice]), &["two lists for labels = 0.1"]);
}
