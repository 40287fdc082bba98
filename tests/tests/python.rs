//! What Python makes of a published checkpoint: the official client of the hub, timm, torchvision, simclr_resnet.py.
//!
//! These tests need modules of Python and say where they are skipped. `SIMCLR_TEST_PYTHON` names the interpreter.
#![allow(clippy::unwrap_used, missing_docs)]

mod desk;
mod hub;
mod shell;

use candle_core::{Device, Tensor};
use desk::Desk;
use hub::{Hub, WRITER};
use shell::{Shell, done};
use simclr_core::config::{MaxPool, ModelConfig};
use simclr_core::params::Kind;
use simclr_core::rng::{Purpose, Rng};
use simclr_core::run::checkpoint;
use simclr_model::torch::{Options, import};
use simclr_model::{ModelSpec, SimClr};
use simclr_publish::describe;
use simclr_stage::Checkpoint;
use simclr_tests::assert_close;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Not a test: what [`Shell::run`] starts.
#[test]
fn child() {
    shell::child();
}

/// The interpreter, where it has the modules; else the test is reported as skipped.
fn python(test: &str, modules: &str) -> Option<PathBuf> {
    let python = std::env::var_os("SIMCLR_TEST_PYTHON").map_or_else(|| PathBuf::from("python3"), PathBuf::from);
    let found = Command::new(&python).args(["-c", &format!("import {modules}")]).output();
    if found.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    simclr_tests::skipped(test, &format!("{} has no modules {modules}", python.display()));
    None
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(name)
}

/// The script succeeded; what it left out is reported.
#[track_caller]
fn passed(test: &str, output: Output) {
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{text}");
    for line in text.lines().filter_map(|line| line.strip_prefix("SKIPPED ")) {
        simclr_tests::skipped(test, line);
    }
    eprintln!("{text}");
}

/// A network with other numbers everywhere than those that a fresh one begins with.
fn network(spec: &ModelSpec) -> SimClr {
    let model = SimClr::new(spec, 7).unwrap();
    for (i, p) in model.store.iter().enumerate() {
        let mut rng = Rng::stream(1, Purpose::Test, &[i as u64]);
        let (low, high) = match (p.kind, p.name.ends_with("running_var") || p.name.ends_with("weight")) {
            (Kind::BatchNorm | Kind::Variance, true) => (0.5, 1.5),
            (Kind::BatchNorm | Kind::Statistic | Kind::Bias, false) => (-0.3, 0.3),
            (Kind::Classifier, _) => (-0.1, 0.1),
            _ => continue,
        };
        simclr_ops::tensor::update(&p.tensor, |v| v.iter_mut().for_each(|v| *v = rng.uniform(low, high))).unwrap();
    }
    model
}

/// Writes a checkpoint as it is published, and what the network makes of two images.
fn write(dir: &Path, spec: &ModelSpec) {
    let model = network(spec);
    checkpoint::save(dir, &model.store, &describe(spec)).unwrap();
    let (s, c) = (spec.image_size, spec.in_channels);
    let mut rng = Rng::stream(2, Purpose::Test, &[]);
    let pixels = (0..2 * s * s * c).map(|_| rng.uniform(0.0, 1.0)).collect();
    let images = Tensor::from_vec(pixels, (2, s, s, c), &Device::Cpu).unwrap();
    let rows = |numbers: Vec<f32>| {
        let width = numbers.len() / 2;
        Tensor::from_vec(numbers, (2, width), &Device::Cpu).unwrap()
    };
    let once = || std::iter::once(Ok(images.clone()));
    let mut expected = BTreeMap::from([
        ("features".to_string(), rows(model.features(once(), 0).unwrap())),
        ("projection".to_string(), rows(model.features(once(), -1).unwrap())),
    ]);
    if spec.classes > 0 {
        expected.insert("logits".into(), rows(model.predict(once()).unwrap()));
    }
    expected.insert("images".into(), images);
    checkpoint::write_tensors(&dir.join("expected.safetensors"), &expected, ("format", "pt")).unwrap();
}

fn model(depth: usize, width: f64, sk_ratio: f64, se_ratio: f64) -> ModelConfig {
    ModelConfig { width, sk_ratio, se_ratio, proj_dim: 16, ..ModelConfig::resnet(depth) }
}

#[test]
fn the_same_outputs_in_python() {
    let test = "the_same_outputs_in_python";
    let Some(python) = python(test, "torch, safetensors") else { return };
    let root = tempfile::tempdir().unwrap();
    let eighth = |depth, sk, se| model(depth, 0.125, sk, se);
    let cases = [
        ("18 small images", ModelSpec::new(&eighth(18, 0.0, 0.0), 3, 32, 10, 0)),
        ("18 gray", ModelSpec::new(&eighth(18, 0.0, 0.0), 1, 28, 10, 1)),
        ("34 kernels", ModelSpec::new(&eighth(34, 0.0625, 0.0), 3, 32, 10, 2)),
        ("34 kernels, big images", ModelSpec::new(&eighth(34, 0.0625, 0.0), 3, 65, 0, 0)),
        ("50 odd images", ModelSpec::new(&eighth(50, 0.0, 0.0), 3, 75, 10, -1)),
        ("50 kernels", ModelSpec::new(&eighth(50, 0.0625, 0.0), 3, 75, 10, 3)),
        ("50 kernels, small images", ModelSpec::new(&eighth(50, 0.25, 0.0), 3, 32, 10, 0)),
        ("50 squeeze", ModelSpec::new(&eighth(50, 0.0, 0.25), 3, 64, 10, 0)),
        ("50 all", ModelSpec::new(&eighth(50, 0.0625, 0.25), 3, 64, 10, 1)),
        ("101 wide", ModelSpec::new(&model(101, 0.1, 0.0, 0.0), 3, 64, 10, 0)),
        ("152", ModelSpec::new(&model(152, 0.0625, 0.0625, 0.0), 3, 64, 10, 0)),
        ("200", ModelSpec::new(&model(200, 0.0625, 0.0, 0.0), 3, 64, 10, 0)),
        (
            "50 torch pool",
            ModelSpec::new(&ModelConfig { max_pool: MaxPool::Torch, ..eighth(50, 0.0, 0.0) }, 3, 64, 10, 0),
        ),
        ("50 timm", ModelSpec::new(&model(50, 1.0, 0.0, 0.0), 3, 64, 10, 0)),
        ("50 timm, head", ModelSpec::new(&model(50, 1.0, 0.0, 0.0), 1, 64, 10, 1)),
    ];
    for (name, spec) in &cases {
        write(&root.path().join(name), spec);
    }
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("../python/simclr_resnet.py");
    passed(test, Command::new(python).arg(script("networks.py")).arg(root.path()).arg(module).output().unwrap());
}

/// Networks of torchvision and timm, imported, give PyTorch's outputs.
#[test]
fn imported_networks_give_the_outputs_of_pytorch() {
    let test = "imported_networks_give_the_outputs_of_pytorch";
    let Some(python) = python(test, "torch, torchvision, safetensors") else { return };
    let root = tempfile::tempdir().unwrap();
    passed(test, Command::new(python).arg(script("imports.py")).arg(root.path()).output().unwrap());
    let mut folders: Vec<_> = std::fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(folders.len() >= 9, "{folders:?}");
    for folder in folders {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let options = Options { normalized: name.contains("normalized"), ..Options::default() };
        let imported = import(&folder.join("weights.safetensors"), &folder.join("imported"), options).unwrap();
        assert!(name.contains(&imported.spec.model.depth.to_string()), "{name}: {imported}");
        let model = Checkpoint::load(&folder.join("imported")).unwrap().model().unwrap();
        let expected = candle_core::safetensors::load(folder.join("expected.safetensors"), &Device::Cpu).unwrap();
        let images = || std::iter::once(Ok(expected["images"].clone()));
        let rows = |name: &str| expected[name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_close(&format!("{name}, features"), &model.features(images(), 0).unwrap(), &rows("features"), 1e-4);
        assert_close(&format!("{name}, logits"), &model.predict(images()).unwrap(), &rows("logits"), 1e-4);
    }
}

#[test]
fn the_official_client_agrees() {
    let test = "the_official_client_agrees";
    let Some(python) = python(test, "huggingface_hub") else { return };
    let (hub, desk) = (Hub::start(), Desk::new());
    desk.finetune("scratch", (1.0, 0), "run", &[]).unwrap();
    let weights = desk.path("run/checkpoint/model.safetensors");
    let shell = Shell::new(&hub, Some(WRITER));
    done(shell.publish(&desk.path("run"), &["--repo", "me/net"]));
    // By chunks where the client can, and by plain HTTP: the hub's two ways.
    for (disable, way) in [("0", "xet-write-token"), ("1", "PUT /plain/")] {
        let shell = Shell::new(&hub, Some(WRITER)).with("HF_HUB_DISABLE_XET", disable);
        let mut command = shell.command(&python);
        let before = hub.requests(way);
        passed(test, command.arg(script("hub_client.py")).arg("me/net").arg(&weights).output().unwrap());
        let chunks =
            disable == "1" || Command::new(&python).args(["-c", "import hf_xet"]).output().unwrap().status.success();
        assert_eq!(hub.requests(way) > before, chunks, "{way}");
        hub.forget("me/sent");
    }
}

#[test]
fn timm_loads_it_by_name() {
    let test = "timm_loads_it_by_name";
    let Some(python) = python(test, "timm, huggingface_hub") else { return };
    let (hub, root) = (Hub::start(), tempfile::tempdir().unwrap());
    let dir = root.path().join("resnet50");
    write(&dir, &ModelSpec::new(&model(50, 1.0, 0.0, 0.0), 3, 64, 10, 0));
    let shell = Shell::new(&hub, Some(WRITER));
    done(shell.publish(&dir, &["--repo", "me/resnet50"]));
    let expected = dir.join("expected.safetensors");
    passed(
        test,
        shell.command(&python).arg(script("from_the_hub.py")).arg("me/resnet50").arg(expected).output().unwrap(),
    );
}
