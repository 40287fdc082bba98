//! Steps of the optimisers, sums of squares and weight decay over all parameters at once, wherever these are.
//!
//! Letters: `w` a weight, `g` its gradient, `v` its momentum. Weights change in place. Sums of squares are taken in f64,
//! in one order whatever the number of threads.

use crate::cpu;
use candle_core::{DType, Result, Tensor, bail};

/// One parameter of a step, changed in place together with its states; all f32, of one shape, on one device.
pub struct Parameter<'a> {
    /// What error messages call it.
    pub name: &'a str,
    /// The weights.
    pub weight: &'a Tensor,
    /// Their gradient.
    pub gradient: &'a Tensor,
    /// Momentum, or Adam's first moment.
    pub first: &'a Tensor,
    /// Adam's second moment.
    pub second: Option<&'a Tensor>,
    /// LARS decays it and adapts its rate.
    pub adapted: bool,
}

/// What a step of LARS is made with.
#[derive(Clone, Copy, Debug)]
pub struct LarsStep {
    /// The learning rate.
    pub lr: f64,
    /// The trust coefficient.
    pub eta: f64,
    /// Of the velocity.
    pub momentum: f32,
    /// Of weights, where they are adapted.
    pub decay: f32,
    /// The rate enters the momentum.
    pub classic: bool,
    /// Step along the momentum's next value.
    pub nesterov: bool,
}

impl LarsStep {
    /// The trust ratio; 1 where a norm is zero, as both are for what is excluded.
    pub(crate) fn trust(&self, weight: f64, update: f64) -> f64 {
        if weight > 0.0 && update > 0.0 { self.eta * weight / update } else { 1.0 }
    }
}

/// What a step of Adam is made with.
#[derive(Clone, Copy, Debug)]
pub struct AdamStep {
    /// The learning rate, bias correction included.
    pub lr: f32,
    /// How much of the first and of the second moment stays.
    pub betas: (f32, f32),
    /// Added to the root of the second moment.
    pub eps: f32,
}

/// Checks that everything of a parameter has the shape of its weights.
fn check(parameters: &[Parameter<'_>]) -> Result<()> {
    for p in parameters {
        let others = [Some(p.gradient), Some(p.first), p.second];
        if let Some(other) = others.into_iter().flatten().find(|t| t.dims() != p.weight.dims()) {
            bail!("updating {}: a tensor of shape {:?} beside weights {:?}", p.name, other.dims(), p.weight.dims())
        }
    }
    Ok(())
}

/// Runs `$on_gpu` where the parameters are on a GPU, else `$on_cpu` with each of them.
macro_rules! step {
    ($parameters:expr, $on_gpu:expr, $on_cpu:expr) => {{
        check($parameters)?;
        if let Some(_one) = $parameters.first() {
            on_gpu!(_one.weight, $on_gpu);
        }
        $parameters.iter().try_for_each($on_cpu)
    }};
}

/// One step of LARS (You et al. 2017, algorithm 1; both forms of momentum of the reference).
///
/// With classic momentum the scaled learning rate enters the momentum:
/// `v <- m v + lr t (g + d w)`, `w <- w - v` with the trust ratio `t = eta |w| / |g + d w|`, 1 where a norm is zero.
///
/// # Errors
/// When a tensor does not fit its weights, or is no contiguous f32 tensor on their device.
pub fn lars(parameters: &[Parameter<'_>], step: LarsStep) -> Result<()> {
    step!(parameters, crate::cuda::step::lars(parameters, step), |p| cpu::step::lars(p, step))
}

/// One step of SGD with Nesterov momentum in Keras' form: `v <- m v - lr g`, `w <- w + m v - lr g`.
///
/// # Errors
/// As [`lars`].
pub fn sgd(parameters: &[Parameter<'_>], lr: f32, momentum: f32) -> Result<()> {
    step!(parameters, crate::cuda::step::sgd(parameters, lr, momentum), |p| cpu::step::sgd(p, lr, momentum))
}

/// One step of Adam in Keras' form: epsilon outside the bias correction, `w <- w - lr m / (sqrt(s) + eps)`.
///
/// # Errors
/// As [`lars`]; also when a second moment is missing.
pub fn adam(parameters: &[Parameter<'_>], step: AdamStep) -> Result<()> {
    step!(parameters, crate::cuda::step::adam(parameters, step), |p| cpu::step::adam(p, step))
}

/// Adds the gradient of `factor / 2 |w|^2` to that of each weight, `(gradient, weight)`, in place.
///
/// # Errors
/// When shapes differ, or a tensor is no contiguous f32 tensor on the others' device.
pub fn decay(pairs: &[(&Tensor, &Tensor)], factor: f32) -> Result<()> {
    if let Some((g, w)) = pairs.iter().find(|(g, w)| g.dims() != w.dims()) {
        bail!("weight decay: a gradient of shape {:?} for weights {:?}", g.dims(), w.dims())
    }
    if let Some((_one, _)) = pairs.first() {
        on_gpu!(_one, crate::cuda::step::decay(pairs, factor));
    }
    pairs.iter().try_for_each(|(g, w)| cpu::step::decay(g, w, factor))
}

/// The sum of the squares of all numbers, an f64 scalar where the tensors are.
///
/// # Errors
/// When there is no tensor, or one is no contiguous f32 tensor on the others' device.
pub fn sum_of_squares(tensors: &[&Tensor]) -> Result<Tensor> {
    let Some(one) = tensors.first() else { bail!("a sum of squares over no tensors") };
    on_gpu!(one, crate::cuda::step::sum_of_squares(tensors));
    let mut sum = 0.0;
    for tensor in tensors {
        sum += cpu::step::sum_of_squares(tensor)?;
    }
    Tensor::new(sum, one.device())
}

/// Takes over the numbers of `from`, f32 of the same shape, in place; the two may be on different devices.
///
/// # Errors
/// When shapes differ, or a tensor is not contiguous.
pub fn assign(to: &Tensor, from: &Tensor) -> Result<()> {
    if to.dims() != from.dims() || from.dtype() != DType::F32 {
        bail!("numbers {:?} of {:?} for a tensor {:?}", from.dtype(), from.dims(), to.dims())
    }
    let from = from.to_device(to.device())?;
    on_gpu!(to, crate::cuda::step::assign(to, &from));
    cpu::update_with(to, &from, |to, from| to.copy_from_slice(from))
}
