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
    put_to(&mut std::io::stdout().lock(), bytes, &mut failed);
}

fn put_to(out: &mut impl Write, bytes: &[u8], failed: &mut Option<(ErrorKind, String)>) {
    if failed.is_none()
        && let Err(error) = out.write_all(bytes).and_then(|()| out.flush())
    {
        *failed = Some((error.kind(), error.to_string()));
    }
}

/// What the end of a program has to say of the standard output: nothing where all was written, or where nobody reads any more,
/// as behind `| head`.
pub fn failure() -> Option<String> {
    told(&FAILED.lock().unwrap_or_else(PoisonError::into_inner))
}

fn told(failed: &Option<(ErrorKind, String)>) -> Option<String> {
    let (_, why) = failed.as_ref().filter(|(kind, _)| *kind != ErrorKind::BrokenPipe)?;
    Some(format!("cannot write to the standard output: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes what there is room for.
    struct Full(usize, ErrorKind, usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.2 += 1;
            match self.0.min(bytes.len()) {
                0 => Err(self.1.into()),
                some => {
                    self.0 -= some;
                    Ok(some)
                }
            }
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_is_told_once_and_a_closed_pipe_not_at_all() {
        for (kind, expected) in [(ErrorKind::StorageFull, true), (ErrorKind::BrokenPipe, false)] {
            let (mut out, mut failed) = (Full(7, kind, 0), None);
            put_to(&mut out, b"abcd\n", &mut failed);
            assert_eq!(told(&failed), None);
            put_to(&mut out, b"efgh\n", &mut failed);
            let tries = out.2;
            put_to(&mut out, b"ijkl\n", &mut failed);
            assert_eq!(out.2, tries, "nothing more is tried");
            assert_eq!(
                told(&failed).is_some_and(|why| why.starts_with("cannot write to the standard output: ")),
                expected
            );
        }
    }
}
