//! JPEG, PNG and WebP.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = simclr_data::picture::decode(data, 3, &simclr_data::picture::Limits { max_pixels: 1 << 20 });
});
