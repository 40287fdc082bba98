//! Maps as rows of packs of 16 bytes: how launches cut them into tiles and parts, and what is merged or kept beside them.

use super::machine::{Arg, At, Kernels, Launch, MOST_BLOCKS, Machine, Number, THREADS, count};
use candle_core::Result;

/// Most packs of a tile side by side: what a warp reads of a row.
const MOST_SIDE: usize = 32;

/// A map as rows of packs, of which a block takes a tile at a time, as device.cuh does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling {
    rows: u32,
    packs: u32,
    side: u32,
    tiles: u32,
    /// Packs are of 16 bytes.
    pub wide: bool,
}

impl Tiling {
    /// The tiles of maps `[rows, c]`. Packs are wide where a row is a whole number of them, and the addresses of all `maps`
    /// allow it.
    ///
    /// # Errors
    /// As [`count`].
    pub fn of<T: Number>(rows: usize, c: usize, maps: &[At<T>]) -> Result<Self> {
        let wide = c.is_multiple_of(T::LANES) && maps.iter().all(|m| m.0.is_multiple_of(16));
        Self::new(rows, if wide { c / T::LANES } else { c }, wide)
    }

    /// As [`Tiling::of`], element by element whatever the maps allow.
    ///
    /// # Errors
    /// As [`count`].
    pub fn narrow(rows: usize, c: usize) -> Result<Self> {
        Self::new(rows, c, false)
    }

    fn new(rows: usize, packs: usize, wide: bool) -> Result<Self> {
        // Kernels number the packs of the whole map.
        count(rows * packs)?;
        let tiles = packs.div_ceil(MOST_SIDE);
        let side = packs.div_ceil(tiles);
        Ok(Self { rows: count(rows)?, packs: count(packs)?, side: count(side)?, tiles: count(tiles)?, wide })
    }

    /// Rows that a block takes at a time.
    pub fn rows_at_once(&self) -> usize {
        (THREADS / self.side) as usize
    }

    /// Packs of the map.
    pub fn all_packs(&self) -> usize {
        self.rows as usize * self.packs as usize
    }

    /// As kernels' arguments.
    pub fn args(&self) -> [Arg; 3] {
        [self.packs, self.side, self.tiles].map(Arg::U32)
    }

    /// How an element-wise kernel cuts the rows: rows of a part, and parts. A thread takes eight rows, or more of a large
    /// map, up to 32: it loads what belongs to its channels once.
    pub fn spread(&self) -> (usize, usize) {
        let (rows, at_once) = (self.rows as usize, self.rows_at_once());
        let of_thread = (rows * self.tiles as usize).div_ceil(at_once * MOST_BLOCKS as usize).clamp(8, 32);
        let per_part = of_thread.next_multiple_of(4) * at_once;
        (per_part, rows.div_ceil(per_part))
    }

    /// Into how many blocks the rows of one of `images` images are split, for kernels that stay with an image: a thread
    /// takes eight of its rows or more.
    pub fn splits(&self, images: usize) -> usize {
        (self.rows as usize / images.max(1)).div_ceil(8 * self.rows_at_once())
    }

    /// A launch of so many parts of the rows.
    ///
    /// # Errors
    /// As [`count`].
    pub fn launch(&self, kernels: Kernels, kernel: impl Into<String>, parts: usize, args: Vec<Arg>) -> Result<Launch> {
        Launch::rows(kernels, kernel, parts * self.tiles as usize, args)
    }
}

/// Which elements of a map a ReLU let through: a byte for each of its packs, the first element in the lowest bit.
pub struct Mask<M: Machine> {
    bits: M::Memory<u8>,
    lanes: u32,
}

impl<M: Machine> Mask<M> {
    /// Room for the mask of so many packs of `T`.
    ///
    /// # Errors
    /// When memory is short.
    pub fn new<T: Number>(m: &M, packs: usize, wide: bool) -> Result<Self> {
        Ok(Self { bits: m.room::<u8>(packs)?, lanes: if wide { T::LANES as u32 } else { 1 } })
    }

    /// Where it stands.
    pub fn at(&self, m: &M) -> At<u8> {
        m.at(&self.bits)
    }

    /// Elements of its packs.
    pub fn lanes(&self) -> u32 {
        self.lanes
    }

    /// A byte is one element.
    pub fn is_narrow(&self) -> bool {
        self.lanes == 1
    }
}

/// Columns of a block that merges partial results, and most of these, as in device.cuh.
const MERGE_COLUMNS: usize = 8;
pub const MOST_PARTS: usize = 1024;

impl Launch {
    /// Merges the partial results of `columns`.
    ///
    /// # Errors
    /// As [`count`].
    pub fn merge(kernels: Kernels, kernel: impl Into<String>, columns: usize, args: Vec<Arg>) -> Result<Self> {
        Self::rows(kernels, kernel, columns.div_ceil(MERGE_COLUMNS), args)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn packs_are_counted_not_elements() {
        let map = [At::<half::bf16>::new(256)];
        // As packs of 16 bytes a map of 2^34 elements is within bounds; the next row is not.
        assert_eq!(Tiling::of(1 << 28, 64, &map).unwrap().all_packs(), 1 << 31);
        assert!(Tiling::of((1 << 28) + 1, 64, &map).is_err());
        assert!(Tiling::of(1 << 31, 3, &map).is_err());
    }

    /// Each row has its part, and a thread as many rows as the kernels unroll.
    #[test]
    fn tiles_cover_maps() {
        for (rows, c) in [(1, 1), (7, 3), (256 * 49, 2048), (256 * 56 * 56, 64), (256 * 112 * 112, 64), (512, 24)] {
            let tiling = Tiling::of(rows, c, &[At::<half::bf16>::new(0)]).unwrap();
            assert!(tiling.side as usize <= MOST_SIDE && tiling.side * tiling.tiles >= tiling.packs);
            let (per_part, parts) = tiling.spread();
            assert!(per_part * parts >= rows && per_part * (parts - 1) < rows, "{rows} rows of {c}");
            assert!(per_part.is_multiple_of(4 * tiling.rows_at_once()));
        }
    }
}
