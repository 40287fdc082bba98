//! Labels of STL-10.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = simclr_data::source::stl10::parse_labels(data, data.len());
});
