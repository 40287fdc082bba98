//! JPEG, PNG and WebP.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = simclr_data::decode::decode(data, 3, &simclr_data::decode::Options { max_pixels: 1 << 20, ..Default::default() });
});
