//! What a backbone is to the rest of the network.

use crate::outline::Outline;
use crate::pass::Pass;
use anyhow::Result;
use candle_core::DType;
use simclr_ops::Value;

/// Where a backbone is chosen in an experiment file.
pub const KEY: &str = "model.backbone";

/// A network from images to features. It declares its parameters through a [`Builder`](crate::Builder) and holds their ids;
/// a forward reads their numbers from its [`Pass`].
///
/// Its layers may be this project's ops, or ordinary candle ops in one closure
/// (`pass.tape.candle(&[images, &pass.param(id), ...], |inputs| ...)`), whose gradients are candle's.
pub trait Backbone {
    /// Width `D` of the features.
    fn features(&self) -> usize;

    /// Groups after the stem, which `finetune.freeze_after` counts: parameters are declared as
    /// [`Part::Stem`](simclr_core::params::Part) or `Part::Group(k)`, `k` from 1 to so many; what follows the last group, such as a final norm, belongs to it.
    fn groups(&self) -> usize;

    /// How it stores its maps where the experiment asks for `asked`: f32 unless it has kernels for others.
    fn map_dtype(&self, _asked: DType) -> DType {
        DType::F32
    }

    /// Whether it recomputes its activations in the backward pass where the tape asks for it
    /// ([`Tape::recomputes`](simclr_ops::Tape::recomputes)).
    fn recomputes(&self) -> bool {
        false
    }

    /// Features `[N, D]`, f32, of images `[N, H, W, C]` in 0..1 of the maps' dtype. `see` is handed each intermediate map
    /// `[N, H', W', C']`: that of the stem, and that of each group.
    ///
    /// # Errors
    /// When the images have other channels than the network.
    fn forward(&self, pass: &Pass<'_>, images: &Value, see: &mut dyn FnMut(&Value)) -> Result<Value>;

    /// Adds to `outline` what [`Backbone::forward`] does, for estimates of time and memory; `None` where it does not say.
    fn outline<'a>(&self, _outline: Outline<'a>) -> Option<Outline<'a>> {
        None
    }
}
