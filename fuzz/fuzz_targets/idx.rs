//! IDX files of images and of labels.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = simclr_data::sources::idx::parse(data, simclr_data::sources::idx::IMAGES_MAGIC);
    let _ = simclr_data::sources::idx::parse(data, simclr_data::sources::idx::LABELS_MAGIC);
});
