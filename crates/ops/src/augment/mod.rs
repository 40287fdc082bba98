//! Colour jitter, grayscale and blur of views: what was drawn for each, and their work on a GPU.

mod distortion;
#[cfg(all(test, unix))]
pub(crate) mod emulated;
mod gpu;
#[cfg(all(test, unix))]
mod reference;
#[cfg(test)]
mod tests;

use crate::gpu::Gpu;
use crate::tensor::Uploaded;
use candle_core::{DType, Result, Tensor, bail};

pub use distortion::{ColorOp, Distortion};

/// Distorts views `[N, S, S, C]` f32 of one or three channels on a GPU, one distortion each, and clips them to 0..1;
/// gives them as `maps`. The given tensor is used up: it may be changed.
///
/// # Errors
/// When they are on the CPU, of another shape, or not as many as the distortions; when the GPU refuses.
pub fn distort(views: Tensor, distortions: &[Distortion], maps: DType) -> Result<Tensor> {
    let (n, h, w, c) = views.dims4()?;
    if distortions.len() != n {
        bail!("{} distortions for {n} views", distortions.len())
    }
    if c != 1 && c != 3 {
        bail!("views of {c} channels: colours are distorted of one or three")
    }
    if let Some(gpu) = Gpu::of(&views) {
        gpu::distort(&gpu, &views, distortions)?;
        return views.to_dtype(maps);
    }
    bail!("views [{n}, {h}, {w}, {c}] as {maps:?} on the CPU: there their colours are distorted as they are made")
}

impl Uploaded {
    /// The same, with the distortions of its views to be made once they are there, if there are any, one a view; then the
    /// views are rounded to `maps`. They must have been sent as [unfinished](crate::Sent::unfinished).
    ///
    /// What [`distort`] refuses is refused when the views are asked for.
    pub fn distorted(self, distortions: Vec<Distortion>, maps: DType) -> Self {
        match distortions.is_empty() {
            true => self,
            false => self.then(move |views| distort(views, &distortions, maps)),
        }
    }
}
