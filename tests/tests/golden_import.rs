//! Import of TensorFlow checkpoints: weights and outputs against what the reference's program holds and gives.
#![allow(clippy::unwrap_used, missing_docs)]

use candle_core::{Device, Tensor};
use simclr_core::config::Stem;
use simclr_core::run::{checkpoint, layout};
use simclr_model::tensorflow::{Bundle, Imported, Options, import, prefix_of};
use simclr_model::{Mode, Pass, SimClr};
use simclr_ops::{Tape, Value};
use simclr_stage::Checkpoint;
use simclr_tests::{Golden, Stored, assert_close, golden_dir};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Of the largest value.
const TOLERANCE: f32 = 1e-4;

/// A checkpoint, and what is expected of it.
struct Case {
    what: String,
    path: PathBuf,
    tf1: bool,
    golden: Golden,
}

/// Every checkpoint below `tf_checkpoints`: a folder of each kind beside its expected numbers.
fn cases() -> Vec<Case> {
    let dir = golden_dir().join("tf_checkpoints");
    let mut folders: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name()).collect();
    folders.sort();
    let mut cases = Vec::new();
    for folder in folders.iter().map(|name| name.to_str().unwrap()) {
        for (kind, file) in [("tf2", "expected_tf2"), ("saved_model", "expected_tf2"), ("tf1", "expected_tf1")] {
            cases.push(Case {
                what: format!("{folder} {kind}"),
                path: dir.join(folder).join(kind),
                tf1: kind == "tf1",
                golden: Golden::load(&format!("tf_checkpoints/{folder}/{file}.safetensors")),
            });
        }
    }
    assert!(!cases.is_empty(), "no checkpoints in {}", dir.display());
    cases
}

impl Case {
    fn import(&self) -> (Imported, tempfile::TempDir) {
        let number = |key: &str| self.golden.metadata.get(key).map(|v| v.parse().unwrap());
        let image_size = number("image_size").map(|n| n as usize);
        let (out, options) =
            (tempfile::tempdir().unwrap(), Options { proj_selector: number("ft_proj_selector"), image_size });
        (import(&self.path, out.path(), options).unwrap(), out)
    }

    /// The network found is the one that the file describes.
    fn check_spec(&self, imported: &Imported) {
        let (spec, model) = (&imported.spec, &imported.spec.model);
        let found = [
            ("depth", model.depth as f64),
            ("base_channels", model.width * 64.0),
            ("sk_ratio", model.sk_ratio),
            ("se_ratio", model.se_ratio),
            ("num_proj_layers", model.proj_layers as f64),
            ("proj_out_dim", model.proj_dim as f64),
            ("num_classes", spec.classes as f64),
            ("image_size", spec.image_size as f64),
        ];
        for (key, value) in found {
            if let Some(want) = self.golden.metadata.get(key) {
                assert_eq!(value, want.parse::<f64>().unwrap(), "{}: {key}", self.what);
            }
        }
        assert_eq!(spec.in_channels, *self.golden.get("x").0.last().unwrap(), "{}: channels", self.what);
        assert_eq!(model.stem == Stem::Cifar, spec.image_size <= 32, "{}: stem", self.what);
    }

    /// What every tensor of the imported network must be, by name.
    fn weights(&self, imported: &Imported) -> BTreeMap<String, Stored> {
        let golden = &self.golden;
        if !self.tf1 {
            return golden
                .names()
                .filter_map(|n| Some((n.strip_prefix("w.")?.into(), golden.get(n).clone())))
                .collect();
        }
        // TF1's names, in the order of creation: a network declares its parameters in the same order.
        let order: Vec<String> = serde_json::from_str(&golden.metadata["variable_order"]).unwrap();
        let model = SimClr::blank(&imported.spec).unwrap();
        assert_eq!(model.store.iter().count(), order.len(), "{}", self.what);
        let stored = |name| {
            let (shape, numbers) = golden.get(&format!("tf1.{name}")).clone();
            turned(Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap())
        };
        model.store.iter().zip(&order).map(|(param, name)| (param.name.clone(), stored(name))).collect()
    }
}

fn plain(t: &Tensor) -> Stored {
    (t.dims().to_vec(), t.flatten_all().unwrap().to_vec1().unwrap())
}

/// From TensorFlow's layout to that of files.
fn turned(t: Tensor) -> Stored {
    plain(&match t.rank() {
        4 => t.permute((3, 2, 0, 1)).unwrap(),
        2 => t.t().unwrap(),
        _ => t,
    })
}

fn tensors(folder: &Path) -> BTreeMap<String, Stored> {
    checkpoint::load(folder).unwrap().tensors.into_iter().map(|(name, t)| (name, plain(&t))).collect()
}

#[test]
fn imported_weights() {
    for case in cases() {
        let what = &case.what;
        let (imported, out) = case.import();
        println!("{imported}");
        case.check_spec(&imported);
        assert_eq!(imported.format, if case.tf1 { "TensorFlow 1 names" } else { "TensorFlow 2 objects" }, "{what}");
        let (got, want) = (tensors(out.path()), case.weights(&imported));
        assert_eq!(got.keys().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>(), "{what}: names");
        assert_eq!(imported.tensors, want.len(), "{what}");
        for (name, (shape, numbers)) in &want {
            assert_eq!(&got[name].0, shape, "{what} {name}: shape");
            assert_close(&format!("{what} {name}"), &got[name].1, numbers, 0.0);
        }
        // The step is the one stored, and the folder remembers it.
        let bundle = Bundle::open(&prefix_of(&case.path).unwrap()).unwrap();
        let step = bundle.keys().find(|key| key.starts_with("global_step")).map(|key| bundle.integer(key).unwrap());
        assert_eq!(imported.step, step, "{what}: step");
        let config = checkpoint::load(out.path()).unwrap().config;
        assert_eq!(config["source"]["global_step"].as_i64(), step, "{what}: step in config.json");
    }
}

#[test]
fn imported_outputs() {
    for case in cases() {
        let (_, out) = case.import();
        // As every stage loads it.
        let model = Checkpoint::load(out.path()).unwrap().model().unwrap();
        let (shape, numbers) = case.golden.get("x").clone();
        let x = Value::constant(Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap());
        let tape = Tape::inference();
        let pass = Pass::new(&tape, &model.store, Mode::Eval);
        let pooled = model.encoder.forward(&pass, &x).unwrap();
        let mut outputs = BTreeMap::from([("projection", model.projection.forward(&pass, &pooled, -1).unwrap())]);
        outputs.insert("pooled", pooled);
        if model.spec.classes > 0 {
            outputs.insert("logits", model.logits(&pass, &x).unwrap());
        }
        // All but the images and the weights is an output.
        for name in case.golden.names().filter(|n| *n != "x" && !n.contains('.')) {
            let what = format!("{} {name}", case.what);
            let (shape, got) = plain(outputs.get(name).unwrap_or_else(|| panic!("{what}: unknown")).tensor());
            let (expected, want) = case.golden.get(name);
            assert_eq!(&shape, expected, "{what}");
            assert_close(&what, &got, want, TOLERANCE);
        }
    }
}

/// A SavedModel names variables by mere places in lists: the list of keys beside it tells what each is.
#[test]
fn saved_models() {
    for case in cases().iter().filter(|case| case.path.join("keys.json").exists()) {
        let (imported, out) = case.import();
        assert_eq!(imported.name, case.path.file_name().unwrap().to_str().unwrap());
        let text = std::fs::read_to_string(case.path.join("keys.json")).unwrap();
        let keys: BTreeMap<String, String> = serde_json::from_str(&text).unwrap();
        let (bundle, got) = (Bundle::open(&case.path.join("variables/variables")).unwrap(), tensors(out.path()));
        assert_eq!(keys.len(), got.len(), "{}", case.what);
        for (key, name) in keys {
            assert!(turned(bundle.floats(&key).unwrap()) == got[&name], "{}: {key} is not {name}", case.what);
        }
        // The prefix of its variables, their folder and their index mean the same checkpoint.
        for path in ["variables/variables", "variables", "variables/variables.index"] {
            let other = tempfile::tempdir().unwrap();
            import(&case.path.join(path), other.path(), Options::default()).unwrap();
            let bytes = |dir: &Path| std::fs::read(dir.join(layout::MODEL)).unwrap();
            assert!(bytes(out.path()) == bytes(other.path()), "{}: {path}", case.what);
        }
    }
}
