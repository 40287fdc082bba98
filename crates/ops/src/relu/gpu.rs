//! ReLU on a GPU, by the kernels of `kernel.cu`.

use crate::gpu::machine::{At, Kernels, Launch, Machine, Number, args, kernels, named, packs};
use crate::gpu::tiles::Mask;
use crate::gpu::{Gpu, at};
use crate::tensor::access::by_element;
use candle_core::{Result, Tensor};

const KERNELS: Kernels = kernels!("relu");

/// `max(x + residual, 0)` to `out`, `len` numbers each; the residual is optional. With `masked` comes which elements ReLU
/// let through.
pub fn launch_add_relu<M: Machine, T: Number>(
    m: &M,
    len: usize,
    [x, out]: [At<T>; 2],
    residual: Option<At<T>>,
    masked: bool,
) -> Result<Option<Mask<M>>> {
    let residual = residual.unwrap_or(At::none());
    let (packs, wide) = packs(len, len, &[x, residual, out])?;
    let mask = if masked { Some(Mask::new::<T>(m, packs as usize, wide)?) } else { None };
    let bits = mask.as_ref().map_or(At::none(), |mask| mask.at(m));
    let args = args![x, residual, out, bits, packs, wide];
    m.launch(Launch::items(KERNELS, named::<T>("add_relu"), packs as usize, args)?)?;
    Ok(mask)
}

/// Sets `dy`, `len` numbers, to zero where ReLU let nothing through; `copy` becomes the same, where there is an address.
pub fn launch_mask<M: Machine, T: Number>(m: &M, len: usize, mask: &Mask<M>, [dy, copy]: [At<T>; 2]) -> Result<()> {
    // Written element by element, it is read so.
    let (packs, wide) = packs(len, if mask.is_narrow() { 1 } else { len }, &[dy, copy])?;
    let args = args![mask.at(m), mask.lanes(), dy, copy, packs, wide];
    m.launch(Launch::items(KERNELS, named::<T>("relu_mask"), packs as usize, args)?)
}

/// `max(x + residual, 0)`; the residual is optional. With `masked` comes which elements ReLU let through.
///
/// # Errors
/// When memory is short.
pub fn add_relu(gpu: &Gpu, x: &Tensor, residual: Option<&Tensor>, masked: bool) -> Result<(Tensor, Option<Mask<Gpu>>)> {
    by_element!(x, T => {
        let (out, to) = gpu.new_tensor::<T>(x.shape())?;
        let maps = [at::<T>(x)?, to];
        let mask = launch_add_relu(gpu, x.elem_count(), maps, residual.map(at).transpose()?, masked)?;
        Ok((out, mask))
    })
}

/// Sets `dy` to zero where ReLU let nothing through, in place; where `copied`, a copy of it comes, too.
///
/// # Errors
/// When memory is short.
pub fn mask(gpu: &Gpu, mask: &Mask<Gpu>, dy: &Tensor, copied: bool) -> Result<Option<Tensor>> {
    by_element!(dy, T => {
        let copy = if copied { Some(gpu.new_tensor::<T>(dy.shape())?) } else { None };
        let (copy, to) = copy.map_or((None, At::none()), |(tensor, to)| (Some(tensor), to));
        launch_mask(gpu, dy.elem_count(), mask, [at::<T>(dy)?, to])?;
        Ok(copy)
    })
}
