//! Names of samples: the same wherever a sample is stored, and as numbers for random streams.

use crate::decode;
use std::sync::LazyLock;

/// FNV-1a: 64 bits that are the same on every machine and in every version.
pub(crate) fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// The stem of a path, without what the hub's ImageNet appends to it: `val/n01440764/a_10026_n01440764.JPEG` is `a_10026`.
pub fn stable_name(path: &str) -> &str {
    let file = path.rsplit(['/', '\\']).next().unwrap_or(path);
    let stem = match file.rsplit_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem,
        _ => file,
    };
    match stem.rsplit_once('_') {
        Some((rest, last)) if !rest.is_empty() && is_wordnet(last) => rest,
        _ => stem,
    }
}

/// Endings of the files that count as pictures, whatever their case; others are passed over.
pub(crate) static PICTURES: LazyLock<Vec<&str>> = LazyLock::new(|| decode::endings().collect());

/// Whether a file's name ends like a picture's.
pub fn is_picture(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, end)| decode::endings().any(|p| end.eq_ignore_ascii_case(p)))
}

/// Whether this is a class of ImageNet: `n` and eight digits.
pub(crate) fn is_wordnet(text: &str) -> bool {
    text.len() == 9 && text.starts_with('n') && text[1..].bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_depend_on_the_storage() {
        for path in [
            "n01440764/n01440764_10026.JPEG",
            "n01440764_10026_n01440764.JPEG",
            "/data/train/n01440764_10026.jpg",
            "n01440764_10026",
            "C:\\pictures\\n01440764_10026.png",
        ] {
            assert_eq!(stable_name(path), "n01440764_10026", "{path}");
        }
        assert_eq!(stable_name("ILSVRC2012_val_00000293_n01440764.JPEG"), "ILSVRC2012_val_00000293");
        for (path, name) in [("n01440764.jpg", "n01440764"), ("_n01440764", "_n01440764"), (".hidden", ".hidden")] {
            assert_eq!(stable_name(path), name);
        }
        assert_eq!(stable_name("a.b.tar.png"), "a.b.tar");
        assert_eq!(stable_name("a_n0144076.png"), "a_n0144076");
    }

    #[test]
    fn hashes_are_the_published_ones() {
        // Known values of FNV-1a: views of all runs hang on them.
        assert_eq!((hash(""), hash("a")), (0xcbf2_9ce4_8422_2325, 0xaf63_dc4c_8601_ec8c));
        assert_eq!(hash("foobar"), 0x8594_4171_f739_67e8);
    }
}
