//! Steps over tensors on a GPU, all parameters in one or two launches: what [`crate::step`] says.

use super::gpu::{Gpu, at};
use super::machine::At;
use super::optimizer::{Slot, Slots};
use crate::step::{AdamStep, LarsStep, Parameter};
use candle_core::{Result, Tensor, bail};

/// Lists tensors for kernels, on the GPU of the first.
fn listed(slots: impl Iterator<Item = Result<(Slot, Gpu)>>) -> Result<(Gpu, Slots<Gpu>)> {
    let (list, gpus): (Vec<Slot>, Vec<Gpu>) = slots.collect::<Result<Vec<_>>>()?.into_iter().unzip();
    let Some(gpu) = gpus.into_iter().next() else { bail!("a step over no tensors") };
    let slots = Slots::new(&gpu, &list)?;
    Ok((gpu, slots))
}

/// A parameter's tensors, where kernels find them.
fn slot(p: &Parameter<'_>) -> Result<(Slot, Gpu)> {
    let (g, first, second) = (at(p.gradient)?, at(p.first)?, p.second.map(at).transpose()?);
    let slot = Slot { w: at(p.weight)?, g, first, second, len: p.weight.elem_count(), adapted: p.adapted };
    Ok((slot, Gpu::of(p.weight)?))
}

pub fn lars(parameters: &[Parameter<'_>], step: LarsStep) -> Result<()> {
    let (gpu, slots) = listed(parameters.iter().map(slot))?;
    slots.lars(&gpu, step)
}

pub fn sgd(parameters: &[Parameter<'_>], lr: f32, momentum: f32) -> Result<()> {
    let (gpu, slots) = listed(parameters.iter().map(slot))?;
    slots.sgd(&gpu, lr, momentum)
}

pub fn adam(parameters: &[Parameter<'_>], step: AdamStep) -> Result<()> {
    let (gpu, slots) = listed(parameters.iter().map(slot))?;
    slots.adam(&gpu, step)
}

/// A list of numbers that a kernel reads, and one beside it that it changes.
fn pair(read: &Tensor, changed: At<f32>) -> Result<(Slot, Gpu)> {
    let (w, len) = (at(read)?, read.elem_count());
    Ok((Slot { w, g: changed, first: At::none(), second: None, len, adapted: false }, Gpu::of(read)?))
}

pub fn decay(pairs: &[(&Tensor, &Tensor)], factor: f32) -> Result<()> {
    let (gpu, slots) = listed(pairs.iter().map(|(g, w)| pair(w, at(g)?)))?;
    slots.decay(&gpu, factor)
}

pub fn sum_of_squares(tensors: &[&Tensor]) -> Result<Tensor> {
    let (gpu, slots) = listed(tensors.iter().map(|t| pair(t, At::none())))?;
    Ok(gpu.tensor(slots.sum_of_squares(&gpu)?, ()))
}

/// `to` takes over the numbers of `from`, which is on its GPU.
pub fn assign(to: &Tensor, from: &Tensor) -> Result<()> {
    Gpu::of(to)?.copy(at::<f32>(from)?, at::<f32>(to)?, to.elem_count())
}
