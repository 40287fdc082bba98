//! Batches that are made ahead on one thread, in order.

use anyhow::{Context, Result, anyhow};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

/// Makes the batch of a step; a pure function, so that a resumed run sees the same batches.
pub type BatchFn<B> = Arc<dyn Fn(u64) -> Result<B> + Send + Sync>;

/// The batches of some steps, `ahead` of them prepared at most. Dropping it stops the thread.
pub struct Prefetch<B> {
    receiver: Option<Receiver<Result<B>>>,
    thread: Option<JoinHandle<()>>,
}

impl<B: Send + 'static> Prefetch<B> {
    pub fn new(batches: BatchFn<B>, steps: std::ops::Range<u64>, ahead: usize) -> Result<Self> {
        let (sender, receiver) = sync_channel(ahead.max(1));
        let work = move || {
            for step in steps {
                let batch = batches(step).with_context(|| format!("making the batch of step {step}"));
                let failed = batch.is_err();
                if sender.send(batch).is_err() || failed {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("batches".into()).spawn(work).context("starting a thread")?;
        Ok(Self { receiver: Some(receiver), thread: Some(thread) })
    }

    /// The next batch, in order.
    pub fn next(&mut self) -> Result<B> {
        let receiver = self.receiver.as_ref().context("the loader was stopped")?;
        receiver.recv().map_err(|_| anyhow!("the loader's thread ended early; its message stands above"))?
    }
}

impl<B> Drop for Prefetch<B> {
    fn drop(&mut self) {
        // Without a receiver the thread's next send fails, and it ends.
        self.receiver = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn keeps_order_passes_errors_on_and_stops() {
        let batches: BatchFn<u64> =
            Arc::new(|step| if step == 5 { Err(anyhow!("no picture")) } else { Ok(step * step) });
        let mut prefetch = Prefetch::new(batches.clone(), 3..1_000_000, 2).unwrap();
        assert_eq!((prefetch.next().unwrap(), prefetch.next().unwrap()), (9, 16));
        let message = format!("{:#}", prefetch.next().unwrap_err());
        assert_eq!(message, "making the batch of step 5: no picture");
        assert!(prefetch.next().is_err());
        // Dropping it while the thread waits on a full channel must not hang.
        drop(Prefetch::new(batches, 6..u64::MAX, 1).unwrap());
    }
}
