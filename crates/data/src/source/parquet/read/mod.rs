//! Parquet files with embedded pictures, in the layout of the Hugging Face hub: a column of `{bytes, path}` (or of bytes
//! alone), and a column of labels.
//!
//! Labels and paths are read when a file is opened; pictures a row group at a time, when one of it is asked for.

mod label;
mod reader;

use crate::name::stable_name;
use crate::source::classes::{Classes, Given, resolve};
use crate::source::files::{Files, Store};
use anyhow::{Context, Result, bail, ensure};
use label::Label;
use lru::LruCache;
use parquet::basic::{ConvertedType, Type};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::metadata::ParquetMetaData;
use parquet::schema::types::ColumnDescriptor;
use reader::Reader;
use simclr_core::config::DataConfig;
use std::collections::HashSet;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Where the hub's library writes what columns mean.
pub(crate) const FEATURES: &str = "huggingface";

/// Which columns hold what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Columns {
    bytes: usize,
    path: Option<usize>,
    label: Option<Label>,
}

/// A row group of one of the files.
struct Group {
    file: u32,
    number: usize,
    /// Rows of the file before it, for messages.
    before: u32,
    rows: Range<u32>,
    /// Bytes of its pictures.
    bytes: u64,
}

/// The pictures of a row group.
type Rows = Vec<Option<ByteArray>>;
/// A row group that somebody reads or has read; others wait for it.
type Shared = Arc<OnceLock<Result<Rows, String>>>;

struct Groups {
    files: Vec<(PathBuf, Columns)>,
    groups: Vec<Group>,
    /// The groups that were used last.
    kept: Mutex<LruCache<usize, Shared>>,
    room: u64,
}

impl Groups {
    fn find(&self, index: usize) -> (usize, usize) {
        let group = self.groups.partition_point(|group| group.rows.end as usize <= index);
        (group, index - self.groups[group].rows.start as usize)
    }

    /// The group's pictures, read now or kept. The last ones stay as far as there is room, and one at least.
    fn shared(&self, group: usize) -> Shared {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = kept.get_or_insert(group, Shared::default).clone();
        let mut total: u64 = kept.iter().map(|(number, _)| self.groups[*number].bytes).sum();
        while total > self.room && kept.len() > 1 {
            total -= kept.pop_lru().map_or(0, |(number, _)| self.groups[number].bytes);
        }
        shared
    }

    fn load(&self, group: &Group) -> Result<Rows> {
        let (path, columns) = &self.files[group.file as usize];
        let reader = Reader::open(path)?;
        reader.values::<ByteArrayType>(group.number, columns.bytes)
    }
}

impl Store for Groups {
    fn read(&self, index: usize) -> Result<Vec<u8>> {
        let (group, row) = self.find(index);
        let shared = self.shared(group);
        let load = || self.load(&self.groups[group]).map_err(|error| format!("{error:#}"));
        match shared.get_or_init(load) {
            Ok(rows) => Ok(rows[row].as_ref().context("the row holds no picture")?.data().to_vec()),
            Err(error) => bail!("{error}"),
        }
    }

    fn place(&self, index: usize) -> String {
        let (group, row) = self.find(index);
        let Group { file, before, .. } = self.groups[group];
        format!("row {} of {}", before as usize + row, self.files[file as usize].0.display())
    }

    fn shards(&self) -> Vec<Range<u32>> {
        self.groups.iter().map(|group| group.rows.clone()).collect()
    }
}

/// Finds the columns by type and name, or as the configuration names them.
fn columns(metadata: &ParquetMetaData, config: &DataConfig) -> Result<Columns> {
    let schema = metadata.file_metadata().schema_descr();
    let plain: Vec<(usize, &ColumnDescriptor)> =
        schema.columns().iter().map(AsRef::as_ref).enumerate().filter(|(_, c)| c.max_rep_level() == 0).collect();
    let binary = |c: &ColumnDescriptor| c.physical_type() == Type::BYTE_ARRAY;
    let text = |c: &ColumnDescriptor| c.converted_type() == ConvertedType::UTF8;
    let parts = |c: &ColumnDescriptor| c.path().parts().to_vec();
    let nested = plain.iter().find(|(_, c)| binary(c) && c.path().parts().len() > 1 && c.name() == "bytes");
    let alone = plain.iter().find(|(_, c)| binary(c) && c.path().parts().len() == 1 && !text(c));
    let all = || {
        let names: Vec<String> = schema.columns().iter().map(|c| c.path().string()).collect();
        format!(
            "no column of pictures: expected a binary column, alone or as image.bytes; there are {}",
            names.join(", ")
        )
    };
    let (bytes, picture) = *nested.or(alone).with_context(all)?;
    let beside = |c: &ColumnDescriptor| {
        let (own, other) = (parts(picture), parts(c));
        own.len() > 1 && c.name() == "path" && own[..own.len() - 1] == other[..other.len() - 1]
    };
    let path = plain.iter().find(|(_, c)| binary(c) && beside(c)).map(|(i, _)| *i);
    let flat: Vec<(usize, &ColumnDescriptor)> = plain.iter().filter(|(_, c)| parts(c).len() == 1).copied().collect();
    let named = config.label_columns.as_ref().filter(|_| config.labels.is_none());
    // A column of files may be named beside that of labels; the picture's own path need not be.
    let path = match named.map(|[file, _]| flat.iter().find(|(_, c)| c.name() == file && text(c))) {
        Some(Some((column, _))) => Some(*column),
        _ => path,
    };
    let label =
        label::find(&flat, named.map(|[_, label]| label.as_str()), &|name| class_names(metadata, name).is_some())?;
    Ok(Columns { bytes, path, label })
}

/// Names of the classes of a column, as the hub's library writes them beside the schema.
fn class_names(metadata: &ParquetMetaData, column: &str) -> Option<Vec<String>> {
    let file = metadata.file_metadata();
    let text = file.key_value_metadata()?.iter().find(|entry| entry.key == FEATURES)?.value.as_ref()?;
    parse_class_names(text, column)
}

/// The names of a `ClassLabel` in the JSON that the hub's library writes: `info.features.LABEL.names`.
pub fn parse_class_names(text: &str, label: &str) -> Option<Vec<String>> {
    let json: serde_json::Value = serde_json::from_str(text).ok()?;
    let names = json["info"]["features"][label]["names"].as_array()?;
    names.iter().map(|name| name.as_str().map(String::from)).collect()
}

/// Opens files, in this order.
///
/// # Errors
/// When one cannot be read, is no whole parquet file, or has no column of pictures; the message names it.
pub(crate) fn open(paths: Vec<PathBuf>, config: &DataConfig) -> Result<Files> {
    let (mut files, mut groups) = (Vec::new(), Vec::new());
    let (mut labels, mut names, mut classes): (Vec<Option<Given>>, Vec<_>, _) = (Vec::new(), Vec::new(), None);
    let mut guesses = Vec::new();
    for path in paths {
        let mut one = || -> Result<Columns> {
            let reader = Reader::open(&path)?;
            let metadata = reader.metadata();
            let columns = columns(metadata, config)?;
            let column =
                |label: &Label| metadata.file_metadata().schema_descr().column(label.column).name().to_string();
            let stated = columns.label.as_ref().and_then(|label| class_names(metadata, &column(label)));
            if let (Some(ours), Some(theirs)) = (&classes, &stated) {
                ensure!(ours == theirs, "it states other classes than the files before");
            }
            classes = classes.take().or(stated);
            let first = labels.len();
            for (number, group) in metadata.row_groups().iter().enumerate() {
                let (start, rows) = (labels.len(), reader.rows(group)?);
                let end = u32::try_from(start + rows).context("more samples than 32 bits count")?;
                let bytes = u64::try_from(group.column(columns.bytes).uncompressed_size()).unwrap_or(0);
                match &columns.label {
                    Some(label) => labels.extend(label.read(&reader, number, start - first)?),
                    None => labels.resize(start + rows, None),
                }
                if let Some(column) = columns.path {
                    let paths = reader.values::<ByteArrayType>(number, column)?;
                    let text = |path: &ByteArray| Some(stable_name(std::str::from_utf8(path.data()).ok()?).into());
                    names.extend(paths.iter().flatten().filter_map(text));
                }
                if rows > 0 {
                    let (file, before) = (files.len() as u32, (start - first) as u32);
                    groups.push(Group { file, number, before, rows: start as u32..end, bytes });
                }
            }
            guesses.extend(columns.label.as_ref().filter(|label| label.guessed).map(column));
            Ok(columns)
        };
        let columns = one().with_context(|| format!("in {}", path.display()))?;
        files.push((path, columns));
    }
    ensure!(!labels.is_empty(), "the parquet files hold no row");
    let room = (config.parquet_cache as u64) << 20;
    warn_of_room(&groups, config, room);
    let names = useful(names, labels.len());
    if let Some(column) = guesses.first() {
        label::forget_unlikely(&mut labels, column);
    }
    let (labels, meaning) = resolve(labels);
    // Names are stated for numbers; words are their own names.
    let classes = match (classes, meaning) {
        (Some(names), Classes::Numbers) => Classes::Stated(names),
        (_, meaning) => meaning,
    };
    let store = Groups { files, groups, kept: Mutex::new(LruCache::unbounded()), room };
    Ok(Files::new(Box::new(store), names, (labels, classes)))
}

/// Names that tell samples apart: where rows lack one, or most share theirs, samples go by their numbers.
fn useful(names: Vec<Box<str>>, rows: usize) -> Option<Vec<Box<str>>> {
    let different = names.iter().collect::<HashSet<_>>().len();
    (names.len() == rows && 2 * different > rows).then_some(names)
}

fn warn_of_room(groups: &[Group], config: &DataConfig, room: u64) {
    let (rows, bytes) = groups.iter().fold((0, 0), |(r, b), g| (r + g.rows.len() as u64, b + g.bytes));
    let largest = groups.iter().map(|group| group.bytes).max().unwrap_or(0);
    let buffer = if config.shuffle_buffer == 0 { rows } else { (config.shuffle_buffer as u64).min(rows) };
    let need = (bytes / rows.max(1) * buffer + 2 * largest).min(bytes);
    if need > room {
        tracing::warn!(
            "shuffling over {buffer} samples needs {} MiB of row groups, data.parquet_cache keeps {}: some will be read \
             more than once an epoch; raise data.parquet_cache or lower data.shuffle_buffer",
            need.div_ceil(1 << 20),
            room >> 20
        );
    }
}

#[cfg(test)]
mod tests;
