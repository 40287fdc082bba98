//! IDX files of images and of labels.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = simclr_data::source::memory::idx::parse(data, simclr_data::source::memory::idx::IMAGES_MAGIC);
    let _ = simclr_data::source::memory::idx::parse(data, simclr_data::source::memory::idx::LABELS_MAGIC);
});
