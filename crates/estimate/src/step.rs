//! A step on several GPUs: what each computes, and what it waits for.

use crate::costs::{pieces, time};
use crate::{BUCKET, Exchange, Gpu, Links, Mode, Way, Work, seconds};
use simclr_core::config::Dtype;
use simclr_model::outline::Op;

/// A planned step.
#[derive(Clone, Debug)]
pub struct Step {
    /// How it keeps within memory.
    pub way: Way,
    /// Bytes of a GPU's memory.
    pub memory: f64,
    /// Seconds that a GPU computes.
    pub compute: f64,
    /// Seconds that it waits for others before it can go on.
    pub waits: f64,
    /// Seconds of sums of gradients that are left when the backward pass is done.
    pub exposed: f64,
    /// What is told.
    pub exchanges: Vec<Exchange>,
}

impl Step {
    /// Seconds of all.
    pub fn seconds(&self) -> f64 {
        self.compute + self.waits + self.exposed
    }

    /// The share of a step in which a GPU computes: its speed beside that of one that has its part of the batch alone and nobody to
    /// wait for.
    pub fn efficiency(&self) -> f64 {
        self.compute / self.seconds()
    }

    /// Bytes that each GPU sends.
    pub fn sent(&self) -> f64 {
        self.exchanges.iter().map(|e| e.sent).sum()
    }
}

impl Work<'_> {
    /// A step of a batch over so many GPUs, in the cheapest way that fits; `None` where none does. Where parts of the batch
    /// differ, all wait for the largest. With `recompute`, blocks run again whether memory is short or not; only a loss that
    /// `chunks` can do with a part of its images in the network.
    pub fn step(
        &self,
        (gpu, links): (&Gpu, &Links),
        (dtype, recompute, chunks): (Dtype, bool, bool),
        batch: usize,
        gpus: usize,
    ) -> Option<Step> {
        let (own, batch) = (batch.div_ceil(gpus) as f64, batch as f64);
        let (way, memory) = self.way(gpu, Mode { dtype, recompute }, (own, batch), chunks)?;
        let mode = Mode { dtype, recompute: way == Way::Recomputed };
        let (more, pieces_of) = match way {
            Way::Chunks(images) => (1.0, own / images as f64),
            _ => (0.0, 1.0),
        };
        let bound = seconds(&self.costs(gpu, mode, (own, batch), more));
        let convolutions = self.outline.ops().filter(|op| matches!(op, Op::Conv { .. })).count() as f64;
        let forwards = 1.0 + more + (self.loss)(batch).forwards + f64::from(u8::from(mode.recompute));
        let launches = gpu.launch * convolutions * (2.0 + forwards) * pieces_of.ceil();
        let compute = (bound / gpu.reached).max(launches);
        let exchanges = self.exchanges(links, way, (own, batch), gpus);
        let waits = exchanges.iter().filter(|e| !e.beside).map(|e| e.seconds).sum();
        let exposed = self.exposed((gpu, links), mode, own / pieces_of, gpus);
        Some(Step { way, memory, compute, waits, exposed, exchanges })
    }

    /// Seconds of the sums of gradients behind the end of the backward pass over `images`, the last that bring gradients.
    fn exposed(&self, (gpu, links): (&Gpu, &Links), mode: Mode, images: f64, gpus: usize) -> f64 {
        if gpus <= 1 {
            return 0.0;
        }
        let views = self.views * images;
        let last = self.outline.parts.len() - 1;
        // Of what is sent, an operation's share is that of its parameters.
        let all: f64 = self.outline.ops().map(|op| op.parameters() as f64).sum();
        let scale = 4.0 * self.sent / all.max(1.0);
        let (mut clock, mut link, mut filled) = (0.0f64, 0.0f64, 0.0);
        for (i, part) in self.outline.parts.iter().enumerate().rev() {
            if mode.recompute && i > 0 && i < last {
                clock += part.iter().map(|op| time(gpu, pieces(*op, views, mode, gpu).0)).sum::<f64>() / gpu.reached;
            }
            for op in part.iter().rev() {
                clock += pieces(*op, views, mode, gpu).1.into_iter().map(|p| time(gpu, p)).sum::<f64>() / gpu.reached;
                if let Op::Norm { map, .. } = op {
                    clock += links.sum(8.0 * map.channels as f64, gpus);
                }
                filled += scale * op.parameters() as f64;
                if filled >= BUCKET {
                    link = link.max(clock) + links.sum(filled, gpus);
                    filled = 0.0;
                }
            }
        }
        link = link.max(clock) + if filled > 0.0 { links.sum(filled, gpus) } else { 0.0 };
        link - clock
    }

    /// Seconds of a forward pass over `images`, shared by so many GPUs.
    pub fn look(&self, gpu: &Gpu, dtype: Dtype, images: f64, gpus: usize) -> f64 {
        let mode = Mode { dtype, recompute: false };
        let own = images / gpus as f64;
        self.outline.ops().map(|op| time(gpu, pieces(op, own, mode, gpu).0)).sum::<f64>() / gpu.reached
    }
}
