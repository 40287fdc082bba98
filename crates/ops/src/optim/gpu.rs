//! What the optimisers share on a GPU: the list of parameters that kernels read, and sums over them.

use super::parameter::Parameter;
use crate::gpu::machine::{At, Kernels, Launch, Machine, args, kernels};
use crate::gpu::{Gpu, at};
use candle_core::{Result, Tensor};
use half::bf16;

/// The kernels of all optimisers, `kernel.cu`.
pub const KERNELS: Kernels = kernels!("optim");
/// Elements of a block, as in the kernels.
const CHUNK: usize = 1 << 14;

/// One parameter: weights, gradient and states, all of `len` numbers.
#[derive(Clone, Copy)]
pub struct Slot {
    pub w: At<f32>,
    pub g: At<f32>,
    pub first: At<f32>,
    /// Adam's second moment.
    pub second: Option<At<f32>>,
    pub len: usize,
    /// LARS decays it and adapts its rate.
    pub adapted: bool,
}

/// The parameters of a step, where kernels find them.
pub struct Slots<M: Machine> {
    /// The kernels' `Slot`s.
    pub table: M::Memory<i64>,
    /// How many there are.
    pub count: usize,
    /// Blocks that take a chunk each.
    pub chunks: usize,
}

impl<M: Machine> Slots<M> {
    /// Lists the parameters; empty ones are left out.
    pub fn new(m: &M, slots: &[Slot]) -> Result<Self> {
        let (mut table, mut count, mut chunks) = (Vec::new(), 0, 0);
        for s in slots.iter().filter(|s| s.len > 0) {
            let addresses = [s.w, s.g, s.first, s.second.unwrap_or(At::none())].map(|at| at.0 as i64);
            table.extend(addresses);
            table.extend([s.len as i64, chunks as i64, i64::from(s.adapted)]);
            count += 1;
            chunks += s.len.div_ceil(CHUNK);
        }
        Ok(Self { table: m.upload(&table)?, count, chunks })
    }
}

impl Slots<Gpu> {
    /// Lists the parameters of a step.
    ///
    /// # Errors
    /// When a tensor is no contiguous f32 tensor on the GPU.
    pub fn of(gpu: &Gpu, parameters: &[Parameter<'_>]) -> Result<Self> {
        let slot = |p: &Parameter<'_>| {
            let (g, first, second) = (at(p.gradient)?, at(p.first)?, p.second.map(at).transpose()?);
            Ok(Slot { w: at(p.weight)?, g, first, second, len: p.weight.elem_count(), adapted: p.adapted })
        };
        Self::new(gpu, &parameters.iter().map(slot).collect::<Result<Vec<_>>>()?)
    }
}

/// Adds `factor` times the weights to the gradients.
pub fn launch_decay<M: Machine>(m: &M, slots: &Slots<M>, factor: f32) -> Result<()> {
    let args = args![m.at(&slots.table), slots.count as i64, factor];
    m.launch(Launch::rows(KERNELS, "decay_gradients", slots.chunks, args)?)
}

/// Rounds the weights to bf16, to where the gradients would stand.
pub fn launch_round<M: Machine>(m: &M, slots: &Slots<M>) -> Result<()> {
    m.launch(Launch::rows(KERNELS, "round_weights", slots.chunks, args![m.at(&slots.table), slots.count as i64])?)
}

/// The sum of the squares of all weights.
pub fn launch_sum_of_squares<M: Machine>(m: &M, slots: &Slots<M>) -> Result<M::Memory<f64>> {
    let (squares, out) = (m.room::<f64>(slots.chunks)?, m.room::<f64>(1)?);
    let args = args![m.at(&slots.table), slots.count as i64, m.at(&squares)];
    m.launch(Launch::rows(KERNELS, "sum_squares", slots.chunks, args)?)?;
    m.launch(Launch::rows(KERNELS, "sum_all", 1, args![m.at(&squares), slots.chunks as i64, m.at(&out)])?)?;
    Ok(out)
}

/// The sum of the squares of each tensor's weights.
pub fn launch_squares_of_each<M: Machine>(m: &M, slots: &Slots<M>) -> Result<M::Memory<f64>> {
    let (squares, out) = (m.room::<f64>(slots.chunks)?, m.room::<f64>(slots.count)?);
    let args = args![m.at(&slots.table), slots.count as i64, m.at(&squares)];
    m.launch(Launch::rows(KERNELS, "sum_squares", slots.chunks, args)?)?;
    m.launch(Launch::rows(KERNELS, "sum_each", slots.count, args![m.at(&slots.table), m.at(&squares), m.at(&out)])?)?;
    Ok(out)
}

/// Numbers that a kernel reads, and as many beside them that it changes.
fn pair(read: &Tensor, changed: At<f32>) -> Result<Slot> {
    let (w, len) = (at(read)?, read.elem_count());
    Ok(Slot { w, g: changed, first: At::none(), second: None, len, adapted: false })
}

/// Adds `factor` times the weights to the gradients, `(gradient, weight)`, in place.
///
/// # Errors
/// When a tensor is no contiguous f32 tensor on the GPU.
pub fn decay(gpu: &Gpu, pairs: &[(&Tensor, &Tensor)], factor: f32) -> Result<()> {
    let slots = pairs.iter().map(|(g, w)| pair(w, at(g)?)).collect::<Result<Vec<_>>>()?;
    launch_decay(gpu, &Slots::new(gpu, &slots)?, factor)
}

/// Numbers rounded to bf16, of all tensors at once.
///
/// # Errors
/// When a tensor is no contiguous f32 tensor on the GPU, or memory is short.
pub fn round(gpu: &Gpu, tensors: &[&Tensor]) -> Result<Vec<Tensor>> {
    let rounded = tensors.iter().map(|t| gpu.new_tensor::<bf16>(t.shape())).collect::<Result<Vec<_>>>()?;
    let slots = tensors.iter().zip(&rounded).map(|(t, (_, to))| pair(t, At::new(to.0))).collect::<Result<Vec<_>>>()?;
    launch_round(gpu, &Slots::new(gpu, &slots)?)?;
    Ok(rounded.into_iter().map(|(tensor, _)| tensor).collect())
}

/// The sum of the squares of all numbers: an f64 scalar.
///
/// # Errors
/// When a tensor is no contiguous f32 tensor on the GPU.
pub fn sum_of_squares(gpu: &Gpu, tensors: &[&Tensor]) -> Result<Tensor> {
    let slots = tensors.iter().map(|t| pair(t, At::none())).collect::<Result<Vec<_>>>()?;
    Ok(gpu.tensor(launch_sum_of_squares(gpu, &Slots::new(gpu, &slots)?)?, ()))
}

/// The sum of the squares of each tensor's numbers: f64.
///
/// # Errors
/// When a tensor is no contiguous f32 tensor on the GPU.
pub fn squares_of_each(gpu: &Gpu, tensors: &[&Tensor]) -> Result<Tensor> {
    let slots = tensors.iter().map(|t| pair(t, At::none())).collect::<Result<Vec<_>>>()?;
    Ok(gpu.tensor(launch_squares_of_each(gpu, &Slots::new(gpu, &slots)?)?, tensors.len()))
}

/// `to` takes over the numbers of `from`.
///
/// # Errors
/// When the two are on different devices.
pub fn assign(gpu: &Gpu, to: &Tensor, from: &Tensor) -> Result<()> {
    gpu.copy::<f32>(from, to)
}
