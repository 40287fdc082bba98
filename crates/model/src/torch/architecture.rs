//! Which network a list of PyTorch's tensors belongs to, found from names and shapes.

use anyhow::{Context, Result, bail, ensure};
use simclr_core::config::{BASE_CHANNELS, Layout, MaxPool, ModelConfig, Stem};
use std::collections::BTreeMap;

/// Shapes by name.
pub type Shapes = BTreeMap<String, Vec<usize>>;

/// What names and shapes tell.
pub struct Found {
    /// The encoder; there is no projection head.
    pub model: ModelConfig,
    /// Channels of an image.
    pub in_channels: usize,
    /// Classes of the classifier; 0 for none.
    pub classes: usize,
    /// Whether the first block adds its input as it is.
    pub plain_shortcut: bool,
}

/// Finds the network. Only sizes that tensors of the file have are believed: what is built from them is no larger than a few
/// times the file.
///
/// # Errors
/// When it is none that this project has; the message says which it seems to be, or what does not fit.
pub fn network(shapes: &Shapes) -> Result<Found> {
    let has = |name: &str| shapes.contains_key(name);
    ensure!(
        !has("conv1.0.weight") && !has("layer1.0.downsample.2.weight"),
        "three convolutions as the stem, or shortcuts that pool first (timm's resnet50d and its like): such a network is none of \
         those here; take a plain one, such as torchvision's resnet50 or timm's resnet50.a1_in1k"
    );
    let kernel = |name: &str| -> Result<[usize; 3]> {
        match shapes.get(name).map(Vec::as_slice) {
            Some(&[o, c, k, l]) if k == l && o > 0 && c > 0 => Ok([o, c, k]),
            Some(other) => bail!("{name} has shape {other:?}; expected a square kernel [O, C, K, K]"),
            None => bail!("the tensor {name} is missing; {}", told(shapes)),
        }
    };
    let [base, in_channels, size] = kernel("conv1.weight")?;
    let stem = match size {
        7 => Stem::Imagenet,
        3 => Stem::Cifar,
        k => bail!("conv1.weight is {k}x{k}; expected 7x7, or 3x3 for small images"),
    };
    let blocks = [1, 2, 3, 4].map(|group| (0..).take_while(|i| has(&format!("layer{group}.{i}.conv1.weight"))).count());
    let bottleneck = has("layer1.0.conv3.weight");
    let like = Layout::ALL.iter().filter(|layout| layout.bottleneck == bottleneck);
    let Some(layout) = like.clone().find(|layout| layout.blocks == blocks) else {
        let known: Vec<_> = like.map(|like| format!("{:?} at depth {}", like.blocks, like.depth)).collect();
        bail!(
            "groups of {blocks:?} {} blocks are none of the networks here, which have {}",
            if bottleneck { "bottleneck" } else { "basic" },
            known.join(", ")
        )
    };
    for (group, count) in blocks.iter().enumerate() {
        let f = base << group;
        for block in 0..*count {
            let at = |conv: &str| format!("layer{}.{block}.{conv}.weight", group + 1);
            let [inner, ..] = kernel(&at("conv1"))?;
            ensure!(
                inner == f,
                "{} has {inner} channels where a network of width {} has {f}: its inner layers alone are wider (wide_resnet50_2, \
                 resnext50), which no network here is; `width` makes all layers wider",
                at("conv1"),
                base as f64 / BASE_CHANNELS as f64
            );
            let [out, input, _] = kernel(&at("conv2"))?;
            ensure!(
                out == f && input == f,
                "{} has shape {:?}: expected {f} channels from {f}; grouped convolutions (ResNeXt) are none of those here",
                at("conv2"),
                shapes.get(&at("conv2"))
            );
        }
    }
    let last = format!("layer4.{}.se.fc1.weight", blocks[3] - 1);
    let se_ratio = match has(&last) {
        true => kernel(&last)?[0] as f64 / (base << 3) as f64,
        false => 0.0,
    };
    let features = if bottleneck { 4 * (base << 3) } else { base << 3 };
    let classes = match shapes.get("fc.weight").map(Vec::as_slice) {
        None => 0,
        Some(&[classes, inputs]) if inputs == features => classes,
        Some(other) => bail!("fc.weight has shape {other:?}; expected [classes, {features}]"),
    };
    let model = ModelConfig {
        width: base as f64 / BASE_CHANNELS as f64,
        se_ratio,
        stem,
        max_pool: if stem == Stem::Imagenet { MaxPool::Torch } else { MaxPool::default() },
        proj_layers: 0,
        ..ModelConfig::resnet(layout.depth)
    };
    let plain_shortcut = !bottleneck && !has("layer1.0.downsample.0.weight");
    Ok(Found { model, in_channels, classes, plain_shortcut })
}

/// A few of the names that are there.
fn told(shapes: &Shapes) -> String {
    let names: Vec<_> = shapes.keys().take(4).map(String::as_str).collect();
    match shapes.len() {
        0 => "the file holds no tensor".into(),
        n => format!(
            "expected the names of torchvision's or timm's ResNets (conv1.weight, layer1.0.conv1.weight, ...), and the {n} tensors \
             there are called {}, ...",
            names.join(", ")
        ),
    }
}

/// What stands before the names of all tensors, such as `module.` of a network that was trained on several GPUs.
pub fn prefix<'a>(names: impl Iterator<Item = &'a String> + Clone) -> &'a str {
    const FIRST: &str = "conv1.weight";
    let ends = |name: &'a String| {
        let before = name.strip_suffix(FIRST)?;
        // Blocks have a first convolution, too.
        (!before.contains("layer") && (before.is_empty() || before.ends_with('.'))).then_some(before)
    };
    names.filter_map(ends).min_by_key(|before| before.len()).unwrap_or_default()
}

/// Checks that nothing is left, and names some of what is.
///
/// # Errors
/// When something is.
pub fn all_known<'a>(shapes: &Shapes, known: impl Fn(&str) -> bool + 'a) -> Result<()> {
    let left: Vec<_> = shapes.keys().filter(|name| !known(name)).map(String::as_str).collect();
    let shown = left.iter().take(5).copied().collect::<Vec<_>>().join(", ");
    let more = if left.len() > 5 { format!(" and {} more", left.len() - 5) } else { String::new() };
    ensure!(
        left.is_empty(),
        "{shown}{more}: of no meaning in such a ResNet; save the encoder and its classifier fc alone"
    );
    Ok(())
}

/// The shape of a tensor that must be there.
///
/// # Errors
/// When it is not.
pub fn required<'a, T>(tensors: &'a BTreeMap<String, T>, name: &str) -> Result<&'a T> {
    tensors.get(name).with_context(|| format!("the tensor {name} is missing"))
}
