//! GPUs of a build without the feature `cuda`: types that have no value, so that what computes on a GPU compiles in every
//! build and is reached in none.

use super::machine::{At, Launch, Machine, Number};
use candle_core::{Device, Result, Shape, Tensor, bail};
use std::convert::Infallible;

/// A GPU.
#[derive(Clone)]
pub struct Gpu(Infallible);

impl Gpu {
    /// None: no tensor is on a GPU.
    pub fn of(_: &Tensor) -> Option<Self> {
        None
    }

    /// What a GPU computes that is not there.
    pub fn never<T>(&self) -> T {
        match self.0 {}
    }

    /// A tensor of all numbers of a memory.
    pub fn tensor<T>(&self, _: T, _: impl Into<Shape>) -> Tensor {
        match self.0 {}
    }

    /// Copies the numbers of one tensor over those of another.
    pub fn copy<T: Number>(&self, _: &Tensor, _: &Tensor) -> Result<()> {
        match self.0 {}
    }

    /// A tensor with arbitrary contents, and where it stands.
    pub fn new_tensor<T: Number>(&self, _: impl Into<Shape>) -> Result<(Tensor, At<T>)> {
        match self.0 {}
    }
}

/// Where a tensor's numbers stand.
///
/// # Errors
/// Always: no tensor is on a GPU.
pub fn at<T: Number>(tensor: &Tensor) -> Result<At<T>> {
    bail!("expected a tensor on the GPU, found one on {:?}", tensor.device().location())
}

impl Machine for Gpu {
    type Memory<T: Number> = Infallible;

    fn room<T: Number>(&self, _: usize) -> Result<Infallible> {
        match self.0 {}
    }

    fn upload<T: Number>(&self, _: &[T]) -> Result<Infallible> {
        match self.0 {}
    }

    fn at<T: Number>(&self, memory: &Infallible) -> At<T> {
        match *memory {}
    }

    fn launch(&self, _: Launch) -> Result<()> {
        match self.0 {}
    }
}

/// What uploads to a GPU.
pub struct UploadStream(Infallible);

impl UploadStream {
    /// None: there is no GPU to upload to.
    pub fn to(_: &Device) -> Result<Option<Self>> {
        Ok(None)
    }

    /// Sends `len` numbers that `fill` writes.
    pub fn send<T: Number>(
        &mut self,
        _: usize,
        _: impl Into<Shape>,
        _: impl FnOnce(&mut [T]),
    ) -> Result<PendingUpload> {
        match self.0 {}
    }
}

/// Numbers in a GPU's memory, or in flight to it.
pub struct PendingUpload(Infallible);

impl PendingUpload {
    /// The numbers as a tensor.
    pub fn tensor(self) -> Result<Tensor> {
        match self.0 {}
    }
}

/// Scalars in flight to the host.
pub struct PendingRead(Infallible);

impl PendingRead {
    /// Asks a GPU for scalars on it.
    pub fn of(gpu: &Gpu, _: &[&Tensor]) -> Result<Self> {
        match gpu.0 {}
    }

    /// The numbers, once they are here.
    pub fn wait(self) -> Result<Vec<f64>> {
        match self.0 {}
    }
}
