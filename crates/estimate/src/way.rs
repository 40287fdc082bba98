//! Which activations a GPU keeps.

use crate::{Gpu, Mode, Work};
use std::fmt;

/// How a step keeps within a GPU's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// All activations are kept.
    Kept,
    /// Residual blocks run again in the backward pass.
    Recomputed,
    /// So many images at a time, each forward twice.
    Chunks(usize),
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kept => f.write_str("as it is"),
            Self::Recomputed => f.write_str("recompute"),
            Self::Chunks(images) => write!(f, "chunk {images}"),
        }
    }
}

impl Work<'_> {
    /// The cheapest way that fits a GPU with `own` images of a batch of `batch`, and the bytes that it holds; `None` where none does.
    /// Only a loss that `chunks` can do with a part of its images in the network.
    pub fn way(&self, gpu: &Gpu, mode: Mode, part: (f64, f64), chunks: bool) -> Option<(Way, f64)> {
        for (way, recompute) in [(Way::Kept, mode.recompute), (Way::Recomputed, true)] {
            let memory = self.memory(gpu, Mode { recompute, ..mode }, part, None);
            if memory <= gpu.memory {
                return Some((if recompute { Way::Recomputed } else { way }, memory));
            }
        }
        let kept = Mode { recompute: false, ..mode };
        let chunk = chunks.then(|| self.fits(gpu, kept, Some(part))).flatten()?;
        // As many images in each, as ranks that share batch norm need.
        let images = (part.0 / (part.0 / chunk as f64).ceil()).ceil();
        Some((Way::Chunks(images as usize), self.memory(gpu, kept, part, Some(images))))
    }
}
