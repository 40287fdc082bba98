//! Batch normalisation, fused with the residual add and ReLU that follow it.

pub(crate) mod cpu;
#[cfg(all(test, unix))]
pub(crate) mod emulated;
mod gpu;
#[cfg(test)]
mod tests;

use crate::gpu::{Gpu, dispatch};
use crate::tape::{Gradients, NodeId, Tape, Value};
use candle_core::{D, Result, Tensor, bail};
use std::rc::Rc;

/// Where mean and variance come from.
#[derive(Clone, Debug)]
pub enum Statistics {
    /// The batch itself (training).
    Batch,
    /// Running statistics: mean and variance, each `[C]`.
    Running(Tensor, Tensor),
}

/// Mean and biased variance of each channel of a map, each f32 `[C]`, where the map is.
#[derive(Clone, Debug)]
pub struct Moments {
    mean: Tensor,
    var: Tensor,
}

impl Moments {
    pub(crate) fn new([mean, var]: [Tensor; 2]) -> Self {
        Self { mean, var }
    }

    /// One mean a channel, `[C]`.
    pub fn mean(&self) -> &Tensor {
        &self.mean
    }

    /// One variance a channel, `[C]`.
    pub fn var(&self) -> &Tensor {
        &self.var
    }

    /// Moves running statistics `[C]` towards these, in place: `keep * running + (1 - keep) * batch`.
    ///
    /// # Errors
    /// When a statistic is not f32, or elsewhere than the map that the moments are of.
    pub fn blend_into(&self, [mean, var]: [&Tensor; 2], keep: f32) -> Result<()> {
        dispatch!(mean => blend(mean, &self.mean, keep))?;
        dispatch!(var => blend(var, &self.var, keep))
    }
}

/// What happens in the same pass over memory after the normalisation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fused<'a> {
    /// Added before ReLU; of the input's shape.
    pub residual: Option<&'a Value>,
    /// Clip at zero.
    pub relu: bool,
}

/// A value under a batch norm and a ReLU that are still to be applied: a convolution applies them as it reads, so that
/// the normalised map is never written to memory or kept for the backward pass.
pub struct Normalized {
    pub(crate) x: Tensor,
    /// `None` where it has been applied already.
    pub(crate) affine: Option<Rc<cpu::Affine>>,
    pub(crate) node: Option<NodeId>,
}

/// `relu((x - mean) / sqrt(var + eps) * gamma + beta + residual)` over the last dimension of `x` (Ioffe and Szegedy 2015,
/// algorithm 1).
///
/// `gamma` and `beta` are `[C]`; a missing gamma is 1, a missing beta 0. With [`Statistics::Batch`] the batch's moments
/// (biased variance) come back for the moving averages.
///
/// # Errors
/// When shapes do not fit one another, or the batch has fewer than two rows a channel.
pub fn batch_norm(
    tape: &Tape,
    x: &Value,
    gamma: Option<&Value>,
    beta: Option<&Value>,
    statistics: &Statistics,
    eps: f32,
    fused: Fused<'_>,
) -> Result<(Value, Option<Moments>)> {
    let shape = x.tensor().shape();
    if let Some(r) = fused.residual
        && r.tensor().shape() != shape
    {
        bail!("batch_norm: residual of shape {:?} for an input of {shape:?}", r.tensor().shape())
    }
    let (norm, moments) = Norm::prepare(x, [gamma, beta], statistics, eps, fused.relu)?;
    Ok((norm.written(tape, x, [gamma, beta], fused.residual)?, moments))
}

/// As [`batch_norm`] with ReLU and without residual, to be applied by the convolution that reads it.
///
/// # Errors
/// As [`batch_norm`].
pub fn batch_norm_relu(
    tape: &Tape,
    x: &Value,
    gamma: Option<&Value>,
    beta: Option<&Value>,
    statistics: &Statistics,
    eps: f32,
) -> Result<(Normalized, Option<Moments>)> {
    let (norm, moments) = Norm::prepare(x, [gamma, beta], statistics, eps, true)?;
    let normalized = match &norm.affine {
        Affine::Cpu(affine) => {
            let affine = Some(affine.clone());
            let inputs: Vec<&Value> = [Some(x), gamma, beta].into_iter().flatten().collect();
            // The recorded value stands for the normalised map: its node gets the map's gradient.
            let value =
                tape.record(&inputs, x.tensor().clone(), move |dy, gradients| norm.backward(dy, None, None, gradients));
            Normalized { x: x.tensor().clone(), affine, node: value.node() }
        }
        // cuDNN reads maps as they stand: this one is written to memory.
        Affine::Gpu(..) => {
            let value = norm.written(tape, x, [gamma, beta], None)?;
            Normalized { x: value.tensor().clone(), affine: None, node: value.node() }
        }
    };
    Ok((normalized, moments))
}

/// What normalises, as its device keeps it.
enum Affine {
    Cpu(Rc<cpu::Affine>),
    Gpu(Gpu, Box<gpu::Normaliser>),
}

/// A batch norm of one input: what its forward and backward passes need.
struct Norm {
    x: Tensor,
    affine: Affine,
    /// Input, gamma, beta.
    nodes: [Option<NodeId>; 3],
    relu: bool,
    /// The moments came from the input.
    batch: bool,
}

impl Norm {
    /// Checks shapes, and finds what normalises; the moments of the batch come back.
    fn prepare(
        x: &Value,
        [gamma, beta]: [Option<&Value>; 2],
        statistics: &Statistics,
        eps: f32,
        relu: bool,
    ) -> Result<(Self, Option<Moments>)> {
        let (input, c) = (x.tensor(), x.tensor().dim(D::Minus1)?);
        for (name, v) in [("gamma", gamma), ("beta", beta)] {
            if let Some(v) = v
                && v.tensor().dims() != [c]
            {
                bail!("batch_norm: {name} of shape {:?} for {c} channels", v.tensor().shape())
            }
        }
        let (moments, batch) = match statistics {
            Statistics::Running(mean, var) => (Moments::new([mean.clone(), var.clone()]), false),
            Statistics::Batch if input.elem_count() < 2 * c => {
                bail!("batch_norm: statistics of a batch need at least two rows; the input is {:?}", input.shape())
            }
            Statistics::Batch => match x.note::<Moments>() {
                Some(moments) => (moments.clone(), true),
                None => (Moments::new(dispatch!(input => moments(input))?), true),
            },
        };
        let (found, learned) = ([&moments.mean, &moments.var], [gamma, beta].map(|v| v.map(Value::tensor)));
        let affine = match Gpu::of(input) {
            None => Affine::Cpu(Rc::new(cpu::Affine::of(found, learned, eps)?)),
            Some(gpu) => {
                let normaliser = Box::new(gpu::Normaliser::of(&gpu, found, learned, eps)?);
                Affine::Gpu(gpu, normaliser)
            }
        };
        let nodes = [x.node(), gamma.and_then(Value::node), beta.and_then(Value::node)];
        Ok((Self { x: input.clone(), affine, nodes, relu, batch }, batch.then_some(moments)))
    }

    /// The normalised map, recorded.
    fn written(
        self,
        tape: &Tape,
        x: &Value,
        [gamma, beta]: [Option<&Value>; 2],
        residual: Option<&Value>,
    ) -> Result<Value> {
        let added = residual.map(Value::tensor);
        let out = match &self.affine {
            Affine::Cpu(affine) => cpu::forward(affine, &self.x, added, self.relu),
            Affine::Gpu(gpu, affine) => gpu::forward(gpu, affine, &self.x, added, self.relu),
        }?;
        let inputs: Vec<&Value> = [Some(x), gamma, beta, residual].into_iter().flatten().collect();
        // With a residual the mask cannot be found from `x` alone: the output tells it.
        let y = (self.relu && residual.is_some()).then(|| out.clone());
        let residual = residual.and_then(Value::node);
        Ok(tape.record(&inputs, out, move |dy, gradients| self.backward(dy, y, residual, gradients)))
    }

    /// From the gradient of the output, which is used up; `y` is the output where ReLU followed a residual add.
    fn backward(
        self,
        dy: Tensor,
        y: Option<Tensor>,
        residual: Option<NodeId>,
        gradients: &mut Gradients,
    ) -> Result<()> {
        let (y, flags) = ((y.as_ref(), residual.is_some()), (self.relu, self.batch));
        let (dx, [d_gamma, d_beta]) = match &self.affine {
            Affine::Cpu(affine) => cpu::backward(affine, &self.x, y, &dy, flags),
            Affine::Gpu(gpu, affine) => gpu::backward(gpu, affine, &self.x, y, &dy, flags),
        }?;
        let [x_node, gamma, beta] = self.nodes;
        gradients.add(gamma, d_gamma)?;
        gradients.add(beta, d_beta)?;
        match dx {
            Some(dx) => {
                gradients.add(x_node, dx)?;
                gradients.add(residual, dy)
            }
            None => gradients.add(x_node, dy),
        }
    }
}
