//! The images of one split as pixels: decoded on demand, kept where there is room, damaged ones set aside.

use super::chosen::Chosen;
use super::limit::limited;
use crate::access::{Source, Stored};
use crate::decode::{Options, decode_into};
use crate::image::{ImageRef, Images, Picture};
use anyhow::{Context, Result, bail, ensure};
use simclr_core::config::{Corrupt, DataConfig};
use simclr_core::persevere::persevere;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Images of one split. Reads, decodes and remembers; any number of threads may ask at a time.
pub struct Pictures {
    source: Arc<dyn Source>,
    len: usize,
    channels: usize,
    options: Options,
    corrupt: Corrupt,
    cache: Option<Cache>,
    broken: Broken,
    shuffle_buffer: usize,
}

/// Samples that could not be decoded, with the reason of each.
#[derive(Default)]
struct Broken {
    reasons: Mutex<BTreeMap<u32, String>>,
    count: AtomicUsize,
}

/// The first pictures that are decoded, as many as there is room for. What it holds changes no result.
struct Cache {
    slots: Vec<OnceLock<Box<Picture>>>,
    room: AtomicUsize,
}

thread_local! {
    // Decoding into memory of its own would cost a page fault for each four thousand pixels.
    static PIXELS: RefCell<Vec<u8>> = RefCell::default();
}

impl From<Images> for Pictures {
    fn from(images: Images) -> Self {
        Self {
            len: images.len(),
            channels: images.channels,
            source: Arc::new(images),
            options: Options::default(),
            corrupt: Corrupt::Fail,
            cache: None,
            broken: Broken::default(),
            shuffle_buffer: 0,
        }
    }
}

impl Pictures {
    /// Images of `source` as `channels` channels, with the limits, the cache and the treatment of damaged files that the
    /// configuration names.
    pub fn new(source: Arc<dyn Source>, channels: usize, config: &DataConfig) -> Self {
        let cache = (config.cache > 0).then(|| Cache {
            slots: (0..source.len()).map(|_| OnceLock::new()).collect(),
            room: AtomicUsize::new(config.cache << 20),
        });
        Self {
            len: source.len(),
            channels,
            source,
            options: config.into(),
            corrupt: config.corrupt,
            cache,
            broken: Broken::default(),
            shuffle_buffer: config.shuffle_buffer,
        }
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// 1 (grey), 3 (RGB), or what the files hold.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Height and width of all images, where they are known and the same.
    pub fn size(&self) -> Option<(usize, usize)> {
        self.source.size()
    }

    /// The source below.
    pub fn source(&self) -> &dyn Source {
        self.source.as_ref()
    }

    /// Keeps the first `count` images.
    pub fn truncate(&mut self, count: usize) {
        self.len = self.len.min(count);
    }

    /// Keeps `count` images: those without a label in proportion, and of those with one as many of each of `classes` classes as
    /// of any other, chosen by their names.
    pub(crate) fn limit(&mut self, count: usize, classes: usize) {
        if count < self.len {
            let samples = limited(self.source.as_ref(), classes, count);
            self.source = Arc::new(Chosen::new(self.source.clone(), samples));
            self.len = count;
        }
    }

    /// Whether labels ascend from the first image to the last that has one, through several classes: so the first images are
    /// of one class.
    pub(crate) fn is_sorted_by_class(&self) -> bool {
        let labels: Vec<u32> = (0..self.len).filter_map(|i| self.label(i)).collect();
        labels.is_sorted() && labels.first() != labels.last()
    }

    /// Class of an image; `None` where it has none.
    pub fn label(&self, index: usize) -> Option<u32> {
        self.source.label(index)
    }

    /// Images whose label is known.
    pub fn labeled(&self) -> usize {
        (0..self.len).filter(|i| self.label(*i).is_some()).count()
    }

    /// What the random views of an image are drawn by.
    pub fn key(&self, index: usize) -> u64 {
        self.source.key(index)
    }

    /// How far shuffling may move a sample of a shard.
    pub(crate) fn shuffle_buffer(&self) -> usize {
        self.shuffle_buffer
    }

    /// Where an image is, for messages.
    pub fn place(&self, index: usize) -> String {
        self.source.place(index)
    }

    /// Damaged images that were met so far.
    pub fn corrupt(&self) -> usize {
        self.broken.count.load(Ordering::Relaxed)
    }

    /// Calls `see` with the pixels of an image; `None` where it is damaged and such images are to be skipped.
    ///
    /// # Errors
    /// When it is damaged and that ends the run, or the machine fails to read it; the message names it.
    pub fn with<R>(&self, index: usize, see: impl FnOnce(ImageRef<'_>) -> R) -> Result<Option<R>> {
        if let Some(kept) = self.cache.as_ref().and_then(|cache| cache.slots.get(index)?.get()) {
            return Ok(Some(see(kept.view())));
        }
        if self.is_broken(index) {
            return Ok(None);
        }
        let stored = match persevere(|| self.source.place(index), || self.source.read(index)) {
            Err(error) if is_passing(&error) => return Err(error.context(self.place(index))),
            stored => stored,
        };
        match stored.and_then(|stored| self.decode(index, stored, see)) {
            Ok(seen) => Ok(Some(seen)),
            Err(error) if self.corrupt == Corrupt::Skip => {
                self.set_aside(index, &format!("{error:#}"));
                Ok(None)
            }
            Err(error) => Err(error.context(self.place(index))),
        }
    }

    /// A copy of an image.
    ///
    /// # Errors
    /// When there is none of that number, or it is damaged.
    pub fn get(&self, index: usize) -> Result<Picture> {
        ensure!(index < self.len, "there is no image {index}, only {}", self.len);
        let copy =
            |i: ImageRef<'_>| Picture { height: i.height, width: i.width, channels: i.channels, data: i.data.to_vec() };
        self.with(index, copy)?.with_context(|| format!("{} is damaged", self.place(index)))
    }

    fn decode<R>(&self, index: usize, stored: Stored<'_>, see: impl FnOnce(ImageRef<'_>) -> R) -> Result<R> {
        match stored {
            Stored::Pixels(image) => Ok(see(image)),
            Stored::Read(picture) => {
                let seen = see(picture.view());
                self.keep(index, picture.view());
                Ok(seen)
            }
            // Taken out meanwhile, in case `see` asks for another image.
            Stored::File(bytes) => {
                let mut pixels = PIXELS.take();
                let seen = decode_into(&bytes, self.channels, &self.options, &mut pixels).map(|(height, width)| {
                    let image = ImageRef { height, width, channels: self.channels, data: &pixels };
                    self.keep(index, image);
                    see(image)
                });
                PIXELS.set(pixels);
                seen
            }
        }
    }

    fn keep(&self, index: usize, image: ImageRef<'_>) {
        let Some(cache) = &self.cache else { return };
        let Some(slot) = cache.slots.get(index) else { return };
        let bytes = image.data.len() + size_of::<Picture>();
        let take = |room: usize| room.checked_sub(bytes);
        if slot.get().is_none() && cache.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
            let ImageRef { height, width, channels, data } = image;
            let picture = Picture { height, width, channels, data: data.to_vec() };
            if slot.set(Box::new(picture)).is_err() {
                cache.room.fetch_add(bytes, Ordering::Relaxed);
            }
        }
    }

    fn is_broken(&self, index: usize) -> bool {
        self.corrupt() > 0
            && self.broken.reasons.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&(index as u32))
    }

    fn set_aside(&self, index: usize, reason: &str) {
        let mut reasons = self.broken.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        if reasons.insert(index as u32, reason.into()).is_none() {
            self.broken.count.store(reasons.len(), Ordering::Relaxed);
            tracing::warn!("skipped {}: {reason} (damaged images so far: {})", self.place(index), reasons.len());
        }
    }

    /// Places and reasons of the damaged images that were met so far, in order.
    pub fn reasons(&self) -> Vec<(String, String)> {
        let reasons = self.broken.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        reasons.iter().map(|(index, reason)| (self.place(*index as usize), reason.clone())).collect()
    }

    /// Labels of all images.
    ///
    /// # Errors
    /// When one has none: `what` says what needs them, and the message what to do.
    pub fn all_labels(&self, what: &str) -> Result<Vec<u32>> {
        let labels: Option<Vec<u32>> = (0..self.len).map(|i| self.label(i)).collect();
        match labels {
            Some(labels) => Ok(labels),
            None => {
                let known = self.labeled();
                bail!(
                    "{what} needs the class of each image, and {} of {} have none: put images into one folder a class, \
                     or a .cls file beside each image in tar shards, or a label column into parquet files",
                    self.len - known,
                    self.len
                )
            }
        }
    }
}

/// Whether reading failed for a reason that need not hold the next time, such as a network that is away: to skip the image
/// would give another run. A file that is missing or too short is damaged.
fn is_passing(error: &anyhow::Error) -> bool {
    use std::io::ErrorKind::{InvalidData, InvalidInput, NotFound, UnexpectedEof};
    let of_file = [InvalidData, InvalidInput, NotFound, UnexpectedEof];
    error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>()).any(|e| !of_file.contains(&e.kind()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use image::ImageEncoder;

    /// Counts how often samples are read; sample 1 is damaged.
    struct Pngs(AtomicUsize);

    impl Source for Pngs {
        fn len(&self) -> usize {
            4
        }
        fn label(&self, index: usize) -> Option<u32> {
            (index < 3).then_some(index as u32)
        }
        fn read(&self, index: usize) -> Result<Stored<'_>> {
            self.0.fetch_add(1, Ordering::Relaxed);
            let mut file = Vec::new();
            let encoder = image::codecs::png::PngEncoder::new(&mut file);
            encoder.write_image(&[index as u8; 64 * 64], 64, 64, image::ExtendedColorType::L8)?;
            file.truncate(if index == 1 { 20 } else { file.len() });
            Ok(Stored::File(file))
        }
    }

    fn pictures(config: &DataConfig) -> (Pictures, Arc<Pngs>) {
        let source = Arc::new(Pngs(AtomicUsize::new(0)));
        (Pictures::new(source.clone(), 1, config), source)
    }

    fn seen(pictures: &Pictures, index: usize) -> Option<u8> {
        pictures.with(index, |image| image.data[0]).unwrap()
    }

    #[test]
    fn the_cache_keeps_what_fits_and_changes_nothing() {
        for (cache, reads) in [(0, 6), (1, 3)] {
            let (pictures, source) = pictures(&DataConfig { cache, ..DataConfig::new("folder", 8) });
            for _ in 0..2 {
                assert_eq!([0, 2, 3].map(|i| seen(&pictures, i)), [Some(0), Some(2), Some(3)]);
            }
            assert_eq!(source.0.load(Ordering::Relaxed), reads);
        }
        let (pictures, source) = pictures(&DataConfig { cache: 1, ..DataConfig::new("folder", 8) });
        pictures.cache.as_ref().unwrap().room.store(2 * (64 * 64 + size_of::<Picture>()), Ordering::Relaxed);
        for _ in 0..3 {
            assert_eq!([0, 2, 3].map(|i| seen(&pictures, i)), [Some(0), Some(2), Some(3)]);
        }
        assert_eq!(source.0.load(Ordering::Relaxed), 5, "two are kept, the third is read each time");
    }

    #[test]
    fn damaged_images_are_counted_once_or_fatal() {
        let (pictures, source) = pictures(&DataConfig::new("folder", 8));
        assert_eq!((seen(&pictures, 1), seen(&pictures, 1), seen(&pictures, 2)), (None, None, Some(2)));
        assert_eq!((pictures.corrupt(), source.0.load(Ordering::Relaxed)), (1, 2), "it is not read again");
        assert!(pictures.reasons()[0].1.contains("PNG"), "{:?}", pictures.reasons());
        assert!(pictures.get(1).unwrap_err().to_string().contains("image 1 is damaged"));
        assert!(pictures.get(4).unwrap_err().to_string().contains("only 4"));
        let (strict, _) = self::pictures(&DataConfig { corrupt: Corrupt::Fail, ..DataConfig::new("folder", 8) });
        let message = format!("{:#}", strict.with(1, |_| ()).unwrap_err());
        assert!(message.contains("image 1") && message.contains("PNG"), "{message}");
    }

    #[test]
    fn failures_of_the_machine_are_no_damage() {
        use std::io::{Error, ErrorKind};
        let failure = |kind| is_passing(&anyhow::Error::from(Error::from(kind)).context("reading"));
        assert!(failure(ErrorKind::TimedOut) && failure(ErrorKind::PermissionDenied));
        assert!(!failure(ErrorKind::NotFound) && !failure(ErrorKind::UnexpectedEof));
        assert!(!is_passing(&anyhow::anyhow!("no picture")));
    }

    #[test]
    fn missing_labels_are_told() {
        let (pictures, _) = pictures(&DataConfig::new("folder", 8));
        let message = pictures.all_labels("fine-tuning").unwrap_err().to_string();
        assert!(message.contains("fine-tuning needs") && message.contains("1 of 4"), "{message}");
    }
}
