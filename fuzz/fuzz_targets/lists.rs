//! Lists of labeled images.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = simclr_data::parse_list(data);
});
