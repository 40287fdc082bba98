//! A synthetic ImageNet: the same JPEGs as folders, tar shards and parquet files, for tests and measurements.
//!
//! Names, layout and sizes are those of ImageNet; the pictures are waves and grain that differ from class to class.

use anyhow::{Context, Result, ensure};
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use rayon::prelude::*;
use simclr_core::disk;
use simclr_core::rng::{Purpose, Rng};
use simclr_data::source::parquet::write::{Row, write_parquet};
use std::fs::File;
use std::path::Path;

/// Quality of the JPEG files.
const QUALITY: u8 = 90;
/// Deviations of the grain, in steps of brightness.
const GRAIN: f32 = 6.0;
/// Rows of a parquet file's group, as the hub's library writes them for pictures.
const GROUP: usize = 100;
/// The file of the labeled hundredth, in the authors' format.
pub const ONE_PERCENT: &str = "1percent.txt";
/// How much to write.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Training images, and a twentieth of them to test on.
    pub images: usize,
    /// Classes, which take turns.
    pub classes: usize,
    /// Height and width of the pictures.
    pub pixels: (usize, usize),
    /// Images of a tar shard and of a parquet file.
    pub shard: usize,
}

/// One picture with its names.
struct Sample {
    class: String,
    /// `n01440000_17`, or `ILSVRC2012_val_00000017`.
    stem: String,
    label: usize,
    seed: u64,
}

/// Writes `OUT/folder`, `OUT/tar`, `OUT/parquet` and a list of the labeled hundredth. `done` is told how many pictures
/// are written.
///
/// # Errors
/// When there are fewer images than classes, or a file cannot be written.
pub fn write(out: &Path, size: Size, done: &(dyn Fn(usize) + Sync)) -> Result<()> {
    let Size { images, classes, shard, .. } = size;
    ensure!(classes > 0 && shard > 0 && images >= classes, "{images} images cannot show {classes} classes");
    let class = |label: usize| format!("n{:08}", 1_440_000 + 7 * label);
    let mut train: Vec<Sample> = (0..images)
        .map(|i| (i % classes, i))
        .map(|(label, i)| Sample { class: class(label), stem: format!("{}_{i}", class(label)), label, seed: i as u64 })
        .collect();
    let mut test: Vec<Sample> = (0..images.div_ceil(20))
        .map(|i| (i % classes, i))
        .map(|(label, i)| {
            let (stem, seed) = (format!("ILSVRC2012_val_{:08}", i + 1), (images + i) as u64);
            Sample { class: class(label), stem, label, seed }
        })
        .collect();
    let hundredth: Vec<String> =
        train.iter().take(images.div_ceil(100)).map(|s| format!("{}.JPEG\n", s.stem)).collect();
    std::fs::create_dir_all(out).with_context(|| format!("cannot make the folder {}", out.display()))?;
    disk::write(&out.join(ONE_PERCENT), hundredth.concat().as_bytes())?;
    // Shards are shuffled once when they are made, as those of ImageNet are.
    Rng::stream(0, Purpose::Render, &[u64::MAX]).shuffle(&mut train);
    Rng::stream(1, Purpose::Render, &[u64::MAX]).shuffle(&mut test);
    let names: Vec<String> = (0..classes).map(class).collect();
    let mut written = 0;
    for (samples, split, folder) in [(train, "train", "train"), (test, "validation", "val")] {
        let shards = samples.len().div_ceil(shard);
        for (number, samples) in samples.chunks(shard).enumerate() {
            let files = samples.par_iter().map(|sample| jpeg(sample.label, sample.seed, size.pixels));
            let files = files.collect::<Result<Vec<_>>>()?;
            let pictures: Vec<(&Sample, Vec<u8>)> = samples.iter().zip(files).collect();
            folders(&out.join("folder").join(folder), &pictures)?;
            tar(&file(out, "tar", &format!("imagenet-{split}-{number:06}.tar"))?, &pictures)?;
            let name = format!("data/{split}-{number:05}-of-{shards:05}.parquet");
            let row = |(sample, bytes): &(&Sample, Vec<u8>)| Row {
                bytes: bytes.clone(),
                path: Some(format!("{}_{}.JPEG", sample.stem, sample.class)),
                label: Some(sample.label as i64),
            };
            let rows: Vec<Row> = pictures.iter().map(row).collect();
            write_parquet(&file(out, "parquet", &name)?, &rows, GROUP, &names)?;
            written += samples.len();
            done(written);
        }
    }
    Ok(())
}

fn file(out: &Path, kind: &str, name: &str) -> Result<std::path::PathBuf> {
    let path = out.join(kind).join(name);
    let dir = path.parent().context("a folder above")?;
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make the folder {}", dir.display()))?;
    Ok(path)
}

fn folders(dir: &Path, pictures: &[(&Sample, Vec<u8>)]) -> Result<()> {
    for (sample, bytes) in pictures {
        let dir = dir.join(&sample.class);
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make the folder {}", dir.display()))?;
        let path = dir.join(format!("{}.JPEG", sample.stem));
        std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn tar(path: &Path, pictures: &[(&Sample, Vec<u8>)]) -> Result<()> {
    let write = || -> Result<()> {
        let mut archive = tar::Builder::new(std::io::BufWriter::new(File::create(path)?));
        for (sample, bytes) in pictures {
            let label = sample.label.to_string();
            for (ending, bytes) in [("cls", label.as_bytes()), ("jpg", bytes)] {
                let mut header = tar::Header::new_gnu();
                header.set_size(bytes.len() as u64);
                header.set_mode(0o644);
                archive.append_data(&mut header, format!("{}.{ending}", sample.stem), bytes)?;
            }
        }
        archive.into_inner()?.into_inner().context("writing out")?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// A PNG of `[H, W, C]` pixels, 1 or 3 channels.
///
/// # Errors
/// When the pixels have another length.
pub fn png(pixels: &[u8], height: usize, width: usize, channels: usize) -> Result<Vec<u8>> {
    let color = if channels == 1 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
    ensure!(pixels.len() == height * width * channels, "{} bytes for {height}x{width}x{channels}", pixels.len());
    let mut file = Vec::new();
    PngEncoder::new(&mut file).write_image(pixels, width as u32, height as u32, color)?;
    Ok(file)
}

/// A picture of a class: waves whose lengths are the class's, and whose place, colours and grain are its own.
fn jpeg(label: usize, seed: u64, (height, width): (usize, usize)) -> Result<Vec<u8>> {
    let mut of_class = Rng::stream(2, Purpose::Render, &[label as u64]);
    let mut own = Rng::stream(3, Purpose::Render, &[seed]);
    let waves: [(Vec<f32>, Vec<f32>, f32); 3] = std::array::from_fn(|_| {
        let mut wave = |length: usize| -> Vec<f32> {
            let (period, phase) = (of_class.uniform(6.0, 60.0), own.uniform(0.0, std::f32::consts::TAU));
            (0..length).map(|i| libm::sinf(i as f32 / period + phase)).collect()
        };
        let (across, down) = (wave(width), wave(height));
        (across, down, own.uniform(90.0, 165.0))
    });
    let mut pixels = Vec::with_capacity(height * width * 3);
    let mut grain = 0u64;
    for y in 0..height {
        for x in 0..width {
            for (channel, (across, down, mean)) in waves.iter().enumerate() {
                if (x + channel) % 8 == 0 {
                    grain = own.next_u64();
                }
                let noise = (grain & 0xff) as f32 / 255.0 - 0.5;
                grain = grain.rotate_right(8);
                pixels.push((mean + 70.0 * across[x] * down[y] + GRAIN * noise * 3.46) as u8);
            }
        }
    }
    let mut file = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut file, QUALITY);
    encoder.write_image(&pixels, width as u32, height as u32, ExtendedColorType::Rgb8)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn pictures_are_as_long_as_photographs() {
        let file = jpeg(3, 5, (375, 500)).unwrap();
        assert!((60_000..200_000).contains(&file.len()), "{} bytes", file.len());
        assert_eq!(simclr_data::decode::size(&file).unwrap(), (375, 500));
        assert_eq!(file, jpeg(3, 5, (375, 500)).unwrap());
        assert_ne!(file, jpeg(3, 6, (375, 500)).unwrap());
    }

    #[test]
    fn there_is_an_image_for_each_class() {
        let size = Size { images: 3, classes: 4, pixels: (8, 8), shard: 2 };
        assert!(write(Path::new("never"), size, &|_| ()).is_err());
    }
}
