//! Reads a synthetic ImageNet from all its forms: are the views the same, how many images a second, how much memory?
//!
//! `cargo run -p simclr-data-tools --example same_views -- DIR SIZE THREADS EPOCHS [FORM]...`
use anyhow::{Context, Result, ensure};
use simclr_core::config::{AugmentConfig, DataConfig};
use simclr_core::rng::Purpose;
use simclr_data::{Loader, ViewMaker};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

// What the stages allocate with.
#[global_allocator]
static ALLOCATOR: simclr_alloc::Recycling = simclr_alloc::Recycling::new();

const MOST: u64 = 256;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    ensure!(args.len() >= 4, "expected DIR SIZE THREADS EPOCHS [FORM]...");
    let (size, threads, epochs): (usize, usize, u64) = (args[1].parse()?, args[2].parse()?, args[3].parse()?);
    simclr_core::cli::compute_with(Some(threads))?;
    let forms = if args.len() > 4 { &args[4..] } else { &["folder", "tar", "parquet"].map(String::from) };
    for form in forms {
        let dir = Some(Path::new(&args[0]).join(form));
        let data = simclr_data::load(&DataConfig { dir, ..DataConfig::new(form, size) })?;
        let (train, n) = (Arc::new(data.train), data.test.len());
        let (samples, all) = ((0..train.len() as u32).collect(), train.len() as u64);
        // Whole batches make an epoch, so that each sample is seen once.
        let divisor = (1..=MOST).rev().find(|b| all.is_multiple_of(*b)).context("a divisor")?;
        let (batch_size, steps) = (divisor as usize, all / divisor);
        let maker = ViewMaker::contrastive(&AugmentConfig::default(), size)?;
        let loader = Loader::new(train.clone(), samples, maker, (2, batch_size), (0, Purpose::Contrastive));
        for epoch in 0..epochs {
            let (clock, mut digest) = (Instant::now(), 0u64);
            for step in epoch * steps..(epoch + 1) * steps {
                let batch = loader.batch(step)?;
                let row = batch.images.len() / (2 * batch_size);
                for (i, sample) in batch.samples.iter().enumerate() {
                    let mut hash = DefaultHasher::new();
                    train.source().name(*sample as usize).hash(&mut hash);
                    for view in [i, batch_size + i] {
                        batch.images[view * row..(view + 1) * row].iter().for_each(|v| v.to_bits().hash(&mut hash));
                    }
                    digest = digest.wrapping_add(hash.finish());
                }
            }
            let rate = all as f64 / clock.elapsed().as_secs_f64();
            let status = std::fs::read_to_string("/proc/self/status").context("memory")?;
            let memory = status.lines().find(|l| l.starts_with("VmRSS")).unwrap_or_default();
            simclr_core::cli::say(format_args!(
                "{form} epoch {epoch}: views {digest:016x}, {rate:.0} images/s, {memory}, {n} test images"
            ));
        }
    }
    Ok(())
}
