//! From a TensorFlow checkpoint to one of this project: `model.safetensors` and `config.json`.

use super::architecture::{self, Kernel};
use super::bundle::{Bundle, with_suffix};
use super::graph::GRAPH;
use super::names::{Unit, Units, Variables};
use crate::network::SimClr;
use crate::spec::ModelSpec;
use anyhow::{Context, Result, bail, ensure};
use candle_core::Tensor;
use serde_json::json;
use simclr_core::config::Stem;
use simclr_core::params::{Kind, Match, Param, Part};
use simclr_core::run::{checkpoint, layout};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// The sections of a network that variables are looked for in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Section {
    Encoder,
    Head,
    Classifier,
}

/// What a checkpoint does not tell.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// The head layer that the classifier stands on.
    pub proj_selector: Option<i64>,
    /// Side of the images that it was trained on.
    pub image_size: Option<usize>,
}

/// What was imported.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The network.
    pub spec: ModelSpec,
    /// `TensorFlow 1 names` or `TensorFlow 2 objects`.
    pub format: &'static str,
    /// The checkpoint's own name.
    pub name: String,
    /// Training steps that it has seen, where it says so.
    pub step: Option<i64>,
    /// Numbers that training changes.
    pub parameters: usize,
    /// Tensors that were read.
    pub tensors: usize,
    /// Variables that were left aside, by kind.
    pub skipped: BTreeMap<String, usize>,
    /// Why the classifier is taken to stand where it does.
    pub selector: &'static str,
    features: usize,
    out: PathBuf,
}

/// Imports the checkpoint that `path` means (a prefix, one of its files, or a SavedModel) into the folder `out`.
///
/// # Errors
/// When files are missing or damaged, variables are missing or of unknown meaning, shapes fit no network, or `out` holds a
/// checkpoint already. Nothing is written then.
pub fn import(path: &Path, out: &Path, options: Options) -> Result<Imported> {
    checkpoint::refuse_to_overwrite(out)?;
    let prefix = prefix_of(path)?;
    let bundle = Bundle::open(&prefix)?;
    let objects = bundle.has(GRAPH);
    let found = if objects { Variables::of_objects(&bundle) } else { Variables::of_names(&bundle) };
    let found = found.with_context(|| format!("the checkpoint {}", prefix.display()))?;
    let inner = || -> Result<(SimClr, &'static str, BTreeMap<String, Tensor>)> {
        let (spec, selector) = spec(&bundle, &found, options)?;
        // Memory is for the tensors that there are, not for those that their shapes would make one expect.
        let model = SimClr::sketch(&spec)?;
        let tensors = read(&bundle, &found, &model)?;
        model.store.fits(&tensors, Match::EXACT)?;
        Ok((model, selector, tensors))
    };
    let (model, selector, tensors) = inner().with_context(|| format!("the checkpoint {}", prefix.display()))?;
    let step = found.step.as_ref().map(|key| bundle.integer(key)).transpose()?;
    let imported = Imported {
        spec: model.spec.clone(),
        format: if objects { "TensorFlow 2 objects" } else { "TensorFlow 1 names" },
        name: name_of(&prefix),
        step,
        parameters: model.store.count(|_| true),
        tensors: tensors.len(),
        skipped: found.skipped,
        selector,
        features: model.encoder.features(),
        out: out.into(),
    };
    let mut config = model.spec.to_json();
    config["source"] = json!({ "format": imported.format, "checkpoint": imported.name, "global_step": step });
    checkpoint::save_tensors(out, &tensors, &config)?;
    Ok(imported)
}

/// The prefix that `path` means: itself, that of the file it names, or that of the SavedModel (or the only checkpoint) in
/// the folder it names.
///
/// # Errors
/// When there is no index: the message lists those that are there.
pub fn prefix_of(path: &Path) -> Result<PathBuf> {
    let is_prefix = |prefix: &Path| with_suffix(prefix, ".index").is_file();
    if is_prefix(path) {
        return Ok(path.into());
    }
    let text = path.to_string_lossy();
    let stem =
        text.strip_suffix(".index").or_else(|| text.rsplit_once(".data-").map(|(stem, _)| stem)).map(PathBuf::from);
    let inside = [path.join("variables").join("variables"), path.join("variables")];
    if let Some(prefix) = stem.iter().chain(&inside).find(|prefix| is_prefix(prefix)) {
        return Ok(prefix.clone());
    }
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
    // The folder of a plain name is the current one.
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let mut held: Vec<PathBuf> = match std::fs::read_dir(folder) {
        Ok(entries) => {
            entries.filter_map(|entry| entry.ok()?.path().to_str()?.strip_suffix(".index").map(PathBuf::from)).collect()
        }
        Err(_) => vec![],
    };
    held.sort();
    match &held[..] {
        [only] if path.is_dir() => Ok(only.clone()),
        [] => bail!(
            "no {}: name a checkpoint by what stands before .index (such as model.ckpt-250228), or a SavedModel's folder. \
             {} holds no index",
            with_suffix(path, ".index").display(),
            folder.display()
        ),
        several => bail!(
            "no {}; in {} there are: {}",
            with_suffix(path, ".index").display(),
            folder.display(),
            several.iter().map(|prefix| prefix.display().to_string()).collect::<Vec<_>>().join(", ")
        ),
    }
}

/// The name of the file, or, as all SavedModels call it `variables`, that of the SavedModel's folder.
fn name_of(prefix: &Path) -> String {
    let is_variables = |path: &Path| path.file_name().is_some_and(|name| name == "variables");
    let named = match prefix.parent() {
        Some(parent) if is_variables(prefix) && is_variables(parent) => parent.parent().unwrap_or(prefix),
        _ => prefix,
    };
    named.file_name().unwrap_or(named.as_os_str()).to_string_lossy().into_owned()
}

/// The network that the variables make up, and why its classifier stands where it does.
fn spec(bundle: &Bundle, found: &Variables, options: Options) -> Result<(ModelSpec, &'static str)> {
    let kernel = |unit: &Unit| -> Result<Vec<usize>> {
        let key = unit.keys.get("kernel").with_context(|| format!("{}/kernel is missing", unit.path))?;
        Ok(bundle.shape_of_floats(key)?.to_vec())
    };
    let shapes = |units: &Units| units.layers.iter().map(kernel).collect::<Result<Vec<_>>>();
    let convolutions = shapes(&found.encoder)?;
    ensure!(
        !convolutions.is_empty(),
        "it holds no encoder: expected base_model/conv2d/kernel, or the object model/resnet_model"
    );
    let units = found.encoder.layers.iter().zip(&convolutions);
    let kernels: Vec<_> =
        units.map(|(unit, shape)| Kernel { name: &unit.path, shape, bias: unit.keys.contains_key("bias") }).collect();
    let encoder = architecture::encoder(&kernels, found.pooled_shortcut)?;
    let (mut model, features) = (encoder.model, encoder.features);

    let dense = |unit: &Unit| -> Result<(usize, usize)> {
        match kernel(unit)?[..] {
            [input, output] if input > 0 && output > 0 => Ok((input, output)),
            ref other => bail!("{} has shape {other:?}; expected [in, out]", unit.path),
        }
    };
    model.proj_layers = found.head.layers.len();
    for (j, unit) in found.head.layers.iter().enumerate() {
        let (input, output) = dense(unit)?;
        let last = j + 1 == model.proj_layers;
        ensure!(
            input == features && (last || output == features),
            "{} has shape {:?}; the encoder has {features} features, and so has every layer of the head but the last",
            unit.path,
            [input, output]
        );
        model.proj_dim = output;
    }
    let image_size = options.image_size.unwrap_or(if model.stem == Stem::Cifar { 32 } else { 224 });
    let layers = model.proj_layers as i64;
    let mut spec = ModelSpec::new(&model, encoder.in_channels, image_size, 0, 0);
    let classifier = match &found.classifier.layers[..] {
        [] => return Ok((spec, "no classifier")),
        [one] => one,
        _ => bail!("more than one classifier"),
    };
    let (input, classes) = dense(classifier)?;
    spec.classes = classes;
    // Layers that a fine-tuned classifier does not use got no gradient, and so no optimiser state.
    let trained = |unit: &Unit| unit.keys.get("kernel").is_some_and(|key| found.slots.contains(key));
    let used = found.head.layers.iter().filter(|unit| trained(unit)).count() as i64;
    let (selector, why) = match options.proj_selector {
        Some(own) => (own, "as given"),
        None if input != features => (-1, "by its width"),
        None if trained(classifier) && used < layers => (used, "by the optimiser state of the head"),
        None if trained(classifier) => (0, "as in pretraining"),
        None => (0, "assumed; --proj-selector K says otherwise"),
    };
    let width = match selector {
        k if k < -1 || k > layers => {
            bail!("--proj-selector {k}: this head has {layers} layers; use 0 to {layers} or -1")
        }
        k if k == -1 || k == layers => {
            if layers == 0 {
                features
            } else {
                spec.model.proj_dim
            }
        }
        _ => features,
    };
    ensure!(
        input == width,
        "{} has shape {:?}; expected {width} inputs on head layer {selector} of {layers} (the encoder has {features} features)",
        classifier.path,
        [input, classes]
    );
    spec.proj_selector = selector;
    Ok((spec, why))
}

/// Reads every tensor of `model`, in the layout of files. Units come in the order in which the model declares them.
fn read(bundle: &Bundle, found: &Variables, model: &SimClr) -> Result<BTreeMap<String, Tensor>> {
    let mut queues = BTreeMap::new();
    let sections =
        [(Section::Encoder, &found.encoder), (Section::Head, &found.head), (Section::Classifier, &found.classifier)];
    for (section, units) in sections {
        queues.insert((section, false), units.layers.iter().peekable());
        queues.insert((section, true), units.norms.iter().peekable());
    }
    let mut plan: Vec<(&Param, &str)> = Vec::new();
    let (mut current, mut unit, mut taken) = (String::new(), None::<&Unit>, 0);
    for param in model.store.iter() {
        let (base, _) = param.name.rsplit_once('.').unwrap_or(("", &param.name));
        if base != current {
            complete(unit, taken)?;
            let section = match param.part {
                Part::HeadLayer(_) => Section::Head,
                Part::Classifier => Section::Classifier,
                _ => Section::Encoder,
            };
            let norm = param.kind == Kind::BatchNorm || param.kind.is_statistic();
            unit = queues.get_mut(&(section, norm)).and_then(Iterator::next);
            (current, taken) = (base.to_string(), 0);
        }
        let leaf = leaf_of(param);
        let Some(unit) = unit else { bail!("a variable is missing: {leaf} of what is called {base} here") };
        let key = unit.keys.get(leaf).with_context(|| format!("the variable {}/{leaf} is missing", unit.path))?;
        plan.push((param, key));
        taken += 1;
    }
    complete(unit, taken)?;
    if let Some(left) = queues.values_mut().find_map(Iterator::next) {
        bail!(
            "{} has no place in a ResNet-{} with {} head layers",
            left.path,
            model.spec.model.depth,
            model.spec.model.proj_layers
        )
    }
    // Shapes first: who has a wrong checkpoint need not wait for gigabytes.
    for (param, key) in &plan {
        let (shape, expected) = (bundle.shape_of_floats(key)?, stored_shape(param));
        ensure!(shape == expected, "{key} has shape {shape:?}, expected {expected:?}");
    }
    plan.into_iter().map(|(param, key)| Ok((param.name.clone(), to_disk(&bundle.floats(key)?)?))).collect()
}

/// Every variable of a unit has found its place.
fn complete(unit: Option<&Unit>, taken: usize) -> Result<()> {
    match unit {
        Some(unit) if unit.keys.len() > taken => {
            let names: Vec<_> = unit.keys.values().map(String::as_str).collect();
            bail!("of {}, only {taken} have a place in such a network", names.join(", "))
        }
        _ => Ok(()),
    }
}

/// What TensorFlow calls this variable of a layer.
fn leaf_of(param: &Param) -> &'static str {
    let norm = param.kind == Kind::BatchNorm || param.kind.is_statistic();
    match param.name.rsplit('.').next() {
        Some("weight") if norm => "gamma",
        Some("bias") if norm => "beta",
        Some("running_mean") => "moving_mean",
        Some("running_var") => "moving_variance",
        Some("bias") => "bias",
        _ => "kernel",
    }
}

/// The shape that TensorFlow has for a parameter: `[O, K, K, C]` is `[K, K, C, O]` there, `[O, D]` is `[D, O]`.
fn stored_shape(param: &Param) -> Vec<usize> {
    match *param.tensor.dims() {
        [o, k, l, c] => vec![k, l, c, o],
        [o, d] => vec![d, o],
        ref other => other.to_vec(),
    }
}

/// From TensorFlow's layout to that of files: `[K, K, C, O]` becomes `[O, C, K, K]`, `[D, O]` becomes `[O, D]`.
fn to_disk(tensor: &Tensor) -> Result<Tensor> {
    Ok(match tensor.rank() {
        4 => tensor.permute((3, 2, 0, 1))?.contiguous()?,
        2 => tensor.t()?.contiguous()?,
        _ => tensor.clone(),
    })
}

impl fmt::Display for Imported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (spec, model) = (&self.spec, &self.spec.model);
        let mut row = |name: &str, text: String| writeln!(f, "{name:<12}{text}");
        let step = self.step.map_or_else(String::new, |step| format!(", step {step}"));
        row("checkpoint", format!("{} ({}{step})", self.name, self.format))?;
        let stem = if model.stem == Stem::Cifar { "CIFAR" } else { "ImageNet" };
        let mut network =
            format!("ResNet-{}, width {}, {stem} stem, {} channels", model.depth, model.width, spec.in_channels);
        for (name, ratio) in [("selective kernels", model.sk_ratio), ("squeeze-and-excitation", model.se_ratio)] {
            if ratio > 0.0 {
                network += &format!(", {name} (ratio {ratio})");
            }
        }
        row("network", network)?;
        row(
            "head",
            match model.proj_layers {
                0 => "none".into(),
                n => format!("{n} layers on {} features, {} wide at the end", self.features, model.proj_dim),
            },
        )?;
        row(
            "classifier",
            match spec.classes {
                0 => "none".into(),
                n => format!("{n} classes on head layer {} ({})", spec.proj_selector, self.selector),
            },
        )?;
        row("image size", format!("{}", spec.image_size))?;
        row("parameters", format!("{} ({} tensors read)", self.parameters, self.tensors))?;
        let skipped: Vec<_> = self.skipped.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        row("skipped", if skipped.is_empty() { "nothing".into() } else { skipped.join(", ") })?;
        let out = |name| self.out.join(name).display().to_string();
        write!(f, "{:<12}{}, {}", "written", out(layout::MODEL), out(layout::CONFIG))
    }
}
