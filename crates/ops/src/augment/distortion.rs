//! What was drawn for the colours of a view.

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
