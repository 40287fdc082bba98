//! Convolution on a GPU in a build that knows none: `gpu` is never there.

use super::engines::EngineTime;
use super::geometry::Geometry;
use super::map::Map;
use crate::gpu::Gpu;
use candle_core::{DType, Result, Tensor};

pub fn forward(gpu: &Gpu, _: &Geometry, _: &Map, _: &Tensor, _: bool) -> Result<(Tensor, Option<[Tensor; 2]>)> {
    gpu.never()
}

pub fn input_gradient(gpu: &Gpu, _: &Geometry, _: &Tensor, _: &Tensor, _: Option<Tensor>) -> Result<Tensor> {
    gpu.never()
}

pub fn weight_gradient(gpu: &Gpu, _: &Geometry, _: &Map, _: &Tensor) -> Result<Tensor> {
    gpu.never()
}

pub fn times(gpu: &Gpu, _: &Geometry, _: DType, _: usize) -> Result<Vec<EngineTime>> {
    gpu.never()
}
