//! Programs of this machine that are asked something.

use std::process::Command;

/// What a program prints, without blanks around it; nothing where the program is missing or fails.
pub fn output(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().into())
}
