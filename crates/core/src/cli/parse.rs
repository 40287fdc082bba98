//! Command lines: read with messages that are fit to print, sizes and numbers within their bounds.

use crate::fit;
use crate::keys::Range;
use clap::Parser;
use clap::builder::RangedU64ValueParser;
use std::ffi::OsString;
use std::ops::RangeInclusive;

/// Reads the command line of the process, as [`parse_from`] does.
pub fn parse<T: Parser>() -> T {
    parse_from(std::env::args_os())
}

/// Reads a command line, the program's name first. One that is none, and a question for help, end the process.
pub fn parse_from<T: Parser>(line: impl IntoIterator<Item = OsString>) -> T {
    T::try_parse_from(line).unwrap_or_else(|error| {
        let text = error.render().to_string();
        match error.use_stderr().then(|| fitted(&text)).filter(|fitted| *fitted != text) {
            // With the colours of the terminal.
            None => error.exit(),
            Some(fitted) => {
                eprint!("{fitted}");
                std::process::exit(error.exit_code())
            }
        }
    })
}

/// A message of clap, what it quotes of the command line cut, and without control characters.
fn fitted(text: &str) -> String {
    let ends = ["' for '", "' found", "' cannot be used", "' requires", "'\n"];
    let quoted = text.split_once('\'').and_then(|(before, rest)| {
        let end = ends.iter().filter_map(|end| rest.find(end)).min()?;
        Some(format!("{before}'{}{}", fit::short(&&rest[..end]), &rest[end..]))
    });
    fit::message(quoted.as_deref().unwrap_or(text))
}

/// A size of the command line, which lies in these [`bounds`](crate::bounds).
pub fn size(bounds: &RangeInclusive<usize>) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(*bounds.start() as u64..=*bounds.end() as u64)
}

/// A number of the command line, which lies in this range.
pub fn number(range: Range) -> impl Fn(&str) -> Result<f64, String> + Clone + Send + Sync + 'static {
    move |text| {
        let number: f64 = text.parse().map_err(|_| "expected a number".to_string())?;
        range.check("the option", number, &number).map_err(|_| format!("must lie in {range}"))?;
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::bounds;

    #[derive(Debug, Parser)]
    struct Cli {
        #[arg(long, value_parser = size(&bounds::THREADS))]
        threads: Option<usize>,
        #[arg(long, value_parser = number(Range::above(0.0, 10.0)))]
        hours: Option<f64>,
    }

    #[test]
    fn options_have_bounds_and_messages_name_them() {
        let read = |words: &[&str]| Cli::try_parse_from(["x"].iter().chain(words));
        assert_eq!(read(&["--threads", "3"]).unwrap().threads, Some(3));
        assert_eq!(read(&["--hours", "0.5"]).unwrap().hours, Some(0.5));
        for (option, values) in [
            ("--threads", vec!["0", "-1", "1025", "99999999999999999999999", "many", ""]),
            ("--hours", vec!["0", "-1", "nan", "inf", "1e300", "soon"]),
        ] {
            for value in values {
                let message = read(&[&format!("{option}={value}")]).unwrap_err().to_string();
                assert!(message.contains(option), "{message}");
            }
        }
    }

    #[test]
    fn what_is_quoted_is_cut() {
        let long = "9".repeat(100_000);
        for words in [["--threads", &long], ["--hours", &long], [&long, "1"], ["--hours", "a\u{1b}[2J' b"]] {
            let message = fitted(&Cli::try_parse_from(["x"].iter().chain(&words)).unwrap_err().to_string());
            assert!(message.len() < 500 && !message.contains('\u{1b}') && message.contains("--help"), "{message}");
        }
    }
}
