//! Files that `embed` and `classify` write: their kind is told by the ending.

use anyhow::{Context, Result, bail};
use candle_core::{Device, Tensor};
use serde_json::Value as Json;
use simclr_core::run::checkpoint;
use simclr_core::{cli, disk};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A line a picture, fields between commas.
    Csv,
    /// A line of JSON a picture.
    JsonLines,
    /// A tensor, with the list of files in the metadata.
    Safetensors,
    /// NumPy's array, with the list of files in `NAME.npy.json` beside it.
    Npy,
}

const ENDINGS: [(&str, Format); 4] =
    [("csv", Format::Csv), ("jsonl", Format::JsonLines), ("safetensors", Format::Safetensors), ("npy", Format::Npy)];

impl Format {
    /// The kind of file that `out` is to be.
    ///
    /// # Errors
    /// When its ending is none of those that there are: the message lists them.
    pub fn of(out: &Path) -> Result<Self> {
        let ending = out.extension().and_then(|end| end.to_str()).unwrap_or_default();
        match ENDINGS.iter().find(|(known, _)| ending.eq_ignore_ascii_case(known)) {
            Some((_, format)) => Ok(*format),
            None => {
                let known: Vec<String> = ENDINGS.iter().map(|(end, _)| format!(".{end}")).collect();
                bail!("--out {}: must end in one of {}", out.display(), known.join(", "))
            }
        }
    }
}

/// Rows of fields as CSV.
///
/// # Errors
/// When rows differ in length.
pub fn csv(rows: impl IntoIterator<Item = Vec<String>>) -> Result<Vec<u8>> {
    let mut out = csv::Writer::from_writer(Vec::new());
    for row in rows {
        out.write_record(row).context("writing CSV")?;
    }
    Ok(out.into_inner()?)
}

/// Values as lines of JSON.
pub fn json_lines(rows: impl IntoIterator<Item = Json>) -> Vec<u8> {
    rows.into_iter().fold(Vec::new(), |mut out, row| {
        out.extend(row.to_string().bytes());
        out.push(b'\n');
        out
    })
}

/// Writes bytes to `out`, or to the standard output, where nobody need be reading any more.
///
/// # Errors
/// When it cannot be written.
pub fn bytes(out: Option<&Path>, bytes: &[u8]) -> Result<()> {
    match out {
        Some(out) => {
            make_folder_of(out)?;
            disk::write(out, bytes)
        }
        None => {
            cli::put(bytes);
            Ok(())
        }
    }
}

/// Writes `numbers`, rows of `width`, as the tensor `name` with one key of metadata, or as NumPy's array with that key in a
/// `NAME.npy.json` beside it.
///
/// # Errors
/// When it cannot be written.
pub fn array(out: &Path, (numbers, width): (Vec<f32>, usize), name: &str, about: (&str, &Json)) -> Result<()> {
    make_folder_of(out)?;
    let rows = numbers.len() / width.max(1);
    if Format::of(out)? == Format::Npy {
        disk::write_json(&beside(out), &serde_json::json!({about.0: about.1}))?;
        return disk::write(out, &npy(&numbers, &[rows, width]));
    }
    let tensors = BTreeMap::from([(name.to_string(), Tensor::from_vec(numbers, (rows, width), &Device::Cpu)?)]);
    checkpoint::write_tensors(out, &tensors, (about.0, &about.1.to_string()))
}

/// Where the list of files stands that an array cannot hold: `x.npy.json`.
fn beside(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".json");
    name.into()
}

/// NumPy's format, version 1: little-endian float32, row-major.
fn npy(numbers: &[f32], shape: &[usize]) -> Vec<u8> {
    let shape: String = shape.iter().map(|n| format!("{n}, ")).collect();
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}", shape.trim_end());
    // Numbers begin at a multiple of 64 bytes, after magic, version, length and a line's end.
    let start = (10 + header.len() + 1).next_multiple_of(64);
    header += &" ".repeat(start - 10 - header.len() - 1);
    header.push('\n');
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend((header.len() as u16).to_le_bytes());
    out.extend(header.bytes());
    out.extend(numbers.iter().flat_map(|v| v.to_le_bytes()));
    out
}

/// Makes the folder that `file` stands in.
fn make_folder_of(file: &Path) -> Result<()> {
    match file.parent() {
        Some(dir) => std::fs::create_dir_all(dir).with_context(|| format!("cannot make the folder {}", dir.display())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_are_quoted_where_they_need_it() {
        let row = |file: &str| vec![file.to_string(), "0.5".to_string()];
        let bytes = csv([row("file"), row("a b.png"), row("a,\"b\".png"), row("two\nlines"), row("ä#;'.png")]).unwrap();
        let expected = "file,0.5\na b.png,0.5\n\"a,\"\"b\"\".png\",0.5\n\"two\nlines\",0.5\nä#;'.png,0.5\n";
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }

    #[test]
    fn endings_tell_the_kind() {
        assert_eq!(Format::of(Path::new("a/b.CSV")).unwrap(), Format::Csv);
        assert_eq!(Format::of(Path::new("b.npy")).unwrap(), Format::Npy);
        for wrong in ["b.txt", "b", "csv", ".npy", "b.csv.gz"] {
            let message = Format::of(Path::new(wrong)).unwrap_err().to_string();
            assert!(message.contains(".csv, .jsonl, .safetensors, .npy"), "{message}");
        }
    }

    #[test]
    fn arrays_of_numpy() {
        let bytes = npy(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[3, 2]);
        assert_eq!(bytes.len() - 24, 128, "numbers begin at a multiple of 64");
        assert_eq!(&bytes[..10], b"\x93NUMPY\x01\x00\x76\x00");
        let header = std::str::from_utf8(&bytes[10..128]).unwrap();
        assert!(
            header.starts_with("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2,), }")
                && header.ends_with('\n')
        );
        assert_eq!(bytes[128..132], 1.0f32.to_le_bytes());
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("deep/x.npy");
        array(&out, (vec![1.0, 2.0], 2), "features", ("files", &json!(["a"]))).unwrap();
        assert!(out.is_file());
        assert_eq!(disk::read_json(&dir.path().join("deep/x.npy.json")).unwrap(), json!({"files": ["a"]}));
    }
}
