//! The header of a safetensors file: names, types, shapes and places, held against one another and the file's length.

use crate::bounds;
use crate::fit::{quoted, short};
use anyhow::{Context, Result, anyhow, ensure};
use candle_core::DType;
use safetensors::Dtype;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::io::Read;

/// A tensor of a file.
#[derive(Debug)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its type.
    pub dtype: DType,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Where it begins and ends, counted from behind the header.
    pub place: (usize, usize),
}

/// What a file says of itself: text by key, and tensors in the order of their bytes, which leave no gap.
#[derive(Debug)]
pub struct Header {
    /// Its `__metadata__`.
    pub metadata: BTreeMap<String, String>,
    /// Its tensors.
    pub entries: Vec<Entry>,
    /// Bytes of the file before those of the tensors.
    pub bytes: Vec<u8>,
}

impl Header {
    /// Reads the beginning of a file of `length` bytes. Nothing larger is allocated than the file is, nor than
    /// [`bounds::SMALL_FILE`] allows.
    ///
    /// # Errors
    /// When it is cut, too large or no such header, a name comes twice, a type is unknown, shapes and places do not agree, or
    /// the file is not as long as they say: the message names the tensor.
    pub fn read(file: &mut impl Read, length: u64) -> Result<Self> {
        let mut bytes = Vec::new();
        file.take(8).read_to_end(&mut bytes)?;
        let size = bytes.first_chunk::<8>().map(|size| u64::from_le_bytes(*size));
        let size = size.with_context(|| format!("it ends after {} bytes, within its header's length", bytes.len()))?;
        ensure!(
            size <= length.saturating_sub(8),
            "its header is said to have {size} bytes, and the file has {length}: it is cut, or no safetensors file"
        );
        ensure!(
            size <= bounds::SMALL_FILE,
            "its header is said to have {size} bytes, at most {} are read",
            bounds::SMALL_FILE
        );
        file.take(size).read_to_end(&mut bytes)?;
        ensure!(bytes.len() as u64 == 8 + size, "it ends within its header");
        let Keys { metadata, tensors } = serde_json::from_slice(&bytes[8..])
            .map_err(|error| anyhow!("its header cannot be read: {}", quoted(&error.to_string())))?;
        let mut entries = Vec::new();
        for (name, info) in tensors {
            entries.push(entry(&name, info).with_context(|| format!("the header's entry \"{}\"", short(&name)))?);
        }
        // By name where one is empty.
        entries.sort_by(|a, b| (a.place, &a.name).cmp(&(b.place, &b.name)));
        let mut end = 0;
        for entry in &entries {
            ensure!(
                entry.place.0 == end,
                "{} begins at byte {}, and the tensor before it ends at {end}: tensors may neither overlap nor leave gaps",
                short(&entry.name),
                entry.place.0
            );
            end = entry.place.1;
        }
        let stated = (8 + size).checked_add(end as u64);
        ensure!(
            stated == Some(length),
            "its header tells of {end} bytes of tensors, and there are {}: it is cut or too long",
            length - 8 - size
        );
        Ok(Self { metadata: metadata.into_iter().collect(), entries, bytes })
    }
}

/// An entry as it is written.
#[derive(serde::Deserialize)]
struct Info {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (usize, usize),
}

fn entry(name: &str, info: Info) -> Result<Entry> {
    let known = serde_json::from_value::<Dtype>(info.dtype.clone().into()).ok();
    let dtype = known.and_then(|dtype| DType::try_from(dtype).ok());
    let dtype =
        dtype.with_context(|| format!("unknown type \"{}\": weights are F32, F16, BF16 or F64", short(&info.dtype)))?;
    let (start, end) = info.data_offsets;
    let size = info.shape.iter().try_fold(dtype.size_in_bytes(), |size, side| size.checked_mul(*side));
    ensure!(
        end.checked_sub(start).is_some_and(|held| Some(held) == size),
        "shape {:?} of {dtype:?} does not fill the bytes {start} to {end}",
        &info.shape[..info.shape.len().min(8)]
    );
    Ok(Entry { name: name.into(), dtype, shape: info.shape, place: (start, end) })
}

/// The keys of a header, each of which may come once.
struct Keys {
    metadata: Vec<(String, String)>,
    tensors: Vec<(String, Info)>,
}

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Once;
        impl<'de> Visitor<'de> for Once {
            type Value = Keys;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of tensors by name")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let (mut names, mut keys) = (HashSet::new(), Keys { metadata: vec![], tensors: vec![] });
                while let Some(name) = map.next_key::<String>()? {
                    if !names.insert(name.clone()) {
                        return Err(A::Error::custom(format_args!("the name \"{}\" comes twice", short(&name))));
                    }
                    match name.as_str() {
                        "__metadata__" => keys.metadata = map.next_value::<Texts>()?.0,
                        _ => keys.tensors.push((name, map.next_value()?)),
                    }
                }
                Ok(keys)
            }
        }
        deserializer.deserialize_map(Once)
    }
}

/// Texts by key, each of which may come once.
struct Texts(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Once;
        impl<'de> Visitor<'de> for Once {
            type Value = Texts;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of texts")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Texts, A::Error> {
                let (mut names, mut texts) = (BTreeSet::new(), vec![]);
                while let Some((name, text)) = map.next_entry::<String, String>()? {
                    if !names.insert(name.clone()) {
                        return Err(A::Error::custom(format_args!("the key \"{}\" comes twice", short(&name))));
                    }
                    texts.push((name, text));
                }
                Ok(Texts(texts))
            }
        }
        deserializer.deserialize_map(Once)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(header: &str, data: u64) -> Result<Header> {
        let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
        Header::read(&mut bytes.as_slice(), bytes.len() as u64 + data)
    }

    fn tensor(name: &str, dtype: &str, shape: &str, place: (u64, u64)) -> String {
        format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{},{}]}}"#, place.0, place.1)
    }

    #[test]
    fn entries_come_in_the_order_of_their_bytes() {
        let (a, b) = (tensor("a", "F32", "[2,1]", (4, 12)), tensor("b", "BF16", "[2]", (0, 4)));
        let none = tensor("none", "F32", "[0,9]", (4, 4));
        let header = read(&format!(r#"{{{a},{b},"__metadata__":{{"format":"pt"}},{none}}}"#), 12).unwrap();
        assert_eq!(header.entries.iter().map(|e| e.name.as_str()).collect::<Vec<_>>(), ["b", "none", "a"]);
        assert_eq!((header.metadata["format"].as_str(), header.entries[2].dtype), ("pt", DType::F32));
    }

    #[test]
    fn lies_are_told_with_the_name_of_the_tensor() {
        let a = tensor("a", "F32", "[2]", (0, 8));
        let huge = u64::MAX;
        for (header, data, why) in [
            (format!("{{{a}}}"), 7, "tells of 8 bytes of tensors, and there are 7"),
            (format!("{{{a}}}"), 9, "tells of 8 bytes of tensors, and there are 9"),
            (format!("{{{a},{a}}}"), 8, "the name \"a\" comes twice"),
            (format!("{{{a},\"__metadata__\":{{\"x\":\"1\",\"x\":\"2\"}}}}"), 8, "the key \"x\" comes twice"),
            (format!("{{{a},{}}}", tensor("b", "F32", "[1]", (4, 8))), 8, "b begins at byte 4"),
            (format!("{{{a},{}}}", tensor("b", "F32", "[1]", (12, 16))), 16, "b begins at byte 12"),
            (format!("{{{}}}", tensor("b", "F33", "[1]", (0, 4))), 4, "entry \"b\": unknown type \"F33\""),
            (format!("{{{}}}", tensor("b", "F32", "[3]", (0, 4))), 4, "entry \"b\": shape [3] of F32"),
            (format!("{{{}}}", tensor("b", "F32", &format!("[{huge},{huge}]"), (0, 4))), 4, "does not fill"),
            (format!("{{{}}}", tensor("b", "F32", "[0]", (8, 4))), 4, "bytes 8 to 4"),
            (format!("{{{}}}", tensor("b", "F32", "[-1]", (0, 4))), 4, "header cannot be read: invalid value"),
            ("[".repeat(10_000), 0, "header cannot be read"),
            (String::new(), 0, "header cannot be read: EOF"),
        ] {
            let message = format!("{:#}", read(&header, data).unwrap_err());
            assert!(message.contains(why), "{message}, expected {why}");
        }
        for size in [huge, 4 << 30, 100] {
            let message = Header::read(&mut &[size.to_le_bytes(), [b'{'; 8]].concat()[..], 16).unwrap_err().to_string();
            assert!(message.contains(&format!("{size} bytes, and the file has 16")), "{message}");
        }
        // A long file does not justify every header.
        let message = Header::read(&mut &(4u64 << 30).to_le_bytes()[..], 5 << 30).unwrap_err().to_string();
        assert!(message.contains("at most 16777216 are read"), "{message}");
    }
}
