//! What passes over feature maps costs: batch norm, pooling and ReLU at a ResNet-50's shapes, beside the bytes that must move.

use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor};
use serde_json::json;
use simclr_core::bounds;
use simclr_core::cli;
use simclr_core::cli::{DeviceChoice, compute_with, device_name, say};
use simclr_core::config::Dtype;
use simclr_ops::{Fused, PoolPadding, Statistics, Tape, Value, add_relu, batch_norm, max_pool2d, simd};
use std::time::Instant;

#[derive(clap::Args)]
pub struct Maps {
    /// Images
    #[arg(long, default_value_t = 256, value_parser = cli::size(&bounds::BATCH))]
    images: usize,
    /// Side of the images: maps have a half of it after the stem's convolution, and less
    #[arg(long, default_value_t = 224, value_parser = cli::size(&bounds::IMAGE_SIZE))]
    image_size: usize,
    /// How feature maps are stored
    #[arg(long, default_value = "bf16", value_enum)]
    dtype: Dtype,
    /// Where to compute: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// Threads
    #[arg(long, value_parser = cli::size(&bounds::THREADS))]
    threads: Option<usize>,
    /// Times that each is run between two looks at the clock
    #[arg(long, default_value_t = 20, value_parser = cli::size(&bounds::COUNT))]
    times: usize,
}

/// An operation of the network.
#[derive(Clone, Copy)]
enum Op {
    /// Batch norm with ReLU.
    Norm,
    /// Batch norm, a residual added, and ReLU.
    Residual,
    /// Batch norm alone.
    Plain,
    /// The stem's max pooling.
    Pool,
    /// A residual added, and ReLU.
    Relu,
}

/// The operations of a ResNet-50: how small its maps are beside the image, their channels, and how often it stands there.
/// The last is in networks with gates alone.
const OPS: [(Op, usize, usize, usize); 18] = [
    (Op::Norm, 2, 64, 1),
    (Op::Pool, 2, 64, 1),
    (Op::Norm, 4, 64, 6),
    (Op::Plain, 4, 256, 1),
    (Op::Residual, 4, 256, 3),
    (Op::Norm, 4, 128, 1),
    (Op::Norm, 8, 128, 7),
    (Op::Plain, 8, 512, 1),
    (Op::Residual, 8, 512, 4),
    (Op::Norm, 8, 256, 1),
    (Op::Norm, 16, 256, 11),
    (Op::Plain, 16, 1024, 1),
    (Op::Residual, 16, 1024, 6),
    (Op::Norm, 16, 512, 1),
    (Op::Norm, 32, 512, 5),
    (Op::Plain, 32, 2048, 1),
    (Op::Residual, 32, 2048, 3),
    (Op::Relu, 4, 256, 0),
];

impl Op {
    fn name(self) -> &'static str {
        match self {
            Self::Norm => "norm, ReLU",
            Self::Residual => "norm, residual, ReLU",
            Self::Plain => "norm",
            Self::Pool => "max pool",
            Self::Relu => "residual, ReLU",
        }
    }

    /// Bytes that must pass through memory, forward and back, for maps of so many numbers of `size` bytes: what ReLU let
    /// through is a byte for 16 bytes, a maximum's place a byte.
    fn bytes(self, numbers: usize, size: usize) -> [f64; 2] {
        let map = (numbers * size) as f64;
        let (bits, pooled) = (map / 16.0, numbers as f64 / 4.0);
        match self {
            Self::Norm | Self::Plain => [3.0 * map, 5.0 * map],
            Self::Residual => [4.0 * map + bits, 6.0 * map + bits],
            Self::Pool => [1.25 * map + pooled, 1.25 * map + pooled],
            Self::Relu => [3.0 * map + bits, 3.0 * map + bits],
        }
    }
}

/// Measures and prints a line for each operation, and one for the network.
///
/// # Errors
/// When a device or memory is missing.
pub fn run(a: &Maps) -> Result<()> {
    compute_with(a.threads)?;
    ensure!(
        a.images > 0 && a.times > 0 && a.image_size >= 32,
        "--images, --times: at least 1; --image-size: at least 32"
    );
    let device = a.device.open()?;
    let maps = match a.dtype {
        Dtype::F32 => DType::F32,
        Dtype::Bf16 => DType::BF16,
    };
    let able = maps == DType::F32 || !device.is_cpu() || simd::multiplies_bf16().is_some();
    ensure!(able, "--dtype bf16: this processor has neither AMX-BF16 nor AVX512-BF16");
    let (mut total, mut moved) = (0.0, 0.0);
    for (op, smaller, channels, count) in OPS {
        let side = a.image_size.div_ceil(smaller);
        let of = Bench::new(op, (a.images, side, channels), maps, &device)?;
        let forward = of.seconds(a.times, false)?;
        let both = of.seconds(a.times, true)?;
        let [down, up] = op.bytes(a.images * side * side * channels, maps.size_in_bytes());
        let backward = both - forward;
        total += count as f64 * both;
        moved += count as f64 * (down + up);
        let line = json!({
            "bench": "maps", "op": op.name(), "device": device_name(&device), "dtype": a.dtype, "images": a.images,
            "side": side, "channels": channels, "count": count, "times": a.times, "forward_us": forward * 1e6,
            "forward_gb_per_s": down / forward / 1e9, "backward_us": backward * 1e6,
            "backward_gb_per_s": up / backward / 1e9,
        });
        say(line);
    }
    let line = json!({
        "bench": "maps", "op": "all of a ResNet-50", "device": device_name(&device), "dtype": a.dtype,
        "images": a.images, "image_size": a.image_size, "us_per_view": total * 1e6 / a.images as f64,
        "gb_per_s": moved / total / 1e9,
    });
    say(line);
    Ok(())
}

/// An operation with its tensors.
struct Bench {
    op: Op,
    x: Tensor,
    /// Another map, of the input's shape.
    other: Tensor,
    dy: Tensor,
    channels: [Tensor; 2],
}

impl Bench {
    fn new(op: Op, (n, side, c): (usize, usize, usize), maps: DType, device: &Device) -> Result<Self> {
        // One image's numbers, repeated: their values do not matter, and they are made on the host.
        let map = |n: usize, side: usize| -> Result<Tensor> {
            let one = Tensor::rand(-1f32, 1f32, (1, side, side, c), &Device::Cpu)?.to_dtype(maps)?;
            Ok(one.repeat((n, 1, 1, 1))?.to_device(device)?)
        };
        let x = map(n, side)?;
        let out = if matches!(op, Op::Pool) { side.div_ceil(2) } else { side };
        let channels = [Tensor::ones(c, DType::F32, device)?, Tensor::zeros(c, DType::F32, device)?];
        Ok(Self { op, x, other: map(n, side)?, dy: map(n, out)?, channels })
    }

    /// Seconds of a forward, or of a forward and a backward: the mean over `times` of them, after two that do not count.
    fn seconds(&self, times: usize, back: bool) -> Result<f64> {
        self.once(back)?;
        self.once(back)?;
        self.x.device().synchronize()?;
        let clock = Instant::now();
        for _ in 0..times {
            self.once(back)?;
        }
        self.x.device().synchronize()?;
        Ok(clock.elapsed().as_secs_f64() / times as f64)
    }

    fn once(&self, back: bool) -> Result<()> {
        let tape = Tape::new();
        let (x, other) = (tape.leaf(&self.x), tape.leaf(&self.other));
        let [gamma, beta] = [tape.leaf(&self.channels[0]), tape.leaf(&self.channels[1])];
        let norm = |residual: Option<&Value>, relu: bool| {
            let fused = Fused { residual, relu };
            batch_norm(&tape, &x, Some(&gamma), Some(&beta), &Statistics::Batch, 1e-5, fused).map(|(y, _)| y)
        };
        let y = match self.op {
            Op::Norm => norm(None, true),
            Op::Residual => norm(Some(&other), true),
            Op::Plain => norm(None, false),
            Op::Pool => max_pool2d(&tape, &x, 3, 2, PoolPadding::Same),
            Op::Relu => add_relu(&tape, &x, Some(&other)),
        }?;
        if back {
            // The gradient is written over and used again: its numbers do not matter.
            drop(tape.backward_over([(&y, self.dy.clone())])?);
        }
        Ok(())
    }
}
