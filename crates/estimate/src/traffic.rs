//! What the ranks of a data-parallel step tell one another, in bytes and in seconds.

use crate::{Links, Way, Work};
use simclr_model::outline::Op;

/// Bytes of gradients that are summed at a time (core/src/train/ranks.rs).
pub const BUCKET: f64 = (16u64 << 20) as f64;
/// Bytes that the figures of a step are: a few numbers, and how many images each is over.
const FIGURES: f64 = 64.0;

/// One kind of what is told in a step, by each GPU.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exchange {
    /// What.
    pub what: &'static str,
    /// When.
    pub when: &'static str,
    /// How often.
    pub calls: f64,
    /// Bytes that a rank hands over.
    pub bytes: f64,
    /// Bytes that leave each GPU.
    pub sent: f64,
    /// Seconds from the first rank's word to the last one's answer, whether somebody waits for it or not.
    pub seconds: f64,
    /// Whether the GPU has something else to do meanwhile.
    pub beside: bool,
}

impl Work<'_> {
    /// Of all normalisations, one of them as often as its moments are gathered in a step, `more` times besides the network's own
    /// forwards: how many, and their channels; and the same of sums in the backward pass.
    fn rounds(&self, way: Way, own: f64, more: f64) -> [(f64, f64); 2] {
        let chunks = if let Way::Chunks(images) = way { (own / images as f64).ceil() } else { 1.0 };
        let blocks = 1..self.outline.parts.len() - 1;
        let mut rounds = [(0.0, 0.0); 2];
        for (i, part) in self.outline.parts.iter().enumerate() {
            let again = match way {
                Way::Kept => false,
                Way::Recomputed => blocks.contains(&i),
                Way::Chunks(_) => true,
            };
            for op in part {
                let Op::Norm { map, .. } = op else { continue };
                for (round, times) in rounds.iter_mut().zip([if again { 2.0 } else { 1.0 } + more, 1.0]) {
                    round.0 += chunks * times;
                    round.1 += chunks * times * map.channels as f64;
                }
            }
        }
        rounds
    }

    /// What a step on `own` images a GPU tells; of one GPU nothing.
    pub fn exchanges(&self, links: &Links, way: Way, (own, batch): (f64, f64), gpus: usize) -> Vec<Exchange> {
        if gpus <= 1 {
            return Vec::new();
        }
        let n = gpus as f64;
        let twice = 2.0 * Links::others(gpus);
        let sum = |what, when, (calls, bytes): (f64, f64), beside| {
            let seconds = calls * links.sum(bytes / calls, gpus);
            Exchange { what, when, calls, bytes, sent: twice * bytes, seconds, beside }
        };
        let gather = |what, when, (calls, bytes): (f64, f64)| {
            let seconds = calls * links.gather(bytes / calls, gpus);
            Exchange { what, when, calls, bytes, sent: (n - 1.0) * bytes, seconds, beside: false }
        };
        let loss = (self.loss)(batch);
        let [(forwards, read), (backwards, summed)] = self.rounds(way, own, loss.forwards);
        let mut all = Vec::new();
        if forwards > 0.0 {
            // A count, means and variances, in f64; two sums, in f32.
            all.push(gather("moments of batch norm", "forward, waited for", (forwards, 8.0 * (forwards + 2.0 * read))));
            all.push(sum("sums of batch norm", "backward, waited for", (backwards, 4.0 * 2.0 * summed), false));
        }
        if loss.gathered > 0.0 {
            all.push(gather("projections", "before the loss", (1.0, loss.gathered * own / batch)));
        }
        if loss.summed > 0.0 {
            all.push(sum("gradients of projections", "behind the loss", (1.0, loss.summed), false));
        }
        let gradients = 4.0 * self.sent;
        all.push(sum(
            "gradients of weights",
            "beside the backward pass",
            ((gradients / BUCKET).ceil(), gradients),
            true,
        ));
        all.push(sum("figures", "behind the backward pass", (1.0, FIGURES), false));
        all
    }
}
