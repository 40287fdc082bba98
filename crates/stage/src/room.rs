//! Whether a step can have the memory that it needs at the very least, before one is begun.

use anyhow::{Result, ensure};
use simclr_core::config::{Dtype, TrainingConfig};
use simclr_core::{bounds, disk};
use simclr_model::SimClr;
use simclr_model::outline::Op;

/// Bytes that a step on `images` images of `size` pixels a side holds at once, at the very least: what each operation keeps for
/// the backward pass or, where that is computed again, what the largest convolution reads and writes. Where this is too much, no
/// thrift of the program helps. 0 where the backbone tells nothing.
fn least(model: &SimClr, size: usize, images: usize, (recompute, dtype): (bool, Dtype)) -> u128 {
    let bytes = match dtype {
        Dtype::F32 => 4,
        Dtype::Bf16 => 2,
    };
    let largest = |op: Op| match op {
        Op::Conv { from, to, .. } => from.numbers() + to.numbers(),
        _ => 0,
    };
    let Some(outline) = model.outline(size) else { return 0 };
    let numbers = match recompute {
        true => outline.ops().map(largest).max().unwrap_or(0) as u128,
        false => outline.ops().map(|op| op.kept() as u128).sum(),
    };
    numbers * images as u128 * bytes
}

/// Checks that the processor's memory can hold a step of `images` images of `size` pixels a side.
///
/// # Errors
/// When it cannot; the message says what to change.
pub fn expect(
    model: &SimClr,
    size: usize,
    images: usize,
    (stage, training, dtype): (&str, &TrainingConfig, Dtype),
) -> Result<()> {
    let images = training.chunk.map_or(images, |chunk| chunk.min(images));
    let least = least(model, size, images, (training.recompute, dtype));
    // Addresses may be limited; memory that is never touched costs nothing.
    let refused = usize::try_from(least).map_or(true, |bytes| Vec::<u8>::new().try_reserve_exact(bytes).is_err());
    let (needed, here) = (least as f64 / 1e9, memory().map(|bytes| bytes as f64 / 1e9));
    ensure!(
        !refused && here.is_none_or(|here| needed <= here),
        "a step on {images} images of {size} x {size} pixels needs more than {needed:.1} GB of memory, and this process can have {}: \
         lower training.batch of {stage} (in pretraining, set a chunk) or data.image_size",
        here.filter(|here| needed > *here).map_or("less".into(), |here| format!("{here:.1}"))
    );
    Ok(())
}

/// Bytes of this machine's memory, swap included, where the system tells.
fn memory() -> Option<u64> {
    let told = disk::read_small_text("/proc/meminfo".as_ref(), bounds::SMALL_FILE).ok()?;
    let of = |name: &str| -> Option<u64> {
        let line = told.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
    };
    of("MemTotal:")?.checked_add(of("SwapTotal:").unwrap_or(0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use simclr_core::config::ModelConfig;
    use simclr_model::ModelSpec;

    #[test]
    fn what_no_machine_has_is_refused_before_it_is_tried() {
        let training: TrainingConfig =
            serde_json::from_value(serde_json::json!({"length": {"steps": 1}, "batch": 64, "learning_rate": 0.1}))
                .unwrap();
        let model = |size: usize| {
            let config = ModelConfig { width: 0.0625, ..ModelConfig::resnet(18) };
            SimClr::blank(&ModelSpec::new(&config, 3, size, 0, 0)).unwrap()
        };
        expect(&model(32), 32, 64, ("pretrain", &training, Dtype::F32)).unwrap();
        let message = expect(&model(4096), 4096, 1 << 20, ("pretrain", &training, Dtype::F32)).unwrap_err().to_string();
        for part in ["1048576 images of 4096 x 4096", "training.batch of pretrain", "data.image_size"] {
            assert!(message.contains(part), "{message}");
        }
    }
}
