//! Gates over `[N, P, C]` on a GPU, by the kernels of `kernel.cu`.

use crate::gpu::machine::{At, Kernels, Launch, Machine, Number, args, count, kernels, named};
use crate::gpu::tiles::Tiling;
use crate::gpu::{Gpu, at};
use crate::mean::streams::Streams;
use crate::tensor::access::by_element;
use candle_core::{Result, Tensor};

const KERNELS: Kernels = kernels!("gate");

/// How far gates are open, `[N, F]`: the sigmoid of the logits, or of the difference of two streams.
pub fn launch_open<M: Machine>(m: &M, s: Streams, logits: At<f32>) -> Result<M::Memory<f32>> {
    let items = s.n * s.f;
    let out = m.room::<f32>(items)?;
    let args = args![logits, s.f as u32, s.streams as i32, m.at(&out), count(items)?];
    m.launch(Launch::items(KERNELS, "gate_open", items, args)?)?;
    Ok(out)
}

/// The tiles of maps whose pixels have `F` channels; gates are read by packs, too.
fn tiling<T: Number>(s: Streams, maps: &[At<T>], open: At<f32>) -> Result<Tiling> {
    Tiling::of(s.rows(), s.f, &[maps, &[At::new(open.0)]].concat())
}

/// Each pixel of `x` times its image's gates, to `out`.
pub fn launch_scale<M: Machine, T: Number>(m: &M, s: Streams, x: At<T>, open: At<f32>, out: At<T>) -> Result<()> {
    gated(m, "gate_scale", s, x, open, out)
}

/// What a kernel makes of each pixel and its image's gates, to `out` `[N, P, F]`.
fn gated<M: Machine, T: Number>(m: &M, kernel: &str, s: Streams, x: At<T>, open: At<f32>, out: At<T>) -> Result<()> {
    let tiling = tiling(s, &[x, out], open)?;
    let ([packs, side, tiles], splits) = (tiling.args(), tiling.splits(s.n * s.streams));
    let args = args![x, open, s.pixels as u32, packs, side, tiles, tiling.wide, splits as u32, out];
    m.launch(tiling.launch(KERNELS, named::<T>(kernel), s.n * splits, args)?)
}

/// The gradient of the gates' logits, `[N, F]`.
pub fn launch_scale_gradient<M: Machine, T: Number>(
    m: &M,
    s: Streams,
    [x, dy]: [At<T>; 2],
    open: At<f32>,
) -> Result<M::Memory<f32>> {
    let (tiling, out) = (tiling(s, &[x, dy], open)?, m.room::<f32>(s.n * s.f)?);
    let [packs, side, tiles] = tiling.args();
    let args = args![x, dy, open, s.pixels as u32, packs, side, tiles, tiling.wide, m.at(&out)];
    m.launch(tiling.launch(KERNELS, named::<T>("gate_gradient"), s.n, args)?)?;
    Ok(out)
}

/// `a x[..F] + (1 - a) x[F..]` to `out`, `a` being how far the first stream's gate is open.
pub fn launch_select<M: Machine, T: Number>(m: &M, s: Streams, x: At<T>, open: At<f32>, out: At<T>) -> Result<()> {
    gated(m, "select_streams", s, x, open, out)
}

/// The gradients of [`launch_select`]: that of `x` to `dx`, and that of the logits, `[N, 2F]`.
pub fn launch_select_gradient<M: Machine, T: Number>(
    m: &M,
    s: Streams,
    [x, dy, dx]: [At<T>; 3],
    open: At<f32>,
) -> Result<M::Memory<f32>> {
    let (tiling, logits) = (tiling(s, &[x, dy, dx], open)?, m.room::<f32>(s.n * 2 * s.f)?);
    let [packs, side, tiles] = tiling.args();
    let args = args![x, dy, open, s.pixels as u32, packs, side, tiles, tiling.wide, dx, m.at(&logits)];
    m.launch(tiling.launch(KERNELS, named::<T>("select_gradient"), s.n, args)?)?;
    Ok(logits)
}

/// How far gates are open, `[N, F]`: the sigmoid of the logits, or of the difference of two streams, which is what a softmax
/// over two comes to.
///
/// # Errors
/// When memory is short.
pub fn open(gpu: &Gpu, logits: &Tensor, s: Streams) -> Result<Tensor> {
    Ok(gpu.tensor(launch_open(gpu, s, at(logits)?)?, (s.n, s.f)))
}

/// Each pixel of `x` `[N, P, F]` times its image's gates.
///
/// # Errors
/// When memory is short.
pub fn scale(gpu: &Gpu, x: &Tensor, open: &Tensor, s: Streams) -> Result<Tensor> {
    by_element!(x, T => {
        let (out, to) = gpu.new_tensor::<T>(x.shape())?;
        launch_scale(gpu, s, at::<T>(x)?, at(open)?, to)?;
        Ok(out)
    })
}

/// The gradient of the gates' logits, `[N, F]`.
///
/// # Errors
/// When memory is short.
pub fn scale_gradient(gpu: &Gpu, x: &Tensor, dy: &Tensor, open: &Tensor, s: Streams) -> Result<Tensor> {
    let found = by_element!(x, T => launch_scale_gradient(gpu, s, [at::<T>(x)?, at(dy)?], at(open)?))?;
    Ok(gpu.tensor(found, (s.n, s.f)))
}

/// `a x[..F] + (1 - a) x[F..]` of this shape, `a` being how far the first stream's gate is open.
///
/// # Errors
/// When memory is short.
pub fn select(gpu: &Gpu, x: &Tensor, open: &Tensor, s: Streams, shape: (usize, usize, usize, usize)) -> Result<Tensor> {
    by_element!(x, T => {
        let (out, to) = gpu.new_tensor::<T>(shape)?;
        launch_select(gpu, s, at::<T>(x)?, at(open)?, to)?;
        Ok(out)
    })
}

/// The gradients of [`select`]: that of `x`, and that of the logits, `[N, 2F]`.
///
/// # Errors
/// When memory is short.
pub fn select_gradient(gpu: &Gpu, x: &Tensor, dy: &Tensor, open: &Tensor, s: Streams) -> Result<[Tensor; 2]> {
    by_element!(x, T => {
        let (dx, to) = gpu.new_tensor::<T>(x.shape())?;
        let d_logits = launch_select_gradient(gpu, s, [at(x)?, at(dy)?, to], at(open)?)?;
        Ok([dx, gpu.tensor(d_logits, (s.n, 2 * s.f))])
    })
}
