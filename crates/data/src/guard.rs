//! Decoders of other people's files, should they panic.

use anyhow::{Result, anyhow};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs a decoder of other people's files. Should it panic, the file is at fault, and the panic an error.
pub(crate) fn guarded<T>(decode: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|_| Err(anyhow!("the decoder gave up")))
}
