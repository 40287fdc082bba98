//! What training takes on GPUs, from first principles: the time of a step, memory, what ranks tell one another.
//!
//! Every operation costs what its numbers take to pass through memory, or what its multiplications take, whichever is
//! more (the roofline): a lower bound, of a GPU that always reaches its peaks ([`Work::costs`]). A plan ([`Work::step`]) divides
//! by what the measured ResNet-50 reached of it ([`Gpu::reached`]), and adds what ranks wait for one another. It is a model: of
//! several GPUs nothing was measured.
#![forbid(unsafe_code)]

mod costs;
mod machine;
mod memory;
mod step;
mod traffic;
mod way;

pub use costs::{Cost, KINDS, LossCost, Mode, seconds};
pub use machine::{Gpu, H100, H200, Link, Links};
pub use step::Step;
pub use traffic::{BUCKET, Exchange};
pub use way::Way;

use simclr_model::SimClr;
use simclr_model::outline::Outline;

/// Where gradients begin in what is sent: at multiples of so many numbers (core/src/train/ranks.rs).
const ALIGNED: usize = 64;

/// What a step of a stage computes.
pub struct Work<'a> {
    /// The network that is trained.
    pub outline: &'a Outline<'a>,
    /// A network that runs forward on every image beside it.
    pub teacher: Option<&'a Outline<'a>>,
    /// Views of each image.
    pub views: f64,
    /// What the loss of so many images costs over all GPUs.
    pub loss: &'a dyn Fn(f64) -> LossCost,
    /// Numbers that are trained.
    pub parameters: f64,
    /// Numbers of their gradients as they are sent: each tensor's begin at a multiple of 64.
    pub sent: f64,
    /// Numbers of an image.
    pub image: f64,
}

impl<'a> Work<'a> {
    /// A step of `model`, whose operations are `outline`, on so many views of each image of `size` by `size` pixels.
    pub fn of(
        outline: &'a Outline<'a>,
        model: &SimClr,
        (size, views): (usize, f64),
        loss: &'a dyn Fn(f64) -> LossCost,
    ) -> Self {
        let trained = || model.store.trainable().map(|p| p.tensor.elem_count());
        Self {
            outline,
            teacher: None,
            views,
            loss,
            parameters: trained().sum::<usize>() as f64,
            sent: trained().map(|numbers| numbers.next_multiple_of(ALIGNED)).sum::<usize>() as f64,
            image: (size * size * model.spec.in_channels) as f64,
        }
    }
}

#[cfg(test)]
mod tests;
