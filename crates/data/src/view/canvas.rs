//! A view while it is made: the part of the image that it shows, then its pixels in planes.

use super::crop::Rect;
use super::resize::{self, Scratch};
use crate::image::ImageRef;
use simclr_core::config::Resize;

/// Memory that views are made in, one after the other.
#[derive(Default)]
pub(super) struct Buffers {
    resize: Scratch,
    pub(super) planes: Vec<f32>,
    /// For whatever a transform needs; it starts with what the last one left.
    scratch: Vec<f32>,
}

/// What is known of a view whose pixels nobody has asked for.
#[derive(Clone, Copy)]
struct Shown {
    rect: Rect,
    resize: Resize,
    mirrored: bool,
}

/// A view of side S in the making.
///
/// It is resized when a transform asks for its pixels, so that a crop and a mirror image cost no pass of their own.
pub struct Canvas<'a> {
    image: ImageRef<'a>,
    side: usize,
    shown: Option<Shown>,
    buffers: &'a mut Buffers,
}

impl<'a> Canvas<'a> {
    /// The whole image, to be resized to `side` x `side`.
    pub(super) fn new(image: ImageRef<'a>, side: usize, buffers: &'a mut Buffers) -> Self {
        let rect = Rect { y: 0, x: 0, height: image.height, width: image.width };
        let shown = Some(Shown { rect, resize: Resize::Tf2, mirrored: false });
        Self { image, side, shown, buffers }
    }

    /// Height and width of the image that the view is of.
    pub fn image_size(&self) -> (usize, usize) {
        (self.image.height, self.image.width)
    }

    /// Side of the view.
    pub fn side(&self) -> usize {
        self.side
    }

    /// 1 (grey), 3 (RGB), or what the files hold.
    pub fn channels(&self) -> usize {
        self.image.channels
    }

    /// Shows a part of the image. Has no effect on a view that is resized already: a list of transforms is checked for
    /// crops that do not come first.
    pub fn show(&mut self, rect: Rect, resize: Resize) {
        debug_assert!(self.shown.is_some(), "a crop comes first");
        if let Some(shown) = &mut self.shown {
            (shown.rect, shown.resize) = (rect, resize);
        }
    }

    /// Mirrors it left to right.
    pub fn mirror(&mut self) {
        match &mut self.shown {
            Some(shown) => shown.mirrored = !shown.mirrored,
            None => self.buffers.planes.chunks_exact_mut(self.side).for_each(<[f32]>::reverse),
        }
    }

    /// The pixels, planes `[C, S, S]`; 0..1 but for what bicubic resizing and colour jitter overshoot.
    pub fn planes(&mut self) -> &mut [f32] {
        self.planes_and_scratch().0
    }

    /// The same with a buffer for a transform's own use.
    pub fn planes_and_scratch(&mut self) -> (&mut [f32], &mut Vec<f32>) {
        let Buffers { resize, planes, scratch } = &mut *self.buffers;
        if let Some(shown) = self.shown.take() {
            let s = self.side;
            planes.resize(s * s * self.image.channels, 0.0);
            resize::bicubic(self.image, shown.rect, (s, s), (shown.resize, shown.mirrored), resize, planes);
        }
        (planes, scratch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_image_is_the_same_before_and_after_resizing() {
        let data: Vec<u8> = (0..20 * 30 * 3).map(|i| (i * i * 31 % 251) as u8).collect();
        let image = ImageRef { height: 20, width: 30, channels: 3, data: &data };
        let rect = Rect { y: 2, x: 5, height: 15, width: 20 };
        let planes = |late: bool| {
            let mut buffers = Buffers::default();
            let mut canvas = Canvas::new(image, 12, &mut buffers);
            canvas.show(rect, Resize::Tf2);
            if late {
                canvas.planes();
            }
            canvas.mirror();
            canvas.planes().to_vec()
        };
        assert_eq!(planes(false), planes(true));
        assert_eq!(planes(false).len(), 3 * 12 * 12);
    }
}
