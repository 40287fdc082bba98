//! Signals that ask a run to save its state and end: from a person at a terminal, or from a scheduler that takes the machine.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// What ended training before its length: the state is saved, and the same command goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interrupted {
    /// Steps done.
    pub step: u64,
    /// Steps of the run.
    pub of: u64,
}

impl Interrupted {
    /// The exit code of a program that was interrupted (`EX_TEMPFAIL`: try again).
    pub const EXIT: u8 = 75;
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stopped as asked after step {} of {}; its state is saved: go on with --resume", self.step, self.of)
    }
}

impl std::error::Error for Interrupted {}

/// Whether a signal came, and whether the next one ends the process at once.
struct Flags {
    asked: Arc<AtomicBool>,
    ends: Arc<AtomicBool>,
    /// Trainings of this process that look at `asked`.
    trainings: AtomicUsize,
}

static FLAGS: OnceLock<Flags> = OnceLock::new();

/// While it lives, a first signal is noted rather than obeyed; the second one ends the process, as one does outside training. What
/// was noted is forgotten with the last of a process.
pub(super) struct Listener(&'static Flags);

impl Listener {
    /// Takes SIGINT, SIGTERM and SIGUSR1, which Slurm may send some time before it ends a job.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn begin() -> std::io::Result<Self> {
        let flags = match FLAGS.get() {
            Some(flags) => flags,
            None => {
                let made = register()?;
                FLAGS.get_or_init(|| made)
            }
        };
        flags.trainings.fetch_add(1, Ordering::SeqCst);
        if !flags.asked.load(Ordering::SeqCst) {
            flags.ends.store(false, Ordering::SeqCst);
        }
        Ok(Self(flags))
    }

    /// Whether this process was asked to stop.
    pub fn asked(&self) -> bool {
        self.0.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.0.trainings.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.ends.store(true, Ordering::SeqCst);
            self.0.asked.store(false, Ordering::SeqCst);
        }
    }
}

/// Signals that ask for an end.
#[cfg(unix)]
const SIGNALS: [i32; 3] = [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGUSR1];
#[cfg(not(unix))]
const SIGNALS: [i32; 2] = [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM];

fn register() -> std::io::Result<Flags> {
    let (asked, ends) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(true)));
    for signal in SIGNALS {
        // In this order: the first signal finds `ends` as it was, and sets it for the second.
        signal_hook::flag::register_conditional_default(signal, ends.clone())?;
        signal_hook::flag::register(signal, ends.clone())?;
        signal_hook::flag::register(signal, asked.clone())?;
    }
    Ok(Flags { asked, ends, trainings: AtomicUsize::new(0) })
}
