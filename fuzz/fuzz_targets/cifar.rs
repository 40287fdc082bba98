//! Records of CIFAR-10 and CIFAR-100.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    for label_bytes in [1, 2] {
        let records = data.len() / (label_bytes + 3072);
        let mut images = simclr_data::Images { height: 32, width: 32, channels: 3, data: vec![], labels: vec![] };
        let _ = simclr_data::source::memory::cifar::append(data, label_bytes, records, &mut images);
    }
});
