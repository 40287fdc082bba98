//! Which network a list of kernels belongs to, found from shapes alone.

use anyhow::{Context, Result, bail, ensure};
use simclr_core::config::{BASE_CHANNELS, Layout, ModelConfig, Stem};

/// Least hidden width of a selective kernel's attention.
const LEAST_HIDDEN: usize = 32;
/// The paper's ratio of a selective kernel: what is assumed where shapes leave it open.
const USUAL_SK: f64 = 0.0625;

/// A convolution as a checkpoint holds it: its name, the shape `[K, K, C, O]`, whether it has a bias.
pub struct Kernel<'a> {
    /// Name, for messages.
    pub name: &'a str,
    /// Shape of the kernel.
    pub shape: &'a [usize],
    /// Only squeeze-and-excitation has biases.
    pub bias: bool,
}

/// What the encoder's kernels tell.
pub struct Found {
    /// The encoder; the head's fields are not filled in.
    pub model: ModelConfig,
    /// Channels of an image.
    pub in_channels: usize,
    /// Width of the pooled features.
    pub features: usize,
}

/// Finds the encoder whose convolutions, in order of creation, have these shapes. `pooled` tells whether shortcuts pool
/// first, where the checkpoint says so: in a CIFAR network of depth 18 or 34 no shape does.
///
/// # Errors
/// When no network has such kernels; the message names the first that does not fit.
pub fn encoder(kernels: &[Kernel<'_>], pooled: Option<bool>) -> Result<Found> {
    let mut dims = Vec::new();
    for kernel in kernels {
        match *kernel.shape {
            [k, l, c, o] if k == l && k > 0 && c > 0 && o > 0 => dims.push([k, c, o]),
            _ => bail!("{} has shape {:?}; expected a square kernel [K, K, C, O]", kernel.name, kernel.shape),
        }
    }
    let at = |i: usize| {
        dims.get(i).copied().with_context(|| format!("only {} convolutions: no ResNet is so small", dims.len()))
    };
    let (stem, stems) = match (at(0)?[0], at(1)?[0]) {
        (7, _) => (Stem::Imagenet, 1),
        (3, 3) => (Stem::Imagenet, 3),
        (3, _) => (Stem::Cifar, 1),
        (k, _) => bail!("{} is {k}x{k}; expected 7x7 or 3x3 as the first convolution", kernels[0].name),
    };
    let base = at(stems - 1)?[2];
    ensure!(base <= 1 << 20, "{} has {base} channels: no ResNet is so wide", kernels[stems - 1].name);
    let bottleneck = at(stems + 1)?[0] == 1;
    let units = bottleneck && at(stems + 2)?[2] == 2 * base;
    let gate = kernels.iter().any(|kernel| kernel.bias);
    let per_block = if bottleneck { 3 } else { 2 } + 2 * usize::from(units) + 2 * usize::from(gate);
    // Each of the four groups has one convolution more: the shortcut of its first block.
    let in_blocks = kernels.len().saturating_sub(stems + 4);
    let convolutions = |layout: &Layout| layout.blocks.iter().sum::<usize>() * per_block;
    let like = Layout::ALL.iter().filter(|layout| layout.bottleneck == bottleneck);
    let Some(&Layout { depth, blocks, .. }) = like.clone().find(|layout| convolutions(layout) == in_blocks) else {
        let known: Vec<_> =
            like.map(|like| format!("{} at depth {}", stems + 4 + convolutions(like), like.depth)).collect();
        bail!(
            "{} convolutions fit no network: with such a stem and such blocks there are {}. Some are missing, or too many",
            kernels.len(),
            known.join(", ")
        )
    };
    // The widest unit tells ratios most exactly: the last block of the last group.
    let (last, widest) = (kernels.len() - per_block, 8 * base);
    let sk_ratio = match (units, pooled.unwrap_or(stems == 3)) {
        (true, _) => {
            let hidden = at(last + 2)?[2];
            if hidden == hidden_of(widest, USUAL_SK).max(LEAST_HIDDEN) { USUAL_SK } else { ratio(hidden, widest) }
        }
        (false, true) => USUAL_SK,
        (false, false) => 0.0,
    };
    let se_ratio = if gate { ratio(at(kernels.len() - 2)?[2], widest) } else { 0.0 };
    let width = base as f64 / BASE_CHANNELS as f64;
    let model =
        ModelConfig { width, sk_ratio, se_ratio, stem, proj_layers: 0, proj_dim: 1, ..ModelConfig::resnet(depth) };
    let in_channels = dims[0][1];
    let expected = Shapes { model: &model, bottleneck, units, base }.list(in_channels, &blocks);
    for ((kernel, own), want) in kernels.iter().zip(&dims).zip(&expected) {
        let [k, c, o] = *want;
        ensure!(
            own == want,
            "{} has shape {:?}; a ResNet-{depth} with {base} channels (width {}) has {:?} there",
            kernel.name,
            kernel.shape,
            model.width,
            [k, k, c, o]
        );
    }
    let features = if bottleneck { 4 * widest } else { widest };
    Ok(Found { model, in_channels, features })
}

/// Hidden width of a unit of width `f`, as the reference rounds it.
fn hidden_of(f: usize, ratio: f64) -> usize {
    (f as f64 * ratio) as usize
}

/// A ratio that gives `hidden` for width `f`, and for widths of `f` halved what the true one gives.
fn ratio(hidden: usize, f: usize) -> f64 {
    let exact = hidden as f64 / f as f64;
    if hidden_of(f, exact) == hidden { exact } else { (hidden as f64 + 0.5) / f as f64 }
}

/// The kernels of an encoder, as `[K, C, O]`. Networks are never built from shapes that were not held against these: a
/// hostile file could ask for any amount of memory.
struct Shapes<'a> {
    model: &'a ModelConfig,
    bottleneck: bool,
    units: bool,
    base: usize,
}

impl Shapes<'_> {
    fn list(&self, input: usize, blocks: &[usize; 4]) -> Vec<[usize; 3]> {
        let base = self.base;
        let mut list = match (self.model.stem, self.model.sk_ratio > 0.0) {
            (Stem::Imagenet, true) => {
                let half = (base / 2).max(1);
                vec![[3, input, half], [3, half, half], [3, half, base]]
            }
            (Stem::Imagenet, false) => vec![[7, input, base]],
            _ => vec![[3, input, base]],
        };
        let mut c = base;
        for (group, count) in blocks.iter().enumerate() {
            let f = base << group;
            let out = if self.bottleneck { 4 * f } else { f };
            for block in 0..*count {
                if block == 0 {
                    list.push([1, c, out]);
                }
                match (self.bottleneck, self.units) {
                    (true, true) => {
                        let hidden = hidden_of(f, self.model.sk_ratio).max(LEAST_HIDDEN);
                        list.extend([[1, c, f], [3, f, 2 * f], [1, f, hidden], [1, hidden, 2 * f], [1, f, out]]);
                    }
                    (true, false) => list.extend([[1, c, f], [3, f, f], [1, f, out]]),
                    (false, _) => list.extend([[3, c, f], [3, f, f]]),
                }
                if self.model.se_ratio > 0.0 {
                    let hidden = hidden_of(f, self.model.se_ratio).max(1);
                    list.extend([[1, out, hidden], [1, hidden, out]]);
                }
                c = out;
            }
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_survive_rounding() {
        for base in [3usize, 4, 5, 12, 20, 64, 96] {
            for hidden in 1..8 * base {
                let found = ratio(hidden, 8 * base);
                for shift in 0..4 {
                    assert_eq!(hidden_of((8 * base) >> shift, found), hidden >> shift, "base {base}, hidden {hidden}");
                }
            }
        }
    }
}
