//! Names of samples: the same wherever a sample is stored, and as numbers for random streams.

use crate::decode;
use std::cmp::Ordering;
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

/// The natural order of names: numbers in them count as numbers, so that `2` stands before `10` and `img2` before `img10`.
/// Names that are equal so are ordered as text.
pub(crate) fn natural(a: &str, b: &str) -> Ordering {
    let (mut x, mut y) = (a.as_bytes(), b.as_bytes());
    let number = |text: &[u8]| text.iter().take_while(|b| b.is_ascii_digit()).count();
    let order = loop {
        let (m, n) = (number(x), number(y));
        let order = match (x.first(), y.first()) {
            (None, _) | (_, None) => break x.len().cmp(&y.len()),
            _ if m > 0 && n > 0 => {
                let zeros = |text: &[u8]| text.iter().take_while(|b| **b == b'0').count();
                let (p, q) = (&x[zeros(&x[..m])..m], &y[zeros(&y[..n])..n]);
                (x, y) = (&x[m..], &y[n..]);
                p.len().cmp(&q.len()).then_with(|| p.cmp(q))
            }
            (Some(p), Some(q)) => {
                (x, y) = (&x[1..], &y[1..]);
                p.cmp(q)
            }
        };
        if order.is_ne() {
            break order;
        }
    };
    order.then_with(|| a.cmp(b))
}

/// Scatters a hash over all of its bits: of names that differ in their last letters, FNV-1a's high bits hardly do.
pub(crate) fn scattered(hash: u64) -> u64 {
    let h = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let h = (h ^ (h >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    h ^ (h >> 31)
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
    fn numbers_in_names_count_as_numbers() {
        let mut names = ["img10", "10", "img2", "9", "b", "img2b", "img02", "a10c2", "a10c10", "", "1", "2"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["", "1", "2", "9", "10", "a10c2", "a10c10", "b", "img02", "img2", "img2b", "img10"]);
        let mut wordnet = ["n02000000", "n01440764", "n12000000", "n01443537"];
        wordnet.sort_by(|a, b| natural(a, b));
        assert!(wordnet.is_sorted(), "as text: {wordnet:?}");
        assert_eq!(natural("99999999999999999999999", "100000000000000000000000"), Ordering::Less);
    }

    #[test]
    fn hashes_are_the_published_ones() {
        // Known values of FNV-1a: views of all runs hang on them.
        assert_eq!((hash(""), hash("a")), (0xcbf2_9ce4_8422_2325, 0xaf63_dc4c_8601_ec8c));
        assert_eq!(hash("foobar"), 0x8594_4171_f739_67e8);
    }
}
