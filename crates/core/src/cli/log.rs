//! The log and the last word of a program, both without the hub's token.

use crate::hub::redact;
use crate::train::Interrupted;
use anyhow::Result;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

/// What is logged where `RUST_LOG` is not set: the hub's client tells of each request at `info`.
const LOG: &str = "info,hf_hub=warn,xet=warn,client_telemetry=warn";

/// Sends log messages to stderr; `RUST_LOG` chooses them, `info` where it is not set.
pub fn init_log() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOG));
    // An error means that somebody has set a log up already: theirs stays.
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Discreet).without_time();
    let _ = log.with_ansi(std::io::stderr().is_terminal()).try_init();
}

/// Stderr, without the hub's token. The log hands over whole lines.
struct Discreet;

impl Write for Discreet {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        std::io::stderr().write_all(redact(&String::from_utf8_lossy(line)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

/// Prints a line on the standard output, where nobody need be reading any more: `| head` has seen enough.
pub fn say(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Prints an error once, on stderr, and turns it into the exit code of `main`: 1, or that of [`Interrupted`], which is no error.
pub fn exit_with(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Interrupted>() => {
            eprintln!("{error}");
            ExitCode::from(Interrupted::EXIT)
        }
        Err(error) => {
            eprintln!("error: {}", redact(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}
