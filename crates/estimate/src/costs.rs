//! Time of a step's operations on one GPU, by kind: lower bounds.

use crate::{Gpu, Work};
use simclr_core::config::Dtype;
use simclr_model::outline::Op;

/// The bits that tell what a ReLU lets through, beside the map's own bytes: a byte for 16 of them.
const MASK: f64 = 1.0 / 16.0;

/// What a step consists of, in the order of a table.
pub const KINDS: [&str; 9] = [
    "convolutions, forward",
    "convolutions, input gradients",
    "convolutions, weight gradients",
    "batch norm",
    "pools, gates, sums",
    "projection head",
    "contrastive loss",
    "teacher, forward",
    "optimiser",
];
const TEACHER: usize = 7;

/// What a loss costs in a step, besides the network's forward and backward over all views: of the whole batch, over all GPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossCost {
    /// Multiplications and additions of the loss, forward and backward, in f32.
    pub operations: f64,
    /// Bytes that it moves through memory.
    pub moved: f64,
    /// Bytes that it holds at once.
    pub held: f64,
    /// Bytes that each GPU holds whatever its part of the batch, such as a second encoder and a queue.
    pub kept: f64,
    /// Further forwards of the network over all views, such as those of a second encoder.
    pub forwards: f64,
    /// Bytes of which each rank needs those of all, such as projections: the bytes of all.
    pub gathered: f64,
    /// Bytes of sums over ranks in the backward pass, such as gradients of what was gathered.
    pub summed: f64,
}

/// Seconds of one kind of operation, and how many of them the multiplications bound.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Seconds at least.
    pub seconds: f64,
    /// Of those, seconds of operations that multiply for longer than they move.
    pub by_compute: f64,
}

impl Cost {
    fn add(&mut self, gpu: &Gpu, flops: f64, peak: f64, bytes: f64) {
        let (compute, memory) = (flops / peak, bytes / gpu.bandwidth);
        self.seconds += compute.max(memory);
        self.by_compute += if compute > memory { compute } else { 0.0 };
    }
}

/// Seconds of all kinds.
pub fn seconds(costs: &[Cost]) -> f64 {
    costs.iter().map(|c| c.seconds).sum()
}

/// How maps are stored, and what is kept of them.
#[derive(Clone, Copy, Debug)]
pub struct Mode {
    /// What maps are stored and multiplied as.
    pub dtype: Dtype,
    /// Whether residual blocks run again in the backward pass.
    pub recompute: bool,
}

impl Mode {
    /// Bytes of a map's number.
    pub fn size(self) -> f64 {
        match self.dtype {
            Dtype::F32 => 4.0,
            Dtype::Bf16 => 2.0,
        }
    }

    fn peak(self, gpu: &Gpu) -> f64 {
        match self.dtype {
            Dtype::F32 => gpu.tf32,
            Dtype::Bf16 => gpu.bf16,
        }
    }
}

/// A part of an operation's work: its kind, how often it multiplies, at which peak, and the bytes that it moves.
type Piece = (usize, f64, f64, f64);

/// The pieces of an operation on so many views: forward, and backward.
pub(crate) fn pieces(op: Op, views: f64, mode: Mode, gpu: &Gpu) -> (Piece, Vec<Piece>) {
    let (flops, peak, size) = (2.0 * views * op.multiply_adds() as f64, mode.peak(gpu), mode.size());
    // Passes over maps of so many numbers, and bytes besides.
    let bytes = |numbers: f64, plain: f64| views * size * numbers + plain;
    let plain = |kind: usize, forward: f64, backward: f64| {
        ((kind, 0.0, peak, bytes(forward, 0.0)), vec![(kind, 0.0, peak, bytes(backward, 0.0))])
    };
    match op {
        Op::Conv { from, to, first, .. } => {
            let moved = bytes((from.numbers() + to.numbers()) as f64, 4.0 * op.parameters() as f64);
            let back = if first { 2..3 } else { 1..3 };
            ((0, flops, peak, moved), back.map(|kind| (kind, flops, peak, moved)).collect())
        }
        // Forward: moments read once, the rest reads and writes. Back: sums read x and dy, the rest reads both and writes. A
        // residual is read, and what ReLU lets through is written as bits; back, these mask dy on the way, which is written.
        Op::Norm { map, residual, .. } => {
            let more = if residual { 1.0 + MASK } else { 0.0 };
            plain(3, (3.0 + more) * map.numbers() as f64, (5.0 + more) * map.numbers() as f64)
        }
        // With a byte for the place of each maximum, written and read.
        Op::Pool { from, to } => {
            let moved = bytes((from.numbers() + to.numbers()) as f64, views * to.numbers() as f64);
            ((4, 0.0, peak, moved), vec![(4, 0.0, peak, moved)])
        }
        // Read for the means and under the gates; back: x, dy and dx, and dx again for the means.
        Op::Gate { from, to } => {
            let (from, to) = (from.numbers() as f64, to.numbers() as f64);
            plain(4, 2.0 * from + to, 4.0 * from + to)
        }
        // Back: dy is masked where it stands, and copied.
        Op::Add { map } => plain(4, (3.0 + MASK) * map.numbers() as f64, (3.0 + MASK) * map.numbers() as f64),
        Op::Dense { from, to } => {
            let moved = 4.0 * (views * (from + to) as f64 + (from * to) as f64);
            let once = (5, flops, gpu.tf32, moved);
            (once, vec![once, once])
        }
    }
}

/// Seconds of a piece.
pub(crate) fn time(gpu: &Gpu, (_, flops, peak, bytes): Piece) -> f64 {
    (flops / peak).max(bytes / gpu.bandwidth)
}

impl Work<'_> {
    /// The kinds of a step on this GPU's `own` images of a batch of `batch`, all views of each; `more` further forwards through the
    /// whole network.
    pub fn costs(&self, gpu: &Gpu, mode: Mode, (own, batch): (f64, f64), more: f64) -> [Cost; KINDS.len()] {
        let mut costs = [Cost::default(); KINDS.len()];
        let views = self.views * own;
        let loss = (self.loss)(batch);
        let blocks = 1..self.outline.parts.len() - 1;
        let mut add = |(kind, flops, peak, bytes): Piece, times: f64| {
            costs[kind].add(gpu, times * flops, peak, times * bytes);
        };
        for (i, part) in self.outline.parts.iter().enumerate() {
            let forwards = 1.0 + more + loss.forwards + if mode.recompute && blocks.contains(&i) { 1.0 } else { 0.0 };
            for op in part {
                let (forward, backward) = pieces(*op, views, mode, gpu);
                add(forward, forwards);
                backward.into_iter().for_each(|piece| add(piece, 1.0));
            }
        }
        for op in self.teacher.into_iter().flat_map(|teacher| teacher.ops()) {
            let ((_, flops, peak, bytes), _) = pieces(op, own, mode, gpu);
            add((TEACHER, flops, peak, bytes), 1.0);
        }
        let share = own / batch;
        costs[6].add(gpu, share * loss.operations, gpu.f32, share * loss.moved);
        // LARS reads weights, gradients and momentum, then reads them again and writes two.
        costs[8].add(gpu, 0.0, gpu.f32, 4.0 * 8.0 * self.parameters);
        costs
    }
}
