//! Slices of candle tensors on the CPU: reading, making, updating in place.

use candle_core::{CpuStorage, Device, InplaceOp1, InplaceOp2, Layout, Result, Shape, Storage, Tensor, bail};
use rayon::prelude::*;
use std::cell::Cell;

/// Elements that one task of an element-wise loop handles.
const CHUNK: usize = 1 << 15;

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
    let (storage, layout) = tensor.storage_and_layout();
    let (start, end) = range(layout)?;
    match &*storage {
        Storage::Cpu(CpuStorage::F32(data)) => f(&data[start..end]),
        Storage::Cpu(_) => bail!("expected f32, found {:?}", tensor.dtype()),
        _ => bail!("expected a tensor on the CPU, found one on {:?}", tensor.device().location()),
    }
}

/// A tensor on the CPU that takes over `data`.
///
/// # Errors
/// When the number of elements does not fit the shape.
pub fn from_vec(data: Vec<f32>, shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::from_vec(data, shape.into(), &Device::Cpu)
}

// candle hands the storage to an op through `&self`; the cell lets a `FnOnce` through.
struct Update<F>(Cell<Option<F>>);

fn slice_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    let (start, end) = range(layout)?;
    match storage {
        CpuStorage::F32(data) => Ok(&mut data[start..end]),
        _ => bail!("expected f32"),
    }
}

impl<F: FnOnce(&mut [f32])> InplaceOp1 for Update<F> {
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

impl<F: FnOnce(&mut [f32], &[f32])> InplaceOp2 for Update<F> {
    fn name(&self) -> &'static str {
        "update"
    }
    fn cpu_fwd(&self, a: &mut CpuStorage, la: &Layout, b: &CpuStorage, lb: &Layout) -> Result<()> {
        let data = slice_mut(a, la)?;
        let (start, end) = range(lb)?;
        let CpuStorage::F32(other) = b else { bail!("expected f32") };
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
    tensor.inplace_op1(&Update(Cell::new(Some(f))))
}

/// Changes `tensor` in place, reading `other`, which must be another tensor.
///
/// # Errors
/// As [`update`].
pub fn update_with(tensor: &Tensor, other: &Tensor, f: impl FnOnce(&mut [f32], &[f32])) -> Result<()> {
    tensor.inplace_op2(other, &Update(Cell::new(Some(f))))
}

/// `sum += term`, multi-threaded, in place.
///
/// # Errors
/// When shapes differ.
pub fn add_assign(sum: &Tensor, term: &Tensor) -> Result<()> {
    if sum.shape() != term.shape() {
        bail!("cannot add a gradient of shape {:?} to one of {:?}", term.shape(), sum.shape())
    }
    update_with(sum, term, |a, b| {
        a.par_chunks_mut(CHUNK).zip(b.par_chunks(CHUNK)).for_each(|(a, b)| {
            super::vectorized(
                #[inline(always)]
                || a.iter_mut().zip(b).for_each(|(a, b)| *a += b),
            )
        })
    })
}

/// A vector of `len` elements that `write` fills, without zeroing it first.
///
/// `write` must set every element; in builds with debug assertions the memory starts as NaN, so that the tests
/// notice one that was left out.
#[allow(unsafe_code)]
pub fn filled(len: usize, write: impl FnOnce(&mut [f32])) -> Vec<f32> {
    if cfg!(debug_assertions) {
        let mut data = vec![f32::NAN; len];
        write(&mut data);
        return data;
    }
    let mut data: Vec<f32> = Vec::with_capacity(len);
    // SAFETY: the capacity is `len`, every bit pattern is a valid f32, and `write` sets all elements before they are
    // read (checked by the NaN above in the test suite). A zero-fill here would be one more pass over each activation.
    #[allow(clippy::uninit_vec)]
    unsafe {
        data.set_len(len)
    };
    write(&mut data);
    data
}
