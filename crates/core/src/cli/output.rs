//! The one writer to the standard output: a reader that has seen enough ends nothing, and a full disk is told once, at the end.
//!
//! It uses the standard library alone: `cargo xtask` includes this file, too.

use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::sync::{Mutex, PoisonError};

/// Why the standard output cannot be written to, once that is known.
static FAILED: Mutex<Option<(ErrorKind, String)>> = Mutex::new(None);

/// Prints a line on the standard output.
pub fn say(line: impl Display) {
    put(format!("{line}\n").as_bytes());
}

/// Prints a line that nothing depends on, such as how far a run has come.
pub fn mention(line: impl Display) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Writes bytes to the standard output. Once it cannot be written to, nothing more is tried: [`failure`] has the reason.
pub fn put(bytes: &[u8]) {
    let mut failed = FAILED.lock().unwrap_or_else(PoisonError::into_inner);
    if failed.is_none() {
        let mut stdout = std::io::stdout().lock();
        if let Err(error) = stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            *failed = Some((error.kind(), error.to_string()));
        }
    }
}

/// What the end of a program has to say of the standard output: nothing where all was written, or where nobody reads any more,
/// as behind `| head`.
pub fn failure() -> Option<String> {
    let failed = FAILED.lock().unwrap_or_else(PoisonError::into_inner);
    let (_, why) = failed.as_ref().filter(|(kind, _)| *kind != ErrorKind::BrokenPipe)?;
    Some(format!("cannot write to the standard output: {why}"))
}
