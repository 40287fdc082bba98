//! One convolution, its three products, and their share of what a product of matrices reaches.

use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor};
use serde_json::json;
use simclr_core::bounds;
use simclr_core::cli;
use simclr_core::cli::{compute_with, say, threads};
use simclr_core::config::Dtype;
use simclr_ops::{Tape, Value, conv2d, simd};
use std::time::Instant;

/// Side of the matrices whose product is the peak.
const PEAK: usize = 1024;

#[derive(clap::Args)]
pub struct Op {
    /// Images
    #[arg(long, default_value_t = 64, value_parser = cli::size(&bounds::BATCH))]
    images: usize,
    /// Side of the maps
    #[arg(long, default_value_t = 32, value_parser = cli::size(&bounds::IMAGE_SIZE))]
    side: usize,
    /// Input channels
    #[arg(long, default_value_t = 64, value_parser = cli::size(&bounds::PROJECTION_DIM))]
    inputs: usize,
    /// Output channels
    #[arg(long, default_value_t = 64, value_parser = cli::size(&bounds::PROJECTION_DIM))]
    outputs: usize,
    /// Side of the kernel
    #[arg(long, default_value_t = 3, value_parser = cli::size(&bounds::IMAGE_SIZE))]
    kernel: usize,
    /// Pixels between windows
    #[arg(long, default_value_t = 1, value_parser = cli::size(&bounds::IMAGE_SIZE))]
    stride: usize,
    /// How feature maps are stored and multiplied
    #[arg(long, default_value = "f32", value_enum)]
    dtype: Dtype,
    /// Threads
    #[arg(long, value_parser = cli::size(&bounds::THREADS))]
    threads: Option<usize>,
    /// Times that are measured, after two that are not; the fastest counts
    #[arg(long, default_value_t = 10, value_parser = cli::size(&bounds::COUNT))]
    times: usize,
}

/// Measures and prints.
///
/// # Errors
/// When the shapes fit no convolution, or the processor does not multiply bf16.
pub fn run(op: &Op) -> Result<()> {
    compute_with(op.threads)?;
    ensure!(op.stride > 0, "--stride 0: must be at least 1");
    let unit = simd::multiplies_bf16();
    let maps = match op.dtype {
        Dtype::F32 => DType::F32,
        Dtype::Bf16 => DType::BF16,
    };
    ensure!(maps == DType::F32 || unit.is_some(), "--dtype bf16: this processor has neither AMX-BF16 nor AVX512-BF16");
    let x = Tensor::rand(-1f32, 1f32, (op.images, op.side, op.side, op.inputs), &Device::Cpu)?.to_dtype(maps)?;
    let weight = Tensor::rand(-1f32, 1f32, (op.outputs, op.kernel, op.kernel, op.inputs), &Device::Cpu)?;
    let square = Tensor::rand(-1f32, 1f32, (PEAK, PEAK), &Device::Cpu)?;
    let pixels = op.images * op.side.div_ceil(op.stride).pow(2);
    let flops = (2 * pixels * op.outputs * op.kernel * op.kernel * op.inputs) as f64;
    let mut best = [f64::INFINITY; 4];
    for time in 0..op.times + 2 {
        for (part, best) in best.iter_mut().enumerate() {
            let seconds = match part {
                3 => {
                    let clock = Instant::now();
                    drop(square.matmul(&square)?);
                    clock.elapsed().as_secs_f64()
                }
                _ => one(op, &x, &weight, part)?,
            };
            if time >= 2 {
                *best = best.min(seconds);
            }
        }
    }
    let peak = 2.0 * PEAK.pow(3) as f64 / best[3];
    let part = |seconds: f64| json!({ "ms": seconds * 1e3, "gflop_per_s": flops / seconds / 1e9, "share_of_peak": flops / seconds / peak });
    let line = json!({
        "bench": "op", "op": "conv2d", "mode": op.dtype, "bf16_unit": unit, "images": op.images, "side": op.side,
        "inputs": op.inputs, "outputs": op.outputs, "kernel": op.kernel, "stride": op.stride, "threads": threads(),
        "times": op.times, "peak_gflop_per_s": peak / 1e9, "forward": part(best[0]), "by_input": part(best[1]),
        "by_weight": part(best[2]),
    });
    say(line);
    Ok(())
}

/// Seconds of the forward pass (0), or of the gradient of the input (1) or of the weights (2).
fn one(op: &Op, x: &Tensor, weight: &Tensor, part: usize) -> Result<f64> {
    let tape = Tape::new();
    let value = |tensor: &Tensor, wanted| if wanted { tape.leaf(tensor) } else { Value::constant(tensor.clone()) };
    let (x, weight) = (value(x, part == 1), value(weight, part != 1));
    let clock = Instant::now();
    let y = conv2d(&tape, &x, &weight, op.stride)?;
    if part == 0 {
        return Ok(clock.elapsed().as_secs_f64());
    }
    let dy = y.tensor().ones_like()?.copy()?;
    let clock = Instant::now();
    drop(tape.backward_over([(&y, dy)])?);
    Ok(clock.elapsed().as_secs_f64())
}
