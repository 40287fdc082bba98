//! Convolution.

pub(crate) mod cpu;
pub mod engines;
pub(crate) mod geometry;
#[cfg(feature = "cuda")]
mod gpu;
#[cfg(not(feature = "cuda"))]
#[path = "absent.rs"]
mod gpu;
mod map;
mod rounded;
#[cfg(test)]
mod tests;

use crate::gpu::{Gpu, dispatch};
use crate::norm::{Moments, Normalized};
use crate::tape::{Gradients, NodeId, Tape, Value};
use candle_core::{DType, Device, Result, Tensor, bail};
use geometry::Geometry;
use map::Map;

pub use rounded::with_rounded;

/// What a convolution reads: a value, or one whose normalisation it applies as it reads.
#[derive(Clone)]
pub struct ConvInput {
    map: Map,
    node: Option<NodeId>,
}

impl From<&Value> for ConvInput {
    fn from(v: &Value) -> Self {
        Self { map: Map { tensor: v.tensor().clone(), affine: None }, node: v.node() }
    }
}

impl From<&Normalized> for ConvInput {
    fn from(v: &Normalized) -> Self {
        Self { map: Map { tensor: v.x.clone(), affine: v.affine.clone() }, node: v.node }
    }
}

impl ConvInput {
    /// The convolution with `weight`, and mean and variance of its channels where they are wanted and at hand.
    pub(crate) fn convolve(
        &self,
        g: &Geometry,
        weight: &Tensor,
        moments: bool,
    ) -> Result<(Tensor, Option<[Tensor; 2]>)> {
        dispatch!(&self.map.tensor => forward(g, &self.map, weight, moments))
    }

    /// Something that stands on the tape where the input does.
    fn value(&self) -> Value {
        Value::at(self.map.tensor.clone(), self.node)
    }

    /// Adds the gradients of weights and input, given that of the output.
    pub(crate) fn backward(
        self,
        g: &Geometry,
        dy: &Tensor,
        (weight, w_node): (&Tensor, Option<NodeId>),
        gradients: &mut Gradients,
    ) -> Result<()> {
        if w_node.is_some() {
            let dw = dispatch!(dy => weight_gradient(g, &self.map, dy))?;
            gradients.add(w_node, dw.reshape(weight.shape())?)?;
        }
        if self.node.is_some() {
            // A gradient that waits has no other owner: the sums go on from it.
            let waiting = gradients.take(self.node);
            let dx = dispatch!(dy => input_gradient(g, dy, weight, waiting))?;
            gradients.add(self.node, dx.reshape(self.map.tensor.shape())?)?;
        }
        Ok(())
    }
}

/// Rows of zeros above an image, and above and below it together; as many columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Zeros {
    pub before: usize,
    pub total: usize,
}

impl Zeros {
    /// The reference's rule: `(k - 1) / 2` before and the rest of `k - 1` after, whatever the stride.
    pub fn around(k: usize) -> Self {
        let total = k.saturating_sub(1);
        Self { before: total / 2, total }
    }
}

/// Convolves `x` `[N, H, W, C]` with `weight` `[O, K, K, C]`; no bias. The result is `[N, OH, OW, O]`.
///
/// `(K - 1) / 2` rows and columns of zeros stand before an image and the rest of `K - 1` behind it, whatever the stride, as
/// in the authors' code: `OH = (H - 1) / stride + 1`.
///
/// # Errors
/// When shapes do not fit one another.
pub fn conv2d(tape: &Tape, x: impl Into<ConvInput>, weight: &Value, stride: usize) -> Result<Value> {
    padded(tape, x.into(), weight, stride, Zeros::around(weight.tensor().dim(1)?))
}

/// As [`conv2d`], with any number of zeros.
pub(crate) fn padded(tape: &Tape, x: ConvInput, weight: &Value, stride: usize, zeros: Zeros) -> Result<Value> {
    let (n, h, w, c) = x.map.tensor.dims4()?;
    let (o, k, k2, wc) = weight.tensor().dims4()?;
    if k != k2 || wc != c || stride == 0 {
        bail!("conv2d: weight [{o}, {k}, {k2}, {wc}] with stride {stride} does not fit an input of {c} channels")
    }
    let Zeros { before, total } = zeros;
    if h + total < k || w + total < k {
        bail!("conv2d: a {k}x{k} kernel does not fit an image of {h}x{w} with {total} rows and columns of zeros")
    }
    let (oh, ow) = ((h + total - k) / stride + 1, (w + total - k) / stride + 1);
    let g = Geometry { n, h, w, c, o, k, stride, before, oh, ow };
    // A batch norm follows wherever training goes: its moments are taken while the output is at hand.
    let moments = tape.tracks(&[&x.value(), weight]);
    let read = rounded::as_read(weight, x.map.tensor.dtype());
    let (out, found) = x.convolve(&g, read, moments)?;
    let (saved, w_node) = (read.clone(), weight.node());
    let value =
        tape.record(&[&x.value(), weight], out, move |dy, gradients| x.backward(&g, &dy, (&saved, w_node), gradients));
    Ok(value.with_note(found.map(Moments::new)))
}

/// Measures `most` engines of each kind that a GPU has for the products of a convolution as [`conv2d`] computes it, of `n`
/// square maps of `side` pixels with `c` channels to `o` by `k` x `k` at a stride.
///
/// # Errors
/// When the device is no GPU, its memory is short, or it has no such convolution.
pub fn engine_times(
    device: &Device,
    [n, side, c, o, k, stride]: [usize; 6],
    dtype: DType,
    most: usize,
) -> Result<Vec<engines::EngineTime>> {
    let Some(gpu) = Gpu::of(&Tensor::zeros(1, DType::F32, device)?) else {
        bail!("only GPUs have engines to choose from")
    };
    let before = Zeros::around(k).before;
    let out = (side - 1) / stride.max(1) + 1;
    let g = Geometry { n, h: side, w: side, c, o, k, stride, before, oh: out, ow: out };
    gpu::times(&gpu, &g, dtype, most)
}
