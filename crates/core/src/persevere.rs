//! What a disk or a network fails at once and not the next time: tried again, said in the log, and given up after a bound.

use anyhow::{Error, Result};
use std::io::ErrorKind;
use std::time::Duration;

/// Milliseconds to wait before each further try: some fifty seconds in all.
const PAUSES: &[u64] = &[100, 1000, 5000, 15_000, 30_000];

/// Whether an error need not come back: the disk is full for now, a network is away, a device has failed once. A file that is missing,
/// cut or not what it should be stays so, and so does what may not be done.
pub fn may_pass(error: &Error) -> bool {
    let passes = |error: &std::io::Error| match error.kind() {
        ErrorKind::TimedOut
        | ErrorKind::WouldBlock
        | ErrorKind::Interrupted
        | ErrorKind::ResourceBusy
        | ErrorKind::StorageFull
        | ErrorKind::QuotaExceeded
        | ErrorKind::StaleNetworkFileHandle
        | ErrorKind::NetworkDown
        | ErrorKind::NetworkUnreachable
        | ErrorKind::HostUnreachable => true,
        _ => is_of_device(error),
    };
    error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>()).any(passes)
}

/// An input or output that the device failed at, which has no kind of its own.
#[cfg(unix)]
fn is_of_device(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(libc::EIO)
}
#[cfg(not(unix))]
fn is_of_device(_error: &std::io::Error) -> bool {
    false
}

/// Does `work`, and again where it fails in a way that may pass; `what` names it in the log.
///
/// # Errors
/// The last failure.
pub fn persevere<T>(what: impl Fn() -> String, work: impl FnMut() -> Result<T>) -> Result<T> {
    persevere_for(PAUSES, what, work)
}

fn persevere_for<T>(pauses: &[u64], what: impl Fn() -> String, mut work: impl FnMut() -> Result<T>) -> Result<T> {
    for (tried, pause) in pauses.iter().map(|pause| Duration::from_millis(*pause)).enumerate() {
        match work() {
            Err(error) if may_pass(&error) => {
                let (tried, tries, seconds) = (tried + 1, pauses.len() + 1, pause.as_secs_f64());
                tracing::warn!("{}: {error:#}; try {tried} of {tries}, the next in {seconds} s", what());
                std::thread::sleep(pause);
            }
            done => return done,
        }
    }
    work()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use anyhow::Context;

    /// Fails so many times with this error, then succeeds; tells how often it was tried.
    fn tried(fails: usize, kind: ErrorKind) -> (Result<()>, usize) {
        let mut tries = 0;
        let done = persevere_for(
            &[1, 1],
            || "a picture".into(),
            || {
                tries += 1;
                if tries <= fails { Err(std::io::Error::from(kind)).context("reading") } else { Ok(()) }
            },
        );
        (done, tries)
    }

    #[test]
    fn what_may_pass_is_tried_again_within_a_bound() {
        assert!(matches!(tried(0, ErrorKind::TimedOut), (Ok(()), 1)));
        assert!(matches!(tried(2, ErrorKind::StorageFull), (Ok(()), 3)));
        assert!(matches!(tried(3, ErrorKind::TimedOut), (Err(_), 3)));
        for kind in [ErrorKind::NotFound, ErrorKind::PermissionDenied, ErrorKind::UnexpectedEof] {
            assert!(matches!(tried(1, kind), (Err(_), 1)), "{kind:?}");
        }
        #[cfg(unix)]
        assert!(may_pass(&std::io::Error::from_raw_os_error(libc::EIO).into()));
        assert!(!may_pass(&anyhow::anyhow!("no picture")));
    }
}
