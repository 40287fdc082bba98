//! Varints, and the wire format of protocol buffers: as much as checkpoints need, every length checked.

use anyhow::{Context, Result, bail};

/// Takes a little-endian base-128 integer off the front of `bytes`; `None` where they end or it needs more than 64 bits.
pub fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        value |= bits << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// Takes `n` bytes off the front of `bytes`.
pub fn take<'a>(bytes: &mut &'a [u8], n: u64) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(usize::try_from(n).ok()?)?;
    *bytes = rest;
    Some(head)
}

/// A little-endian `u32` from the front of `bytes`.
pub fn fixed32(bytes: &mut &[u8]) -> Option<u32> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    Some(u32::from_le_bytes(*head))
}

/// The value of a field of a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Field<'a> {
    /// An integer, a flag, an enum.
    Varint(u64),
    /// A string, bytes or a message.
    Bytes(&'a [u8]),
    /// Four bytes.
    Fixed32(u32),
    /// Eight bytes: nothing in a checkpoint's index has them, so they are only stepped over.
    Fixed64,
}

impl<'a> Field<'a> {
    /// The integer.
    ///
    /// # Errors
    /// For a field of another wire type.
    pub fn int(self) -> Result<u64> {
        match self {
            Self::Varint(value) => Ok(value),
            other => bail!("expected an integer, found {other:?}"),
        }
    }

    /// The bytes of a string or message.
    ///
    /// # Errors
    /// For a field of another wire type.
    pub fn bytes(self) -> Result<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            other => bail!("expected a string or a message, found {other:?}"),
        }
    }

    /// The text of a string.
    ///
    /// # Errors
    /// For a field of another wire type, or bytes that are not UTF-8.
    pub fn text(self) -> Result<&'a str> {
        std::str::from_utf8(self.bytes()?).context("a string is not UTF-8")
    }
}

/// The fields of a message, in order: number and value.
///
/// # Errors
/// When the message ends within a field, or has groups (wire types 3 and 4), which no checkpoint uses.
pub fn fields(mut message: &[u8]) -> Result<Vec<(u64, Field<'_>)>> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message).context("a message ends within a tag")?;
        let field = match tag & 7 {
            0 => varint(&mut message).map(Field::Varint),
            1 => take(&mut message, 8).map(|_| Field::Fixed64),
            2 => varint(&mut message).and_then(|n| take(&mut message, n)).map(Field::Bytes),
            5 => fixed32(&mut message).map(Field::Fixed32),
            wire => bail!("wire type {wire} in a message"),
        };
        fields.push((tag >> 3, field.with_context(|| format!("a message ends within field {}", tag >> 3))?));
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn varints() {
        let of = |bytes: &[u8]| varint(&mut &bytes[..]);
        assert_eq!((of(&[0]), of(&[0x7f]), of(&[0xac, 2])), (Some(0), Some(127), Some(300)));
        let most = [[0xff; 9].as_slice(), &[1]].concat();
        assert_eq!(of(&most), Some(u64::MAX));
        // Cut, one bit too many, endless.
        assert_eq!((of(&[0x80]), of(&[[0xff; 9].as_slice(), &[2]].concat()), of(&[0x80; 20])), (None, None, None));
    }

    #[test]
    fn messages() {
        // Field 1 = 300, field 2 = "ab", field 6 = 7 in four bytes, field 9 in eight.
        let message = [8, 0xac, 2, 18, 2, b'a', b'b', 53, 7, 0, 0, 0, 73, 0, 0, 0, 0, 0, 0, 0, 0];
        let got = fields(&message).unwrap();
        assert_eq!(got[..3], [(1, Field::Varint(300)), (2, Field::Bytes(b"ab")), (6, Field::Fixed32(7))]);
        assert_eq!(got[1].1.text().unwrap(), "ab");
        assert!(got[0].1.bytes().is_err() && got[1].1.int().is_err());
        for cut in [1, 2, 4, 6, 9, 15] {
            assert!(fields(&message[..cut]).is_err(), "cut at {cut}");
        }
        // A length past the end, and one that no machine could hold.
        for length in [vec![18, 9, 0], vec![18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]] {
            assert!(fields(&length).unwrap_err().to_string().contains("field 2"));
        }
        assert!(fields(&[11]).unwrap_err().to_string().contains("wire type 3"));
    }
}
