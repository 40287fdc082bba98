//! Images as bytes: many of one size, one that is borrowed, one that was read.

/// Images of one size, with their labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// Rows of pixels.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// 1 (grey), 3 (RGB), or what the files hold.
    pub channels: usize,
    /// `[N, H, W, C]`.
    pub data: Vec<u8>,
    /// `[N]`, each below the number of classes.
    pub labels: Vec<u32>,
}

/// One image: `[H, W, C]` bytes.
#[derive(Clone, Copy, Debug)]
pub struct ImageRef<'a> {
    /// Rows of pixels.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// 1 (grey), 3 (RGB), or what the files hold.
    pub channels: usize,
    /// `[H, W, C]`.
    pub data: &'a [u8],
}

impl Images {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The image at `index`.
    ///
    /// # Panics
    /// When there are not that many.
    pub fn get(&self, index: usize) -> ImageRef<'_> {
        let bytes = self.height * self.width * self.channels;
        let data = &self.data[index * bytes..][..bytes];
        ImageRef { height: self.height, width: self.width, channels: self.channels, data }
    }

    /// Keeps the first `count` images.
    pub fn truncate(&mut self, count: usize) {
        self.labels.truncate(count);
        self.data.truncate(count * self.height * self.width * self.channels);
    }
}

/// One image of its own size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Rows of pixels.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// 1 (grey), 3 (RGB), or what the files hold.
    pub channels: usize,
    /// `[H, W, C]`.
    pub data: Vec<u8>,
}

impl Picture {
    /// The same, borrowed.
    pub fn view(&self) -> ImageRef<'_> {
        ImageRef { height: self.height, width: self.width, channels: self.channels, data: &self.data }
    }
}
