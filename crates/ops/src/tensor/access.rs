//! Slices of candle tensors on the CPU: reading, making, updating in place.

use crate::simd::Element;
use candle_core::{CpuStorage, Device, InplaceOp1, InplaceOp2, Layout, Result, Shape, Storage, Tensor, bail};
use std::cell::Cell;
use std::marker::PhantomData;

fn range(layout: &Layout) -> Result<(usize, usize)> {
    match layout.contiguous_offsets() {
        Some(range) => Ok(range),
        None => bail!("expected a contiguous tensor, found shape {:?} strides {:?}", layout.shape(), layout.stride()),
    }
}

/// Calls `f` on the elements of a contiguous f32 tensor on the CPU.
///
/// # Errors
/// When the tensor is elsewhere, of another dtype or not contiguous.
pub fn with_slice<R>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
    with_elements(tensor, f)
}

/// As [`with_slice`], for any element.
///
/// # Errors
/// As [`with_slice`].
pub(crate) fn with_elements<T: Element, R>(tensor: &Tensor, f: impl FnOnce(&[T]) -> Result<R>) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    let (start, end) = range(layout)?;
    match &*storage {
        Storage::Cpu(data) if tensor.dtype() == T::DTYPE => f(&T::cpu_storage_as_slice(data)?[start..end]),
        Storage::Cpu(_) => bail!("expected {:?}, found {:?}", T::DTYPE, tensor.dtype()),
        _ => bail!("expected a tensor on the CPU, found one on {:?}", tensor.device().location()),
    }
}

/// A tensor on the CPU that takes over `data`.
///
/// # Errors
/// When the number of elements does not fit the shape.
pub fn from_vec<T: candle_core::WithDType>(data: Vec<T>, shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::from_vec(data, shape.into(), &Device::Cpu)
}

// candle hands the storage to an op through `&self`; the cell lets a `FnOnce` through.
struct Update<F, T>(Cell<Option<F>>, PhantomData<T>);

fn slice_mut<'a, T: Element>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [T]> {
    let (start, end) = range(layout)?;
    match T::slice_mut(storage) {
        Some(data) => Ok(&mut data[start..end]),
        None => bail!("expected a tensor of {:?}", T::DTYPE),
    }
}

impl<T: Element, F: FnOnce(&mut [T])> InplaceOp1 for Update<F, T> {
    fn name(&self) -> &'static str {
        "update"
    }
    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let data = slice_mut(storage, layout)?;
        if let Some(f) = self.0.take() {
            f(data);
        }
        Ok(())
    }
}

impl<T: Element, F: FnOnce(&mut [T], &[T])> InplaceOp2 for Update<F, T> {
    fn name(&self) -> &'static str {
        "update"
    }
    fn cpu_fwd(&self, a: &mut CpuStorage, la: &Layout, b: &CpuStorage, lb: &Layout) -> Result<()> {
        let data = slice_mut(a, la)?;
        let (start, end) = range(lb)?;
        let other = T::cpu_storage_as_slice(b)?;
        if let Some(f) = self.0.take() {
            f(data, &other[start..end]);
        }
        Ok(())
    }
}

/// Changes a tensor's numbers in place: everyone who holds the tensor sees it.
///
/// # Errors
/// When the tensor is not a contiguous f32 tensor on the CPU.
pub fn update(tensor: &Tensor, f: impl FnOnce(&mut [f32])) -> Result<()> {
    update_elements(tensor, f)
}

/// As [`update`], for any element.
///
/// # Errors
/// As [`update`].
pub(crate) fn update_elements<T: Element>(tensor: &Tensor, f: impl FnOnce(&mut [T])) -> Result<()> {
    tensor.inplace_op1(&Update(Cell::new(Some(f)), PhantomData))
}

/// Changes `tensor` in place, reading `other`, which must be another tensor.
///
/// # Errors
/// As [`update`].
pub fn update_with(tensor: &Tensor, other: &Tensor, f: impl FnOnce(&mut [f32], &[f32])) -> Result<()> {
    update_elements_with(tensor, other, f)
}

/// As [`update_with`], for any element; hands on what `f` gives.
///
/// # Errors
/// As [`update`].
pub(crate) fn update_elements_with<T: Element, R>(
    tensor: &Tensor,
    other: &Tensor,
    f: impl FnOnce(&mut [T], &[T]) -> R,
) -> Result<R> {
    let mut result = None;
    tensor.inplace_op2(other, &Update(Cell::new(Some(|a: &mut [T], b: &[T]| result = Some(f(a, b)))), PhantomData))?;
    result.ok_or_else(|| candle_core::Error::Msg("an update did not run".into()))
}

/// Runs an expression with a type name bound to the element of a tensor.
macro_rules! by_element {
    ($tensor:expr, $T:ident => $body:expr) => {
        match $tensor.dtype() {
            candle_core::DType::BF16 => {
                type $T = half::bf16;
                $body
            }
            // Anything else is refused where the numbers are read.
            _ => {
                type $T = f32;
                $body
            }
        }
    };
}
pub(crate) use by_element;
