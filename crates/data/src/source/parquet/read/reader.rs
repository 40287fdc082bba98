//! One parquet file: its footer, and columns of its row groups, read with distrust.

use crate::guard::guarded;
use anyhow::{Context, Result, ensure};
use candle_datasets::hub::FileReader;
use parquet::column::reader::get_typed_column_reader;
use parquet::data_type::DataType;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::SerializedFileReader;
use simclr_core::disk;
use std::fs::File;
use std::path::Path;

/// One file, its footer read and checked.
pub(super) struct Reader {
    inner: SerializedFileReader<File>,
    bytes: u64,
}

impl Reader {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = disk::open(path)?;
        let bytes = file.metadata().context("cannot look at it")?.len();
        ensure!(bytes > 0, "the file is empty");
        // The reader trusts what footers say of sizes.
        guarded(|| Ok(Self { inner: SerializedFileReader::new(file)?, bytes })).context("no whole parquet file")
    }

    pub(super) fn metadata(&self) -> &ParquetMetaData {
        self.inner.metadata()
    }

    /// One value a row of a column that does not repeat.
    pub(super) fn values<T: DataType>(&self, group: usize, column: usize) -> Result<Vec<Option<T::T>>> {
        let read = || -> Result<Vec<Option<T::T>>> {
            let about = self.metadata().row_group(group);
            let rows = self.rows(about)?;
            let chunk = about.column(column);
            let (start, length) = chunk.byte_range();
            ensure!(
                start.checked_add(length).is_some_and(|end| end <= self.bytes),
                "a column claims {length} bytes, but the file ends before"
            );
            let most = chunk.column_descr().max_def_level();
            let reader = self.inner.get_row_group(group)?;
            let mut reader = get_typed_column_reader::<T>(reader.get_column_reader(column)?);
            let (mut values, mut levels) = (Vec::new(), Vec::new());
            let mut done = 0;
            while done < rows {
                let (records, _, _) = reader.read_records(rows - done, Some(&mut levels), None, &mut values)?;
                ensure!(records > 0, "a column ends after {done} of {rows} rows");
                done += records;
            }
            if most == 0 {
                return Ok(values.into_iter().map(Some).collect());
            }
            let mut values = values.into_iter();
            let value = |level: i16| if level == most { values.next() } else { None };
            Ok(levels.into_iter().map(value).collect())
        };
        let values = guarded(read).with_context(|| format!("row group {group} cannot be read"))?;
        ensure!(values.len() == self.rows(self.metadata().row_group(group))?, "row group {group} has too few values");
        Ok(values)
    }

    /// Rows of a group; a picture takes more than a byte of the file.
    pub(super) fn rows(&self, group: &RowGroupMetaData) -> Result<usize> {
        let rows = u64::try_from(group.num_rows()).ok().filter(|rows| *rows <= self.bytes);
        Ok(rows.with_context(|| format!("a row group claims {} rows", group.num_rows()))? as usize)
    }
}
