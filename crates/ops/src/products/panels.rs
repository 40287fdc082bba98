//! Weights laid out for the sums over windows: blocks of output channels, and blocks of depth that fit L2.

use super::blocks::{Panel, vectors};
use super::runs::Segment;
use crate::simd::LANES;
use crate::tensor::filled;
use rayon::prelude::*;

/// Depth of a block of sums: its panel of weights (256 KiB) stays in L2 while all pixels of a task pass.
const DEPTH: usize = 1024;

/// Weights of a sum over windows, laid out for the kernel: blocks of channels, each `[depth, vectors * LANES]`.
pub struct Panels {
    depth: usize,
    /// Channels in all.
    pub channels: usize,
    vectors: usize,
    data: Vec<f32>,
}

impl Panels {
    /// `fill(first, panel)` writes the panel of the channels from `first` on; one of more channels than are left starts as
    /// zeros.
    pub fn new(depth: usize, channels: usize, fill: impl Fn(usize, &mut [f32]) + Sync) -> Self {
        let vectors = vectors(channels);
        let width = vectors * LANES;
        let data = filled(channels.div_ceil(width) * width * depth, |data| {
            data.par_chunks_mut(width * depth).enumerate().for_each(|(i, panel)| {
                if (i + 1) * width > channels {
                    panel.fill(0.0);
                }
                fill(i * width, panel);
            });
        });
        Self { depth, channels, vectors, data }
    }

    /// Of `[O, depth]`.
    pub fn transposed(weight: &[f32], o: usize) -> Self {
        let (depth, width) = (weight.len() / o, vectors(o) * LANES);
        Self::new(depth, o, |first, panel| {
            // A piece of the panel at a time, which L1 holds.
            for (i, piece) in panel.chunks_mut(width * LANES).enumerate() {
                for (lane, row) in weight[first * depth..].chunks_exact(depth).take(width).enumerate() {
                    let row = &row[i * LANES..];
                    piece.iter_mut().skip(lane).step_by(width).zip(row).for_each(|(p, w)| *p = *w);
                }
            }
        })
    }

    /// Of rows that hold all channels of one step of the depth.
    pub fn of_rows<'a>(depth: usize, channels: usize, row: impl Fn(usize) -> &'a [f32] + Sync) -> Self {
        let width = vectors(channels) * LANES;
        Self::new(depth, channels, |first, panel| {
            let live = width.min(channels - first);
            for (d, line) in panel.chunks_exact_mut(width).enumerate() {
                line[..live].copy_from_slice(&row(d)[first..first + live]);
            }
        })
    }

    /// Channels of a panel.
    pub fn width(&self) -> usize {
        self.vectors * LANES
    }

    /// The panels' first channels.
    pub fn firsts(&self) -> impl Iterator<Item = usize> {
        (0..self.channels).step_by(self.vectors * LANES)
    }

    /// Steps `start..end` of the depth for the channels from `first` on.
    pub fn part(&self, first: usize, (start, end): (usize, usize)) -> Panel<'_> {
        let width = self.vectors * LANES;
        let weights = &self.data[first * self.depth..][start * width..end * width];
        Panel { weights, vectors: self.vectors, lanes: width.min(self.channels - first) }
    }
}

/// Segments cut into blocks of at most [`DEPTH`], with the steps of the depth that each block covers.
pub fn depth_blocks(segments: &[Segment]) -> Vec<(Vec<Segment>, (usize, usize))> {
    let mut blocks: Vec<(Vec<Segment>, (usize, usize))> = Vec::new();
    let mut done = 0;
    for segment in segments {
        let mut offset = 0;
        while offset < segment.depth {
            let room = blocks.last().map_or(0, |(_, (start, end))| DEPTH - (end - start));
            if room == 0 {
                blocks.push((Vec::new(), (done, done)));
                continue;
            }
            let depth = room.min(segment.depth - offset);
            if let Some((block, (_, end))) = blocks.last_mut() {
                block.push(Segment { offset: segment.offset + offset, depth });
                *end += depth;
            }
            (offset, done) = (offset + depth, done + depth);
        }
    }
    blocks
}
