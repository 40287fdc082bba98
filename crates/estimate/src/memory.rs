//! Memory of a step on one GPU.

use crate::{Gpu, Mode, Work};
use simclr_model::outline::Op;

impl Work<'_> {
    /// Bytes that are there at once on a GPU that has `own` images of a batch of `batch`: with all activations, with those of one
    /// block, or of `chunk` images at a time.
    pub fn memory(&self, gpu: &Gpu, mode: Mode, (own, batch): (f64, f64), chunk: Option<f64>) -> f64 {
        let kept = |part: &[Op]| part.iter().map(|op| op.kept()).sum::<usize>() as f64;
        // In the backward pass, part by part: what earlier parts keep, what this one does, and the gradients at hand: those of
        // an operation's two maps, and one that waits for the shortcut's.
        let (mut earlier, mut held) = (0.0, 0.0f64);
        for (i, part) in self.outline.parts.iter().enumerate() {
            let gradients = 1.5 * part.iter().map(|op| span(*op)).fold(0.0, f64::max);
            held = held.max(earlier + kept(part) + gradients);
            let block = i > 0 && i + 1 < self.outline.parts.len();
            // A block that is recomputed keeps its output alone, the next one's input.
            earlier += if mode.recompute && block { kept(&part[part.len() - 1..]) } else { kept(part) };
        }
        let views = self.views * chunk.unwrap_or(own);
        // Weights, gradients, momentum, and where there are other ranks the buckets of gradients; a teacher's weights.
        let copies = if own < batch { 4.0 } else { 3.0 };
        let teacher: usize = self.teacher.map_or(0, |teacher| teacher.ops().map(Op::parameters).sum());
        let fixed = 4.0 * (copies * self.parameters + teacher as f64) + gpu.workspace;
        let loss = (self.loss)(batch);
        let loss = loss.kept + loss.held * own / batch;
        // Two batches of images.
        fixed + loss + mode.size() * (2.0 * self.views * own * self.image + views * held)
    }

    /// The largest batch of one GPU (or chunk of the part `own` of a `batch`, where given) that fits, if one does.
    pub fn fits(&self, gpu: &Gpu, mode: Mode, part: Option<(f64, f64)>) -> Option<usize> {
        let of = |n: usize| match part {
            None => self.memory(gpu, mode, (n as f64, n as f64), None),
            Some(part) => self.memory(gpu, mode, part, Some(n as f64)),
        };
        let (mut low, mut high) = (0, 1usize << 20);
        while high - low > 1 {
            let middle = usize::midpoint(low, high);
            if of(middle) <= gpu.memory { low = middle } else { high = middle }
        }
        (low > 1).then_some(low)
    }
}

/// Numbers that an operation has at hand in the backward pass: both of its maps.
fn span(op: Op) -> f64 {
    let numbers = match op {
        Op::Conv { from, to, .. } | Op::Pool { from, to } | Op::Gate { from, to } => from.numbers() + to.numbers(),
        Op::Norm { map, .. } | Op::Add { map } => 2 * map.numbers(),
        Op::Dense { .. } => 0,
    };
    numbers as f64
}
