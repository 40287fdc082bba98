//! THE training loop. A stage supplies the loss of a batch; everything else is here, once.
//!
//! Steps are counted from 0; what is written down "after step `n`" means that `n` steps are done.

use crate::checkpoint;
use crate::config::{OptimizerKind, TrainingConfig};
use crate::optimizer::{self, Optimizer};
use crate::params::{Kind, Match, Param, ParamStore};
use crate::prefetch::Prefetch;
use crate::progress::{Progress, ProgressMode};
use crate::run::Run;
use crate::schedule::Schedule;
use anyhow::{Context, Result, bail, ensure};
use candle_core::Tensor;
use candle_core::backprop::GradStore;
use rayon::prelude::*;
use serde_json::{Value as Json, json};
use simclr_ops::{Tape, Value, cpu};
use std::collections::BTreeMap;
use std::time::Instant;

pub use crate::prefetch::Batches;

/// What a batch costs.
pub struct Loss {
    /// The scalar to lower, on the tape; without weight decay.
    pub value: Value,
    /// Whatever else is worth writing down.
    pub metrics: Vec<(&'static str, f64)>,
}

/// What a stage trains.
pub trait Task {
    /// One batch, made ahead on another thread.
    type Batch: Send + 'static;

    /// The parameters.
    fn store(&self) -> &ParamStore;

    /// Makes the batch of a step: a pure function of the step.
    fn batches(&self) -> Batches<Self::Batch>;

    /// The loss of a batch. Leaves of `tape` are the store's own tensors; running statistics move in place.
    ///
    /// # Errors
    /// When the network and the batch do not fit.
    fn loss(&mut self, tape: &Tape, batch: &Self::Batch) -> Result<Loss>;

    /// Figures on held-out images, such as `top1`. Must not change what training goes on with.
    ///
    /// # Errors
    /// When images cannot be read.
    fn evaluate(&mut self) -> Result<Vec<(&'static str, f64)>>;

    /// What `config.json` says about the network.
    fn model_config(&self) -> Json;

    /// Whether training may move a trainable parameter; one that is frozen is left out of weight decay too.
    fn trains(&self, _parameter: &Param) -> bool {
        true
    }

    /// Tensors besides parameters that a resumed run needs, such as a queue.
    ///
    /// # Errors
    /// When a tensor cannot be copied.
    fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        Ok(BTreeMap::new())
    }

    /// Takes over what [`Task::state`] gave.
    ///
    /// # Errors
    /// When names or shapes differ.
    fn restore(&mut self, _state: &BTreeMap<String, Tensor>) -> Result<()> {
        Ok(())
    }
}

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
}

/// Trains to the end: `run` gets measurements, a state to resume from, and at the end the checkpoint. A resumed run
/// ends with the same bits as one that was never interrupted.
///
/// # Errors
/// When a batch cannot be made, the loss is not finite, or a file cannot be written; the last state stays.
pub fn train<T: Task>(task: &mut T, options: &TrainOptions<'_>, run: &mut Run) -> Result<Outcome> {
    let (training, batch) = (options.training, options.training.batch);
    let schedule = Schedule::new(training, options.examples);
    let total = schedule.total;
    let every = |duration: crate::config::Duration| duration.steps(options.examples, batch).max(1);
    let evaluate_every = training.eval_every.map_or(u64::MAX, every);
    let save_every = training.checkpoint_every.map_or((total / 10).max(1), every);
    let log_every = (total / 500).max(1);

    let mut optimizer = optimizer::build(training, task.store())?;
    let resumed = if run.is_resumed() { resume(task, optimizer.as_mut(), run)? } else { None };
    let (start, seconds_before) = resumed.unwrap_or((0, 0.0));
    ensure!(start <= total, "the saved state is at step {start}, past the {total} steps of this run");
    let begun = Instant::now();
    let seconds = || seconds_before + begun.elapsed().as_secs_f64();
    let mut saved = start;
    let mut speed = Speed::default();
    let mut last_metrics = None;
    let mut progress = Progress::new(options.title.clone(), total, options.progress);
    let mut batches = Prefetch::new(task.batches(), start..total, options.prefetch)?;

    for step in start..total {
        let done = step + 1;
        let logged = step < 20 || done % log_every == 0 || done == total;
        let clock = Instant::now();
        let input = batches.next()?;
        let lr = schedule.lr(step);
        let report = advance(task, &input, optimizer.as_mut(), training, lr, logged).with_context(|| {
            format!("step {step} of {total} (learning rate {lr:.3e}); the last saved state is that of step {saved}")
        })?;
        speed.add(batch, clock);
        progress.update(done, speed.images_per_s(), Some(report.total));
        if logged {
            let mut values = vec![
                ("loss", report.loss),
                ("weight_decay", report.decay),
                ("total_loss", report.total),
                ("lr", lr),
                ("grad_norm", report.grad_norm),
                ("images_per_s", speed.images_per_s()),
            ];
            values.extend(report.metrics);
            run.log(done, &values)?;
            speed = Speed::default();
        }
        if done == total || done % evaluate_every == 0 {
            let metrics = task.evaluate().with_context(|| format!("evaluating after step {done}"))?;
            run.log(done, &metrics)?;
            last_metrics = Some(metrics);
        }
        // Last, so that a state never claims measurements that are not in the file.
        if done == total || done % save_every == 0 {
            save(task, optimizer.as_ref(), run, done, seconds())?;
            saved = done;
        }
        if options.stop_after == Some(done) {
            return Ok(Outcome { steps: done, seconds: seconds(), metrics: last_metrics.unwrap_or_default() });
        }
    }
    // A run that was interrupted after its last step has logged this evaluation already.
    let metrics = match last_metrics {
        Some(metrics) => metrics,
        None => task.evaluate().context("evaluating at the end")?,
    };
    checkpoint::save(&run.checkpoint_dir(), task.store(), &task.model_config())?;
    let shown: Vec<_> = metrics.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
    progress.finish(&shown.join("  "));
    Ok(Outcome { steps: total, seconds: seconds(), metrics })
}

/// Images a second since the last time that it was written down, evaluations and saving left out.
#[derive(Default)]
struct Speed {
    images: usize,
    seconds: f64,
}

impl Speed {
    fn add(&mut self, images: usize, since: Instant) {
        self.images += images;
        self.seconds += since.elapsed().as_secs_f64();
    }

    fn images_per_s(&self) -> f64 {
        self.images as f64 / self.seconds.max(1e-9)
    }
}

struct Report {
    loss: f64,
    decay: f64,
    total: f64,
    /// NaN where it was not asked for.
    grad_norm: f64,
    metrics: Vec<(&'static str, f64)>,
}

fn advance<T: Task>(
    task: &mut T,
    batch: &T::Batch,
    optimizer: &mut dyn Optimizer,
    training: &TrainingConfig,
    lr: f64,
    want_norm: bool,
) -> Result<Report> {
    let tape = Tape::new().recomputing(training.recompute);
    let Loss { value, metrics } = task.loss(&tape, batch)?;
    let loss = value.tensor().flatten_all()?.to_vec1::<f32>()?.iter().map(|v| *v as f64).sum();
    let decaying: Vec<&Param> =
        task.store().trainable().filter(|p| decays(training.optimizer, p) && task.trains(p)).collect();
    let factor = training.weight_decay;
    let decay = if factor > 0.0 { 0.5 * factor * sum_of_squares(decaying.iter().map(|p| &p.tensor))? } else { 0.0 };
    let total: f64 = loss + decay;
    if !total.is_finite() {
        bail!(
            "the loss is {loss} (weight decay {decay}), not a finite number; try a lower learning_rate or a longer \
             warmup, and look whether the images hold numbers that are not finite"
        )
    }
    let mut grads = tape.backward(&value)?;
    drop(value);
    tidy(task, &mut grads)?;
    if factor > 0.0 {
        for p in decaying {
            add_decay(&mut grads, p, factor as f32).with_context(|| format!("weight decay of {}", p.name))?;
        }
    }
    let grad_norm = match want_norm {
        true => sum_of_squares(task.store().trainable().filter_map(|p| grads.get(&p.tensor)))?.sqrt(),
        false => f64::NAN,
    };
    optimizer.step(task.store(), &grads, lr)?;
    Ok(Report { loss, decay, total, grad_norm, metrics })
}

/// Drops gradients of frozen parameters, and makes the others contiguous, as the in-place updates want them.
fn tidy<T: Task>(task: &T, grads: &mut GradStore) -> Result<()> {
    for p in task.store().trainable() {
        let Some(gradient) = grads.remove(&p.tensor) else { continue };
        if task.trains(p) {
            grads.insert(&p.tensor, gradient.contiguous()?);
        }
    }
    Ok(())
}

/// Which weights decay through the loss. LARS decays weights itself, save what it excludes, of which the classifier
/// decays here; with the other optimisers everything does but batch norm.
fn decays(optimizer: OptimizerKind, p: &Param) -> bool {
    match optimizer {
        OptimizerKind::Lars => p.kind == Kind::Classifier,
        OptimizerKind::Sgd | OptimizerKind::Adam => p.kind != Kind::BatchNorm,
    }
}

/// Adds the gradient of `factor / 2 |w|^2`; a weight that the loss does not reach gets one for it.
fn add_decay(grads: &mut GradStore, p: &Param, factor: f32) -> Result<()> {
    if grads.get(&p.tensor).is_none() {
        grads.insert(&p.tensor, p.tensor.zeros_like()?);
    }
    let gradient = grads.get(&p.tensor).context("it was inserted above")?;
    Ok(cpu::update_with(gradient, &p.tensor, |g, w| {
        g.par_chunks_mut(CHUNK).zip(w.par_chunks(CHUNK)).for_each(|(g, w)| {
            cpu::vectorized(
                #[inline(always)]
                || g.iter_mut().zip(w).for_each(|(g, w)| *g += factor * w),
            )
        })
    })?)
}

/// Elements that one task handles; fixed, so that sums do not depend on the number of threads.
const CHUNK: usize = 1 << 15;

fn sum_of_squares<'a>(tensors: impl Iterator<Item = &'a Tensor>) -> Result<f64> {
    let chunk = |values: &[f32]| {
        cpu::vectorized(
            #[inline(always)]
            || {
                let mut lanes = [0.0f64; 8];
                for eight in values.chunks(8) {
                    lanes.iter_mut().zip(eight).for_each(|(l, v)| *l += *v as f64 * *v as f64);
                }
                lanes.iter().sum::<f64>()
            },
        )
    };
    let mut sum = 0.0;
    for tensor in tensors {
        let parts: Vec<f64> = cpu::with_slice(tensor, |values| Ok(values.par_chunks(CHUNK).map(chunk).collect()))?;
        sum += parts.iter().sum::<f64>();
    }
    Ok(sum)
}

const MODEL: &str = "model/";
const OPTIMIZER: &str = "optimizer/";
const TASK: &str = "task/";

fn save<T: Task>(task: &T, optimizer: &dyn Optimizer, run: &Run, step: u64, seconds: f64) -> Result<()> {
    let parts = [(MODEL, task.store().save_map()?), (OPTIMIZER, optimizer.state()), (TASK, task.state()?)];
    let mut tensors = BTreeMap::new();
    for (prefix, part) in parts {
        tensors.extend(part.into_iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor)));
    }
    checkpoint::save_state(run.dir(), &tensors, &json!({"step": step, "seconds": seconds}))
}

/// Takes over the saved state: steps done and seconds spent. `None`, and an empty record, when nothing was saved yet.
fn resume<T: Task>(task: &mut T, optimizer: &mut dyn Optimizer, run: &mut Run) -> Result<Option<(u64, f64)>> {
    let Some((tensors, state)) = checkpoint::load_state(run.dir())? else {
        run.rewind(0)?;
        return Ok(None);
    };
    let part = |prefix: &str| -> BTreeMap<String, Tensor> {
        let named = |(name, tensor): (&String, &Tensor)| Some((name.strip_prefix(prefix)?.to_string(), tensor.clone()));
        tensors.iter().filter_map(named).collect()
    };
    let mut inner = || -> Result<(u64, f64)> {
        task.store().load_map(&part(MODEL), Match::EXACT)?;
        optimizer.restore(&part(OPTIMIZER))?;
        task.restore(&part(TASK))?;
        let step = state["step"].as_u64().context("the state holds no step")?;
        Ok((step, state["seconds"].as_f64().unwrap_or(0.0)))
    };
    let resumed = inner().with_context(|| format!("resuming {}", run.dir().display()))?;
    run.rewind(resumed.0)?;
    Ok(Some(resumed))
}

#[cfg(test)]
#[path = "trainer_tests.rs"]
mod tests;
