//! Near duplicates: pictures whose pixels, small and gray, are all but the same.

use simclr_core::rng::{Purpose, Rng};
use std::collections::BTreeMap;

/// Side of the small gray picture that is compared.
const SIDE: usize = 16;
/// Rows of the hash; each gives as many bits.
const BITS: usize = 8;
/// Brightness that two neighbours of the hash must differ by to count as different.
const STEP: f32 = 2.0;
/// Pictures of one hash that each is compared with at most: the next ones in the order of their pixels.
const COMPARED: usize = 64;

/// A picture's pixels in short, of the view `[S, S, C]` in 0..=1 that networks see.
pub struct Print {
    gray: [u8; SIDE * SIDE],
    hash: u64,
}

impl Print {
    /// Of a view.
    pub fn of(view: &[f32], side: usize, channels: usize) -> Self {
        let cells = averages(view, side, channels, SIDE, SIDE);
        let mut gray = [0; SIDE * SIDE];
        gray.iter_mut().zip(cells).for_each(|(byte, value)| *byte = value.round().clamp(0.0, 255.0) as u8);
        // Whether it gets brighter to the right: the same at any size and for small changes of light.
        let coarse = averages(view, side, channels, BITS, BITS + 1);
        let mut hash = 0;
        for row in coarse.chunks(BITS + 1) {
            for pair in row.windows(2) {
                hash = hash << 1 | u64::from(pair[1] > pair[0] + STEP);
            }
        }
        Self { gray, hash }
    }

    /// Whether the other's pixels are all but the same: they differ by a twentieth of what they differ by among themselves.
    fn matches(&self, other: &Self) -> bool {
        let apart: u32 = self.gray.iter().zip(&other.gray).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
        f64::from(apart) / (SIDE * SIDE) as f64 <= 0.5 + 0.05 * self.deviation().min(other.deviation())
    }

    fn deviation(&self) -> f64 {
        let n = (SIDE * SIDE) as f64;
        let mean = self.gray.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
        (self.gray.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n).sqrt()
    }
}

/// Means of the gray view over `rows` times `columns` cells, in 0..=255. A cell that is smaller than a pixel is that pixel.
fn averages(view: &[f32], side: usize, channels: usize, rows: usize, columns: usize) -> Vec<f32> {
    let span = |cell: usize, cells: usize| {
        let start = cell * side / cells;
        start..((cell + 1) * side / cells).max(start + 1)
    };
    let mut out = Vec::with_capacity(rows * columns);
    for row in 0..rows {
        for column in 0..columns {
            let (mut sum, mut count) = (0.0f64, 0);
            for y in span(row, rows) {
                for x in span(column, columns) {
                    let pixel = &view[(y * side + x) * channels..][..channels];
                    sum += pixel.iter().map(|v| f64::from(*v)).sum::<f64>() / channels as f64;
                    count += 1;
                }
            }
            out.push((255.0 * sum / f64::from(count)) as f32);
        }
    }
    out
}

/// Groups of two or more pictures that are all but the same, each ascending, the largest groups first. Two are compared
/// where a quarter of their hashes is equal; of hashes that very many share, each with the next 64 alone.
pub fn duplicates(prints: &[&Print]) -> Vec<Vec<usize>> {
    let mut above: Vec<usize> = (0..prints.len()).collect();
    for band in 0..4 {
        let part = |i: usize| (prints[i].hash >> (16 * band)) as u16;
        let mut order: Vec<usize> = (0..prints.len()).collect();
        order
            .sort_by(|a, b| part(*a).cmp(&part(*b)).then_with(|| prints[*a].gray.cmp(&prints[*b].gray)).then(a.cmp(b)));
        for alike in order.chunk_by(|a, b| part(*a) == part(*b)) {
            for (at, first) in alike.iter().enumerate() {
                for second in &alike[at + 1..alike.len().min(at + 1 + COMPARED)] {
                    let (a, b) = (root(&mut above, *first), root(&mut above, *second));
                    if a != b && prints[*first].matches(prints[*second]) {
                        above[a.max(b)] = a.min(b);
                    }
                }
            }
        }
    }
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for i in 0..prints.len() {
        let root = root(&mut above, i);
        groups.entry(root).or_default().push(i);
    }
    let mut groups: Vec<Vec<usize>> = groups.into_values().filter(|group| group.len() > 1).collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
    groups
}

fn root(above: &mut [usize], mut of: usize) -> usize {
    while above[of] != of {
        above[of] = above[above[of]];
        of = above[of];
    }
    of
}

/// `most` of `samples` at random, ascending; all where there are no more.
pub fn some_of(samples: &[u32], most: usize, seed: u64, which: u64) -> Vec<u32> {
    let mut some = samples.to_vec();
    if some.len() > most {
        Rng::stream(seed, Purpose::Review, &[1, which]).shuffle(&mut some);
        some.truncate(most);
        some.sort_unstable();
    }
    some
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u64, side: usize) -> Vec<f32> {
        // Blocks of 4 pixels, so that a picture keeps its character when it is made smaller.
        let mut rng = Rng::stream(seed, Purpose::Test, &[]);
        let cells: Vec<f32> = (0..64).map(|_| rng.unit()).collect();
        (0..side * side).flat_map(|i| [cells[i / side * 8 / side * 8 + i % side * 8 / side]; 3]).collect()
    }

    #[test]
    fn copies_are_found_whatever_was_done_to_them() {
        let plain = noise(1, 32);
        let brighter: Vec<f32> = plain.iter().map(|v| (v + 0.01).min(1.0)).collect();
        let mut rng = Rng::stream(9, Purpose::Test, &[]);
        let grainy: Vec<f32> = plain.iter().map(|v| (v + 0.02 * rng.normal()).clamp(0.0, 1.0)).collect();
        let mut prints: Vec<Print> = [&plain, &noise(2, 32), &brighter, &noise(3, 32), &grainy]
            .iter()
            .map(|view| Print::of(view, 32, 3))
            .collect();
        prints.push(Print::of(&noise(1, 64), 64, 3));
        prints.push(Print::of(&noise(3, 32), 32, 3));
        assert_eq!(duplicates(&prints.iter().collect::<Vec<_>>()), [vec![0, 2, 4, 5], vec![3, 6]]);
    }

    #[test]
    fn plain_pictures_of_other_colours_are_no_copies() {
        let prints: Vec<Print> = (0..20).map(|i| Print::of(&[i as f32 / 20.0; 64], 8, 1)).collect();
        assert!(duplicates(&prints.iter().collect::<Vec<_>>()).is_empty());
        let same: Vec<Print> = (0..300).map(|_| Print::of(&[0.5; 64], 8, 1)).collect();
        assert_eq!(
            duplicates(&same.iter().collect::<Vec<_>>()),
            [(0..300).collect::<Vec<_>>()],
            "a hash that many share"
        );
        assert!(duplicates(&[]).is_empty());
    }

    #[test]
    fn a_sample_is_a_function_of_its_seed() {
        let all: Vec<u32> = (0..100).collect();
        let some = some_of(&all, 10, 3, 0);
        assert!(
            some.len() == 10 && some.is_sorted() && some == some_of(&all, 10, 3, 0) && some != some_of(&all, 10, 4, 0)
        );
        assert_eq!(some_of(&all, 100, 3, 0), all);
    }
}
