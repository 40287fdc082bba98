//! Runs a program on a malformed input within bounds of time and memory, and says what is wrong with what it does.

use super::case::{Case, Expect, Output};
use crate::workspace::Binaries;
use anyhow::{Context, Result};
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Addresses that a program may have, in KiB: 6 GB. The binaries' arena asks for more, does not get it, and lets mimalloc serve.
const ADDRESSES: usize = 6 << 20;
/// How long it may take.
const SECONDS: u64 = 20;
/// How long a message may be.
const MESSAGE: usize = 2000;

/// What a program did with an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// What it should.
    Good,
    /// It panicked.
    Panic,
    /// A signal ended it: an abort, a crash, memory.
    Abort,
    /// It did not end.
    Hang,
    /// It succeeded where it should have refused.
    Accepted,
    /// It refused where it should have succeeded.
    Refused,
    /// It refused as it should, and its message is not as it should be.
    Message,
}

impl Verdict {
    /// Every verdict, in the order of a table.
    pub const ALL: [Self; 7] =
        [Self::Good, Self::Panic, Self::Abort, Self::Hang, Self::Accepted, Self::Refused, Self::Message];

    /// The head of its column.
    pub fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Panic => "panic",
            Self::Abort => "abort",
            Self::Hang => "hang",
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Message => "message",
        }
    }
}

/// A verdict with its reason, and the command that led to it.
pub struct Judged {
    /// What it did.
    pub verdict: Verdict,
    /// Why that is wrong.
    pub why: String,
    /// To do it again.
    pub command: String,
}

/// Makes the case in `dir`, runs its program, and judges.
///
/// # Errors
/// When the case cannot be made, or the program not be started.
pub fn judge(case: &Case, binaries: &Binaries, dir: &Path) -> Result<Judged> {
    std::fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    let args = (case.make)(dir)?;
    let program = binaries.command(case.program);
    let limits = format!("ulimit -v {ADDRESSES}; ulimit -c 0; exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.arg("-c").arg(&limits).arg(program.get_program()).args(&args);
    // Messages are judged as they are, and nothing asks a network.
    command
        .env("HF_HUB_OFFLINE", "1")
        .env("HF_HOME", dir.join("hub"))
        .env_remove("RUST_LOG")
        .env_remove("RUST_BACKTRACE");
    command.env_remove("HF_TOKEN").current_dir(dir).stdin(Stdio::null());
    let file = |name: &str| File::create(dir.join(name)).with_context(|| format!("creating {name}"));
    command.stderr(file("stderr")?);
    match case.output {
        Output::Kept => command.stdout(file("stdout")?),
        Output::Closed => command.stdout(Stdio::piped()),
        Output::Full => command.stdout(File::options().write(true).open("/dev/full").context("/dev/full")?),
    };
    let mut child = command.spawn().context("starting sh")?;
    drop(child.stdout.take());
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().context("waiting")? {
            break Some(status);
        }
        if begun.elapsed() > Duration::from_secs(SECONDS) {
            child.kill().context("ending it")?;
            child.wait().context("waiting")?;
            break None;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let stderr = std::fs::read(dir.join("stderr")).context("reading stderr")?;
    let end = status.map(|status| (status.code(), status.signal()));
    let (verdict, why) = verdict(&case.expect, end, &stderr);
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
    let words: Vec<String> = args.iter().map(|arg| quoted(arg)).collect();
    let output = match case.output {
        Output::Kept => "",
        Output::Closed => " | true",
        Output::Full => " > /dev/full",
    };
    let command = format!(
        "(cd {}; ulimit -v {ADDRESSES}; HF_HUB_OFFLINE=1 timeout {SECONDS} {} {}{output})",
        quoted(&dir.display().to_string()),
        program.get_program().to_string_lossy(),
        words.join(" ")
    );
    Ok(Judged { verdict, why, command })
}

/// From how a program ended (nothing where it did not) and what it said.
fn verdict(expect: &Expect, end: Option<(Option<i32>, Option<i32>)>, stderr: &[u8]) -> (Verdict, String) {
    let text = String::from_utf8_lossy(stderr);
    let last = || text.lines().last().unwrap_or_default().chars().take(300).collect::<String>();
    let Some((code, signal)) = end else { return (Verdict::Hang, format!("goes on after {SECONDS} s: {}", last())) };
    if text.contains("panicked at") {
        let line = text.lines().skip_while(|line| !line.contains("panicked at")).take(2).collect::<Vec<_>>().join(" ");
        return (Verdict::Panic, line.chars().take(400).collect());
    }
    let Some(code) = code else {
        return (Verdict::Abort, format!("signal {}: {}", signal.unwrap_or_default(), last()));
    };
    let faults = |parts: &[String]| -> Option<String> { message_fault(&text, parts) };
    match (expect, code) {
        (Expect::Refused(_), 0) => (Verdict::Accepted, format!("it should be refused: {}", last())),
        (Expect::Accepted(_), 1..) => (Verdict::Refused, last()),
        (Expect::Accepted(parts), _) => match parts.iter().find(|part| !text.contains(part.as_str())) {
            Some(part) => (Verdict::Message, format!("nothing of \"{part}\": {}", last())),
            None => (Verdict::Good, String::new()),
        },
        (Expect::Either(_), 0) => (Verdict::Good, String::new()),
        (Expect::Refused(parts) | Expect::Either(parts), _) => match faults(parts) {
            Some(fault) => (Verdict::Message, fault),
            None => (Verdict::Good, String::new()),
        },
    }
}

/// What is wrong with a message: there is one, it says each of these, it is short, and a terminal can show it.
fn message_fault(text: &str, parts: &[String]) -> Option<String> {
    if let Some(c) = text.chars().find(|c| c.is_control() && *c != '\n') {
        return Some(format!("a control character, {c:?}"));
    }
    let starts: Vec<usize> = text.match_indices("error: ").map(|(at, _)| at).collect();
    let at_line = |at: &&usize| **at == 0 || text.as_bytes()[**at - 1] == b'\n';
    let starts: Vec<&usize> = starts.iter().filter(at_line).collect();
    let [start] = starts.as_slice() else { return Some(format!("{} messages \"error: ...\"", starts.len())) };
    let message = &text[**start..];
    let shown = || message.trim_end().chars().take(300).collect::<String>();
    if message.chars().count() >= MESSAGE {
        return Some(format!("{} characters: {}", message.chars().count(), shown()));
    }
    let missing = parts.iter().find(|part| !part.split('|').any(|one| message.contains(one)));
    missing.map(|part| format!("\"{part}\" is not in: {}", shown()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts() {
        let refused = Expect::Refused(vec!["model.width".into(), "a|b".into()]);
        let of = |expect: &Expect, end, text: &str| verdict(expect, end, text.as_bytes()).0;
        let exit = |code| Some((Some(code), None));
        assert_eq!(of(&refused, exit(1), " INFO x\nerror: model.width of b is 0\n"), Verdict::Good);
        assert_eq!(of(&refused, exit(1), "error: model.width\n"), Verdict::Message);
        assert_eq!(of(&refused, exit(1), "error: model.width b\nerror: twice\n"), Verdict::Message);
        assert_eq!(of(&refused, exit(1), "model.width b\n"), Verdict::Message);
        assert_eq!(of(&refused, exit(1), "error: model.width b\u{1b}[1m\n"), Verdict::Message);
        assert_eq!(of(&refused, exit(1), &format!("error: model.width b {}\n", "x".repeat(3000))), Verdict::Message);
        assert_eq!(of(&refused, exit(0), ""), Verdict::Accepted);
        assert_eq!(of(&refused, exit(101), "thread 'main' panicked at x.rs:1:\nmodel.width"), Verdict::Panic);
        assert_eq!(of(&refused, Some((None, Some(6))), ""), Verdict::Abort);
        assert_eq!(of(&refused, None, ""), Verdict::Hang);
        assert_eq!(of(&Expect::Accepted(vec![]), exit(1), "error: no\n"), Verdict::Refused);
        assert_eq!(of(&Expect::Accepted(vec!["1 left out".into()]), exit(0), "all\n"), Verdict::Message);
        assert_eq!(of(&Expect::Either(vec![]), exit(0), ""), Verdict::Good);
    }
}
