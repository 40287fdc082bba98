//! The column of labels of a parquet file: which one it is, and what it says.

use super::reader::Reader;
use crate::source::classes::Given;
use crate::source::table::{LABELS, plain};
use anyhow::{Context, Result};
use parquet::basic::{ConvertedType, Type};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, FloatType, Int32Type, Int64Type};
use parquet::schema::types::ColumnDescriptor;
use std::collections::HashSet;

/// Names of the hub's datasets, which go before the others.
const OF_THE_HUB: [&str; 2] = ["label", "fine_label"];
/// Words in names of columns that hold numbers and no classes.
const NO_CLASS: [&str; 12] =
    ["id", "ids", "index", "idx", "width", "height", "size", "time", "timestamp", "date", "row", "number"];

/// A column of labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label {
    /// Its number in the schema.
    pub column: usize,
    kind: Type,
    /// Whether nothing but its type speaks for it.
    pub guessed: bool,
}

/// Finds the column among those that are no part of others: the `named` one, that of a usual name, one that names of classes
/// are stated for, or else the only one of whole numbers.
///
/// # Errors
/// When there is no column of the name, or it holds no labels; the message lists those that there are.
pub(super) fn find(
    columns: &[(usize, &ColumnDescriptor)],
    named: Option<&str>,
    has_names: &dyn Fn(&str) -> bool,
) -> Result<Option<Label>> {
    let text =
        |c: &ColumnDescriptor| c.physical_type() == Type::BYTE_ARRAY && c.converted_type() == ConvertedType::UTF8;
    let whole = |c: &ColumnDescriptor| matches!(c.physical_type(), Type::INT32 | Type::INT64);
    let fits = |c: &ColumnDescriptor| {
        whole(c) || text(c) || matches!(c.physical_type(), Type::DOUBLE | Type::FLOAT | Type::BOOLEAN)
    };
    let label =
        |(column, c): &(usize, &ColumnDescriptor), guessed| Label { column: *column, kind: c.physical_type(), guessed };
    if let Some(name) = named {
        let names: Vec<&str> = columns.iter().filter(|(_, c)| fits(c)).map(|(_, c)| c.name()).collect();
        let found = columns.iter().find(|(_, c)| c.name() == name && fits(c));
        let missing =
            || format!("data.label_columns: no column \"{name}\" of numbers or words; there are {}", names.join(", "));
        return found.map(|found| Some(label(found, false))).with_context(missing);
    }
    let by = |is: &dyn Fn(&ColumnDescriptor) -> bool| columns.iter().find(|(_, c)| fits(c) && is(c));
    let of_the_hub = || OF_THE_HUB.iter().find_map(|name| by(&|c| whole(c) && c.name() == *name));
    let usual = || LABELS.iter().find_map(|name| by(&|c| plain(c.name()) == *name));
    let mut stated = columns.iter().filter(|(_, c)| whole(c) && has_names(c.name()));
    let stated = stated.next().filter(|_| stated.next().is_none());
    if let Some(found) = of_the_hub().or(stated).or_else(usual) {
        return Ok(Some(label(found, false)));
    }
    let mut numbers = columns.iter().filter(|(_, c)| whole(c));
    Ok(numbers.next().filter(|_| numbers.next().is_none()).map(|only| label(only, true)))
}

impl Label {
    /// The labels of a row group, whose first row is `row` of the file.
    pub(super) fn read(&self, reader: &Reader, group: usize, row: usize) -> Result<Vec<Option<Given>>> {
        let column = self.column;
        let numbers = |values: Vec<Option<i64>>| -> Result<Vec<Option<Given>>> {
            let label = |(i, value): (usize, Option<i64>)| match value {
                // Whether a guessed column holds labels is not known yet: a large number says that it does not.
                Some(number) if self.guessed => {
                    Ok(Given::of_number(number).unwrap_or(Some(Given::Word(number.to_string().into()))))
                }
                Some(number) => Given::of_number(number).with_context(|| format!("row {}", row + i)),
                None => Ok(None),
            };
            values.into_iter().enumerate().map(label).collect()
        };
        // Of whole numbers where some are missing, libraries make numbers with a point.
        let floats = |values: Vec<Option<f64>>| {
            let label = |(i, value): (usize, Option<f64>)| match value.filter(|value| !value.is_nan()) {
                Some(value) if value.fract() != 0.0 => Ok(Some(Given::Word(value.to_string().into()))),
                Some(value) => Given::of_number(value as i64).with_context(|| format!("row {}", row + i)),
                None => Ok(None),
            };
            values.into_iter().enumerate().map(label).collect()
        };
        match self.kind {
            Type::INT32 => numbers(each(reader.values::<Int32Type>(group, column)?, i64::from)),
            Type::INT64 => numbers(reader.values::<Int64Type>(group, column)?),
            Type::FLOAT => floats(each(reader.values::<FloatType>(group, column)?, f64::from)),
            Type::DOUBLE => floats(reader.values::<DoubleType>(group, column)?),
            Type::BOOLEAN => {
                Ok(each(reader.values::<BoolType>(group, column)?, |is| Given::Word(is.to_string().into())))
            }
            _ => {
                let text = |(i, value): (usize, Option<ByteArray>)| {
                    let Some(value) = value else { return Ok(None) };
                    let text =
                        std::str::from_utf8(value.data()).with_context(|| format!("row {}: no text", row + i))?;
                    Given::of_text(text).with_context(|| format!("row {}", row + i))
                };
                reader.values::<ByteArrayType>(group, column)?.into_iter().enumerate().map(text).collect()
            }
        }
    }
}

fn each<T, U>(values: Vec<Option<T>>, of: impl Fn(T) -> U) -> Vec<Option<U>> {
    values.into_iter().map(|value| value.map(&of)).collect()
}

/// Forgets the labels of a column that nothing but its type speaks for, unless they repeat and are few, and its name is none
/// of numbers.
pub(super) fn forget_unlikely(labels: &mut [Option<Given>], column: &str) {
    let given = labels.iter().flatten().count();
    let numbers: HashSet<Option<u32>> = labels
        .iter()
        .flatten()
        .map(|label| match label {
            Given::Number(number) => Some(*number),
            Given::Word(_) => None,
        })
        .collect();
    let words: Vec<String> = column.to_lowercase().split(|c: char| !c.is_alphanumeric()).map(String::from).collect();
    let of_numbers = words.iter().any(|word| NO_CLASS.contains(&word.as_str()));
    if numbers.contains(&None) || 2 * numbers.len() > given || of_numbers {
        tracing::info!(
            "no column of labels: \"{column}\", the only one of whole numbers, does not look like one; name it by \
             data.label_columns = [\"path\", \"{column}\"] if it is"
        );
        labels.fill(None);
    }
}
