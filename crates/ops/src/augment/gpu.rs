//! Colour jitter, grayscale and blur of views on a GPU, by the kernels of `kernel.cu`.

use super::distortion::{ColorOp, Distortion};
use crate::gpu::machine::{At, Kernels, Launch, Machine, args, count, kernels};
use crate::gpu::{Gpu, at};
use candle_core::{Result, Tensor};

const KERNELS: Kernels = kernels!("augment");
/// Numbers of a row before the blur's weights, as in the kernels: four operations with factors, grayscale, weights.
const HEAD: usize = 10;

/// What kernels read: a row a view, all of one length.
fn table(distortions: &[Distortion], channels: usize) -> (Vec<f32>, usize) {
    let taps = distortions.iter().map(|d| d.blur.len()).max().unwrap_or_default();
    let mut rows = Vec::with_capacity(distortions.len() * (HEAD + taps));
    for d in distortions {
        let end = rows.len() + HEAD + taps;
        for op in d.jitter.iter().flatten() {
            rows.extend(match *op {
                ColorOp::Brightness(factor) => [1.0, factor],
                ColorOp::Contrast(factor) => [2.0, factor],
                ColorOp::Saturation(factor) if channels == 3 => [3.0, factor],
                ColorOp::Hue(delta) if channels == 3 => [4.0, delta],
                _ => [0.0; 2],
            });
        }
        rows.resize(end - taps - 2, 0.0);
        rows.extend([f32::from(u8::from(d.grayscale && channels == 3)), d.blur.len() as f32]);
        rows.extend(&d.blur);
        rows.resize(end, 0.0);
    }
    (rows, HEAD + taps)
}

/// Distorts views `[N, H, W, C]` in place, one distortion each, and clips them to 0..1.
pub fn launch_distort<M: Machine>(
    m: &M,
    views: At<f32>,
    (h, w, c): (usize, usize, usize),
    distortions: &[Distortion],
) -> Result<()> {
    let (rows, pitch) = table(distortions, c);
    let rows = m.upload(&rows)?;
    let args = args![views, m.at(&rows), pitch as i64, (h * w) as i64, c as i32];
    m.launch(Launch::rows(KERNELS, "distort_colors", distortions.len(), args)?)?;
    if distortions.iter().all(|d| d.blur.is_empty()) {
        return Ok(());
    }
    let (view, items) = (h * w * c, distortions.len() * h * w * c);
    let down = m.room::<f32>(items)?;
    let pass = |from: At<f32>, to: At<f32>, step: usize, extent: usize| -> Result<()> {
        let sizes = [count(pitch)?, count(view)?, count(step)?, count(extent)?, count(items)?];
        let args = args![from, m.at(&rows), sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], to];
        m.launch(Launch::items(KERNELS, "blur_pass", items, args)?)
    };
    pass(views, m.at(&down), w * c, h)?;
    pass(m.at(&down), views, c, w)
}

/// Distorts views `[N, H, W, C]` f32 in place, one distortion each, and clips them to 0..1.
///
/// # Errors
/// When memory is short.
pub fn distort(gpu: &Gpu, views: &Tensor, distortions: &[Distortion]) -> Result<()> {
    let (_, h, w, c) = views.dims4()?;
    launch_distort(gpu, at(views)?, (h, w, c), distortions)
}
