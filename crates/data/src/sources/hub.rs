//! Image datasets of the Hugging Face hub: parquet files of encoded pictures and labels.

use crate::dataset::Images;
use anyhow::{Context, Result, bail, ensure};
use candle_datasets::hub::{FileReader, from_hub};
use parquet::record::{Field, Row};
use rayon::prelude::*;

/// Training and test images of a dataset that has one parquet file for each, the training split being the larger.
///
/// # Errors
/// When the hub cannot be reached, or holds something else.
pub fn load(id: &str, channels: usize) -> Result<[Images; 2]> {
    let client = hf_hub::HFClientSync::new()?;
    let mut files = from_hub(&client, id.into())?;
    files.sort_by_key(|file| -file.metadata().file_metadata().num_rows());
    let [train, test] = <[_; 2]>::try_from(files)
        .map_err(|files| anyhow::anyhow!("{id} has {} parquet files, expected 2", files.len()))?;
    let decode = |rows| decode(rows, channels).with_context(|| format!("decoding {id}"));
    Ok([decode(rows(train)?)?, decode(rows(test)?)?])
}

/// An encoded picture and its label.
type Encoded = (Vec<u8>, u32);

fn rows<R: IntoIterator<Item = parquet::errors::Result<Row>>>(file: R) -> Result<Vec<Encoded>> {
    file.into_iter().map(|row| encoded(&row?)).collect()
}

/// The columns `image.bytes` and `label` (the only whole number) of a row.
fn encoded(row: &Row) -> Result<Encoded> {
    let (mut picture, mut label) = (None, None);
    for (_, field) in row.get_column_iter() {
        match field {
            Field::Group(image) => {
                picture = image.get_column_iter().find_map(|(_, field)| match field {
                    Field::Bytes(bytes) => Some(bytes.data().to_vec()),
                    _ => None,
                });
            }
            Field::Long(number) => label = Some(u32::try_from(*number)?),
            _ => {}
        }
    }
    match (picture, label) {
        (Some(picture), Some(label)) => Ok((picture, label)),
        _ => bail!("a row lacks a picture or a label"),
    }
}

fn decode(rows: Vec<Encoded>, channels: usize) -> Result<Images> {
    let pictures: Vec<((u32, u32), Vec<u8>)> = rows
        .par_iter()
        .map(|(bytes, _)| {
            let picture = image::load_from_memory(bytes)?;
            let size = (picture.height(), picture.width());
            Ok((size, if channels == 1 { picture.into_luma8().into_raw() } else { picture.into_rgb8().into_raw() }))
        })
        .collect::<Result<_>>()?;
    let &((height, width), _) = pictures.first().context("there are no rows")?;
    ensure!(pictures.iter().all(|(size, _)| *size == (height, width)), "pictures differ in size");
    let data = pictures.into_iter().flat_map(|(_, data)| data).collect();
    let labels = rows.iter().map(|&(_, label)| label).collect();
    Ok(Images { height: height as usize, width: width as usize, channels, data, labels })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
    use parquet::file::reader::SerializedFileReader;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;
    use std::sync::Arc;

    fn png(pixels: &[u8], width: u32, height: u32) -> Vec<u8> {
        use image::ImageEncoder;
        let mut bytes = Vec::new();
        let encoder = image::codecs::png::PngEncoder::new(&mut bytes);
        encoder.write_image(pixels, width, height, image::ExtendedColorType::L8).unwrap();
        bytes
    }

    #[test]
    fn rows_of_a_parquet_file_become_images() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0000.parquet");
        let schema = "message schema {
            optional group image { optional binary bytes; optional binary path (UTF8); }
            optional int64 label;
        }";
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let file = std::fs::File::create(&path).unwrap();
        let mut writer = SerializedFileWriter::new(file, schema, Default::default()).unwrap();
        let mut group = writer.next_row_group().unwrap();
        let pictures = [png(&[1, 2, 3, 4, 5, 6], 3, 2), png(&[7; 6], 3, 2)].map(ByteArray::from);
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&pictures, Some(&[2, 2]), None).unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&[], Some(&[1, 1]), None).unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<Int64Type>().write_batch(&[9, 4], Some(&[1, 1]), None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
        writer.close().unwrap();

        let file = SerializedFileReader::new(std::fs::File::open(&path).unwrap()).unwrap();
        let images = decode(rows(file).unwrap(), 1).unwrap();
        assert_eq!((images.height, images.width, images.labels), (2, 3, vec![9, 4]));
        assert_eq!(images.data, [1, 2, 3, 4, 5, 6, 7, 7, 7, 7, 7, 7], "rows of pixels stay rows");
    }

    #[test]
    fn mixed_sizes_are_errors() {
        let rows = vec![(png(&[0; 6], 3, 2), 0), (png(&[0; 6], 2, 3), 0)];
        assert!(decode(rows, 1).unwrap_err().to_string().contains("differ in size"));
    }
}
