//! DICOM: the first frame, in the units of its modality, such as Hounsfield's.

use super::lengths;
use crate::decode::format::Decoded;
use crate::decode::options::Wanted;
use crate::decode::raster::{Pick, Raster, Samples, from_ycbcr};
use anyhow::{Context, Result, bail, ensure};
use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::{DefaultDicomObject, OpenFileOptions};
use dicom_pixeldata::{
    DecodedPixelData, PhotometricInterpretation, PixelDecoder, PixelRepresentation, PlanarConfiguration,
};
use std::sync::Once;

fn number(object: &DefaultDicomObject, tag: Tag, what: &str) -> Result<usize> {
    let found = object.element_opt(tag)?.with_context(|| format!("it has no {what}"))?;
    Ok(usize::from(found.to_int::<u16>().with_context(|| format!("its {what}"))?))
}

fn stated(object: &DefaultDicomObject) -> Result<(usize, usize)> {
    Ok((number(object, tags::ROWS, "number of rows")?, number(object, tags::COLUMNS, "number of columns")?))
}

pub(super) fn size(bytes: &[u8]) -> Result<(usize, usize)> {
    lengths::check(bytes)?;
    stated(&OpenFileOptions::new().read_until(tags::PIXEL_DATA).from_reader(bytes)?)
}

pub(super) fn decode(bytes: &[u8], wanted: &Wanted<'_>, data: &mut Vec<u8>) -> Result<Decoded> {
    lengths::check(bytes)?;
    let object = OpenFileOptions::new().from_reader(bytes)?;
    let size = stated(&object)?;
    wanted.options.check(size)?;
    let channels = number(&object, tags::SAMPLES_PER_PIXEL, "number of samples a pixel")?;
    ensure!(matches!(channels, 1 | 3), "it has {channels} samples a pixel, and 1 and 3 are supported");
    Pick::of(channels, false, wanted.channels)?;
    let pixels = object.decode_pixel_data_frame(0)?;
    if pixels.number_of_frames() > 1 {
        static SAID: Once = Once::new();
        SAID.call_once(|| tracing::warn!("a DICOM file holds several frames: of such files the first frame is used"));
    }
    let kind = pixels.photometric_interpretation().clone();
    let (samples, full) = match channels {
        1 => {
            ensure!(kind.is_monochrome(), "its colours are {}, which is not supported: convert it", kind.as_str());
            (Samples::F32(pixels.to_vec_frame(0)?), Some(window(&pixels)?))
        }
        _ => (Samples::U8(colours(&pixels, &kind, size)?), None),
    };
    Raster { channels, alpha: false, full, samples }.write(wanted, data)?;
    if kind == PhotometricInterpretation::Monochrome1 {
        data.iter_mut().for_each(|v| *v = 255 - *v);
    }
    Ok(Decoded::upright(size))
}

/// What the file shows as black and white: its first window, or all that its bits hold.
fn window(pixels: &DecodedPixelData<'_>) -> Result<[f64; 2]> {
    if let Some([window, ..]) = pixels.window()? {
        let (middle, half) = (window.center - 0.5, (window.width - 1.0) / 2.0);
        return Ok([middle - half, middle + half]);
    }
    let bits = pixels.bits_stored();
    ensure!((1..=32).contains(&bits), "it stores {bits} bits a sample");
    let (all, half) = (2f64.powi(i32::from(bits)) - 1.0, 2f64.powi(i32::from(bits) - 1));
    let least = if pixels.pixel_representation() == PixelRepresentation::Signed { -half } else { 0.0 };
    let scale = pixels.rescale()?.first().map_or((1.0, 0.0), |scale| (scale.slope, scale.intercept));
    Ok([least, least + all].map(|v| v * scale.0 + scale.1))
}

/// RGB, `[H, W, 3]`.
fn colours(pixels: &DecodedPixelData<'_>, kind: &PhotometricInterpretation, size: (usize, usize)) -> Result<Vec<u8>> {
    let (stored, count) = (pixels.frame_data(0)?, size.0 * size.1);
    ensure!(pixels.bits_allocated() == 8, "its colours have {} bits, and 8 are supported", pixels.bits_allocated());
    ensure!(stored.len() >= 3 * count, "it breaks off before its end");
    let stored = match pixels.planar_configuration() {
        PlanarConfiguration::Standard => stored[..3 * count].to_vec(),
        _ => (0..3 * count).map(|i| stored[i % 3 * count + i / 3]).collect(),
    };
    match kind {
        PhotometricInterpretation::Rgb => Ok(stored),
        PhotometricInterpretation::YbrFull | PhotometricInterpretation::YbrFull422 => Ok(from_ycbcr(&stored)),
        other => bail!("its colours are {}, which is not supported: convert it", other.as_str()),
    }
}
