//! Files of the kinds that programs read, made byte by byte so that each byte can be wrong.

use crate::soak::Draws;
use anyhow::{Context, Result};
use serde_json::{Map, Value as Json, json};

/// A safetensors file in its parts.
pub struct Tensors {
    /// Names to `dtype`, `shape` and `data_offsets`.
    pub header: Map<String, Json>,
    /// What they point into.
    pub data: Vec<u8>,
}

impl Tensors {
    /// Takes a whole file apart.
    ///
    /// # Errors
    /// When it is none.
    pub fn of(bytes: &[u8]) -> Result<Self> {
        let length: [u8; 8] = bytes.get(..8).and_then(|b| b.try_into().ok()).context("no length")?;
        let end = 8 + usize::try_from(u64::from_le_bytes(length))?;
        let header = serde_json::from_slice(bytes.get(8..end).context("no header")?)?;
        Ok(Self { header, data: bytes[end..].to_vec() })
    }

    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        Self::framed(Json::Object(self.header.clone()).to_string().as_bytes(), &self.data)
    }

    /// A file with any bytes for its header.
    pub fn framed(header: &[u8], data: &[u8]) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes(), header, data].concat()
    }

    /// Writes `number` over the first of a tensor of f32.
    ///
    /// # Errors
    /// When there is no such tensor.
    pub fn set(&mut self, name: &str, number: f32) -> Result<()> {
        let offset = self.header[name]["data_offsets"][0].as_u64().context("no such tensor")? as usize;
        self.data[offset..offset + 4].copy_from_slice(&number.to_le_bytes());
        Ok(())
    }

    /// Stores all tensors as another dtype, of `size` bytes a number, all of them zeros but for one's.
    pub fn retype(&mut self, dtype: &str, size: usize) {
        let mut offset = 0;
        for (name, entry) in &mut self.header {
            if name == "__metadata__" {
                continue;
            }
            let count =
                entry["shape"].as_array().into_iter().flatten().filter_map(Json::as_u64).product::<u64>() as usize;
            let shape = entry["shape"].clone();
            *entry = json!({"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + count * size]});
            offset += count * size;
        }
        self.data = vec![0; offset];
        self.data.iter_mut().step_by(size).for_each(|byte| *byte = 1);
    }
}

/// Bytes with `count` bits flipped.
pub fn flipped(bytes: &[u8], count: usize, draws: &mut Draws) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..count.min(out.len()) {
        let at = draws.below(out.len());
        out[at] ^= 1 << draws.below(8);
    }
    out
}

/// An IDX file: its magic number, its lengths, its data.
pub fn idx(magic: u32, lengths: &[u32], data: &[u8]) -> Vec<u8> {
    let head = [magic].iter().chain(lengths).flat_map(|v| v.to_be_bytes()).collect::<Vec<u8>>();
    [head.as_slice(), data].concat()
}

/// A PNG of gray pixels, not compressed.
pub fn png(width: u32, height: u32, pixel: u8) -> Vec<u8> {
    let rows: Vec<u8> =
        (0..height).flat_map(|_| std::iter::once(0).chain((0..width).map(|x| pixel ^ x as u8))).collect();
    let mut stream = vec![0x78, 1];
    let mut blocks = rows.chunks(65_535).peekable();
    while let Some(block) = blocks.next() {
        let length = block.len() as u16;
        stream.push(u8::from(blocks.peek().is_none()));
        stream.extend([length.to_le_bytes(), (!length).to_le_bytes()].concat());
        stream.extend(block);
    }
    let (a, b) = rows.iter().fold((1u32, 0u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (a + b) % 65_521)
    });
    stream.extend((b << 16 | a).to_be_bytes());
    let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    file.extend(chunk(b"IHDR", &[size.as_slice(), &[8, 0, 0, 0, 0]].concat()));
    file.extend(chunk(b"IDAT", &stream));
    file.extend(chunk(b"IEND", &[]));
    file
}

/// A part of a PNG with its checksum.
fn chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let body = [name.as_slice(), data].concat();
    let crc = body.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    });
    [&(data.len() as u32).to_be_bytes(), body.as_slice(), &(!crc).to_be_bytes()].concat()
}

/// A PNG whose header says what it does not hold.
pub fn png_that_says(width: u32, height: u32) -> Vec<u8> {
    let mut file = png(4, 4, 9);
    let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
    let header = chunk(b"IHDR", &[size.as_slice(), &[8, 0, 0, 0, 0]].concat());
    file.splice(8..8 + header.len(), header);
    file
}

/// A PGM of text.
pub fn pgm(width: usize, height: usize) -> Vec<u8> {
    let pixels: Vec<String> = (0..width * height).map(|i| (i * 7 % 256).to_string()).collect();
    format!("P2 {width} {height} 255\n{}\n", pixels.join(" ")).into_bytes()
}

/// A BMP of 8 bits with a palette of two colours.
pub fn bmp() -> Vec<u8> {
    [
        b"BM\x4a\0\0\0\0\0\0\0\x3e\0\0\0\x28\0\0\0\x03\0\0\0\x02\0\0\0\x01\0\x08\0\x01\0\0\0\x0c\0\0\0".as_slice(),
        &[0; 8],
        &[2, 0, 0, 0, 0, 0, 0, 0, 9, 8, 7, 0, 1, 2, 3, 0],
        &[3, 1, 0, 0, 0, 3, 1, 0, 1, 0, 0, 1],
    ]
    .concat()
}

/// A TIFF of 3x4 pixels of two bytes, not compressed.
pub fn tiff() -> Vec<u8> {
    let tags: [(u16, u16); 9] =
        [(256, 4), (257, 3), (258, 16), (259, 1), (262, 1), (273, 122), (277, 1), (278, 3), (279, 24)];
    let mut file = b"II*\0\x08\0\0\0\x09\0".to_vec();
    for (tag, value) in tags {
        file.extend([tag.to_le_bytes(), [3, 0], [1, 0], [0, 0], value.to_le_bytes(), [0, 0]].concat());
    }
    file.extend([0; 4]);
    file.extend(0..24);
    file
}

/// NumPy's file with this header and so many bytes of data.
pub fn npy(header: &str, data: usize) -> Vec<u8> {
    let text = format!("{header}\n");
    [b"\x93NUMPY\x01\0".as_slice(), &(text.len() as u16).to_le_bytes(), text.as_bytes(), &vec![7; data]].concat()
}

/// A tar file's header and data, padded to blocks; the end is not part of it.
pub fn member(name: &str, data: &[u8]) -> Vec<u8> {
    member_that_says(name, data, &format!("{:011o}\0", data.len()), b'0')
}

/// A member with any text for its size, and any kind.
pub fn member_that_says(name: &str, data: &[u8], size: &str, kind: u8) -> Vec<u8> {
    let mut head = [0u8; 512];
    let name = &name.as_bytes()[..name.len().min(100)];
    head[..name.len()].copy_from_slice(name);
    head[100..108].copy_from_slice(b"0000644\0");
    head[124..124 + size.len().min(12)].copy_from_slice(&size.as_bytes()[..size.len().min(12)]);
    head[136..148].copy_from_slice(b"00000000000\0");
    head[156] = kind;
    head[257..265].copy_from_slice(b"ustar\x0000");
    head[148..156].fill(b' ');
    let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
    head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut out = [head.as_slice(), data].concat();
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

/// A tar file of members.
pub fn tar(members: &[Vec<u8>]) -> Vec<u8> {
    [members.concat(), vec![0; 1024]].concat()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_safetensors_file_comes_back_as_it_was() {
        let entry = json!({"dtype": "F32", "shape": [2], "data_offsets": [0, 8]});
        let mut file = Tensors { header: Map::from_iter([("a".to_string(), entry)]), data: vec![0; 8] };
        file.set("a", 1.5).unwrap();
        let mut again = Tensors::of(&file.bytes()).unwrap();
        assert_eq!((again.header.clone(), &again.data[..4]), (file.header, &1.5f32.to_le_bytes()[..]));
        again.retype("F64", 8);
        assert_eq!(again.header["a"]["data_offsets"], json!([0, 16]));
    }

    #[test]
    fn checksums_are_those_of_the_formats() {
        // The end of every PNG.
        assert_eq!(chunk(b"IEND", &[])[8..], [0xae, 0x42, 0x60, 0x82]);
        assert_eq!(member("a", b"x").len(), 1024);
    }
}
