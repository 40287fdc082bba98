//! Batch normalisation, fused with the residual add and ReLU that follow it.

use crate::cpu::norm::{self, Affine};
use crate::cpu::wide::Element;
use crate::cpu::{by_element, from_vec, update_elements_with, with_elements, with_slice};
use crate::tape::{Gradients, NodeId, Tape, Value};
use candle_core::{D, Result, Tensor, bail};
use std::rc::Rc;

pub use crate::cpu::norm::Moments;

/// Where mean and variance come from.
#[derive(Clone, Debug)]
pub enum Statistics {
    /// The batch itself (training).
    Batch,
    /// Running statistics: mean and variance, each `[C]`.
    Running(Tensor, Tensor),
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
/// the normalised map is never written to memory or kept for the way back.
pub struct Normalized {
    pub(crate) x: Tensor,
    /// `None` where it has been applied already.
    pub(crate) affine: Option<Rc<Affine>>,
    pub(crate) node: Option<NodeId>,
}

fn check(x: &Value, [gamma, beta]: [Option<&Value>; 2], statistics: &Statistics) -> Result<()> {
    let shape = x.tensor().shape();
    let c = x.tensor().dim(D::Minus1)?;
    for (name, v) in [("gamma", gamma), ("beta", beta)] {
        if let Some(v) = v
            && v.tensor().dims() != [c]
        {
            bail!("batch_norm: {name} of shape {:?} for {c} channels", v.tensor().shape())
        }
    }
    if matches!(statistics, Statistics::Batch) && shape.elem_count() < 2 * c {
        bail!("batch_norm: statistics of a batch need at least two rows; the input is {shape:?}")
    }
    Ok(())
}

/// Finds what normalises, for the way back too; and the batch's moments.
fn prepare(
    x: &Value,
    [gamma, beta]: [Option<&Value>; 2],
    statistics: &Statistics,
    eps: f32,
    relu: bool,
) -> Result<(WayBack, Option<Moments>)> {
    let (c, batch) = (x.tensor().dim(D::Minus1)?, matches!(statistics, Statistics::Batch));
    let read = |t: &Tensor| with_slice(t, |v| Ok(v.to_vec()));
    let moments = match statistics {
        Statistics::Batch => match x.moments() {
            Some(moments) => moments.clone(),
            None => {
                by_element!(x.tensor(), T => with_elements::<T, _>(x.tensor(), |x| Ok(norm::moments(&norm::parts(x, c)))))?
            }
        },
        Statistics::Running(mean, var) => Moments::new(read(mean)?, read(var)?),
    };
    let (g, b) = (gamma.map(|v| read(v.tensor())).transpose()?, beta.map(|v| read(v.tensor())).transpose()?);
    let affine = Rc::new(Affine::new(&moments, eps, g.as_deref(), b.as_deref()));
    let nodes = [x.node(), gamma.and_then(Value::node), beta.and_then(Value::node)];
    Ok((WayBack { x: x.tensor().clone(), affine, nodes, relu, batch }, batch.then_some(moments)))
}

/// `relu((x - mean) / sqrt(var + eps) * gamma + beta + residual)` over the last dimension of `x`.
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
    let shape = x.tensor().shape().clone();
    if let Some(r) = fused.residual
        && r.tensor().shape() != &shape
    {
        bail!("batch_norm: residual of shape {:?} for an input of {shape:?}", r.tensor().shape())
    }
    check(x, [gamma, beta], statistics)?;
    on_gpu!(x.tensor(), crate::cuda::tape::batch_norm(tape, x, [gamma, beta], statistics, eps, fused));
    let (way_back, moments) = prepare(x, [gamma, beta], statistics, eps, fused.relu)?;
    let affine = &way_back.affine;
    let out = by_element!(x.tensor(), T => with_elements::<T, _>(x.tensor(), |x| match fused.residual {
        Some(r) => with_elements(r.tensor(), |r| from_vec(affine.forward(x, Some(r), fused.relu), &shape)),
        None => from_vec(affine.forward(x, None, fused.relu), &shape),
    }))?;
    let inputs: Vec<&Value> = [Some(x), gamma, beta, fused.residual].into_iter().flatten().collect();
    // With a residual the mask cannot be found from `x` alone: the output tells it.
    let saved_y = (fused.relu && fused.residual.is_some()).then(|| out.clone());
    let residual = fused.residual.and_then(Value::node);
    let value = tape.record(&inputs, out, move |dy, gradients| way_back.run(dy, saved_y, residual, gradients));
    Ok((value, moments))
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
    check(x, [gamma, beta], statistics)?;
    on_gpu!(x.tensor(), {
        // cuDNN reads maps as they stand: this one is written to memory.
        let fused = Fused { residual: None, relu: true };
        let (value, moments) = crate::cuda::tape::batch_norm(tape, x, [gamma, beta], statistics, eps, fused)?;
        Ok((Normalized { x: value.tensor().clone(), affine: None, node: value.node() }, moments))
    });
    let (way_back, moments) = prepare(x, [gamma, beta], statistics, eps, true)?;
    let affine = way_back.affine.clone();
    let inputs: Vec<&Value> = [Some(x), gamma, beta].into_iter().flatten().collect();
    // The recorded value stands for the normalised map: its node gets the map's gradient.
    let value = tape.record(&inputs, x.tensor().clone(), move |dy, gradients| way_back.run(dy, None, None, gradients));
    Ok((Normalized { x: x.tensor().clone(), affine: Some(affine), node: value.node() }, moments))
}

/// What the way back through a batch norm needs.
struct WayBack {
    x: Tensor,
    affine: Rc<Affine>,
    /// Input, gamma, beta.
    nodes: [Option<NodeId>; 3],
    relu: bool,
    /// The moments came from the input.
    batch: bool,
}

impl WayBack {
    /// From the gradient of the output, which is used up; `y` is the output where ReLU followed a residual add.
    fn run(self, dy: Tensor, y: Option<Tensor>, residual: Option<NodeId>, gradients: &mut Gradients) -> Result<()> {
        let (c, keep) = (self.x.dim(D::Minus1)?, residual.is_some());
        let (dx, [d_gamma, d_beta]) = by_element!(self.x, T => self.compute::<T>(&dy, y.as_ref(), keep).and_then(|(dx, sums)| {
            Ok((dx.map(|dx| from_vec(dx, self.x.shape())).transpose()?, sums))
        }))?;
        let [x_node, gamma, beta] = self.nodes;
        gradients.add(gamma, from_vec(d_gamma, c)?)?;
        gradients.add(beta, from_vec(d_beta, c)?)?;
        match dx {
            Some(dx) => {
                gradients.add(x_node, dx)?;
                gradients.add(residual, dy)
            }
            None => gradients.add(x_node, dy),
        }
    }

    fn compute<T: Element>(&self, dy: &Tensor, y: Option<&Tensor>, keep: bool) -> Result<Found<T>> {
        let mut found = (None, [vec![], vec![]]);
        update_elements_with(dy, &self.x, |dy: &mut [T], x: &[T]| {
            let mut run = |y: Option<&[T]>| found = self.affine.backward(x, (y, keep), dy, (self.relu, self.batch));
            match y {
                Some(y) => with_elements(y, |y| {
                    run(Some(y));
                    Ok(())
                }),
                None => {
                    run(None);
                    Ok(())
                }
            }
        })??;
        Ok(found)
    }
}

/// The gradient of the input where it is not written over that of the output, and those of gamma and beta.
type Found<T> = (Option<Vec<T>>, [Vec<f32>; 2]);
