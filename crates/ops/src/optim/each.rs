//! A step over all parameters, wherever these are.

use super::gpu::Slots;
use super::parameter::{Parameter, check};
use crate::gpu::Gpu;
use candle_core::Result;

/// Runs `on_cpu` with each of the parameters, or `on_gpu` with the list of them where they are on a GPU.
///
/// # Errors
/// When tensors do not fit their weights, or a step fails.
pub fn each(
    parameters: &[Parameter<'_>],
    on_cpu: impl Fn(&Parameter<'_>) -> Result<()>,
    on_gpu: impl FnOnce(&Gpu, &Slots<Gpu>) -> Result<()>,
) -> Result<()> {
    check(parameters)?;
    match parameters.first().and_then(|p| Gpu::of(p.weight)) {
        None => parameters.iter().try_for_each(on_cpu),
        Some(gpu) => on_gpu(&gpu, &Slots::of(&gpu, parameters)?),
    }
}
