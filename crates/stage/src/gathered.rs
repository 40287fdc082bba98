//! What each rank has made of its part of some images, put together on all of them.

use anyhow::{Context, Result};
use simclr_ops::Group;

/// Numbers that a rank hands over at a time, 64 MiB: features of a large dataset are gigabytes, which no message should hold.
const PIECE: usize = 16 << 20;

/// The numbers of all ranks, one after the other, in the order of ranks; a rank may have none.
///
/// # Errors
/// When a rank has ended.
pub fn floats(group: &Group, own: Vec<f32>) -> Result<Vec<f32>> {
    words(group, own, PIECE, (f32::to_le_bytes, f32::from_le_bytes))
}

/// The same of whole numbers.
///
/// # Errors
/// When a rank has ended.
pub fn indices(group: &Group, own: Vec<u32>) -> Result<Vec<u32>> {
    words(group, own, PIECE, (u32::to_le_bytes, u32::from_le_bytes))
}

/// The texts of all ranks, in the order of ranks.
///
/// # Errors
/// When a rank has ended.
pub fn texts(group: &Group, own: Vec<String>) -> Result<Vec<String>> {
    if group.is_alone() {
        return Ok(own);
    }
    let all = group.exchange(&serde_json::to_vec(&own)?)?;
    let lists = all.iter().map(|text| serde_json::from_slice::<Vec<String>>(text).context("a list of another rank"));
    Ok(lists.collect::<Result<Vec<_>>>()?.concat())
}

type Bytes<T> = (fn(T) -> [u8; 4], fn([u8; 4]) -> T);

fn words<T: Copy>(group: &Group, own: Vec<T>, piece: usize, (to, from): Bytes<T>) -> Result<Vec<T>> {
    if group.is_alone() {
        return Ok(own);
    }
    let lengths = group.exchange(&(own.len() as u64).to_le_bytes())?;
    let lengths = lengths.iter().filter_map(|b| Some(u64::from_le_bytes(b.as_slice().try_into().ok()?) as usize));
    let lengths: Vec<usize> = lengths.collect();
    let mut of_ranks: Vec<Vec<T>> = lengths.iter().map(|len| Vec::with_capacity(*len)).collect();
    // As many rounds as the longest needs: whoever has no more says nothing.
    for round in 0..lengths.iter().copied().max().unwrap_or(0).div_ceil(piece) {
        let part = own.get(round * piece..).unwrap_or_default();
        let part = &part[..part.len().min(piece)];
        let said = group.exchange(&part.iter().flat_map(|word| to(*word)).collect::<Vec<_>>())?;
        for (all, bytes) in of_ranks.iter_mut().zip(said) {
            all.extend(bytes.chunks_exact(4).filter_map(|b| b.try_into().ok()).map(from));
        }
    }
    Ok(of_ranks.concat())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use simclr_ops::collective::threads;

    #[test]
    fn parts_of_any_length_line_up() {
        let lengths = [3usize, 0, 7, 2];
        let expected: Vec<f32> = lengths.iter().enumerate().flat_map(|(r, n)| vec![r as f32 + 0.5; *n]).collect();
        std::thread::scope(|scope| {
            for collective in threads(lengths.len()) {
                let (expected, group) = (&expected, Group::of(collective));
                scope.spawn(move || {
                    let own = vec![group.rank() as f32 + 0.5; lengths[group.rank()]];
                    let bytes: Bytes<f32> = (f32::to_le_bytes, f32::from_le_bytes);
                    // Pieces that divide some lengths, some not, and one that holds all.
                    for piece in [1, 2, 3, 100] {
                        assert_eq!(words(&group, own.clone(), piece, bytes).unwrap(), *expected, "{piece}");
                    }
                    assert!(words(&group, Vec::new(), 2, bytes).unwrap().is_empty());
                    let said = vec![format!("\"{}\"", group.rank()); group.rank()];
                    assert_eq!(texts(&group, said).unwrap().join(" "), r#""1" "2" "2" "3" "3" "3""#);
                });
            }
        });
        let alone = Group::default();
        assert_eq!(indices(&alone, vec![3, 4]).unwrap(), [3, 4]);
    }
}
