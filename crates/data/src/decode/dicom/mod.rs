//! DICOM, where the binary has the feature for it.

#[cfg(not(feature = "dicom"))]
mod absent;
#[cfg(feature = "dicom")]
mod lengths;
#[cfg(feature = "dicom")]
mod read;
#[cfg(all(test, feature = "dicom"))]
mod tests;

#[cfg(not(feature = "dicom"))]
use absent::{decode, size};
#[cfg(feature = "dicom")]
use read::{decode, size};

use super::format::Format;

pub(super) static FORMAT: Format = Format {
    name: "DICOM",
    endings: &["dcm", "dicom"],
    is: |bytes| bytes.get(128..132) == Some(b"DICM"),
    size,
    decode,
};
