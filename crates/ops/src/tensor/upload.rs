//! Images in flight to a device, from the thread that makes them.

use super::buffer::filled;
use super::pixel::Pixels;
use super::scaled;
use crate::gpu::machine::Number;
use crate::gpu::{PendingUpload, UploadStream};
use candle_core::{DType, Device, Result, Tensor, bail};
use std::sync::{Mutex, PoisonError};

/// Brings images to a device, stored as feature maps are.
///
/// To a GPU they go through pinned memory, on a stream of their own: the copy runs beside the computation, and whoever
/// makes the next batch waits only for a buffer that is still being read.
pub struct Uploader {
    device: Device,
    maps: DType,
    stream: Option<Mutex<UploadStream>>,
}

/// What may be done to images on their way to a GPU, and what is still to be done there. On the CPU it changes nothing but
/// that unfinished images are f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// They travel as bytes, each number rounded to the nearest `k / 255`, and are scaled by the GPU. Pixels of pictures that
    /// were neither resized nor recoloured are such numbers, and arrive with the bits that they would have otherwise.
    pub bytes: bool,
    /// They arrive as f32, for work that is still to be done on them.
    pub unfinished: bool,
}

/// A batch that is in flight, or has arrived.
pub struct Uploaded {
    place: Place,
    then: Vec<Work>,
}

/// What becomes of images once they are there.
type Work = Box<dyn FnOnce(Tensor) -> Result<Tensor> + Send>;

enum Place {
    Arrived(Tensor),
    InFlight(PendingUpload),
}

impl Place {
    fn tensor(self) -> Result<Tensor> {
        match self {
            Self::Arrived(tensor) => Ok(tensor),
            Self::InFlight(pending) => pending.tensor(),
        }
    }
}

impl Uploader {
    /// To `device`, as f32 or bf16.
    ///
    /// # Errors
    /// When a GPU has no stream left.
    pub fn new(device: &Device, maps: DType) -> Result<Self> {
        Ok(Self { device: device.clone(), maps, stream: UploadStream::to(device)?.map(Mutex::new) })
    }

    /// How images are stored there.
    pub fn maps(&self) -> DType {
        self.maps
    }

    /// Starts to bring `values` there, rounded where maps are bf16.
    ///
    /// # Errors
    /// When their number does not fit the shape, or memory is short.
    pub fn upload(&self, values: Vec<f32>, shape: &[usize]) -> Result<Uploaded> {
        self.upload_as(values, shape, Sent::default())
    }

    /// As [`Self::upload`], sent in another way.
    ///
    /// # Errors
    /// As [`Self::upload`].
    pub fn upload_as(&self, values: Vec<f32>, shape: &[usize], sent: Sent) -> Result<Uploaded> {
        if values.len() != shape.iter().product::<usize>() {
            bail!("{} numbers for images of shape {shape:?}", values.len())
        }
        if self.stream.is_none() && self.arrives(sent) == DType::F32 {
            let place = Place::Arrived(Tensor::from_vec(values, shape, &self.device)?);
            return Ok(Uploaded { place, then: Vec::new() });
        }
        Ok(self.upload_made(shape, sent, |pixels| pixels.copy_from(&values))?.0)
    }

    /// As [`Self::upload`], of images that `make` writes straight into the memory that is sent: every number of it. Gives what
    /// `make` returns, too; where that tells of a failure, the images are arbitrary numbers.
    ///
    /// # Errors
    /// When memory is short.
    pub fn upload_made<R>(
        &self,
        shape: &[usize],
        sent: Sent,
        make: impl FnOnce(Pixels<'_>) -> R,
    ) -> Result<(Uploaded, R)> {
        let arrives = self.arrives(sent);
        if sent.bytes && self.stream.is_some() {
            let (place, made) = self.made(shape, |to| make(Pixels::Bytes(to)))?;
            return Ok((Uploaded { place, then: vec![Box::new(move |bytes| scaled(&bytes, arrives))] }, made));
        }
        let (place, made) = match arrives {
            DType::BF16 => self.made(shape, |to| make(Pixels::Bf16(to)))?,
            _ => self.made(shape, |to| make(Pixels::F32(to)))?,
        };
        Ok((Uploaded { place, then: Vec::new() }, made))
    }

    fn arrives(&self, sent: Sent) -> DType {
        if sent.unfinished { DType::F32 } else { self.maps }
    }

    fn made<T: Number, R>(&self, shape: &[usize], make: impl FnOnce(&mut [T]) -> R) -> Result<(Place, R)> {
        let (len, mut made) = (shape.iter().product(), None);
        let fill = |to: &mut [T]| made = Some(make(to));
        let place = match &self.stream {
            // A thread that failed while it held the stream left at worst an unfinished buffer, which nobody reads.
            Some(stream) => {
                let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
                Place::InFlight(stream.send(len, shape, fill)?)
            }
            None => Place::Arrived(Tensor::from_vec(filled(len, fill), shape, &self.device)?),
        };
        match made {
            Some(made) => Ok((place, made)),
            None => bail!("images of shape {shape:?} were not written"),
        }
    }
}

impl Uploaded {
    /// The images; work on them that is launched from now on comes after their arrival.
    ///
    /// # Errors
    /// When the GPU failed at what it was doing, or the work that was asked for fails.
    pub fn tensor(self) -> Result<Tensor> {
        self.then.into_iter().try_fold(self.place.tensor()?, |images, work| work(images))
    }

    /// The same, with work to be done on the images when they have arrived, after what else is to be done.
    pub(crate) fn then(mut self, work: impl FnOnce(Tensor) -> Result<Tensor> + Send + 'static) -> Self {
        self.then.push(Box::new(work));
        self
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::numbers::device;
    use half::bf16;

    /// The numbers of what arrives, as f32.
    fn arrived(uploaded: Uploaded) -> Vec<f32> {
        let tensor = uploaded.tensor().unwrap().to_device(&Device::Cpu).unwrap();
        tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn what_goes_up_is_what_a_network_would_round_to() {
        let values = vec![0.1f32, 0.501_953_1, 1.0, 0.333_333_34];
        let of = |maps, sent| {
            let up = Uploader::new(&device(), maps).unwrap().upload_as(values.clone(), &[2, 2], sent).unwrap();
            assert_eq!(up.then.len(), 0);
            arrived(up)
        };
        let rounded: Vec<f32> = values.iter().map(|v| bf16::from_f32(*v).to_f32()).collect();
        let unfinished = Sent { unfinished: true, ..Sent::default() };
        assert_eq!(of(DType::F32, Sent::default()), values);
        assert_eq!(of(DType::BF16, Sent::default()), rounded);
        assert_eq!(of(DType::BF16, unfinished), values);
        let uploader = Uploader::new(&device(), DType::F32).unwrap();
        assert!(uploader.upload(values, &[3, 2]).is_err());
    }

    /// On a GPU by its kernel, on the CPU without one.
    #[test]
    fn pixels_of_pictures_arrive_as_they_are_whether_as_bytes_or_not() {
        // An odd number of them: not all packs are whole.
        let values: Vec<f32> = (0..3 * 5 * 7 * 3).map(|i| (i * 37 % 256) as f32 * (1.0 / 255.0)).collect();
        for maps in [DType::F32, DType::BF16] {
            for unfinished in [false, true] {
                let up = |bytes| {
                    let uploader = Uploader::new(&device(), maps).unwrap();
                    let sent = Sent { bytes, unfinished };
                    arrived(uploader.upload_as(values.clone(), &[3, 5, 7, 3], sent).unwrap())
                };
                assert!(up(true) == up(false), "{maps:?}, unfinished: {unfinished}");
            }
        }
    }

    #[test]
    fn what_is_made_in_place_arrives_and_tells() {
        let values = [0.0, 255.0, 51.0, 204.0].map(|k: f32| k * (1.0 / 255.0));
        for maps in [DType::F32, DType::BF16] {
            for bytes in [false, true] {
                let uploader = Uploader::new(&device(), maps).unwrap();
                let make = |pixels: Pixels<'_>| {
                    let form = format!("{pixels:?}");
                    pixels.copy_from(&values);
                    form
                };
                let sent = Sent { bytes, unfinished: false };
                let (up, form) = uploader.upload_made(&[4], sent, make).unwrap();
                assert_eq!(form.starts_with("Bytes"), bytes && device().is_cuda(), "{form}");
                let want = values.map(|v| if maps == DType::F32 { v } else { bf16::from_f32(v).to_f32() });
                assert_eq!(arrived(up), want);
            }
        }
    }
}
