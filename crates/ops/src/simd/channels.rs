//! How a row-major `[R, C]` matrix is cut for loops whose work depends on the channel.
//!
//! The matrix is read as one with `period` columns, a common multiple of `C` and the vector length, so that every channel
//! count runs through the same full vectors. Values of a channel are repeated to one period, which is long enough for
//! sums over it not to wait for one another.

use super::vector::LANES;

/// Elements that one task handles: with three inputs 192 KiB of f32, inside L2.
const CHUNK: usize = 1 << 14;

/// Least length of a period.
const LEAST_PERIOD: usize = 256;

/// How a matrix with `channels` columns is cut.
#[derive(Clone, Copy, Debug)]
pub struct Columns {
    pub channels: usize,
    pub period: usize,
}

impl Columns {
    pub fn new(channels: usize) -> Self {
        let (mut a, mut b) = (channels, LANES);
        while b > 0 {
            (a, b) = (b, a % b);
        }
        let common = channels / a * LANES;
        Self { channels, period: LEAST_PERIOD.div_ceil(common) * common }
    }

    /// One value a channel, repeated to a period.
    pub fn repeat(&self, values: &[f32]) -> Vec<f32> {
        (0..self.period).map(|i| values[i % self.channels]).collect()
    }

    /// Sums over a period, added up by channel.
    pub fn fold(&self, sums: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; self.channels];
        for row in sums.chunks_exact(self.channels) {
            out.iter_mut().zip(row).for_each(|(o, s)| *o += s);
        }
        out
    }

    /// Elements of a task: whole periods.
    pub fn chunk(&self) -> usize {
        CHUNK.div_ceil(self.period) * self.period
    }
}
