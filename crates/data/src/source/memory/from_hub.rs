//! Datasets of small pictures from the Hugging Face hub, whole in memory.

use crate::image::Images;
use crate::set::Pictures;
use crate::source::files::Files;
use crate::source::hub::Hub;
use crate::source::parquet;
use anyhow::{Context, Result, ensure};
use simclr_core::config::DataConfig;
use std::sync::Arc;

/// Training and test images of a dataset of small pictures of one size, whole in memory. It has one parquet file for
/// each, the training split being the larger.
///
/// # Errors
/// When the hub cannot be reached, or holds something else.
pub(super) fn load(id: &str, channels: usize) -> Result<[Images; 2]> {
    let hub = Hub::new(id)?;
    let names = hub.list()?;
    ensure!(names.len() == 2, "{id} has {} parquet files, expected 2", names.len());
    let config = DataConfig { channels: Some(channels), ..DataConfig::new("parquet", 1) };
    let mut splits = Vec::new();
    for path in hub.fetch(&names)? {
        splits.push(parquet::open(vec![path], &config)?);
    }
    splits.sort_by_key(|files| std::cmp::Reverse(files.labels.len()));
    let mut images =
        splits.into_iter().map(|files| in_memory(files, &config).with_context(|| format!("decoding {id}")));
    let mut next = || images.next().context("two files")?;
    Ok([next()?, next()?])
}

/// Decodes labeled pictures of one size.
///
/// # Errors
/// When one cannot be decoded, has no label, or differs in size.
fn in_memory(files: Files, config: &DataConfig) -> Result<Images> {
    let pictures = Pictures::new(Arc::new(files), config.file_channels(), config);
    let labels = pictures.all_labels("training")?;
    let first = pictures.get(0).context("the first picture")?;
    let (height, width, channels) = (first.height, first.width, first.channels);
    let mut data = Vec::with_capacity(labels.len() * first.data.len());
    for index in 0..pictures.len() {
        let picture = pictures.get(index)?;
        ensure!((picture.height, picture.width) == (height, width), "pictures differ in size");
        data.extend(picture.data);
    }
    Ok(Images { height, width, channels, data, labels })
}

#[cfg(all(test, feature = "parquet"))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::source::parquet::write::{Row, write_parquet};
    use image::ImageEncoder;

    fn png(pixels: &[u8], height: u32, width: u32) -> Vec<u8> {
        let mut file = Vec::new();
        let encoder = image::codecs::png::PngEncoder::new(&mut file);
        encoder.write_image(pixels, width, height, image::ExtendedColorType::L8).unwrap();
        file
    }

    fn opened(rows: &[Row]) -> (tempfile::TempDir, Files, DataConfig) {
        let (dir, config) =
            (tempfile::tempdir().unwrap(), DataConfig { channels: Some(1), ..DataConfig::new("parquet", 1) });
        let path = dir.path().join("0000.parquet");
        write_parquet(&path, rows, 1, &[]).unwrap();
        let files = parquet::open(vec![path], &config).unwrap();
        (dir, files, config)
    }

    #[test]
    fn rows_of_a_parquet_file_become_images() {
        let rows = [png(&[1, 2, 3, 4, 5, 6], 2, 3), png(&[7; 6], 2, 3)];
        let rows: Vec<Row> = rows.into_iter().zip([9, 4]).map(|(bytes, label)| Row::of(bytes, label)).collect();
        let (_dir, files, config) = opened(&rows);
        let images = in_memory(files, &config).unwrap();
        assert_eq!((images.height, images.width, images.labels), (2, 3, vec![9, 4]));
        assert_eq!(images.data, [1, 2, 3, 4, 5, 6, 7, 7, 7, 7, 7, 7], "rows of pixels stay rows");
    }

    #[test]
    fn mixed_sizes_are_errors() {
        let rows = [Row::of(png(&[0; 6], 2, 3), 0), Row::of(png(&[0; 6], 3, 2), 0)];
        let (_dir, files, config) = opened(&rows);
        assert!(in_memory(files, &config).unwrap_err().to_string().contains("differ in size"));
    }
}
