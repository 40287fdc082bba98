//! How long views take to be written to the memory that they are sent from, and to arrive.

use anyhow::{Context, Result};
use candle_core::{DType, Device};
use half::bf16;
use serde_json::{Value as Json, json};
use simclr_core::bounds;
use simclr_core::cli;
use simclr_core::cli::{DeviceChoice, compute_with, device_name, say, threads};
use simclr_ops::{Pixels, Sent, Uploader};
use std::time::Instant;

#[derive(clap::Args)]
pub struct Upload {
    /// Views of a batch
    #[arg(long, default_value_t = 512, value_parser = cli::size(&bounds::BATCH))]
    views: usize,
    /// Side of the views
    #[arg(long, default_value_t = 224, value_parser = cli::size(&bounds::IMAGE_SIZE))]
    image_size: usize,
    /// Where to: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    device: DeviceChoice,
    /// Threads
    #[arg(long, value_parser = cli::size(&bounds::THREADS))]
    threads: Option<usize>,
    /// Batches that are measured, after one that is not; the fastest counts
    #[arg(long, default_value_t = 5, value_parser = cli::size(&bounds::COUNT))]
    batches: usize,
}

/// Milliseconds of the fastest of some calls of `work`, after one that does not count.
fn fastest(batches: usize, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    work()?;
    let mut best = f64::INFINITY;
    for _ in 0..batches.max(1) {
        let clock = Instant::now();
        work()?;
        best = best.min(clock.elapsed().as_secs_f64() * 1e3);
    }
    Ok(best)
}

/// Prints the figures as one JSON line.
///
/// # Errors
/// When the device cannot be used, or memory is short.
pub fn run(a: &Upload) -> Result<()> {
    compute_with(a.threads)?;
    let device = a.device.open()?;
    let shape = [a.views, a.image_size, a.image_size, 3];
    let values: Vec<f32> =
        (0..shape.iter().product::<usize>()).map(|i| (i * 37 % 256) as f32 * (1.0 / 255.0)).collect();
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().context("starting a thread")?;
    let (mut floats, mut halves) = (vec![0f32; values.len()], vec![bf16::ZERO; values.len()]);
    let mut bytes = vec![0u8; values.len()];
    let mut forms = Vec::new();
    for form in ["f32", "bf16", "bytes"] {
        let mut write = || match form {
            "f32" => Pixels::F32(&mut floats).copy_from(&values),
            "bf16" => Pixels::Bf16(&mut halves).copy_from(&values),
            _ => Pixels::Bytes(&mut bytes).copy_from(&values),
        };
        let alone = fastest(a.batches, || {
            one.install(&mut write);
            Ok(())
        })?;
        let all = fastest(a.batches, || {
            write();
            Ok(())
        })?;
        let mut figures = json!({"form": form, "write_ms_one_thread": alone, "write_ms": all});
        if device.is_cuda() {
            figures["arrival_ms"] = arrival(a, form, &values, &shape, &device)?;
        }
        forms.push(figures);
    }
    let line = json!({
        "bench": "upload", "device": device_name(&device), "views": a.views, "image_size": a.image_size, "threads": threads(),
        "forms": forms,
    });
    say(line);
    Ok(())
}

/// Milliseconds until a batch is a tensor on the GPU, written and copied; bytes are scaled to bf16 there.
fn arrival(a: &Upload, form: &str, values: &[f32], shape: &[usize], device: &Device) -> Result<Json> {
    let maps = if form == "f32" { DType::F32 } else { DType::BF16 };
    let (uploader, sent) = (Uploader::new(device, maps)?, Sent { bytes: form == "bytes", unfinished: false });
    let batch = || -> Result<()> {
        let (uploaded, ()) = uploader.upload_made(shape, sent, |pixels| pixels.copy_from(values))?;
        let _images = uploaded.tensor()?;
        Ok(device.synchronize()?)
    };
    Ok(json!(fastest(a.batches, batch)?))
}
