//! Gates over `[N, P, C]` and sums of maps: as [`crate::gate`], by the kernels of `gate.cu`.

use super::machine::{At, Launch, Machine, Number, args, count, named};
use super::pool::Streams;
use candle_core::Result;

const SOURCE: &str = "gate";

/// `max(x + residual, 0)` to `out`; the residual is optional.
pub fn add_relu<M: Machine, T: Number>(m: &M, len: usize, x: At<T>, residual: Option<At<T>>, out: At<T>) -> Result<()> {
    let args = args![x, residual.unwrap_or(At::none()), out, count(len)?];
    m.launch(Launch::items(SOURCE, named::<T>("add_relu"), len, args)?)
}

/// Sets `dy` to zero where `y`, the output of a ReLU, is not positive.
pub fn mask<M: Machine, T: Number>(m: &M, len: usize, y: At<T>, dy: At<T>) -> Result<()> {
    m.launch(Launch::items(SOURCE, named::<T>("relu_mask"), len, args![y, dy, count(len)?])?)
}

/// `sum += term`.
pub fn add_assign<M: Machine, T: Number>(m: &M, len: usize, sum: At<T>, term: At<T>) -> Result<()> {
    m.launch(Launch::items(SOURCE, named::<T>("add_assign"), len, args![sum, term, count(len)?])?)
}

/// How far gates are open, `[N, F]`: the sigmoid of the logits, or of the difference of two streams.
pub fn open<M: Machine>(m: &M, s: Streams, logits: At<f32>) -> Result<M::Memory<f32>> {
    let items = s.n * s.f;
    let out = m.room::<f32>(items)?;
    let args = args![logits, s.f as i64, s.streams as i32, m.at(&out), items as i64];
    m.launch(Launch::items(SOURCE, "gate_open", items, args)?)?;
    Ok(out)
}

/// Each pixel of `x` times its image's gates, to `out`.
pub fn scale<M: Machine, T: Number>(m: &M, s: Streams, x: At<T>, open: At<f32>, out: At<T>) -> Result<()> {
    gated(m, "gate_scale", s, x, open, out)
}

/// What a kernel makes of each pixel and its image's gates, to `out` `[N, P, F]`.
fn gated<M: Machine, T: Number>(m: &M, kernel: &str, s: Streams, x: At<T>, open: At<f32>, out: At<T>) -> Result<()> {
    let items = s.n * s.pixels * s.f;
    let args = args![x, open, s.pixels as i64, s.f as i64, out, items as i64];
    m.launch(Launch::items(SOURCE, named::<T>(kernel), items, args)?)
}

/// The gradient of the gates' logits, `[N, F]`.
pub fn scale_gradient<M: Machine, T: Number>(
    m: &M,
    s: Streams,
    [x, dy]: [At<T>; 2],
    open: At<f32>,
) -> Result<M::Memory<f32>> {
    let out = m.room::<f32>(s.n * s.f)?;
    let args = args![x, dy, open, s.pixels as i64, s.f as i64, m.at(&out)];
    m.launch(Launch::tiles(SOURCE, named::<T>("gate_gradient"), (s.f, s.n), args)?)?;
    Ok(out)
}

/// `a x[..F] + (1 - a) x[F..]` to `out`, `a` being how far the first stream's gate is open.
pub fn select<M: Machine, T: Number>(m: &M, s: Streams, x: At<T>, open: At<f32>, out: At<T>) -> Result<()> {
    gated(m, "select_streams", s, x, open, out)
}

/// The way back of [`select`]: to `dx`, and to the logits, `[N, 2F]`.
pub fn select_gradient<M: Machine, T: Number>(
    m: &M,
    s: Streams,
    [x, dy, dx]: [At<T>; 3],
    open: At<f32>,
) -> Result<M::Memory<f32>> {
    let (items, sizes) = (s.n * s.pixels * s.f, (s.pixels as i64, s.f as i64));
    let args = args![dy, open, sizes.0, sizes.1, dx, items as i64];
    m.launch(Launch::items(SOURCE, named::<T>("select_spread"), items, args)?)?;
    let logits = m.room::<f32>(s.n * 2 * s.f)?;
    let args = args![x, dy, open, sizes.0, sizes.1, m.at(&logits)];
    m.launch(Launch::tiles(SOURCE, named::<T>("select_gradient"), (s.f, s.n), args)?)?;
    Ok(logits)
}
