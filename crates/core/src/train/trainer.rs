//! THE training loop. A stage supplies the loss of a batch; everything else is here, once.
//!
//! Steps are counted from 0; what is written down "after step `n`" means that `n` steps are done.

use super::health::{self, Concern, Health};
use super::prefetch::Prefetch;
use super::ranks::{Ranks, agree};
use super::schedule::Schedule;
use super::state::{keep_best, resume, save};
use super::step::{At, Pending, advance, of_memory};
use super::stop::{Interrupted, Listener};
use super::task::Task;
use super::watch::Watch;
use crate::cli::{Progress, ProgressMode};
use crate::config::{Duration, TrainingConfig};
use crate::optim::Optimizer;
use crate::run::{Best, Run};
use anyhow::{Context, Result, ensure};
use simclr_ops::Group;
use std::collections::VecDeque;
use std::time::Instant;

/// How to train.
pub struct TrainOptions<'a> {
    /// The stage's table.
    pub training: &'a TrainingConfig,
    /// Images in an epoch.
    pub examples: usize,
    /// Batches that are made ahead.
    pub prefetch: usize,
    /// How progress is shown.
    pub progress: ProgressMode,
    /// What the progress is called.
    pub title: String,
    /// The ranks that share each batch.
    pub group: &'a Group,
    /// Stop as if killed after this many steps: nothing is saved that would not be anyway. For tests.
    pub stop_after: Option<u64>,
}

/// How training went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Steps done, those before a resumption included.
    pub steps: u64,
    /// Seconds spent, those before a resumption included.
    pub seconds: f64,
    /// The last evaluation.
    pub metrics: Vec<(&'static str, f64)>,
    /// The best of those that `eval_every` asked for, whose network is kept; the last included.
    pub best: Option<Best>,
    /// Where training ended before its length, for want of patience.
    pub stopped: Option<Stopped>,
    /// The loss of the last step, where this run did it.
    pub last_loss: Option<f64>,
}

/// Why training ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Steps that the length would have been.
    pub length: u64,
    /// Evaluations in a row that were no better than the best.
    pub patience: u64,
}

/// Trains to the end: `run` gets measurements, a state to resume from, and at the end the checkpoint. A resumed run
/// ends with the same bits as one that was never interrupted.
///
/// Of several ranks each trains so; the one that leads writes what `run` gets.
///
/// # Errors
/// When a batch cannot be made, the loss is not finite, a file cannot be written, or another rank has ended; the last state
/// stays. [`Interrupted`] where a signal asked for an end, after a state was saved.
pub fn train<T: Task>(task: &mut T, options: &TrainOptions<'_>, run: &mut Run) -> Result<Outcome> {
    train_by(advance, task, options, run)
}

/// As [`train`], each step by `step_of`, which is [`advance`] but for tests.
pub(super) fn train_by<T: Task>(
    mut step_of: impl FnMut(&mut T, T::Batch, &mut dyn Optimizer, (&TrainingConfig, &mut Ranks), At) -> Result<Pending>,
    task: &mut T,
    options: &TrainOptions<'_>,
    run: &mut Run,
) -> Result<Outcome> {
    let (training, batch) = (options.training, options.training.batch);
    let schedule = Schedule::new(training, options.examples);
    schedule.check().with_context(|| options.title.clone())?;
    let total = schedule.total;
    let every = |duration: Duration| duration.steps(options.examples, batch).max(1);
    let evaluate_every = training.eval_every.map_or(u64::MAX, every);
    let save_every = training.checkpoint_every.map_or((total / 10).max(1), every);
    let log_every = (total / 500).max(1);

    let mut optimizer = training.optimizer.build(task.store(), &training.shared())?;
    let (mut watch, mut health) = (Watch::new(training), Health::default());
    let group = options.group;
    let mut ranks = Ranks::new(group, batch, task.store(), |p| task.trains(p))?;
    ensure!(
        training.patience.is_none() || task.measures(),
        "patience waits for a better accuracy on the test images, and here is none to measure: that needs labeled test images, \
         and a classifier (in pretraining labels of some training images); take the key patience out"
    );
    let resumed = if run.is_resumed() { resume(task, optimizer.as_mut(), run, &mut watch)? } else { None };
    let (start, seconds_before) = resumed.unwrap_or((0, 0.0));
    agree(task, group, start).context("at the start of training")?;
    let signals = Listener::begin().context("listening to signals")?;
    ensure!(start <= total, "the saved state is at step {start}, past the {total} steps of this run");
    if run.extended_at() == Some(start) {
        watch.begin_anew();
        let (lr, peak) = (schedule.lr(start), schedule.peak);
        tracing::info!(
            "trained further, from step {start} to {total}; the learning rate goes on at {lr:.3e} (highest {peak:.3e})"
        );
    }
    let begun = Instant::now();
    let seconds = || seconds_before + begun.elapsed().as_secs_f64();
    let mut saved = start;
    let mut speed = Speed::start();
    let mut last_metrics = None;
    let mut last_loss = None;
    let mut progress = Progress::new(options.title.clone(), total, options.progress);
    let mut batches = Prefetch::new(task.batches(), start..total, options.prefetch)?;
    // A step whose figures a GPU is still working out: it is given the next one meanwhile.
    let mut pending: Option<Pending> = None;

    let (mut ended, mut over) = (start, watch.is_over());
    // The step after which the log has said what ranks tell one another.
    let mut told_at = start;
    let _ = group.traffic();
    for step in start..total {
        if over {
            break;
        }
        let done = step + 1;
        let logged = step < 20 || done % log_every == 0 || done == total;
        let evaluates = done == total || done % evaluate_every == 0;
        let saves = done == total || done % save_every == 0;
        let input = batches.next()?;
        let lr = schedule.lr(step);
        let at = |step: u64, lr: f64| {
            format!("step {step} of {total} (learning rate {lr:.3e}); the last saved state is that of step {saved}")
        };
        let now = At { step, lr, logged, stop: signals.asked() };
        let next = step_of(task, input, optimizer.as_mut(), (training, &mut ranks), now);
        let next = next.map_err(of_memory).with_context(|| at(step, lr))?;
        let stops = options.stop_after == Some(done);
        let waits = next.figures.are_here() || evaluates || saves || stops;
        let mut ready: VecDeque<_> = pending.replace(next).into_iter().collect();
        if waits {
            ready.extend(pending.take());
        }
        let mut stopping = false;
        while let Some(Pending { at: At { step, lr, logged, .. }, .. }) = ready.front() {
            let (done, lr, logged) = (step + 1, *lr, *logged);
            let Some(first) = ready.pop_front() else { break };
            let report = first.report(training.weight_decay, task.store()).with_context(|| at(done - 1, lr))?;
            stopping |= report.stop;
            if stopping {
                // The last step is to be known, too, before it is saved.
                ready.extend(pending.take());
            }
            // Only now is the step known to be done: whoever reads its figures waits for the GPU.
            speed.done(batch);
            let note = task.watched().and_then(|(metric, called)| {
                let share = report.metrics.iter().find(|(name, _)| *name == metric)?.1;
                Some(format!("{called} {:.1} %", 100.0 * share))
            });
            progress.update(done, speed.images_per_s(), Some(report.loss), note.as_deref());
            if logged {
                let mut values = vec![
                    (health::LOSS, report.loss),
                    ("weight_decay", report.decay),
                    ("total_loss", report.total),
                    ("lr", lr),
                    ("grad_norm", report.grad_norm),
                    ("images_per_s", speed.images_per_s()),
                ];
                values.extend(&report.metrics);
                values.extend(report.by_part.iter().map(|(name, value)| (name.as_str(), *value)));
                if !group.is_alone() {
                    let (told, steps) = (group.traffic(), (done - told_at).max(1) as f64);
                    values.extend([("comm_bytes", told.bytes as f64 / steps), ("comm_exposed_s", told.waited / steps)]);
                    told_at = done;
                }
                values.extend(task.guessing().map(|loss| (health::CHANCE, loss)));
                run.log(done, &values)?;
                for Concern { steps: (from, to), text } in health.saw(done, values.iter().copied()) {
                    tracing::warn!("steps {from} to {to}: {text}");
                }
                speed.forget();
            }
            last_loss = Some(report.loss);
        }
        if evaluates {
            let metrics = task.evaluate().with_context(|| format!("evaluating after step {done}"))?;
            run.log(done, &metrics)?;
            // A single evaluation, at the end, is the best of itself.
            let better = if training.eval_every.is_some() { watch.saw(done, &metrics) } else { None };
            if let Some(best) = better {
                keep_best(task, run, best).context("keeping the network of the best evaluation")?;
            }
            last_metrics = Some(metrics);
            over = watch.is_over();
        }
        ended = done;
        // Last, so that a state never claims measurements that are not in the file.
        if saves || over || stopping {
            agree(task, group, done).context("before the state is saved")?;
            save(task, optimizer.as_ref(), run, (done, seconds()), (&watch, training.keep_states))
                .with_context(|| at(step, lr))?;
            saved = done;
        }
        if stopping && done < total && !over {
            progress.finish("stopped");
            return Err(Interrupted { step: done, of: total }.into());
        }
        if evaluates || saves {
            speed.resume();
            // What was told for that belongs to no step.
            let _ = group.traffic();
        }
        if stops {
            let metrics = last_metrics.unwrap_or_default();
            let (best, stopped) = (watch.best(), None);
            return Ok(Outcome { steps: done, seconds: seconds(), metrics, best, stopped, last_loss });
        }
    }
    // A run that was interrupted after its last step has logged this evaluation already.
    let metrics = match last_metrics {
        Some(metrics) => metrics,
        None => task.evaluate().context("evaluating at the end")?,
    };
    task.finish()?;
    if run.leads() {
        task.save(run)?;
    }
    let shown: Vec<_> = metrics.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
    progress.finish(&shown.join("  "));
    let stopped = training.patience.filter(|_| ended < total).map(|patience| Stopped { length: total, patience });
    Ok(Outcome { steps: ended, seconds: seconds(), metrics, best: watch.best(), stopped, last_loss })
}

/// Images a second since the last time that it was written down: those of steps whose figures are here, over the time from
/// one report to the next, evaluations and saving left out.
struct Speed {
    images: usize,
    seconds: f64,
    last: Instant,
}

impl Speed {
    fn start() -> Self {
        Self { images: 0, seconds: 0.0, last: Instant::now() }
    }

    /// So many images more are done.
    fn done(&mut self, images: usize) {
        let now = Instant::now();
        self.images += images;
        self.seconds += now.duration_since(self.last).as_secs_f64();
        self.last = now;
    }

    /// Goes on after time that belongs to no step.
    fn resume(&mut self) {
        self.last = Instant::now();
    }

    /// Begins anew with what comes after the last report.
    fn forget(&mut self) {
        (self.images, self.seconds) = (0, 0.0);
    }

    fn images_per_s(&self) -> f64 {
        self.images as f64 / self.seconds.max(1e-9)
    }
}
