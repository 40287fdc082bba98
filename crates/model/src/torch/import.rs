//! From a file of PyTorch's tensors to a checkpoint of this project: `model.safetensors` and `config.json`.

use super::architecture::{Found, Shapes, all_known, network, prefix, required};
use super::shortcut::identity;
use crate::network::SimClr;
use crate::spec::ModelSpec;
use anyhow::{Context, Result, bail, ensure};
use candle_core::{D, DType, Tensor};
use serde_json::json;
use simclr_core::config::Stem;
use simclr_core::disk;
use simclr_core::params::Match;
use simclr_core::run::{checkpoint, layout};
use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Mean and deviation of the colours of ImageNet, by which torchvision and timm normalise pictures.
const COLOURS: [[f64; 3]; 2] = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]];

/// What a file does not tell.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Whether pictures were normalised by ImageNet's mean and deviation, and the first layer is to do that.
    pub normalized: bool,
    /// Side of the images that it was trained on.
    pub image_size: Option<usize>,
}

/// What was imported.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The network.
    pub spec: ModelSpec,
    /// Numbers that training changes.
    pub parameters: usize,
    /// Tensors that were read.
    pub tensors: usize,
    /// Counts of batches, which nothing here uses.
    pub counters: usize,
    /// Whether the first shortcut got a projection that changes nothing.
    pub plain_shortcut: bool,
    /// Whether the first layer normalises pictures.
    pub normalized: bool,
    source: String,
    out: PathBuf,
}

/// Imports the weights that `path` means, a file or `hf://OWNER/NAME[@REV][/FILE]`, into the folder `out`.
///
/// # Errors
/// When the file is missing, damaged or a pickle, tensors are missing or of unknown meaning, shapes fit no network, or `out`
/// holds a checkpoint already. Nothing is written then.
pub fn import(path: &Path, out: &Path, options: Options) -> Result<Imported> {
    checkpoint::refuse_to_overwrite(out)?;
    refuse_pickles(path)?;
    let file = checkpoint::find(path)?;
    refuse_pickles(&file)?;
    let (tensors, sha256) = checkpoint::read_tensors(&file)?;
    let inner = || -> Result<(SimClr, Found, usize)> {
        let counters = tensors.keys().filter(|name| is_counter(name)).count();
        let (found, tensors) = read(&tensors)?;
        let image_size = options.image_size.unwrap_or(if found.model.stem == Stem::Cifar { 32 } else { 224 });
        let spec = ModelSpec::new(&found.model, found.in_channels, image_size, found.classes, 0);
        let sketch = SimClr::sketch(&spec)?;
        let tensors = if options.normalized { normalizing(tensors)? } else { tensors };
        let shapes = tensors.iter().map(|(name, tensor)| (name.clone(), tensor.dims().to_vec())).collect();
        all_known(&shapes, |name| sketch.store.by_name(name).is_some())?;
        sketch.store.fits(&tensors, Match::EXACT)?;
        let model = SimClr::blank(&spec)?;
        model.store.load_map(&tensors, Match::EXACT)?;
        Ok((model, found, counters))
    };
    let (model, found, counters) = inner().with_context(|| path.display().to_string())?;
    let source = path.display().to_string();
    let imported = Imported {
        spec: model.spec.clone(),
        parameters: model.store.count(|_| true),
        tensors: tensors.len() - counters,
        counters,
        plain_shortcut: found.plain_shortcut,
        normalized: options.normalized,
        source,
        out: out.into(),
    };
    let mut config = model.spec.to_json();
    config["source"] = json!({
        "format": "PyTorch", "file": file.file_name().map(|name| name.to_string_lossy()), "sha256": sha256,
        "normalized": options.normalized,
    });
    checkpoint::save(out, &model.store, &config)?;
    Ok(imported)
}

/// The network, and its tensors as f32 by our names.
fn read(tensors: &BTreeMap<String, Tensor>) -> Result<(Found, BTreeMap<String, Tensor>)> {
    let wanted = || tensors.keys().filter(|name| !is_counter(name));
    let prefix = prefix(wanted());
    let short = |name: &str| name.strip_prefix(prefix).unwrap_or(name).to_string();
    let shapes: Shapes = tensors
        .iter()
        .filter(|(name, _)| !is_counter(name))
        .map(|(name, t)| (short(name), t.dims().to_vec()))
        .collect();
    let found = network(&shapes)?;
    let mut read = BTreeMap::new();
    for name in wanted() {
        let tensor = required(tensors, name)?;
        ensure!(
            matches!(tensor.dtype(), DType::F32 | DType::F16 | DType::BF16 | DType::F64),
            "{name} holds {:?}, expected floats",
            tensor.dtype()
        );
        read.insert(short(name), tensor.to_dtype(DType::F32)?);
    }
    if found.plain_shortcut {
        let parts = identity(required(&read, "bn1.weight")?, required(&read, "bn1.bias")?)?;
        read.extend(parts.into_iter().map(|(name, tensor)| (format!("layer1.0.downsample.{name}"), tensor)));
    }
    Ok((found, read))
}

/// A count of the batches that a batch norm has seen.
fn is_counter(name: &str) -> bool {
    name.rsplit('.').next() == Some("num_batches_tracked")
}

/// The same network for pictures in 0..1: the first convolution divides by the deviation, and what the mean adds to its
/// output is taken away by the batch norm behind.
fn normalizing(mut tensors: BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>> {
    let (weight, mean) = (required(&tensors, "conv1.weight")?, required(&tensors, "bn1.running_mean")?);
    let channels = weight.dim(1)?;
    ensure!(
        channels == 3,
        "--normalized: the colours of ImageNet are three, and this network takes {channels} channels"
    );
    let of = |numbers: [f64; 3]| Tensor::new(&numbers, weight.device())?.reshape((1, 3, 1, 1));
    let weight = weight.to_dtype(DType::F64)?.broadcast_div(&of(COLOURS[1])?)?;
    let shift = weight.broadcast_mul(&of(COLOURS[0])?)?.flatten_from(1)?.sum(D::Minus1)?;
    let mean = (mean.to_dtype(DType::F64)? + shift)?.to_dtype(DType::F32)?;
    let weight = weight.to_dtype(DType::F32)?;
    tensors.insert("conv1.weight".into(), weight);
    tensors.insert("bn1.running_mean".into(), mean);
    Ok(tensors)
}

/// How people call files of `torch.save`.
const PICKLES: [&str; 6] = ["bin", "pth", "pt", "ckpt", "pkl", "tar"];

/// PyTorch's own files are programs that build what they hold.
fn refuse_pickles(path: &Path) -> Result<()> {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default();
    let mut begin = [0; 4];
    let begins = disk::open(path).is_ok_and(|mut file| file.read_exact(&mut begin).is_ok());
    let pickled = begins && (begin == *b"PK\x03\x04" || (begin[0] == 0x80 && begin[1] >= 2 && begin[1] <= 5));
    if pickled || PICKLES.contains(&ending.as_str()) {
        bail!(
            "{}: a file of torch.save, which runs as a program when it is read; expected .safetensors. Where you trust it, PyTorch \
             converts it:\n  python3 -c \"import sys, torch; from safetensors.torch import save_file; d = torch.load(sys.argv[1], \
             map_location='cpu'); d = d.get('state_dict', d) if isinstance(d, dict) else d.state_dict(); save_file({{k: \
             v.contiguous() for k, v in d.items()}}, sys.argv[2])\" {0} weights.safetensors",
            path.display()
        )
    }
    Ok(())
}

impl fmt::Display for Imported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (spec, model) = (&self.spec, &self.spec.model);
        let mut row = |name: &str, text: String| writeln!(f, "{name:<12}{text}");
        row("weights", self.source.clone())?;
        let stem = if model.stem == Stem::Cifar { "CIFAR" } else { "ImageNet" };
        row("network", format!("{}, {stem} stem, {} channels", model.title(), spec.in_channels))?;
        row(
            "head",
            "none: pretraining begins a fresh one, fine-tuning stands on the encoder (proj_selector = 0)".into(),
        )?;
        row("classifier", if spec.classes == 0 { "none".into() } else { format!("{} classes", spec.classes) })?;
        row(
            "pixels",
            match self.normalized {
                true => "0..1: the first layer normalises them by ImageNet's mean and deviation; only the outermost pixels, which \
                         are padded before that, differ from PyTorch"
                    .into(),
                false => "as they were in training; here pictures are 0..1: --normalized builds ImageNet's mean and deviation in".into(),
            },
        )?;
        if self.plain_shortcut {
            row(
                "shortcut",
                "the first block's, which is plain in PyTorch, got a projection that changes nothing (in training its batch norm \
                 takes the batch's moments, as every one does)"
                    .into(),
            )?;
        }
        row(
            "parameters",
            format!("{} ({} tensors read, {} counters left aside)", self.parameters, self.tensors, self.counters),
        )?;
        let out = |name| self.out.join(name).display().to_string();
        write!(f, "{:<12}{}, {}", "written", out(layout::MODEL), out(layout::CONFIG))
    }
}
