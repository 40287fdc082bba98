//! Files as PyTorch writes them, made from our own networks: what becomes of names, shapes and numbers, and what is refused.
#![allow(clippy::unwrap_used)]

use super::{Imported, Options, import};
use crate::{ModelSpec, SimClr};
use candle_core::{DType, Device, Tensor};
use simclr_core::config::{MaxPool, ModelConfig, Stem};
use simclr_core::params::{Kind, Match};
use simclr_core::rng::{Purpose, Rng};
use simclr_core::run::checkpoint;
use simclr_core::testing::assert_close;
use std::collections::BTreeMap;
use std::path::Path;

type Tensors = BTreeMap<String, Tensor>;

/// A network as PyTorch has it: no head, its max pool padded around.
fn network(depth: usize, stem: Stem, channels: usize, classes: usize, se_ratio: f64) -> SimClr {
    let max_pool = if stem == Stem::Imagenet { MaxPool::Torch } else { MaxPool::Tensorflow };
    let model = ModelConfig { width: 0.125, stem, max_pool, se_ratio, proj_layers: 0, ..ModelConfig::resnet(depth) };
    let model = SimClr::new(&ModelSpec::new(&model, channels, 48, classes, 0), 5).unwrap();
    for (i, p) in model.store.iter().enumerate().filter(|(_, p)| p.kind == Kind::BatchNorm || p.kind.is_statistic()) {
        let mut rng = Rng::stream(1, Purpose::Test, &[i as u64]);
        let low = if p.name.ends_with("running_var") || p.name.ends_with("weight") { 0.5 } else { -0.5 };
        simclr_ops::tensor::update(&p.tensor, |v| v.iter_mut().for_each(|v| *v = rng.uniform(low, low + 1.0))).unwrap();
    }
    model
}

/// The file's tensors: of basic blocks without the projection of the first shortcut, and with counters.
fn file_of(model: &SimClr) -> Tensors {
    let mut tensors = model.store.save_map().unwrap();
    if model.spec.model.layout().is_some_and(|layout| !layout.bottleneck) {
        tensors.retain(|name, _| !name.starts_with("layer1.0.downsample."));
    }
    let norms: Vec<_> = tensors.keys().filter_map(|name| name.strip_suffix("running_var")).map(String::from).collect();
    let count = Tensor::new(7i64, &Device::Cpu).unwrap();
    tensors.extend(norms.into_iter().map(|norm| (format!("{norm}num_batches_tracked"), count.clone())));
    tensors
}

fn imported(dir: &Path, tensors: &Tensors, options: Options) -> anyhow::Result<(Imported, SimClr)> {
    let (file, out) = (dir.join("weights.safetensors"), dir.join("out"));
    checkpoint::write_tensors(&file, tensors, ("format", "pt")).unwrap();
    if out.exists() {
        std::fs::remove_dir_all(&out).unwrap();
    }
    let imported = import(&file, &out, options)?;
    let loaded = checkpoint::load(&out).unwrap();
    let model = SimClr::blank(&ModelSpec::from_json(&loaded.config, &loaded.file).unwrap()).unwrap();
    model.store.load_map(&loaded.tensors, Match::EXACT).unwrap();
    Ok((imported, model))
}

fn images(channels: usize, side: usize) -> Tensor {
    let mut rng = Rng::stream(2, Purpose::Test, &[]);
    let pixels = (0..2 * side * side * channels).map(|_| rng.uniform(0.0, 1.0)).collect();
    Tensor::from_vec(pixels, (2, side, side, channels), &Device::Cpu).unwrap()
}

fn features(model: &SimClr, images: &Tensor) -> Vec<f32> {
    model.features(std::iter::once(Ok(images.clone())), 0).unwrap()
}

/// The projection of the first shortcut, which PyTorch has not, as a plain identity.
fn with_plain_shortcut(model: &SimClr) {
    let set = |name: &str, number: &dyn Fn(usize) -> f32| {
        let tensor = &model.store.by_name(&format!("layer1.0.downsample.{name}")).unwrap().tensor;
        simclr_ops::tensor::update(tensor, |v| v.iter_mut().enumerate().for_each(|(i, v)| *v = number(i))).unwrap();
    };
    set("0.weight", &|i| if i % 9 == 0 { 1.0 } else { 0.0 });
    for (name, value) in [("1.weight", 1.0), ("1.bias", 0.0), ("1.running_mean", 0.0), ("1.running_var", 1.0 - 1e-5)] {
        set(name, &|_| value);
    }
}

#[test]
fn every_network_is_found_and_gives_its_features() {
    let dir = tempfile::tempdir().unwrap();
    for (depth, stem, channels, classes, se) in [
        (18, Stem::Imagenet, 3, 10, 0.0),
        (34, Stem::Cifar, 1, 0, 0.0),
        (50, Stem::Imagenet, 3, 5, 0.25),
        (50, Stem::Cifar, 4, 5, 0.0),
        (101, Stem::Imagenet, 3, 0, 0.0),
    ] {
        let model = network(depth, stem, channels, classes, se);
        let (imported, got) = imported(dir.path(), &file_of(&model), Options::default()).unwrap();
        assert_eq!(got.spec.model, model.spec.model, "depth {depth}");
        assert_eq!((got.spec.in_channels, got.spec.classes, got.spec.proj_selector), (channels, classes, 0));
        assert_eq!(imported.plain_shortcut, depth < 50);
        if depth < 50 {
            with_plain_shortcut(&model);
        }
        let images = images(channels, 48);
        assert_close(&format!("depth {depth}"), &features(&got, &images), &features(&model, &images), 1e-5);
        assert!(imported.to_string().contains(&format!("ResNet-{depth}")));
    }
}

#[test]
fn prefixes_and_half_precision_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let model = network(50, Stem::Imagenet, 3, 4, 0.0);
    let renamed = |(name, tensor): (String, Tensor)| {
        let tensor = if tensor.dtype() == DType::F32 { tensor.to_dtype(DType::F16).unwrap() } else { tensor };
        (format!("module.encoder.{name}"), tensor)
    };
    let tensors = file_of(&model).into_iter().map(renamed).collect();
    let (_, got) = imported(dir.path(), &tensors, Options::default()).unwrap();
    let images = images(3, 48);
    assert_close("half", &features(&got, &images), &features(&model, &images), 2e-2);
}

/// The network for pictures in 0..1 gives for them what the other gives for normalised ones, but for the padding: black here,
/// and the mean colour there. On pictures of the mean colour all around, both are the same but for that.
#[test]
fn the_first_layer_normalises() {
    let dir = tempfile::tempdir().unwrap();
    let model = network(50, Stem::Imagenet, 3, 0, 0.0);
    let options = Options { normalized: true, ..Options::default() };
    let (_, got) = imported(dir.path(), &file_of(&model), options).unwrap();
    let vector = |v: [f32; 3]| Tensor::new(&v, &Device::Cpu).unwrap();
    // A first convolution that reads its middle pixel alone pads nothing.
    for model in [&model, &got] {
        simclr_ops::tensor::update(&model.store.by_name("conv1.weight").unwrap().tensor, |w| {
            for (i, w) in w.iter_mut().enumerate() {
                if i / 3 % 49 != 24 {
                    *w = 0.0;
                }
            }
        })
        .unwrap();
    }
    let images = images(3, 48);
    let normal = images.broadcast_sub(&vector([0.485, 0.456, 0.406])).unwrap();
    let normal = normal.broadcast_div(&vector([0.229, 0.224, 0.225])).unwrap();
    // What the other pixels of the windows added to the shift is taken back.
    let sums = |model: &SimClr, w: &Tensors| -> Vec<f32> {
        let mean = model.store.by_name("bn1.running_mean").unwrap().tensor.to_vec1::<f32>().unwrap();
        let w = w["conv1.weight"].flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let colours = [(0.485, 0.229), (0.456, 0.224), (0.406, 0.225f32)];
        let shift = |o: usize| -> f32 {
            let at = |c: usize, k: usize| w[(o * 3 + c) * 49 + k] * colours[c].0 / colours[c].1;
            (0..3).flat_map(|c| (0..49).filter(|k| *k != 24).map(move |k| (c, k))).map(|(c, k)| at(c, k)).sum()
        };
        mean.iter().enumerate().map(|(o, m)| m - shift(o)).collect()
    };
    let corrected = sums(&got, &network(50, Stem::Imagenet, 3, 0, 0.0).store.save_map().unwrap());
    let mean = &got.store.by_name("bn1.running_mean").unwrap().tensor;
    simclr_ops::tensor::update(mean, |m| m.copy_from_slice(&corrected)).unwrap();
    assert_close("normalised", &features(&got, &images), &features(&model, &normal), 1e-4);
}

#[test]
fn what_is_no_such_network_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let whole = file_of(&network(50, Stem::Imagenet, 3, 4, 0.0));
    let refused = |change: &dyn Fn(&mut Tensors)| {
        let mut tensors = whole.clone();
        change(&mut tensors);
        let message = format!("{:#}", imported(dir.path(), &tensors, Options::default()).err().expect("an error"));
        assert!(!dir.path().join("out").exists(), "nothing is written: {message}");
        assert!(message.contains("weights.safetensors"), "{message}");
        message
    };
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    type Change<'a> = Box<dyn Fn(&mut Tensors) + 'a>;
    let put = |name: &'static str, shape: &'static [usize]| -> Change<'_> {
        Box::new(move |t: &mut Tensors| drop(t.insert(name.into(), zeros(shape))))
    };
    let take = |name: &'static str| -> Change<'_> { Box::new(move |t: &mut Tensors| drop(t.remove(name))) };
    let cases: Vec<(Change<'_>, &[&str])> = vec![
        (put("encoder_k.queue", &[4]), &["encoder_k.queue", "no meaning"]),
        (put("fc.0.weight", &[4, 4]), &["fc.0.weight"]),
        (take("layer3.2.bn2.running_var"), &["layer3.2.bn2.running_var", "missing"]),
        (take("conv1.weight"), &["conv1.weight is missing", "torchvision"]),
        (take("fc.bias"), &["fc.bias"]),
        (put("layer1.0.conv1.weight", &[16, 8, 1, 1]), &["wide_resnet50_2", "16 channels", "has 8"]),
        (put("layer1.0.conv2.weight", &[8, 2, 3, 3]), &["grouped", "[8, 2, 3, 3]"]),
        (put("conv1.0.weight", &[4, 3, 3, 3]), &["resnet50d"]),
        (put("layer1.0.downsample.2.weight", &[32]), &["resnet50d"]),
        (put("conv1.weight", &[8, 3, 5, 5]), &["conv1.weight is 5x5"]),
        (put("fc.weight", &[4, 100]), &["fc.weight has shape [4, 100]", "[classes, 256]"]),
        (take("layer3.5.conv1.weight"), &["[3, 4, 5, 3] bottleneck", "[3, 4, 6, 3] at depth 50"]),
        (put("layer4.2.conv3.weight", &[256, 64, 3, 3]), &["layer4.2.conv3.weight is [256, 64, 3, 3]"]),
        (
            Box::new(|t: &mut Tensors| {
                drop(t.insert("bn1.weight".into(), Tensor::zeros(8, DType::I64, &Device::Cpu).unwrap()))
            }),
            &["bn1.weight holds I64"],
        ),
        (Box::new(|t: &mut Tensors| t.clear()), &["holds no tensor"]),
    ];
    for (change, parts) in cases {
        let message = refused(&*change);
        parts.iter().for_each(|part| assert!(message.contains(part), "{part}: {message}"));
    }
    let gray = file_of(&network(18, Stem::Cifar, 1, 0, 0.0));
    let options = Options { normalized: true, ..Options::default() };
    let message = format!("{:#}", imported(dir.path(), &gray, options).err().unwrap());
    assert!(message.contains("--normalized") && message.contains("1 channels"), "{message}");
}

#[test]
fn pickles_are_refused_by_ending_and_by_their_first_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let refused =
        |path: &Path| format!("{:#}", import(path, &dir.path().join("out"), Options::default()).err().unwrap());
    for name in ["resnet50.pth", "pytorch_model.bin", "a.PT", "hf://timm/resnet50/pytorch_model.bin"] {
        let message = refused(Path::new(name));
        assert!(message.contains("save_file") && message.contains(name), "{message}");
    }
    for (name, begin) in [("zip.safetensors", &b"PK\x03\x04...."[..]), ("old", b"\x80\x02\x8a\x0a")] {
        std::fs::write(dir.path().join(name), begin).unwrap();
        assert!(refused(&dir.path().join(name)).contains("save_file"));
    }
    std::fs::write(dir.path().join("cut.safetensors"), b"\x40\0\0\0\0\0\0\0{").unwrap();
    assert!(refused(&dir.path().join("cut.safetensors")).contains("damaged"));
    assert!(refused(&dir.path().join("none.safetensors")).contains("no such file"));
    std::fs::create_dir(dir.path().join("out")).unwrap();
    std::fs::write(dir.path().join("out/config.json"), "mine").unwrap();
    assert!(refused(&dir.path().join("cut.safetensors")).contains("nothing that exists is overwritten"));
}
