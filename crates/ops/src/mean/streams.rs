//! Maps whose channels are streams side by side.

/// `[N, pixels, streams F]`: the sizes of a map whose channels are streams of `F` side by side.
#[derive(Clone, Copy, Debug)]
pub struct Streams {
    pub n: usize,
    /// Of an image.
    pub pixels: usize,
    /// Channels of a stream.
    pub f: usize,
    pub streams: usize,
}

impl Streams {
    /// Rows of one stream's channels in the whole map.
    pub fn rows(self) -> usize {
        self.n * self.pixels * self.streams
    }
}
