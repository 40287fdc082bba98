//! What the emulation finds in kernels that lack a barrier.

use super::emulated::Emulated;

/// A barrier that is left out is found, whichever it is.
#[test]
fn every_missing_barrier_is_found() {
    let emulator = Emulated::get().emulator();
    let some = || {
        crate::norm::emulated::small();
        crate::contrastive::emulated::small();
        crate::optim::emulated::small();
        crate::augment::emulated::small();
    };
    some();
    let sites = emulator.barriers();
    let sources = [include_str!("../gpu/device.cuh"), include_str!("../norm/kernel.cu")];
    let written: usize = sources.iter().map(|source| source.matches("__syncthreads();").count()).sum();
    assert_eq!(sites.len(), written, "only {sites:?} are reached");
    for site in sites {
        let found = emulator.without_barrier(&site, some);
        let message = found.expect_err(&format!("nobody misses the barrier at {site}"));
        assert!(message.contains("shared memory"), "{site}: {message}");
    }
}
