//! One fuzz target: the one that the environment's `SIMCLR_FUZZ` names.
#![no_main]

#[path = "../../bodies.rs"]
mod bodies;

use std::sync::LazyLock;

static TARGET: LazyLock<&bodies::Target> = LazyLock::new(|| {
    let name = std::env::var("SIMCLR_FUZZ").unwrap_or_default();
    let known = bodies::TARGETS.map(|target| target.0);
    bodies::named(&name).unwrap_or_else(|| panic!("SIMCLR_FUZZ={name}: must be one of {}", known.join(", ")))
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    (TARGET.1)(data);
});
