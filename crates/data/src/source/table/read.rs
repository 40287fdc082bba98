//! Reading a table of labels: what separates its columns, which of them hold file and label, and its rows.

use crate::matching::tidied;
use crate::name::is_picture;
use anyhow::{Context, Result, bail, ensure};
use csv::{ReaderBuilder, StringRecord};
use simclr_core::bounds;

/// Names of the column that holds the file, the best one first; compared without case, blanks, `_`, `-` and `.`.
const FILES: &[&str] = &[
    "file",
    "filename",
    "filepath",
    "path",
    "image",
    "imagename",
    "imagefile",
    "imagepath",
    "imagefilename",
    "img",
    "imgname",
    "imgpath",
    "imgfile",
    "picture",
    "picturename",
    "photo",
    "files",
    "filenames",
    "images",
    "paths",
    "name",
    "imageid",
    "imgid",
    "idcode",
    "isicid",
    "uuid",
    "id",
    "key",
];
/// Names of the column that holds the label, the best one first.
pub(crate) const LABELS: &[&str] = &[
    "label",
    "labels",
    "class",
    "classname",
    "labelname",
    "category",
    "categoryname",
    "target",
    "y",
    "species",
    "breed",
    "diagnosis",
    "dx",
    "groundtruth",
    "truth",
    "tag",
    "categoryid",
    "classid",
    "labelid",
    "targetname",
    "type",
];
const DELIMITERS: [u8; 3] = [b',', b';', b'\t'];
/// Rows that are looked at to tell a table without a header.
const LOOKED_AT: usize = 10;

/// A table of labels.
#[derive(Debug, PartialEq)]
pub(super) struct Table {
    /// Names of the columns that hold file and label; their numbers where there is no header.
    pub columns: [String; 2],
    pub rows: Vec<Row>,
}

/// A row that names a file.
#[derive(Debug, PartialEq)]
pub(super) struct Row {
    pub line: u64,
    /// Tidied.
    pub file: String,
    pub label: Option<String>,
}

/// Reads a table; `columns` names those of file and label, and `named` says whether there is a picture of some name.
///
/// # Errors
/// When it is no table in UTF-8, or the columns cannot be told; the message lists those that there are.
pub(super) fn read(bytes: &[u8], columns: Option<&[String; 2]>, named: &dyn Fn(&str) -> bool) -> Result<Table> {
    let utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    ensure!(!utf16, "it is UTF-16: save it as CSV in UTF-8");
    let bytes = bytes.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(bytes);
    if let Err(error) = std::str::from_utf8(bytes) {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|b| **b == b'\n').count();
        bail!("line {line} is not UTF-8: save it as CSV in UTF-8")
    }
    let records = records(bytes)?;
    let Some(first) = records.first() else {
        bail!("it has no row: expected a header such as file,label and a row a picture")
    };
    let (header, [file, label]) = find_columns(first, &records, columns, named)?;
    let mut rows = Vec::with_capacity(records.len());
    let (mut line, mut counted) = (1, 0);
    for record in records.iter().skip(usize::from(header)) {
        // A reader's own count is off where lines end in two characters.
        let start = record.position().map_or(0, |position| position.byte() as usize).clamp(counted, bytes.len());
        let start = start + bytes[start..].iter().take_while(|b| b.is_ascii_whitespace() && **b != b'\t').count();
        line += breaks(&bytes[counted..start]);
        counted = start;
        let [file, label] = [file, label].map(|column| record.get(column).map(str::trim));
        let (file, label) = file
            .zip(label)
            .with_context(|| format!("line {line} has {} columns, the first line has {}", record.len(), first.len()))?;
        let more = record.iter().skip(first.len()).any(|field| !field.trim().is_empty());
        ensure!(!more, "line {line} has more columns than the first line: quote fields that hold a comma");
        ensure!(!file.is_empty() || label.is_empty(), "line {line} names no file");
        ensure!(!file.contains('\n'), "line {line}: a quote is opened there that does not end");
        if !file.is_empty() {
            rows.push(Row { line, file: tidied(file), label: text_of(label) });
        }
    }
    ensure!(!rows.is_empty(), "it has a header and no row");
    whole(&mut rows);
    let name = |column: usize| if header { first[column].trim().into() } else { format!("{}", column + 1) };
    Ok(Table { columns: [name(file), name(label)], rows })
}

/// How often lines end in some bytes, whichever way.
fn breaks(bytes: &[u8]) -> u64 {
    let alone =
        bytes.iter().zip(bytes.iter().skip(1).chain([&0])).filter(|(a, b)| **a == b'\r' && **b != b'\n').count();
    (alone + bytes.iter().filter(|b| **b == b'\n').count()) as u64
}

/// The rows that are not blank.
fn records(bytes: &[u8]) -> Result<Vec<StringRecord>> {
    let line =
        bytes.split(|b| *b == b'\n' || *b == b'\r').find(|line| !line.trim_ascii().is_empty()).unwrap_or_default();
    let count = |delimiter: u8| {
        let (mut quoted, mut count) = (false, 0);
        for byte in line {
            quoted ^= *byte == b'"';
            count += usize::from(*byte == delimiter && !quoted);
        }
        count
    };
    let delimiter = DELIMITERS.into_iter().rev().max_by_key(|d| count(*d)).unwrap_or(b',');
    ensure!(
        line.is_empty() || count(delimiter) > 0,
        "its first line has one column: expected two at least, file and label"
    );
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).delimiter(delimiter).from_reader(bytes);
    let most = bounds::TABLE_ROWS;
    let records = reader.records().take(most + 1).collect::<Result<Vec<_>, _>>().context("no table")?;
    ensure!(records.len() <= most, "it has more than {most} rows");
    Ok(records.into_iter().filter(|record| record.iter().any(|field| !field.trim().is_empty())).collect())
}

/// Whether the first row is a header, and the columns of file and label.
fn find_columns(
    first: &StringRecord,
    records: &[StringRecord],
    named: Option<&[String; 2]>,
    is_there: &dyn Fn(&str) -> bool,
) -> Result<(bool, [usize; 2])> {
    let there = || first.iter().map(|name| format!("\"{}\"", name.trim())).collect::<Vec<_>>().join(", ");
    if let Some(names) = named {
        let find = |name: &String| {
            let exact = first.iter().position(|field| field.trim() == name.trim());
            let alike = || first.iter().position(|field| plain(field) == plain(name));
            let missing = || format!("data.label_columns: there is no column \"{name}\", but {}", there());
            exact.or_else(alike).with_context(missing)
        };
        let [file, label] = [find(&names[0])?, find(&names[1])?];
        ensure!(file != label, "data.label_columns names one column twice");
        return Ok((true, [file, label]));
    }
    let usual = |list: &[&str]| list.iter().find_map(|name| first.iter().position(|field| plain(field) == *name));
    let (file, label) = (usual(FILES), usual(LABELS));
    if let (Some(file), Some(label)) = (file, label) {
        return Ok((true, [file, label]));
    }
    let pair = first.len() == 2;
    // Without a header, the first row names a picture: one that is there, or one like others that are there.
    let names = |column: usize| {
        let of = |record: &StringRecord| record.get(column).map(tidied).unwrap_or_default();
        is_there(&of(first))
            || (is_picture(&of(first)) && records.iter().take(LOOKED_AT).any(|record| is_there(&of(record))))
    };
    if let Some(file) = (0..2).find(|column| pair && names(*column)) {
        return Ok((false, [file, 1 - file]));
    }
    match (file, label) {
        (Some(file), None) if pair => Ok((true, [file, 1 - file])),
        (None, Some(label)) if pair => Ok((true, [1 - label, label])),
        _ => {
            let which = match (file, label) {
                (None, Some(_)) => "the file",
                (Some(_), _) => "the label",
                (None, None) => "file and label",
            };
            bail!(
                "no usual name tells which column holds {which}: there are {}; name both by data.label_columns = \
                 [\"FILE\", \"LABEL\"]",
                there()
            )
        }
    }
}

/// A column's name without what people write differently.
pub(crate) fn plain(name: &str) -> String {
    name.trim().to_lowercase().replace([' ', '_', '-', '.'], "")
}

/// A label as text; nothing where there is none: empty, NaN, or a negative number.
fn text_of(label: &str) -> Option<String> {
    let none = label.is_empty() || ["nan", "null"].iter().any(|none| label.eq_ignore_ascii_case(none));
    let negative = || label.parse::<f64>().is_ok_and(|number| number < 0.0 && number.fract() == 0.0);
    (!none && !negative()).then(|| label.into())
}

/// Whole numbers that a program wrote with a point, as it does where some are missing, lose it: `1.0` is `1`.
fn whole(rows: &mut [Row]) {
    let parts = |label: &str| {
        let (whole, rest) = label.split_once('.').unwrap_or((label, "0"));
        let digits = !whole.is_empty() && whole.bytes().all(|b| b.is_ascii_digit());
        (digits && !rest.is_empty() && rest.bytes().all(|b| b == b'0')).then_some(whole.len())
    };
    if rows.iter().filter_map(|row| row.label.as_deref()).all(|label| parts(label).is_some()) {
        for label in rows.iter_mut().filter_map(|row| row.label.as_mut()) {
            label.truncate(parts(label).unwrap_or(label.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn rows(text: &str) -> Vec<String> {
        let named = |name: &str| ["1", "a.png", "b.png"].contains(&name);
        let table = read(text.as_bytes(), None, &named).unwrap();
        let row = |row: &Row| format!("{} {} {}", row.line, row.file, row.label.as_deref().unwrap_or("-"));
        table.rows.iter().map(row).collect()
    }

    fn message(text: &[u8], columns: Option<[&str; 2]>) -> String {
        let columns = columns.map(|names| names.map(String::from));
        format!("{:#}", read(text, columns.as_ref(), &|_| false).unwrap_err())
    }

    #[test]
    fn tables_of_every_kind_are_read() {
        let expected = ["2 a.png cat", "3 b.png -"];
        for text in [
            "filename,label\na.png,cat\nb.png,\n",
            "\u{feff}Label;Image Name\r\ncat;a.png\r\n-1;b.png\r\n",
            "x\tFILE_PATH\tCategory\n1\ta.png\tcat\n\t b.png \tNaN\n\n\t\t\n",
            "\"image_id\",\"notes, long\",\"class\"\n\"a.png\",\"seen at dusk, twice\",\"cat\"\n\"b.png\",,\"\"",
            "photo,what\na.png,cat\nb.png,-1.0",
            "picture of,species\na.png,cat\nb.png,null",
        ] {
            assert_eq!(rows(text), expected, "{text}");
        }
        assert_eq!(rows("a.png,cat\nb.png,dog"), ["1 a.png cat", "2 b.png dog"], "no header");
        assert_eq!(rows("cat,z.png\ndog,b.png"), ["1 z.png cat", "2 b.png dog"], "the file comes second");
        assert_eq!(rows("1,7\n2,8"), ["1 1 7", "2 2 8"]);
        assert_eq!(rows("id,y\na,1.0\nb,\nc,2.0"), ["2 a 1", "3 b -", "4 c 2"], "numbers that lost their kind");
        assert_eq!(rows("id,y\na,1.0\nb,2.5"), ["2 a 1.0", "3 b 2.5"]);
        assert_eq!(rows("path,label\nsub\\a.png,x"), ["2 sub/a.png x"]);
    }

    #[test]
    fn mistakes_say_what_was_expected() {
        let columns = Some(["file", "kind"]);
        for (text, columns, part) in [
            (&b"a,b,c\n1,2,3"[..], None, "which column holds file and label: there are \"a\", \"b\", \"c\""),
            (b"file,b,c\n1,2,3", None, "which column holds the label"),
            (b"file,b,c\n1,2,3", columns, "there is no column \"kind\", but \"file\", \"b\", \"c\""),
            (b"file\nx", None, "one column"),
            (b"", None, "no row"),
            (b"file,label\n", None, "a header and no row"),
            (b"file,label\nx", None, "line 2 has 1 columns, the first line has 2"),
            (b"file,label\nx,y,z", None, "line 2 has more columns"),
            (b"file,label\n\nx,y\n,z", None, "line 4 names no file"),
            (b"file,label\n\"x,y\nz,y\n", None, "line 2"),
            (b"file,label\nx,caf\xe9", None, "line 2 is not UTF-8"),
            (b"\xff\xfef\x00", None, "UTF-16"),
        ] {
            let message = message(text, columns);
            assert!(message.contains(part), "{message}");
        }
        assert!(message(b"file,label\nx,y", Some(["label", "LABEL"])).contains("one column twice"));
    }
}
