//! The log and the last word of a program, both without the hub's token.

use super::output::failure;
use crate::fit;
use crate::hub::redact;
use crate::train::Interrupted;
use anyhow::Result;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// What is logged where `RUST_LOG` is not set: the hub's client tells of each request at `info`.
const LOG: &str = "info,hf_hub=warn,xet=warn,client_telemetry=warn";

/// Sends log messages to stderr; `RUST_LOG` chooses them, `info` where it is not set.
pub fn init_log() {
    // An error means that somebody has set a log up already: theirs stays.
    let _ = log(LOG, String::new()).try_init();
}

/// The log of a rank that does not lead: its warnings and errors (or what `RUST_LOG` chooses), each line with its `name`,
/// such as `rank 1 of 4`.
pub fn log_of_rank(name: &str) -> impl tracing::Subscriber + Send + Sync + use<> {
    log("warn", format!("{name}: "))
}

fn log(default: &str, prefix: String) -> impl tracing::Subscriber + Send + Sync + use<> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(move || Discreet(prefix.clone()));
    log.without_time().with_ansi(std::io::stderr().is_terminal()).finish()
}

/// Stderr, without the hub's token, each line after this. The log hands over whole lines.
struct Discreet(String);

impl Write for Discreet {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let text = format!("{}{}", self.0, String::from_utf8_lossy(line));
        std::io::stderr().write_all(redact(&text).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

/// A line on stderr, where nobody need be reading any more.
fn last_word(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Prints an error once, on stderr, and turns it into the exit code of `main`: 1, or that of [`Interrupted`], which is no error. That
/// the standard output could not be written is an error as well.
pub fn exit_with(result: Result<()>) -> ExitCode {
    let result = result.and_then(|()| failure().map_or(Ok(()), |why| Err(anyhow::anyhow!(why))));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Interrupted>() => {
            last_word(format_args!("{error}"));
            ExitCode::from(Interrupted::EXIT)
        }
        Err(error) => {
            last_word(format_args!("error: {}", fit::message(&redact(&format!("{error:#}")))));
            ExitCode::FAILURE
        }
    }
}
