//! One stage of a run: its process, its progress and its log.

use crate::layout;
use crate::stages::STAGES;
use crate::workspace::Binaries;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant, SystemTime};

/// Lines of a failed stage's log that are shown.
const LAST_LINES: usize = 20;

/// How long a stage that is given up may take to end.
const GRACE: Duration = Duration::from_secs(5);

/// One run of one stage binary, as `simclr-eval plan` lists it.
#[derive(Clone, Debug, Deserialize)]
pub struct Job {
    /// Unique name with `/` between parts.
    pub id: String,
    /// For people.
    pub title: String,
    /// Which binary.
    pub program: String,
    /// Arguments of this stage alone.
    pub args: Vec<String>,
    /// Where it writes.
    pub dir: PathBuf,
    /// Work, in units that all jobs of a plan share.
    pub cost: f64,
    /// The experiment, where it is another than that of the whole plan.
    #[serde(default)]
    pub config: Option<PathBuf>,
}

/// Arguments that every stage takes.
#[derive(Clone)]
pub struct Common {
    /// The experiment.
    pub config: PathBuf,
    /// Overrides, `key=value`.
    pub set: Vec<String>,
    /// `auto`, `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// Threads, or the stage's default.
    pub threads: Option<usize>,
    /// Ranks that are threads of each stage.
    pub ranks: Option<usize>,
    /// Jobs at the same time, where the number was asked for.
    pub at_once: Option<usize>,
}

/// What a stage reports while it works.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// What it is doing.
    pub title: String,
    /// Steps done.
    pub step: u64,
    /// Steps in all.
    pub steps: u64,
    /// Speed.
    pub images_per_s: Option<f64>,
    /// Seconds to the end of the stage.
    pub eta_s: Option<f64>,
    /// Training loss.
    pub loss: Option<f64>,
    /// What else is worth seeing, such as the accuracy on the batch.
    pub note: Option<String>,
}

/// A line of a stage's output.
#[derive(Deserialize)]
struct Line {
    progress: Progress,
}

/// A stage that was asked to stop, and has saved its state.
#[derive(Debug)]
pub struct Interrupted {
    title: String,
}

impl Interrupted {
    /// The exit code of programs that were, and of this one then.
    pub const EXIT: u8 = 75;
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has stopped as asked, its state is saved; the same command goes on", self.title)
    }
}

impl std::error::Error for Interrupted {}

/// Ends the stage when the run is given up, so that nothing works on unseen.
struct Owned(Child);

impl Drop for Owned {
    fn drop(&mut self) {
        // A launcher ends its processes where it is asked to, and cannot where it is killed. All of this fails only where it
        // has ended already.
        if matches!(self.0.try_wait(), Ok(None)) && cfg!(unix) {
            let _ = Command::new("kill").arg(self.0.id().to_string()).status();
            let begun = Instant::now();
            while matches!(self.0.try_wait(), Ok(None)) && begun.elapsed() < GRACE {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Job {
    /// Runs the stage to its end, telling `watch` of its progress, and once a second of none. Its messages go to
    /// `logs/ID.log`. Gives false where an earlier run had finished the stage already.
    ///
    /// # Errors
    /// When it cannot be started, fails (with the end of its log), or `watch` gives it up.
    pub fn run(
        &self,
        binaries: &Binaries,
        common: &Common,
        logs: &Path,
        watch: &mut dyn FnMut(Option<&Progress>) -> Result<()>,
    ) -> Result<bool> {
        let path = logs.join(self.id.replace('/', "-") + ".log");
        let mut log = OpenOptions::new().create(true).append(true).open(&path);
        let log = log.as_mut().map_err(|e| anyhow::anyhow!("opening {}: {e}", path.display()))?;
        let begin = log.seek(SeekFrom::End(0)).context("the log's length")?;

        let before = self.finished();
        let mut command = binaries.stage(&self.program)?;
        let config = self.config.as_ref().unwrap_or(&common.config);
        command.args(&self.args).arg("--config").arg(config).arg("--out").arg(&self.dir);
        command.args(["--resume", "--progress", "json", "--device", &common.device]);
        for pair in &common.set {
            command.arg("--set").arg(pair);
        }
        if let Some(threads) = common.threads {
            command.arg("--threads").arg(threads.to_string());
        }
        if let Some(ranks) = common.ranks {
            command.arg("--ranks").arg(ranks.to_string());
        }
        let stderr = log.try_clone().context("sharing the log")?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
        let mut child = Owned(command.spawn().with_context(|| format!("starting {}", self.program))?);
        let output = child.0.stdout.take().context("the stage's output")?;

        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(std::result::Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        loop {
            match lines.recv_timeout(Duration::from_secs(1)) {
                Ok(line) => match serde_json::from_str::<Line>(&line) {
                    Ok(line) => watch(Some(&line.progress))?,
                    Err(_) => writeln!(log, "{line}").context("writing the log")?,
                },
                Err(RecvTimeoutError::Timeout) => watch(None)?,
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let status = child.0.wait().with_context(|| format!("waiting for {}", self.program))?;
        if status.code() == Some(i32::from(Interrupted::EXIT)) {
            return Err(Interrupted { title: self.title.clone() }.into());
        }
        if !status.success() {
            let tail = tail(&path, begin).unwrap_or_default();
            bail!("{} failed ({status})\n{tail}\nits log: {}", self.title, path.display())
        }
        Ok(before.is_none() || before != self.finished())
    }

    /// Whether the stage has written its result.
    pub fn is_finished(&self) -> bool {
        self.finished().is_some()
    }

    /// When the stage wrote its result, if it has.
    fn finished(&self) -> Option<SystemTime> {
        std::fs::metadata(self.dir.join(layout::RESULT)).and_then(|m| m.modified()).ok()
    }

    /// What it measured, in a few words.
    pub fn outcome(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.dir.join(layout::RESULT)).ok()?;
        let result: serde_json::Value = serde_json::from_str(&text).ok()?;
        let share = |of: &serde_json::Value| Some(100.0 * of.get("top1")?.as_f64()?);
        let mut known: Vec<_> = share(&result).map(|top1| format!("top-1 {top1:.2} %")).into_iter().collect();
        for row in STAGES.iter().flat_map(|stage| stage.rows).filter(|row| !row.key.is_empty()) {
            let top1 = result.get(row.key).and_then(share);
            known.extend(top1.map(|top1| format!("{} {top1:.2} %", row.title.to_lowercase())));
        }
        let loss = result.get("loss").and_then(serde_json::Value::as_f64);
        known.extend(loss.map(|loss| format!("loss {loss:.4}")));
        (!known.is_empty()).then(|| known.join(", "))
    }
}

/// The last lines that were written to `path` after `begin`.
fn tail(path: &Path, begin: u64) -> Result<String> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(begin))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().collect();
    Ok(lines[lines.len().saturating_sub(LAST_LINES)..].join("\n"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_tail_is_of_this_run_alone() {
        let path = std::env::temp_dir().join(format!("simclr-tail-{}.log", std::process::id()));
        let new: Vec<_> = (0..30).map(|i| format!("line {i}")).collect();
        std::fs::write(&path, format!("earlier\n{}\n", new.join("\n"))).unwrap();
        assert_eq!(tail(&path, 8).unwrap(), new[10..].join("\n"));
        assert_eq!(tail(&path, 8 + 7 * 5).unwrap().lines().next(), Some("line 10"));
        std::fs::write(&path, "earlier\nerror: x\n").unwrap();
        assert_eq!(tail(&path, 8).unwrap(), "error: x");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn progress_may_lack_what_is_not_known() {
        let line = "{\"progress\":{\"title\":\"a\",\"step\":2,\"steps\":5,\"loss\":null}}";
        let progress = serde_json::from_str::<Line>(line).unwrap().progress;
        assert_eq!((progress.step, progress.steps, progress.loss), (2, 5, None));
        assert!(serde_json::from_str::<Line>("plain words").is_err());
    }
}
