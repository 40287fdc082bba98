//! How long each engine that cuDNN proposes takes, for benchmarks.

use super::cudnn::{Library, Plan, checked_shape};
use super::problem::{Direction, Operands, Problem};
use crate::conv::engines::EngineTime;
use crate::conv::geometry::Geometry;
use crate::gpu::machine::Number;
use crate::gpu::{Gpu, at};
use candle_core::{DType, Result, Tensor};

/// Times of all products of a convolution by each engine, in the order of proposals: of graphs, then of the interface
/// before them. An engine that cannot be measured is left out.
///
/// # Errors
/// When memory for the maps is short, or the shape is one that cuDNN does not take.
pub fn times(gpu: &Gpu, g: &Geometry, dtype: DType, most: usize) -> Result<Vec<EngineTime>> {
    match dtype {
        DType::BF16 => of::<half::bf16>(gpu, g, most),
        _ => of::<f32>(gpu, g, most),
    }
}

fn of<T: Number>(gpu: &Gpu, g: &Geometry, most: usize) -> Result<Vec<EngineTime>> {
    let library = Library::of(gpu)?;
    checked_shape(g, T::DTYPE)?;
    let numbers = |shape: [usize; 4]| -> Result<Tensor> {
        Tensor::ones(&shape, T::DTYPE, &candle_core::Device::Cuda(gpu.0.clone()))
    };
    let (x, y) = (numbers([g.n, g.h, g.w, g.c])?, numbers([g.n, g.oh, g.ow, g.o])?);
    let w = numbers([g.o, g.k, g.k, g.c])?;
    let operands = Operands { x: at::<T>(&x)?.0, w: at::<T>(&w)?.0, y: at::<T>(&y)?.0 };
    let mut times = Vec::new();
    for (product, direction) in [
        ("forward", Direction::Forward),
        ("input gradient", Direction::Data),
        ("input gradient, added", Direction::DataSum),
        ("weight gradient", Direction::Filter),
    ] {
        let problem = Problem { direction, g: *g, dtype: T::DTYPE, aligned: true };
        for plan in library.candidates(&problem, most, most)? {
            let Ok(ms) = library.measure(&plan, operands, None) else { continue };
            let (engine, graph) = (plan.choice().to_string(), matches!(plan, Plan::Graph(_)));
            times.push(EngineTime { product, engine, graph, ms, workspace: plan.workspace() });
        }
        library.shrink();
    }
    Ok(times)
}
