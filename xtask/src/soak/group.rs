//! A run of `reproduce` with all of its processes: started together, ended together.

use anyhow::{Context, Result, ensure};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long processes may take to be gone after a signal.
const GRACE: Duration = Duration::from_secs(60);

/// A process and those that it starts.
pub struct Group {
    child: Child,
}

impl Group {
    /// Starts a command at the head of a group of its own.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(mut command: Command) -> Result<Self> {
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        Ok(Self { child: command.spawn().context("starting reproduce")? })
    }

    /// Its exit code, where its first process has ended; a signal has none.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn ended(&mut self) -> Result<Option<Option<i32>>> {
        Ok(self.child.try_wait().context("waiting for reproduce")?.map(|status| status.code()))
    }

    /// Ends all of its processes at once, and waits until they are gone.
    ///
    /// # Errors
    /// When they do not go.
    pub fn kill(&mut self) -> Result<()> {
        // Fails where all have ended by themselves.
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status().context("kill")?;
        self.child.wait().context("waiting for reproduce")?;
        self.gone()
    }

    /// Asks the stage that runs to stop, and gives the exit code of the whole; `None` where no stage runs.
    ///
    /// # Errors
    /// When the processes do not end.
    pub fn terminate(&mut self) -> Result<Option<Option<i32>>> {
        let own = self.child.id();
        let Some(stage) = processes().into_iter().find(|p| p.parent == own && p.name.starts_with("simclr-")) else {
            return Ok(None);
        };
        let sent = Command::new("kill").args(["-TERM", &stage.id.to_string()]).stderr(Stdio::null()).status();
        if !sent.context("kill")?.success() {
            return Ok(None);
        }
        let begun = Instant::now();
        while begun.elapsed() < GRACE {
            // A stage that was about to end gives the next its turn: what was asked for is a stop all the same.
            if processes().iter().all(|p| p.id != stage.id || p.is_dead) {
                std::thread::sleep(Duration::from_millis(50));
                let code = self.ended()?;
                if code.is_none() {
                    self.kill()?;
                    return Ok(Some(Some(0)));
                }
                self.gone()?;
                return Ok(code);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        anyhow::bail!("{} goes on {} s after SIGTERM", stage.name, GRACE.as_secs())
    }

    /// Waits until nothing of the group is left: the next start must find the run's lock free.
    fn gone(&self) -> Result<()> {
        let begun = Instant::now();
        while processes().iter().any(|p| p.group == self.child.id() && !p.is_dead) {
            ensure!(begun.elapsed() < GRACE, "processes of group {} do not end", self.child.id());
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Only where soak itself has failed.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.kill();
        }
    }
}

struct Process {
    id: u32,
    name: String,
    parent: u32,
    group: u32,
    is_dead: bool,
}

/// All processes, as Linux tells; none where another system does not.
fn processes() -> Vec<Process> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let id = entry.file_name().to_str()?.parse().ok()?;
            process(id, &std::fs::read_to_string(entry.path().join("stat")).ok()?)
        })
        .collect()
}

/// From `ID (NAME) STATE PARENT GROUP ...`; a name may hold spaces and parentheses.
fn process(id: u32, stat: &str) -> Option<Process> {
    let (begin, rest) = stat.rsplit_once(") ")?;
    let mut rest = rest.split(' ');
    let is_dead = matches!(rest.next()?, "Z" | "X");
    let (parent, group) = (rest.next()?.parse().ok()?, rest.next()?.parse().ok()?);
    Some(Process { id, name: begin.split_once('(')?.1.into(), parent, group, is_dead })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines_of_proc_are_read() {
        let found = process(7, "7 (simclr ) x) Z 12 34 0 1").unwrap();
        assert_eq!((found.name.as_str(), found.parent, found.group, found.is_dead), ("simclr ) x", 12, 34, true));
        assert!(process(7, "7 (half").is_none());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_a_command_started_is_killed_with_it() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 100 & sleep 100"]);
        let mut group = Group::start(command).unwrap();
        let id = group.child.id();
        let begun = Instant::now();
        while processes().iter().filter(|p| p.group == id).count() < 3 {
            assert!(begun.elapsed() < GRACE);
        }
        assert!(group.ended().unwrap().is_none());
        group.kill().unwrap();
        assert!(!processes().iter().any(|p| p.group == id && !p.is_dead));
    }
}
