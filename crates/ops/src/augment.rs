//! Colour jitter, grayscale and blur of views: what was drawn for each, and their work on a GPU.

use candle_core::{DType, Result, Tensor, bail};

/// One operation of the colour jitter and its factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ColorOp {
    /// Multiplies all channels.
    Brightness(f32),
    /// Scales about each channel's mean over the view.
    Contrast(f32),
    /// Multiplies HSV saturation, at most to 1.
    Saturation(f32),
    /// Turns HSV hue by a share of the full circle.
    Hue(f32),
}

/// What becomes of a view's colours once it is cropped, resized and flipped: the jitter, grayscale, a clip to 0..1, and
/// blur. Views of one channel have neither saturation, hue nor grayscale.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distortion {
    /// The jitter in its order, with a clip after each operation.
    pub jitter: Option<[ColorOp; 4]>,
    /// Drops colour.
    pub grayscale: bool,
    /// The blur's kernel from its middle outwards; empty for none. Beyond the edges are zeros.
    pub blur: Vec<f32>,
}

/// Distorts views `[N, S, S, C]` f32 of one or three channels on a GPU, one distortion each, and clips them to 0..1;
/// gives them as `maps`. The given tensor is used up: it may be changed.
///
/// # Errors
/// When they are on the CPU, of another shape, or not as many as the distortions; when the GPU refuses.
pub fn distort(views: Tensor, distortions: &[Distortion], maps: DType) -> Result<Tensor> {
    let (n, h, w, c) = views.dims4()?;
    if distortions.len() != n {
        bail!("{} distortions for {n} views", distortions.len())
    }
    if c != 1 && c != 3 {
        bail!("views of {c} channels: colours are distorted of one or three")
    }
    on_gpu!(views, {
        use crate::cuda::{augment, gpu};
        augment::distort(&gpu::Gpu::of(&views)?, gpu::at::<f32>(&views)?, (h, w, c), distortions)?;
        views.to_dtype(maps)
    });
    bail!("views [{n}, {h}, {w}, {c}] as {maps:?} on the CPU: there their colours are distorted as they are made")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use candle_core::Device;

    #[test]
    fn what_cannot_be_distorted_is_refused() {
        let message = |c: usize, count: usize| {
            let views = Tensor::zeros((2, 4, 4, c), DType::F32, &Device::Cpu).unwrap();
            distort(views, &vec![Distortion::default(); count], DType::F32).unwrap_err().to_string()
        };
        assert!(message(3, 2).contains("on the CPU"));
        assert!(message(3, 1).contains("1 distortions for 2 views"));
        assert!(message(2, 2).contains("2 channels"));
    }
}
