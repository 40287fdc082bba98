//! Writing parquet files in the layout of the Hugging Face hub: for tests, and for the synthetic ImageNet.

use super::read::FEATURES;
use anyhow::{Context, Result};
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

const SCHEMA: &str = "message schema {
    optional group image { optional binary bytes; optional binary path (UTF8); }
    optional int64 label;
}";

/// A row of a parquet file in the hub's layout.
#[derive(Clone, Debug)]
pub struct Row {
    /// A JPEG, PNG or WebP file.
    pub bytes: Vec<u8>,
    /// The name that it had.
    pub path: Option<String>,
    /// Its class.
    pub label: Option<i64>,
}

impl Row {
    /// A picture without a name.
    pub fn of(bytes: Vec<u8>, label: i64) -> Self {
        Self { bytes, path: None, label: Some(label) }
    }
}

/// Writes a parquet file in the hub's layout, `group` rows a row group. Names of classes may be empty.
///
/// # Errors
/// When the file cannot be written.
pub fn write_parquet(path: &Path, rows: &[Row], group: usize, classes: &[String]) -> Result<()> {
    write_with(Compression::SNAPPY, path, rows, group, classes)
}

/// The same with a codec of one's choice.
///
/// # Errors
/// As [`write_parquet`].
pub(super) fn write_with(
    codec: Compression,
    path: &Path,
    rows: &[Row],
    group: usize,
    classes: &[String],
) -> Result<()> {
    let features = serde_json::json!({"info": {"features": {
        "image": {"_type": "Image"}, "label": {"names": classes, "_type": "ClassLabel"}}}});
    let about = (!classes.is_empty()).then(|| vec![KeyValue::new(FEATURES.into(), features.to_string())]);
    let write = || -> Result<()> {
        let properties = WriterProperties::builder().set_compression(codec).set_key_value_metadata(about);
        let schema = Arc::new(parse_message_type(SCHEMA)?);
        let mut writer = SerializedFileWriter::new(File::create(path)?, schema, properties.build().into())?;
        for rows in rows.chunks(group) {
            let mut group = writer.next_row_group()?;
            binary(&mut group, rows.iter().map(|row| Some(row.bytes.as_slice())))?;
            binary(&mut group, rows.iter().map(|row| row.path.as_deref().map(str::as_bytes)))?;
            let labels: Vec<i64> = rows.iter().filter_map(|row| row.label).collect();
            let levels: Vec<i16> = rows.iter().map(|row| row.label.is_some().into()).collect();
            let mut column = group.next_column()?.context("the column of labels")?;
            column.typed::<Int64Type>().write_batch(&labels, Some(&levels), None)?;
            column.close()?;
            group.close()?;
        }
        writer.close()?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// A column within the group of the picture, which is always there.
fn binary<'a>(
    group: &mut SerializedRowGroupWriter<'_, File>,
    values: impl Iterator<Item = Option<&'a [u8]>>,
) -> Result<()> {
    let values: Vec<Option<ByteArray>> = values.map(|bytes| bytes.map(|b| b.to_vec().into())).collect();
    let levels: Vec<i16> = values.iter().map(|value| 1 + i16::from(value.is_some())).collect();
    let values: Vec<ByteArray> = values.into_iter().flatten().collect();
    let mut column = group.next_column()?.context("a column of the picture")?;
    column.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None)?;
    column.close()?;
    Ok(())
}
