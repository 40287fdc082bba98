//! Labels of tar shards, names of classes of parquet files.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = simclr_data::source::tar::parse_cls(text);
        let _ = simclr_data::source::tar::parse_json(text);
        let _ = simclr_data::source::parquet::parse_class_names(text, "label");
    }
});
