//! Import of TensorFlow checkpoints: every kind of network, and everything that can be wrong with the files.
#![allow(clippy::unwrap_used, missing_docs)]

mod bundle;
mod desk;

use anyhow::Result;
use bundle::Draft;
use candle_core::{Device, Tensor};
use simclr_core::config::{ModelConfig, Stem};
use simclr_core::params::Match;
use simclr_core::rng::{Purpose, Rng};
use simclr_core::run::checkpoint;
use simclr_model::tensorflow::{Imported, Options, import};
use simclr_model::{ModelSpec, SimClr};
use simclr_stage::Checkpoint;
use std::path::PathBuf;

/// A temporary folder to write and import checkpoints in.
struct Desk(tempfile::TempDir, std::cell::Cell<usize>);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap(), std::cell::Cell::new(0))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A folder that is not there yet.
    fn fresh(&self) -> PathBuf {
        self.1.set(self.1.get() + 1);
        self.path(&format!("out{}", self.1.get()))
    }

    fn import(&self, draft: &Draft) -> Result<(Imported, PathBuf)> {
        self.import_with(draft, Options::default())
    }

    fn import_with(&self, draft: &Draft, options: Options) -> Result<(Imported, PathBuf)> {
        let (prefix, out) = (draft.write(&self.path("model.ckpt-77"), 3), self.fresh());
        Ok((import(&prefix, &out, options)?, out))
    }
}

/// The message as a user sees it; it must hold every part.
#[track_caller]
fn expect<T>(result: Result<T>, parts: &[&str]) {
    let Err(error) = result else { panic!("no error, expected one with {parts:?}") };
    let message = format!("{error:#}");
    for part in parts {
        assert!(message.contains(part), "expected {part:?} in: {message}");
    }
}

/// A network whose numbers all differ.
fn network(model: ModelConfig, channels: usize, classes: usize, selector: i64) -> SimClr {
    let size = if model.stem == Stem::Cifar { 32 } else { 224 };
    let model = SimClr::blank(&ModelSpec::new(&model, channels, size, classes, selector)).unwrap();
    let mut rng = Rng::stream(7, Purpose::Init, &[]);
    let mut fill = |t: Tensor| {
        let numbers: Vec<f32> = (0..t.elem_count()).map(|_| rng.normal()).collect();
        Tensor::from_vec(numbers, t.dims(), &Device::Cpu).unwrap()
    };
    let map = model.store.save_map().unwrap().into_iter().map(|(name, t)| match name.ends_with("running_var") {
        true => (name, fill(t).abs().unwrap()),
        false => (name, fill(t)),
    });
    let map = map.collect();
    model.store.load_map(&map, Match::EXACT).unwrap();
    model
}

fn shape(depth: usize, base: usize, stem: Stem, sk_ratio: f64, se_ratio: f64) -> ModelConfig {
    ModelConfig { width: base as f64 / 64.0, sk_ratio, se_ratio, stem, proj_dim: 6, ..ModelConfig::resnet(depth) }
}

fn small() -> SimClr {
    network(shape(18, 2, Stem::Cifar, 0.0, 0.0), 3, 5, 0)
}

/// What was imported equals `model`, loaded as a stage loads it.
#[track_caller]
fn check(model: &SimClr, imported: &Imported, out: &std::path::Path) {
    assert_eq!(imported.spec, model.spec);
    let loaded = Checkpoint::load(out).unwrap().model().unwrap();
    let (got, want) = (loaded.store.save_map().unwrap(), model.store.save_map().unwrap());
    assert_eq!(got.len(), want.len());
    for (name, tensor) in &want {
        let numbers = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(numbers(&got[name]) == numbers(tensor), "{name}");
    }
}

#[test]
fn every_kind_of_network() {
    let desk = Desk::new();
    let (cifar, imagenet) = (Stem::Cifar, Stem::Imagenet);
    // Depth, base channels, stem, selective kernels, squeeze-and-excitation, whether TF1 can build it.
    let kinds = [
        (18, 2, cifar, 0.0, 0.0, true),
        (18, 3, imagenet, 0.0, 0.25, true),
        (34, 2, imagenet, 0.0, 0.0, true),
        (18, 2, imagenet, 0.0625, 0.0, false),
        (18, 2, cifar, 0.0625, 0.0, false),
        (34, 4, cifar, 0.0625, 0.5, false),
        (50, 2, cifar, 0.0, 0.0, true),
        (50, 4, imagenet, 0.0625, 0.0, true),
        (50, 8, cifar, 0.0625, 0.0625, true),
        (50, 6, imagenet, 0.75, 0.3125, true),
        (101, 2, imagenet, 0.0, 0.0, true),
        (152, 2, imagenet, 0.0625, 0.0, true),
        (200, 1, cifar, 0.0, 0.5, true),
    ];
    for (depth, base, stem, sk, se, tf1) in kinds {
        println!("depth {depth}, base {base}, {stem:?}, sk {sk}, se {se}");
        let model = network(shape(depth, base, stem, sk, se), 3, 5, 0);
        let (imported, out) = desk.import(&Draft::objects(&model)).unwrap();
        assert_eq!((imported.format, imported.step), ("TensorFlow 2 objects", Some(5)));
        check(&model, &imported, &out);
        if tf1 {
            let (imported, out) = desk.import(&Draft::names(&model, |_| true)).unwrap();
            assert_eq!((imported.format, imported.step), ("TensorFlow 1 names", Some(77)));
            check(&model, &imported, &out);
        }
    }
}

#[test]
fn every_kind_of_head() {
    let desk = Desk::new();
    for (layers, dim, channels, classes, selector) in
        [(3, 6, 1, 0, 0), (0, 6, 3, 4, 0), (1, 9, 3, 4, -1), (2, 4, 3, 0, 0), (4, 7, 3, 2, -1)]
    {
        let config = ModelConfig { proj_layers: layers, proj_dim: dim, ..shape(18, 2, Stem::Cifar, 0.0, 0.0) };
        let mut model = network(config, channels, classes, selector);
        if layers == 0 {
            // Nothing tells how wide an absent head would be.
            model.spec.model.proj_dim = 1;
        }
        for draft in [Draft::names(&model, |_| false), Draft::objects(&model)] {
            let (imported, out) = desk.import(&draft).unwrap();
            check(&model, &imported, &out);
        }
    }
}

#[test]
fn the_classifier_stands_where_optimiser_state_says() {
    let desk = Desk::new();
    let config = shape(18, 2, Stem::Cifar, 0.0, 0.0);
    let layer = |name: &str| name.strip_prefix("projection.").map(|rest| rest[..1].parse::<i64>().unwrap());
    for selector in 0..3 {
        let model = network(config.clone(), 3, 5, selector);
        // Fine-tuned: layers past the classifier's have no gradient, and so no momentum.
        let tuned = Draft::names(&model, |name| layer(name).is_none_or(|layer| layer < selector));
        let (imported, out) = desk.import(&tuned).unwrap();
        check(&model, &imported, &out);
        assert_eq!(imported.selector, "by the optimiser state of the head");
        // Without optimiser state nothing tells, and the option does.
        let bare = Draft::names(&model, |_| false);
        assert!(desk.import(&bare).unwrap().0.selector.contains("--proj-selector"));
        let given = Options { proj_selector: Some(selector), image_size: Some(32) };
        let (imported, out) = desk.import_with(&bare, given).unwrap();
        check(&model, &imported, &out);
    }
    let given =
        |k| desk.import_with(&Draft::names(&small(), |_| true), Options { proj_selector: Some(k), image_size: None });
    expect(given(4), &["--proj-selector 4", "3 layers"]);
    expect(given(3), &["head_supervised/linear_layer/dense", "[16, 5]", "expected 6 inputs"]);
}

#[test]
fn other_types_of_numbers() {
    let (desk, model) = (Desk::new(), small());
    let mut draft = Draft::names(&model, |_| false);
    for tensor in draft.0.clone().iter().filter(|(_, t)| t.dtype == 1) {
        let (key, stored) = tensor;
        let numbers = stored.bytes.chunks(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        draft.raw(key, 2, &stored.shape, numbers.flat_map(|v| f64::from(v).to_le_bytes()).collect());
    }
    let (imported, out) = desk.import(&draft).unwrap();
    check(&model, &imported, &out);
    draft.raw("head_supervised/linear_layer/dense/bias", 3, &[5], vec![0; 20]);
    expect(desk.import(&draft), &["head_supervised/linear_layer/dense/bias", "type 3", "expected float32"]);
    // Half precision: 1.5 as bfloat16 and as float16.
    for (dtype, bits) in [(14, 0x3fc0u16), (19, 0x3e00)] {
        draft.raw("head_supervised/linear_layer/dense/bias", dtype, &[5], bits.to_le_bytes().repeat(5));
        let (_, out) = desk.import(&draft).unwrap();
        let bias = &checkpoint::load(&out).unwrap().tensors["fc.bias"];
        assert_eq!(bias.to_vec1::<f32>().unwrap(), [1.5; 5]);
    }
}

#[test]
fn files() {
    let desk = Desk::new();
    let prefix = Draft::names(&small(), |_| false).write(&desk.path("model.ckpt-77"), 2);
    let run = || import(&prefix, &desk.path("out"), Options::default());
    let file = |suffix: &str| PathBuf::from(format!("{}{suffix}", prefix.display()));
    let (index, shard) = (file(".index"), file(".data-00001-of-00002"));
    expect(
        import(&desk.path("model.ckpt-78"), &desk.path("out"), Options::default()),
        &["model.ckpt-78.index", "there are", "model.ckpt-77"],
    );
    expect(import(&desk.path("none/x"), &desk.path("out"), Options::default()), &["none/x.index", "SavedModel"]);
    let whole = std::fs::read(&index).unwrap();
    let with = |bytes: &[u8], parts: &[&str]| {
        std::fs::write(&index, bytes).unwrap();
        expect(run(), parts);
        std::fs::write(&index, &whole).unwrap();
    };
    with(b"", &["model.ckpt-77.index", "0 bytes", "copy it again"]);
    with(&whole[..whole.len() / 2], &["model.ckpt-77.index", "cut", "copy it again"]);
    let flipped = |bytes: &[u8], at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 4;
        bytes
    };
    with(&flipped(&whole, 500), &["model.ckpt-77.index", "block at 0 is damaged", "checksum", "copy the file again"]);
    with(&flipped(&whole, whole.len() - 1), &["model.ckpt-77.index", "it ends in 0xdf47", "a table in 0xdb47"]);
    with(&bundle::table(&[(b"a".to_vec(), vec![8, 1])], 9), &["has no header"]);
    with(&bundle::table(&[(vec![], vec![8, 2, 16, 1])], 9), &["big-endian"]);
    with(&bundle::table(&[(vec![], vec![8, 1]), (b"a".to_vec(), vec![0x80])], 9), &["entry a", "ends within"]);

    let sliced = (b"base_model/conv2d/kernel".to_vec(), vec![8, 1, 18, 0, 58, 0]);
    with(&bundle::table(&[(vec![], vec![8, 2]), sliced], 9), &["base_model/conv2d/kernel is stored in slices"]);

    let bytes = std::fs::read(&shard).unwrap();
    std::fs::write(&shard, &bytes[..bytes.len() - 1]).unwrap();
    expect(run(), &["model.ckpt-77.data-00001-of-00002", "the shard is cut, copy it again"]);
    std::fs::write(&shard, flipped(&bytes, bytes.len() / 2)).unwrap();
    expect(run(), &["reading the tensor", "data-00001-of-00002 are damaged", "checksum"]);
    std::fs::remove_file(&shard).unwrap();
    expect(run(), &["data-00001-of-00002 is missing", "beside the index"]);
    assert!(!desk.path("out").exists(), "nothing is written before everything was read");

    std::fs::write(&shard, &bytes).unwrap();
    run().unwrap();
    let before = std::fs::read(desk.path("out/model.safetensors")).unwrap();
    expect(run(), &["out/model.safetensors is there already", "another --out"]);
    assert!(before == std::fs::read(desk.path("out/model.safetensors")).unwrap());
}

#[test]
fn numbers_that_no_network_has() {
    let desk = Desk::new();
    for (leaf, value, why) in [
        ("moving_variance", -1.0f32, "numbers are negative, and it is a variance, the first is -1 at 0"),
        ("moving_mean", f32::NAN, "numbers are not finite, the first is NaN at 0"),
    ] {
        let mut draft = Draft::names(&small(), |_| false);
        let key = format!("base_model/batch_normalization/{leaf}");
        let mut stored = draft.0[&key].clone();
        stored.bytes[..4].copy_from_slice(&value.to_le_bytes());
        draft.raw(&key, 1, &stored.shape, stored.bytes);
        expect(desk.import(&draft), &["the checkpoint holds what no network has: bn1.running_", why]);
    }
}

#[test]
fn variables() {
    let desk = Desk::new();
    let (names, objects) = (Draft::names(&small(), |_| true), Draft::objects(&small()));
    let without = |draft: &Draft, part: &str| {
        let mut draft = draft.clone();
        draft.0.retain(|key, _| !key.starts_with(part));
        desk.import(&draft)
    };
    expect(
        without(&names, "base_model/batch_normalization_4/gamma"),
        &["model.ckpt-77", "base_model/batch_normalization_4/gamma is missing"],
    );
    expect(without(&names, "base_model/conv2d_4/"), &["base_model/conv2d_4 is missing", "incomplete"]);
    expect(without(&names, "base_model/conv2d_20/"), &["20 convolutions fit no network", "21 at depth 18"]);
    expect(without(&names, "base_model/batch_normalization_20/"), &["gamma of what is called layer4.1.bn2 here"]);
    expect(without(&names, "head_contrastive/nl_1/dense"), &["head_contrastive/nl_1/dense is missing"]);
    expect(without(&names, "head_contrastive/nl_1/"), &["head_contrastive/nl_1"]);
    expect(without(&names, "base_model/"), &["no encoder"]);
    expect(
        without(&objects, "model/resnet_model/block_groups/1/layers/0/conv2d_bn_layers/1/bn/gamma/.ATTR"),
        &["model/resnet_model/block_groups/1/layers/0/conv2d_bn_layers/1/bn/gamma is missing", "no such tensor"],
    );
    let with = |draft: &Draft, key: &str, shape: &[usize]| {
        let mut draft = draft.clone();
        draft.floats(key, shape, &vec![0.5; shape.iter().product()]);
        desk.import(&draft)
    };
    expect(with(&names, "base_model/mystery/kernel", &[2]), &["unknown meaning", "base_model/mystery/kernel"]);
    expect(with(&names, "base_model/conv2d_2/kernel/Mystery", &[2]), &["base_model/conv2d_2/kernel/Mystery"]);
    expect(with(&names, "base_model/conv2d_2/bias", &[2]), &["fit no network"]);
    expect(with(&names, "head_contrastive/nl_2/batch_normalization/beta", &[6]), &["nl_2/batch_normalization/beta"]);
    expect(
        with(&names, "head_contrastive/nl_0/batch_normalization/beta", &[7]),
        &["head_contrastive/nl_0/batch_normalization/beta has shape [7], expected [16]"],
    );
    expect(
        with(&names, "base_model/conv2d_7/kernel", &[3, 3, 4, 5]),
        &["base_model/conv2d_7", "[3, 3, 4, 5]", "ResNet-18"],
    );
    expect(with(&names, "base_model/conv2d/kernel", &[5, 5, 3, 2]), &["base_model/conv2d is 5x5"]);
    expect(with(&names, "base_model/conv2d/kernel", &[3, 3, 3]), &["base_model/conv2d has shape [3, 3, 3]"]);
    expect(with(&names, "base_model/conv2d/kernel", &[3, 3, 0, 9]), &["base_model/conv2d has shape [3, 3, 0, 9]"]);
    expect(
        with(&names, "head_contrastive/nl_0/dense/kernel", &[16, 9]),
        &["nl_0/dense has shape [16, 9]", "16 features"],
    );
    let mystery = "model/mystery/.ATTRIBUTES/VARIABLE_VALUE";
    expect(with(&objects, mystery, &[2]), &["unknown meaning", mystery]);
    // A wide stem in a narrow network: nothing of that width is built.
    expect(with(&names, "base_model/conv2d/kernel", &[3, 3, 3, 4000]), &["base_model/conv2d_1", "4000 channels"]);
    // Lengths that do not agree with shapes.
    let mut draft = names.clone();
    draft.raw("base_model/conv2d/kernel", 1, &[3, 3, 3, 1 << 40], vec![0; 8]);
    expect(desk.import(&draft), &["base_model/conv2d/kernel", "8 bytes", "do not agree"]);
    draft.raw("base_model/conv2d/kernel", 7, &[3, 3, 3, 1 << 40], vec![0; 8]);
    expect(desk.import(&draft), &["base_model/conv2d/kernel", "type 7"]);
    let mut draft = objects.clone();
    draft.string("_CHECKPOINTABLE_OBJECT_GRAPH", &[10, 4, 10, 2, 8, 9]);
    expect(desk.import(&draft), &["_CHECKPOINTABLE_OBJECT_GRAPH", "node 9 of 1"]);
    draft.string("_CHECKPOINTABLE_OBJECT_GRAPH", &[10, 0]);
    expect(desk.import(&draft), &["model.resnet_model", "is this a SimCLR model?"]);
}

/// Fine-tuning, distillation and evaluation start from the folder as from one of their own.
#[test]
fn every_stage_takes_what_was_imported() {
    let desk = desk::Desk::new();
    let config = ModelConfig { proj_dim: 8, ..shape(18, 4, Stem::Cifar, 0.0, 0.0) };
    let model = SimClr::new(&ModelSpec::new(&config, 3, 16, 10, 0), 1).unwrap();
    let prefix = Draft::names(&model, |_| true).write(&desk.path("model.ckpt-77"), 1);
    let imported =
        import(&prefix, &desk.path("imported"), Options { image_size: Some(16), ..Options::default() }).unwrap();
    check(&model, &imported, &desk.path("imported"));
    desk.finetune("imported", (1.0, 0), "finetuned", &[]).unwrap();
    desk.distill("imported", "self", "distilled").unwrap();
    for features in [false, true] {
        desk.eval("imported", features, &format!("eval-{features}")).unwrap();
    }
}

/// Cut or changed anywhere, a checkpoint gives an error or, where the change does not matter, the same network.
#[test]
fn damage_anywhere_is_an_error() {
    let desk = Desk::new();
    let mut rng = Rng::stream(3, Purpose::Init, &[1]);
    let config = ModelConfig { proj_layers: 1, ..shape(18, 1, Stem::Cifar, 0.0, 0.0) };
    let model = network(config, 1, 2, 0);
    for draft in [Draft::names(&model, |_| false), Draft::objects(&model)] {
        let prefix = draft.write(&desk.path("ckpt-1"), 1);
        for suffix in [".index", ".data-00000-of-00001"] {
            let path = PathBuf::from(format!("{}{suffix}", prefix.display()));
            let whole = std::fs::read(&path).unwrap();
            let mut place = || (rng.next_u64() % whole.len() as u64) as usize;
            for round in 0..120 {
                let (at, out) = (place(), desk.fresh());
                if round % 2 == 0 {
                    std::fs::write(&path, &whole[..at]).unwrap();
                    assert!(import(&prefix, &out, Options::default()).is_err(), "{suffix} cut at {at}");
                } else {
                    let mut bytes = whole.clone();
                    bytes[at] ^= 1 << (round % 8);
                    std::fs::write(&path, &bytes).unwrap();
                    if let Ok(imported) = import(&prefix, &out, Options::default()) {
                        check(&model, &imported, &out);
                    }
                }
            }
            std::fs::write(&path, &whole).unwrap();
        }
    }
}
