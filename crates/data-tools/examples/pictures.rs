//! Writes a dataset that is kept in memory as a person has pictures: all in one folder, a table with the labels of a few,
//! the truth of all beside it, and test pictures in one folder a class.
//!
//! ```sh
//! cargo run -p simclr-data-tools --example pictures -- fashion-mnist /tmp/fashion --train 5000 --per-class 10 --format png
//! ```

use anyhow::{Context, Result, ensure};
use clap::Parser;
use image::{ExtendedColorType, ImageFormat};
use simclr_core::config::DataConfig;
use simclr_core::rng::{Purpose, Rng};
use simclr_data::Pictures;
use std::fmt::Write;
use std::path::{Path, PathBuf};

#[derive(Parser)]
struct Args {
    /// A dataset that is kept in memory: textures, fashion-mnist, cifar10, ...
    dataset: String,
    /// The folder that is made
    out: PathBuf,
    /// Folder of the dataset's files, where it needs one
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Training pictures, at random
    #[arg(long, default_value_t = 5000)]
    train: usize,
    /// Test pictures, the first ones
    #[arg(long, default_value_t = 10_000)]
    test: usize,
    /// Labels of each class in labels.csv
    #[arg(long, default_value_t = 10)]
    per_class: usize,
    /// Which pictures, and which of their labels
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many tables of other labels are written: labels.csv, labels-1.csv, ...
    #[arg(long, default_value_t = 1)]
    draws: u64,
    /// png or jpg
    #[arg(long, default_value = "png")]
    format: String,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let format = ImageFormat::from_extension(&args.format).context("--format: png or jpg")?;
    ensure!(!args.out.exists(), "{} is there already", args.out.display());
    let config = DataConfig { dir: args.dir.clone(), ..DataConfig::new(&args.dataset, 1) };
    let data = simclr_data::load(&config)?;
    let mut order: Vec<u32> = (0..data.train.len() as u32).collect();
    Rng::stream(args.seed, Purpose::Shuffle, &[]).shuffle(&mut order);
    let mut chosen = order[..args.train.min(order.len())].to_vec();
    chosen.sort_unstable();

    let name = |i: u32| format!("{i:05}.{}", args.format);
    let class = |pictures: &Pictures, i: u32| {
        pictures.label(i as usize).map_or("", |label| data.classes[label as usize].as_str()).replace('/', "-")
    };
    let pictures = args.out.join("pictures");
    std::fs::create_dir_all(&pictures)?;
    for &i in &chosen {
        write(&data.train, i, &pictures.join(name(i)), format)?;
    }
    let table = |samples: &[u32]| {
        samples.iter().fold("file,label\n".to_string(), |mut text, &i| {
            let _ = writeln!(text, "{},{}", name(i), class(&data.train, i));
            text
        })
    };
    std::fs::write(args.out.join("truth.csv"), table(&chosen))?;
    for draw in 0..args.draws {
        let mut labeled = chosen.clone();
        Rng::stream(args.seed + draw, Purpose::LabelSubset, &[]).shuffle(&mut labeled);
        let mut left = vec![args.per_class; data.classes.len()];
        labeled.retain(|&i| {
            let label = data.train.label(i as usize).unwrap_or_default() as usize;
            let keep = left[label] > 0;
            left[label] = left[label].saturating_sub(1);
            keep
        });
        let file = if draw == 0 { "labels.csv".into() } else { format!("labels-{draw}.csv") };
        std::fs::write(args.out.join(file), table(&labeled))?;
    }
    for i in 0..args.test.min(data.test.len()) as u32 {
        let folder = args.out.join("test").join(class(&data.test, i));
        std::fs::create_dir_all(&folder)?;
        write(&data.test, i, &folder.join(name(i)), format)?;
    }
    simclr_core::cli::say(format_args!(
        "{} pictures, {} to measure on, in {}",
        chosen.len(),
        args.test.min(data.test.len()),
        args.out.display()
    ));
    Ok(())
}

fn write(pictures: &Pictures, index: u32, path: &Path, format: ImageFormat) -> Result<()> {
    let picture = pictures.get(index as usize)?;
    let color = if picture.channels == 1 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
    let (width, height) = (picture.width as u32, picture.height as u32);
    image::save_buffer_with_format(path, &picture.data, width, height, color, format)
        .with_context(|| format!("writing {}", path.display()))
}
