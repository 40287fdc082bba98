//! Batch normalisation, fused with the residual add and ReLU that follow it.

pub(crate) mod cpu;
#[cfg(all(test, unix))]
pub(crate) mod emulated;
mod gpu;
mod ranks;
#[cfg(test)]
mod tests;

use crate::collective::Group;
use crate::gpu::tiles::Mask;
use crate::gpu::{Gpu, dispatch};
use crate::tape::{Gradients, NodeId, Tape, Value};
use candle_core::{D, Result, Tensor, bail};
use ranks::Batch;
use std::rc::Rc;

/// Where mean and variance come from.
#[derive(Clone, Debug)]
pub enum Statistics {
    /// The batch itself (training): the rows of all ranks that the tape is among.
    Batch,
    /// The batch itself; running mean and variance, each `[C]`, move towards its moments in place, unless the tape
    /// replays: `keep * running + (1 - keep) * batch`.
    Moving {
        /// The running mean.
        mean: Tensor,
        /// The running variance, of biased ones.
        var: Tensor,
        /// What stays of the old.
        keep: f32,
    },
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

    /// Those of all ranks' rows; `rows`, this rank's, becomes their number.
    fn over(&self, group: &Group, rows: &mut usize) -> Result<Self> {
        let (moments, all) = ranks::merged(group, [&self.mean, &self.var], *rows)?;
        *rows = all;
        Ok(Self::new(moments))
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
    pub fn blend_into(&self, running: [&Tensor; 2], keep: f32) -> Result<()> {
        dispatch!(running[0] => blend(running, [&self.mean, &self.var], keep))
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
/// `gamma` and `beta` are `[C]`; a missing gamma is 1, a missing beta 0. With statistics of the batch its moments (biased
/// variance) come back.
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
    let (norm, moments) = Norm::prepare(tape, x, [gamma, beta], statistics, eps, fused.relu)?;
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
    let (norm, moments) = Norm::prepare(tape, x, [gamma, beta], statistics, eps, true)?;
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
    /// The batch that the moments came from, where the input is of it.
    batch: Option<Batch>,
}

impl Norm {
    /// Checks shapes, and finds what normalises; the moments of the batch come back.
    fn prepare(
        tape: &Tape,
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
        let learned = [gamma, beta].map(|v| v.map(Value::tensor));
        // A forward that runs again moves nothing.
        let running = match statistics {
            Statistics::Moving { mean, var, keep } if !tape.replays() => Some(([mean, var], *keep)),
            _ => None,
        };
        let (batch, known) = match statistics {
            Statistics::Running(mean, var) => (false, Some(Moments::new([mean.clone(), var.clone()]))),
            _ if input.elem_count() == 0 => bail!("batch_norm: {:?} has no rows of the batch", tape.group()),
            _ if input.elem_count() < 2 * c && tape.group().is_alone() => {
                bail!("batch_norm: statistics of a batch need at least two rows; the input is {:?}", input.shape())
            }
            _ => (true, x.note::<Moments>().cloned()),
        };
        let mut rows = input.elem_count() / c;
        let shared = batch && !tape.group().is_alone();
        let (affine, moments) = match Gpu::of(input) {
            None => {
                let own = match known {
                    Some(moments) => moments,
                    None => Moments::new(cpu::moments(input)?),
                };
                let moments = if shared { own.over(tape.group(), &mut rows)? } else { own };
                if let Some((running, keep)) = running {
                    cpu::blend(running, [&moments.mean, &moments.var], keep)?;
                }
                let affine = cpu::Affine::of([&moments.mean, &moments.var], learned, eps)?;
                (Affine::Cpu(Rc::new(affine)), moments)
            }
            Some(gpu) => {
                // A GPU tells others what it finds itself.
                let (normaliser, moments) = match known.filter(|_| !shared) {
                    Some(m) => (gpu::Normaliser::of(&gpu, [&m.mean, &m.var], learned, eps, running)?, m),
                    None => {
                        let (normaliser, found) = match shared {
                            true => {
                                let of = (input, tape.group());
                                gpu::Normaliser::of_ranks(&gpu, of, learned, eps, running)?
                            }
                            false => gpu::Normaliser::of_batch(&gpu, input, learned, eps, running)?,
                        };
                        (normaliser, Moments::new(found))
                    }
                };
                (Affine::Gpu(gpu, Box::new(normaliser)), moments)
            }
        };
        let nodes = [x.node(), gamma.and_then(Value::node), beta.and_then(Value::node)];
        let of = batch.then(|| Batch { rows, group: tape.group().clone() });
        Ok((Self { x: input.clone(), affine, nodes, relu, batch: of }, batch.then_some(moments)))
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
        let inputs: Vec<&Value> = [Some(x), gamma, beta, residual].into_iter().flatten().collect();
        // With a residual what ReLU let through cannot be found from `x` alone.
        let masked = self.relu && residual.is_some() && tape.tracks(&inputs);
        let (out, through) = match &self.affine {
            Affine::Cpu(affine) => {
                let out = cpu::forward(affine, &self.x, added, self.relu)?;
                let through = masked.then(|| Through::Output(out.clone()));
                (out, through)
            }
            Affine::Gpu(gpu, affine) => {
                let (out, mask) = gpu::forward(gpu, affine, &self.x, added, (self.relu, masked))?;
                (out, mask.map(Through::Mask))
            }
        };
        let residual = residual.and_then(Value::node);
        Ok(tape.record(&inputs, out, move |dy, gradients| self.backward(dy, through, residual, gradients)))
    }

    /// From the gradient of the output, which is used up; `through` is there where ReLU followed a residual add.
    fn backward(
        self,
        dy: Tensor,
        through: Option<Through>,
        residual: Option<NodeId>,
        gradients: &mut Gradients,
    ) -> Result<()> {
        let (keep, flags) = (residual.is_some(), (self.relu, self.batch.as_ref()));
        let (dx, [d_gamma, d_beta]) = match (&self.affine, &through) {
            (Affine::Cpu(affine), Some(Through::Output(y))) => {
                cpu::backward(affine, &self.x, (Some(y), keep), &dy, flags)
            }
            (Affine::Cpu(affine), _) => cpu::backward(affine, &self.x, (None, keep), &dy, flags),
            (Affine::Gpu(gpu, affine), Some(Through::Mask(mask))) => {
                gpu::backward(gpu, affine, &self.x, (Some(mask), keep), &dy, flags)
            }
            (Affine::Gpu(gpu, affine), _) => gpu::backward(gpu, affine, &self.x, (None, keep), &dy, flags),
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

/// What tells the backward pass which elements a ReLU let through.
enum Through {
    /// The ReLU's output.
    Output(Tensor),
    /// A bit an element.
    Mask(Mask<Gpu>),
}
