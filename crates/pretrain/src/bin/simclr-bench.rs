//! `simclr-bench`: how fast a training step, a convolution, passes over maps, the augmentation and uploads are on this
//! machine.
#![forbid(unsafe_code)]

#[path = "simclr-bench/convs.rs"]
mod convs;
#[path = "simclr-bench/maps.rs"]
mod maps;
#[path = "simclr-bench/op.rs"]
mod op;
#[path = "simclr-bench/upload.rs"]
mod upload;

use anyhow::{Context, Result, ensure};
use candle_core::DType;
use clap::{Parser, Subcommand};
use serde_json::json;
use simclr_core::bounds;
use simclr_core::cli;
use simclr_core::cli::{DeviceChoice, compute_with, device_name, exit_with, say, threads, vector_unit};
use simclr_core::config::Duration;
use simclr_core::config::{Dtype, ModelConfig, OptimizerConfig, Scaling, TrainingConfig};
use simclr_core::keys::Range;
use simclr_core::rng::{Purpose, Rng};
use simclr_model::{Mode, ModelSpec, Pass, SimClr};
use simclr_ops::{Tape, Uploader, Value, memory_taken, nt_xent, simd};
use std::process::ExitCode;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: simclr_alloc::Recycling = simclr_alloc::Recycling::new();

/// Measure a training step, one convolution, the augmentation or uploads; prints one JSON line last.
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// One contrastive step: forward over both views, NT-Xent, backward, LARS. Inputs are ready made.
    Step(Step),
    /// One convolution: forward, and the gradients of its input and of its weights, beside a product of matrices
    /// (`cargo bench -p simclr-ops` measures every operation)
    Op(op::Op),
    /// Views on their way to a device: written to the memory that is sent, on one thread and on all, as f32, bf16 and bytes;
    /// on a GPU, until they have arrived
    Upload(upload::Upload),
    /// Each convolution of a ResNet on a GPU, by the engines that cuDNN has for its products
    Convs(convs::Convs),
    /// Passes over feature maps at a ResNet-50's shapes: batch norm, pooling and ReLU, beside the bytes that must move. A
    /// line an operation, and one for the network
    Maps(maps::Maps),
    /// Two views of each image, from pixels in memory; above 32 pixels from JPEG files, decoded once for both views.
    Augment {
        /// Side of the views
        #[arg(long, default_value_t = 224, value_parser = cli::size(&bounds::IMAGE_SIZE))]
        image_size: usize,
        /// Source images
        #[arg(long, default_value_t = 200, value_parser = cli::size(&bounds::COUNT))]
        count: usize,
        /// Threads
        #[arg(long, default_value_t = 1, value_parser = cli::size(&bounds::THREADS))]
        threads: usize,
    },
}

#[derive(clap::Args)]
struct Step {
    /// Depth of the ResNet
    #[arg(long, default_value_t = 18)]
    depth: usize,
    /// Width multiplier
    #[arg(long, default_value_t = 0.25, value_parser = cli::number(Range::closed(*bounds::WIDTH.start(), *bounds::WIDTH.end())))]
    width: f64,
    /// Selective kernel ratio, 0 for none
    #[arg(long, default_value_t = 0.0, value_parser = cli::number(Range::SHARE))]
    sk: f64,
    /// Side of the images
    #[arg(long, default_value_t = 32, value_parser = cli::size(&bounds::IMAGE_SIZE))]
    image_size: usize,
    /// Images a step; the network sees two views of each
    #[arg(long, default_value_t = 256, value_parser = cli::size(&bounds::BATCH))]
    batch: usize,
    /// How feature maps are stored and multiplied
    #[arg(long, default_value = "f32", value_enum)]
    dtype: Dtype,
    /// Where to compute: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    device: DeviceChoice,
    /// Compute activations of residual blocks again in the backward pass instead of keeping them
    #[arg(long)]
    recompute: bool,
    /// Images at a time through the network; the whole batch at once where it is missing
    #[arg(long, value_parser = cli::size(&bounds::BATCH))]
    chunk: Option<usize>,
    /// Threads
    #[arg(long, value_parser = cli::size(&bounds::THREADS))]
    threads: Option<usize>,
    /// Steps that are measured, after two that are not; their median counts
    #[arg(long, default_value_t = 5, value_parser = cli::size(&bounds::COUNT))]
    steps: usize,
}

fn main() -> ExitCode {
    exit_with(match cli::parse::<Args>().command {
        Command::Step(step) => bench_step(&step),
        Command::Op(op) => op::run(&op),
        Command::Upload(upload) => upload::run(&upload),
        Command::Convs(convs) => convs::run(&convs),
        Command::Maps(maps) => maps::run(&maps),
        Command::Augment { image_size, count, threads } => bench_augment(image_size, count, threads),
    })
}

fn bench_step(a: &Step) -> Result<()> {
    compute_with(a.threads)?;
    let model = ModelConfig { width: a.width, sk_ratio: a.sk, ..ModelConfig::resnet(a.depth) };
    let device = a.device.open()?;
    let unit = if device.is_cpu() { simd::multiplies_bf16() } else { Some("GPU") };
    let maps = match a.dtype {
        Dtype::F32 => DType::F32,
        Dtype::Bf16 => DType::BF16,
    };
    ensure!(maps == DType::F32 || unit.is_some(), "--dtype bf16: this processor has neither AMX-BF16 nor AVX512-BF16");
    let model = SimClr::new(&ModelSpec::new(&model, 3, a.image_size, 0, 0), 0)?.on(&device)?.with_map_dtype(maps);
    let training = TrainingConfig {
        length: Duration::Steps(1),
        warmup: Duration::Steps(0),
        batch: a.batch,
        learning_rate: 0.1,
        scaling: Scaling::None,
        optimizer: OptimizerConfig::lars(),
        momentum: 0.9,
        weight_decay: 1e-4,
        exclude: vec!["batch_norm:".into()],
        eval_every: None,
        patience: None,
        checkpoint_every: None,
        keep_states: 1,
        recompute: a.recompute,
        chunk: a.chunk,
    };
    let mut optimizer = training.optimizer.build(&model.store, &training.shared())?;
    let (mut rng, s) = (Rng::stream(0, Purpose::Test, &[]), a.image_size);
    let pixels = (0..2 * a.batch * s * s * 3).map(|_| rng.unit()).collect();
    let images = Uploader::new(&device, maps)?.upload(pixels, &[2 * a.batch, s, s, 3])?.tensor()?;
    // Nothing waits for the GPU within a step; the clock is stopped once all of it is done.
    let mut step = || -> Result<Value> {
        let tape = Tape::new().recomputing(a.recompute);
        let pass = Pass::new(&tape, &model.store, Mode::Train);
        let (features, hidden) = model.project(&pass, &Value::constant(images.clone()), a.chunk)?;
        drop((pass, features));
        let loss = nt_xent(&tape, &hidden, 0.1, true)?.loss;
        drop(hidden);
        let grads = tape.backward(&loss)?;
        optimizer.step(&model.store, &grads, training.learning_rate)?;
        device.synchronize()?;
        Ok(loss)
    };
    step()?;
    step()?;
    let mut seconds = Vec::new();
    let mut loss = 0.0;
    for _ in 0..a.steps.max(1) {
        let clock = Instant::now();
        let lowered = step()?;
        seconds.push(clock.elapsed().as_secs_f64());
        loss = lowered.tensor().to_scalar::<f32>()?;
    }
    let gpu_mib = memory_taken(&device)?.map(|bytes| bytes >> 20);
    seconds.sort_by(f64::total_cmp);
    let median = seconds[seconds.len() / 2];
    let line = json!({
        "bench": "step", "device": device_name(&device), "mode": a.dtype, "simd": vector_unit(), "bf16_unit": unit, "depth": a.depth, "width": a.width, "sk": a.sk, "image_size": s,
        "batch": a.batch, "recompute": a.recompute, "chunk": a.chunk, "threads": threads(), "steps": a.steps, "loss": loss, "step_ms": median * 1e3,
        "images_per_s": a.batch as f64 / median, "peak_rss_mib": peak_rss_mib().ok(), "gpu_memory_mib": gpu_mib,
    });
    say(line);
    Ok(())
}

fn bench_augment(image_size: usize, count: usize, threads: usize) -> Result<()> {
    let rate = simclr_data_tools::bench::bench_augment(image_size, count, threads)?;
    let line = json!({
        "bench": "augment", "image_size": image_size, "count": count, "threads": threads, "images_per_s": rate,
        "us_per_view": 1e6 / rate / 2.0,
    });
    say(line);
    Ok(())
}

/// The most memory that this process held, from the kernel's own account, which Linux alone gives.
fn peak_rss_mib() -> Result<u64> {
    let status = simclr_core::disk::read_small_text("/proc/self/status".as_ref(), 1 << 20)?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).context("no VmHWM in /proc/self/status")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().context("VmHWM in /proc/self/status")?;
    Ok(kib / 1024)
}
