//! Programs that are ended when their time is over.

use anyhow::{Context, Result, bail};
use std::cell::Cell;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How often a program is looked at.
const TICK: Duration = Duration::from_millis(20);

/// Starts programs within a time for all, and one for the part that is under way; keeps what they print.
pub struct Limited {
    folder: PathBuf,
    end: Instant,
    part: Cell<Instant>,
    count: Cell<usize>,
}

/// A program that was started, and where its output goes.
pub struct Started {
    child: Child,
    output: PathBuf,
    log: PathBuf,
}

impl Limited {
    /// Until `end`, with logs in a new folder.
    pub fn new(folder: &Path, end: Instant) -> Result<Self> {
        if folder.exists() {
            bail!("{} exists: name a new folder by --out", folder.display())
        }
        std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        let folder = folder.canonicalize().with_context(|| format!("finding {}", folder.display()))?;
        Ok(Self { folder, end, part: Cell::new(end), count: Cell::new(0) })
    }

    /// Starts the time of a part.
    pub fn begin(&self, seconds: f64) {
        self.part.set(self.end.min(Instant::now() + Duration::from_secs_f64(seconds)));
    }

    /// Seconds that the part has left.
    pub fn left(&self) -> f64 {
        self.part.get().saturating_duration_since(Instant::now()).as_secs_f64()
    }

    /// A folder or file of that name beside the logs.
    pub fn place(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Runs a program to its end; what it printed.
    ///
    /// # Errors
    /// When it does not start, fails, or its time is over: with what it says.
    pub fn run(&self, command: &mut Command, log: &str) -> Result<String> {
        let started = self.start(command, log)?;
        self.wait(started)
    }

    /// Starts a program.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(&self, command: &mut Command, log: &str) -> Result<Started> {
        self.count.set(self.count.get() + 1);
        let path = |end: &str| self.folder.join(format!("{:03}-{log}.{end}", self.count.get()));
        let (output, log) = (path("out"), path("log"));
        let create = |path: &Path| File::create(path).with_context(|| format!("creating {}", path.display()));
        let program = command.get_program().to_string_lossy().into_owned();
        // A group of its own, so that what it starts ends with it.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(command, 0);
        let child = command
            .stdin(Stdio::null())
            .stdout(create(&output)?)
            .stderr(create(&log)?)
            .spawn()
            .with_context(|| format!("starting {program}"))?;
        Ok(Started { child, output, log })
    }

    /// Waits for its end; what it printed.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn wait(&self, mut started: Started) -> Result<String> {
        let text = |path: &Path| std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        loop {
            let ended = started.child.try_wait().context("waiting for a program")?;
            match ended {
                Some(status) if status.success() => return text(&started.output).context("reading its output"),
                Some(status) => {
                    let said = text(&started.output).unwrap_or_default() + &text(&started.log).unwrap_or_default();
                    bail!("{} ({status}; log: {})", reason(&said), started.log.display())
                }
                None if Instant::now() > self.part.get() => {
                    started.kill();
                    bail!("it took longer than its time; log: {}", started.log.display())
                }
                None => std::thread::sleep(TICK),
            }
        }
    }
}

impl Started {
    /// Ends it at once, with all that it has started.
    pub fn kill(&mut self) {
        let group = format!("-{}", self.child.id());
        // They fail only where it has ended already.
        let _ = self.child.kill();
        let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
        let _ = self.child.wait();
    }

    /// Whether it has ended.
    pub fn ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

/// Why a program failed, by what it printed: its last line that says that it is an error, or else its last line.
fn reason(said: &str) -> &str {
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    lines().rfind(|line| line.starts_with("error")).or_else(|| lines().next_back()).unwrap_or("it says nothing")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_program_ends_with_its_time() {
        let folder = std::env::temp_dir().join(format!("simclr-limited-{}", std::process::id()));
        let limited = Limited::new(&folder, Instant::now() + Duration::from_secs(60)).unwrap();
        assert_eq!(limited.run(Command::new("echo").arg("well"), "echo").unwrap(), "well\n");
        let failed =
            limited.run(Command::new("sh").args(["-c", "echo why >&2; exit 3"]), "sh").unwrap_err().to_string();
        assert!(failed.contains("why"), "{failed}");
        assert_eq!(reason("INFO x\nerror: y\n  0: trace\n"), "error: y");
        assert_eq!(reason("Traceback\n  z\n"), "z");
        limited.begin(0.2);
        let start = Instant::now();
        let late = limited.run(Command::new("sh").args(["-c", "sleep 30; true"]), "late").unwrap_err().to_string();
        assert!(late.contains("longer than its time") && start.elapsed() < Duration::from_secs(10), "{late}");
        assert!(Limited::new(&folder, Instant::now()).is_err(), "a folder is never written over");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
