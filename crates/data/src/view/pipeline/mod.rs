//! Makes views: a list of transforms, applied one after the other, each with a random stream of its own.

use crate::image::ImageRef;
use crate::name::hash;
use crate::view::canvas::{Buffers, Canvas};
use crate::view::layout::interleave;
use crate::view::transform::Transform;
use simclr_core::rng::Rng;
use simclr_ops::{Distortion, Pixel};
use std::cell::RefCell;
use std::sync::Arc;

/// Makes views of side S: `[S, S, C]` in 0..=1, as f32, rounded to bf16 or to bytes.
#[derive(Clone, Debug)]
pub struct ViewMaker {
    steps: Arc<[Step]>,
    /// From here on a GPU can do the work.
    on_gpu: usize,
    size: usize,
}

/// A transform and the name of its random stream within the view's.
#[derive(Debug)]
struct Step {
    stream: u64,
    transform: Box<dyn Transform>,
}

/// The transforms with their streams: each is named by the transform and how many of the same name stand before it, so
/// that one more in the list changes the draws of no other.
fn steps(transforms: Vec<Box<dyn Transform>>) -> Arc<[Step]> {
    let mut steps: Vec<Step> = Vec::with_capacity(transforms.len());
    for transform in transforms {
        let name = transform.info().name;
        let before = steps.iter().filter(|step| step.transform.info().name == name).count();
        steps.push(Step { stream: hash(name).wrapping_add(before as u64), transform });
    }
    steps.into()
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
        Self { steps: steps(transforms), on_gpu, size }
    }

    /// Side of the views.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether all views of images of this height and width hold bytes of the images: each number is `k / 255`, with the bits
    /// of `k * (1 / 255)` in f32. Of views that are left to a GPU `unfinished`, as they are before its work.
    pub fn keeps_pixels(&self, (height, width): (usize, usize), unfinished: bool) -> bool {
        let steps = if unfinished { &self.steps[..self.on_gpu] } else { &self.steps };
        let cropped = steps.first().is_some_and(|step| step.transform.info().is_crop);
        let keep = |step: &Step| step.transform.keeps_pixels((height, width), self.size);
        (cropped || (height, width) == (self.size, self.size)) && steps.iter().all(keep)
    }

    /// Makes one view. `out` is `[S, S, C]`; `rng` is the view's stream, from which those of the transforms come.
    pub fn view<T: Pixel>(&self, image: ImageRef<'_>, rng: &Rng, out: &mut [T]) {
        self.apply(&self.steps, image, rng, |planes| {
            interleave(
                planes,
                image.channels,
                out,
                #[inline(always)]
                |v: f32| T::of(v.clamp(0.0, 1.0)),
            );
        });
    }

    /// Makes one view but for what a GPU can do to it, and says what that is; the view is not clipped yet, unless it is of
    /// bytes.
    pub fn view_for_gpu<T: Pixel>(&self, image: ImageRef<'_>, rng: &Rng, out: &mut [T]) -> Distortion {
        let (here, there) = self.steps.split_at(self.on_gpu);
        self.apply(here, image, rng, |planes| interleave(planes, image.channels, out, T::of));
        let mut left = Distortion::default();
        for Step { stream, transform } in there {
            if let Some(work) = transform.on_gpu() {
                work.leave(self.size, &mut rng.child(*stream), &mut left);
            }
        }
        left
    }

    fn apply(&self, steps: &[Step], image: ImageRef<'_>, rng: &Rng, finish: impl FnOnce(&[f32])) {
        BUFFERS.with_borrow_mut(|buffers| {
            let mut view = Canvas::new(image, self.size, buffers);
            steps.iter().for_each(|step| step.transform.apply(&mut view, &mut rng.child(step.stream)));
            finish(view.planes());
        });
    }
}

#[cfg(test)]
mod tests;
