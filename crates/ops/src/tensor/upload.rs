//! Images in flight to a device, from the thread that makes them.

use crate::gpu::{PendingUpload, UploadStream};
use candle_core::{DType, Device, Result, Tensor, bail};
use half::slice::HalfFloatSliceExt;
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

/// A batch that is in flight, or has arrived.
pub struct Uploaded {
    place: Place,
    then: Option<Work>,
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
        Ok(Uploaded { place: self.send(values, shape, self.maps)?, then: None })
    }

    /// As [`Self::upload`], as f32 and with work to be done once they are there.
    ///
    /// # Errors
    /// As [`Self::upload`].
    pub(crate) fn upload_for(
        &self,
        values: Vec<f32>,
        shape: &[usize],
        work: impl FnOnce(Tensor) -> Result<Tensor> + Send + 'static,
    ) -> Result<Uploaded> {
        Ok(Uploaded { place: self.send(values, shape, DType::F32)?, then: Some(Box::new(work)) })
    }

    fn send(&self, values: Vec<f32>, shape: &[usize], stored: DType) -> Result<Place> {
        if values.len() != shape.iter().product::<usize>() {
            bail!("{} numbers for images of shape {shape:?}", values.len())
        }
        if let Some(stream) = &self.stream {
            // A thread that failed while it held the stream left at worst an unfinished buffer, which nobody reads.
            let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
            let pending = match stored {
                DType::BF16 => {
                    stream.send(values.len(), shape, |to: &mut [half::bf16]| to.convert_from_f32_slice(&values))?
                }
                _ => stream.send(values.len(), shape, |to: &mut [f32]| to.copy_from_slice(&values))?,
            };
            return Ok(Place::InFlight(pending));
        }
        let tensor = match stored {
            DType::BF16 => {
                let mut rounded = vec![half::bf16::ZERO; values.len()];
                rounded.convert_from_f32_slice(&values);
                Tensor::from_vec(rounded, shape, &self.device)?
            }
            _ => Tensor::from_vec(values, shape, &self.device)?,
        };
        Ok(Place::Arrived(tensor))
    }
}

impl Uploaded {
    /// The images; work on them that is launched from now on comes after their arrival.
    ///
    /// # Errors
    /// When the GPU failed at what it was doing, or the work that was asked for fails.
    pub fn tensor(self) -> Result<Tensor> {
        let images = self.place.tensor()?;
        match self.then {
            Some(work) => work(images),
            None => Ok(images),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_goes_up_is_what_a_network_would_round_to() {
        let values = vec![0.1f32, 0.501_953_1, 1.0, 0.333_333_34];
        let of = |maps| {
            Uploader::new(&Device::Cpu, maps).unwrap().upload(values.clone(), &[2, 2]).unwrap().tensor().unwrap()
        };
        assert_eq!(of(DType::F32).flatten_all().unwrap().to_vec1::<f32>().unwrap(), values);
        let want = of(DType::F32).to_dtype(DType::BF16).unwrap().flatten_all().unwrap();
        assert_eq!(
            of(DType::BF16).flatten_all().unwrap().to_vec1::<half::bf16>().unwrap(),
            want.to_vec1::<half::bf16>().unwrap()
        );
        assert!(Uploader::new(&Device::Cpu, DType::F32).unwrap().upload(values, &[3, 2]).is_err());
    }
}
