//! What a transform of a view is.

use super::canvas::Canvas;
use anyhow::Result;
use serde::de::DeserializeOwned;
use simclr_core::config::Named;
use simclr_core::keys::{Settings, Table};
use simclr_core::rng::Rng;
use simclr_ops::Distortion;
use std::fmt::Debug;

/// One step from an image to a view. It owns its settings, what it draws, and its work.
pub trait Transform: Debug + Send + Sync {
    /// Its entry in the table.
    fn info(&self) -> &'static TransformInfo;

    /// Draws what is random about one view, and changes the view by it.
    fn apply(&self, view: &mut Canvas<'_>, rng: &mut Rng);

    /// Whether all views of side `side` show the very pixels of their images, `(height, width)` of them: none is resized by
    /// other than a factor of 1, or changes colour.
    fn keeps_pixels(&self, _image: (usize, usize), _side: usize) -> bool {
        false
    }

    /// The same work on a GPU, where it has a kernel.
    fn on_gpu(&self) -> Option<&dyn OnGpu> {
        None
    }
}

/// The share of a transform in the work that [`simclr_ops::distort`] does with a whole batch on a GPU.
pub trait OnGpu {
    /// Its place in that work.
    fn part(&self) -> Part;

    /// Draws for one view of side `side`, as [`Transform::apply`] does, and leaves the work to the GPU.
    fn leave(&self, side: usize, rng: &mut Rng, distortion: &mut Distortion);
}

/// The parts of [`Distortion`], in the order in which a GPU does them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Colour jitter.
    Jitter,
    /// Loss of colour.
    Grayscale,
    /// Blur.
    Blur,
}

/// What is known of a transform before it has settings.
#[derive(Debug)]
pub struct TransformInfo {
    /// As in `augment.transforms`.
    pub name: &'static str,
    /// Whether it chooses which part of the image is seen, and so can only come first.
    pub is_crop: bool,
    /// Reads and checks the settings of a choice; the second argument is where it stands in the experiment file.
    pub read: fn(&Named, &str) -> Result<Box<dyn Transform>>,
    /// Its settings, as they are declared.
    pub settings: fn() -> &'static Table,
}

/// [`TransformInfo::read`] of a transform whose fields are its settings.
///
/// # Errors
/// When a setting is unknown, of a wrong type or out of range; the message names it below `key`.
pub fn read<T: Transform + Settings + DeserializeOwned + 'static>(
    choice: &Named,
    key: &str,
) -> Result<Box<dyn Transform>> {
    Ok(Box::new(choice.checked::<T>(key)?))
}
