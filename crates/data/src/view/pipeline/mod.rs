//! Makes views: a list of transforms, applied one after the other.

use crate::image::ImageRef;
use crate::view::canvas::{Buffers, Canvas};
use crate::view::layout::interleave;
use crate::view::transform::Transform;
use simclr_core::rng::Rng;
use simclr_ops::Distortion;
use std::cell::RefCell;
use std::sync::Arc;

/// Makes views of side S: f32 `[S, S, C]` in 0..=1.
#[derive(Clone, Debug)]
pub struct ViewMaker {
    transforms: Arc<[Box<dyn Transform>]>,
    /// From here on a GPU can do the work.
    on_gpu: usize,
    size: usize,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::default();
}

impl ViewMaker {
    /// Views of side `size` by these transforms.
    pub fn new(transforms: Vec<Box<dyn Transform>>, size: usize) -> Self {
        // What a GPU does in one go is at the end of the list, and in the order of its own work.
        let parts: Vec<_> = transforms.iter().map(|t| t.on_gpu().map(|work| work.part())).collect();
        let rises = |from: usize| {
            parts[from].is_some() && parts.get(from + 1).is_none_or(|next| next.is_some() && parts[from] < *next)
        };
        let on_gpu = (0..parts.len()).rev().take_while(|&from| rises(from)).last().unwrap_or(parts.len());
        Self { transforms: transforms.into(), on_gpu, size }
    }

    /// Side of the views.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Makes one view. `out` is `[S, S, C]`.
    pub fn view(&self, image: ImageRef<'_>, rng: &mut Rng, out: &mut [f32]) {
        self.apply(&self.transforms, image, rng, |planes| {
            interleave(planes, image.channels, out, |v| v.clamp(0.0, 1.0));
        });
    }

    /// Makes one view but for what a GPU can do to it, and says what that is; the view is not clipped yet.
    pub fn view_for_gpu(&self, image: ImageRef<'_>, rng: &mut Rng, out: &mut [f32]) -> Distortion {
        let (here, there) = self.transforms.split_at(self.on_gpu);
        self.apply(here, image, rng, |planes| interleave(planes, image.channels, out, |v| v));
        let mut left = Distortion::default();
        for work in there.iter().filter_map(|transform| transform.on_gpu()) {
            work.leave(self.size, rng, &mut left);
        }
        left
    }

    fn apply(
        &self,
        transforms: &[Box<dyn Transform>],
        image: ImageRef<'_>,
        rng: &mut Rng,
        finish: impl FnOnce(&[f32]),
    ) {
        BUFFERS.with_borrow_mut(|buffers| {
            let mut view = Canvas::new(image, self.size, buffers);
            transforms.iter().for_each(|transform| transform.apply(&mut view, rng));
            finish(view.planes());
        });
    }
}

#[cfg(test)]
mod tests;
