//! Who tells that a rank has failed: rank 0, once, and then it ends all.

use mpi::datatype::Equivalence;
use mpi::point_to_point::{Destination, Source};
use mpi::topology::{Communicator, SimpleCommunicator};
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Marks reports among messages between all processes.
const TAG: i32 = 0x51;
/// How often rank 0 looks for reports.
const LOOK: Duration = Duration::from_millis(50);
/// How long it waits for more of them: a mistake that all make comes from all.
const MORE: Duration = Duration::from_secs(1);
/// How long a rank that has failed waits for its end, before it tells of itself.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a rank tells rank 0 why it has failed.
#[derive(Clone)]
pub struct Reporter {
    rank: usize,
    own: Arc<Mutex<Option<String>>>,
}

impl Reporter {
    /// That of `rank`.
    pub fn new(rank: usize) -> Self {
        Self { rank, own: Arc::default() }
    }

    /// Tells it, if nothing has been told before.
    pub fn report(&self, why: &str) {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if own.is_none() {
            *own = Some(why.into());
            if self.rank > 0 {
                SimpleCommunicator::world().process_at_rank(0).send_with_tag(why.as_bytes(), TAG);
            }
        }
    }

    /// Tells it and waits until rank 0 has ended this process; does it itself where that does not come.
    pub fn fail(&self, why: &str, host: &str, size: usize) -> ! {
        self.report(why);
        std::thread::sleep(PATIENCE);
        end(&format!("rank {} of {size} on {host}: {why}", self.rank))
    }

    fn own(&self) -> Option<String> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The thread of rank 0 that waits for reports.
pub struct Watch {
    stop: std::sync::mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Watch {
    /// Begins to look; `hosts` are the machines of all ranks.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn begin(reporter: Reporter, hosts: Vec<String>) -> std::io::Result<Self> {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let look = move || {
            let mut reports: Vec<Option<String>> = vec![None; hosts.len()];
            let mut first: Option<(usize, Instant)> = None;
            while stopped.recv_timeout(LOOK) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                let mut hear = |from: usize, why: String| {
                    first.get_or_insert((from, Instant::now()));
                    reports[from].get_or_insert(why);
                };
                while let Some((message, status)) =
                    SimpleCommunicator::world().any_process().immediate_matched_probe_with_tag(TAG)
                {
                    let length = status.count(u8::equivalent_datatype());
                    let mut text = vec![0u8; usize::try_from(length).unwrap_or(0)];
                    message.matched_receive_into(&mut text[..]);
                    hear(
                        usize::try_from(status.source_rank()).unwrap_or(0),
                        String::from_utf8_lossy(&text).into_owned(),
                    );
                }
                if let Some(why) = reporter.own() {
                    hear(0, why);
                }
                if let Some((from, since)) = first
                    && (reports.iter().all(Option::is_some) || since.elapsed() > MORE)
                {
                    end(&verdict(&reports, from, &hosts));
                }
            }
        };
        let thread = std::thread::Builder::new().name("reports".into()).spawn(look)?;
        Ok(Self { stop, thread })
    }

    /// Ends it, once all ranks have done their work.
    pub fn end(self) {
        drop(self.stop);
        let _ = self.thread.join();
    }
}

/// What is told: a mistake of all that were heard, rank 0 among them, without a rank; else what was heard first.
fn verdict(reports: &[Option<String>], first: usize, hosts: &[String]) -> String {
    let why = reports[first].clone().unwrap_or_default();
    let alike = reports[0].is_some() && reports.iter().flatten().all(|report| *report == why);
    if alike && hosts.len() > 1 && reports.iter().flatten().count() > 1 {
        return why;
    }
    format!("rank {first} of {} on {}: {why}", hosts.len(), hosts[first])
}

/// The last words of all processes, and their end.
fn end(message: &str) -> ! {
    let _ = simclr_core::cli::exit_with(Err(anyhow::anyhow!("{message}")));
    let _ = std::io::stderr().flush();
    SimpleCommunicator::world().abort(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_names_who_failed() {
        let hosts: Vec<String> = ["a", "a", "b", "b"].map(String::from).into();
        let report = |all: [&str; 4]| all.map(|text| (!text.is_empty()).then(|| text.to_string()));
        let told = |all, first| verdict(&report(all), first, &hosts);
        assert_eq!(told(["", "", "no disk", ""], 2), "rank 2 of 4 on b: no disk");
        assert_eq!(told(["no key", "no key", "no key", "no key"], 3), "no key");
        // What all meet is told as such, where one is late; where one only meets it, its rank matters.
        assert_eq!(told(["no key", "no key", "", "no key"], 3), "no key");
        assert_eq!(told(["no disk", "", "", ""], 0), "rank 0 of 4 on a: no disk");
        assert_eq!(told(["come apart", "no disk", "", ""], 1), "rank 1 of 4 on a: no disk");
    }
}
