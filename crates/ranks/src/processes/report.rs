//! Who tells that a rank has failed: rank 0, once, and then it ends all.

use crate::verdict::verdict;
use mpi::datatype::Equivalence;
use mpi::point_to_point::{Destination, Source};
use mpi::topology::{Communicator, SimpleCommunicator};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
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
    done: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Watch {
    /// Begins to look; `hosts` are the machines of all ranks.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn begin(reporter: Reporter, hosts: Vec<String>) -> std::io::Result<Self> {
        let done = Arc::new(AtomicBool::new(false));
        let (stop, mut heard) = (done.clone(), Heard { reports: vec![None; hosts.len()], first: None });
        let look = move || {
            while !stop.load(Ordering::SeqCst) {
                heard.listen(&reporter);
                if let Some((from, since)) = heard.first
                    && (heard.reports.iter().all(Option::is_some) || since.elapsed() > MORE)
                {
                    end(&verdict(&heard.reports, from, &format!(" on {}", hosts[from])));
                }
                std::thread::park_timeout(LOOK);
            }
        };
        let thread = std::thread::Builder::new().name("reports".into()).spawn(look)?;
        Ok(Self { done, thread })
    }

    /// Ends it, once all ranks have done their work.
    pub fn end(self) {
        self.done.store(true, Ordering::SeqCst);
        self.thread.thread().unpark();
        let _ = self.thread.join();
    }
}

/// What ranks have told, and which was the first, and when.
struct Heard {
    reports: Vec<Option<String>>,
    first: Option<(usize, Instant)>,
}

impl Heard {
    fn listen(&mut self, reporter: &Reporter) {
        let world = SimpleCommunicator::world();
        while let Some((message, status)) = world.any_process().immediate_matched_probe_with_tag(TAG) {
            let length = status.count(u8::equivalent_datatype());
            let mut text = vec![0u8; usize::try_from(length).unwrap_or(0)];
            message.matched_receive_into(&mut text[..]);
            let from = usize::try_from(status.source_rank()).unwrap_or(0);
            self.hear(from, String::from_utf8_lossy(&text).into_owned());
        }
        if let Some(why) = reporter.own() {
            self.hear(0, why);
        }
    }

    fn hear(&mut self, from: usize, why: String) {
        self.first.get_or_insert((from, Instant::now()));
        self.reports[from].get_or_insert(why);
    }
}

/// The last words of all processes, and their end.
fn end(message: &str) -> ! {
    let _ = simclr_core::cli::exit_with(Err(anyhow::anyhow!("{message}")));
    let _ = std::io::stderr().flush();
    SimpleCommunicator::world().abort(1)
}
