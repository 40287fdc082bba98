//! Batch normalisation, fused with the residual add and ReLU that follow it.

use crate::cpu::norm::{Affine, mask, moments};
use crate::cpu::{from_vec, update_with, with_slice};
use crate::tape::{Tape, Value};
use candle_core::{D, Result, Tensor, bail};

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
    let c = x.tensor().dim(D::Minus1)?;
    for (name, v) in [("gamma", gamma), ("beta", beta)] {
        if let Some(v) = v
            && v.tensor().dims() != [c]
        {
            bail!("batch_norm: {name} of shape {:?} for {c} channels", v.tensor().shape())
        }
    }
    if let Some(r) = fused.residual
        && r.tensor().shape() != &shape
    {
        bail!("batch_norm: residual of shape {:?} for an input of {shape:?}", r.tensor().shape())
    }
    let batch = matches!(statistics, Statistics::Batch);
    if batch && shape.elem_count() < 2 * c {
        bail!("batch_norm: statistics of a batch need at least two rows; the input is {shape:?}")
    }
    let read = |t: &Tensor| with_slice(t, |v| Ok(v.to_vec()));
    let moments = match statistics {
        Statistics::Batch => with_slice(x.tensor(), |x| Ok(moments(x, c)))?,
        Statistics::Running(mean, var) => Moments { mean: read(mean)?, var: read(var)? },
    };
    let (g, b) = (gamma.map(|v| read(v.tensor())).transpose()?, beta.map(|v| read(v.tensor())).transpose()?);
    let affine = Affine::new(&moments, eps, g.as_deref(), b.as_deref());
    let out = with_slice(x.tensor(), |x| match fused.residual {
        Some(r) => with_slice(r.tensor(), |r| Ok(affine.forward(x, Some(r), fused.relu))),
        None => Ok(affine.forward(x, None, fused.relu)),
    })?;
    let out = from_vec(out, &shape)?;
    let inputs: Vec<&Value> = [Some(x), gamma, beta, fused.residual].into_iter().flatten().collect();
    let (saved_x, relu) = (x.tensor().clone(), fused.relu);
    // With a residual the mask cannot be found from `x` alone: the output tells it.
    let saved_y = (relu && fused.residual.is_some()).then(|| out.clone());
    let (x_node, gamma_node, beta_node) = (x.node(), gamma.and_then(Value::node), beta.and_then(Value::node));
    let residual_node = fused.residual.and_then(Value::node);
    let value = tape.record(&inputs, out, move |dy, gradients| {
        if let Some(y) = &saved_y {
            update_with(&dy, y, |dy, y| mask(y, dy))?;
        }
        if residual_node.is_some() {
            gradients.add(residual_node, dy.copy()?)?;
        }
        let (relu, mut sums) = (relu && saved_y.is_none(), [vec![], vec![]]);
        update_with(&dy, &saved_x, |dy, x| sums = affine.backward(x, dy, relu, batch))?;
        let [d_gamma, d_beta] = sums;
        gradients.add(gamma_node, from_vec(d_gamma, c)?)?;
        gradients.add(beta_node, from_vec(d_beta, c)?)?;
        gradients.add(x_node, dy)
    });
    Ok((value, batch.then_some(moments)))
}
