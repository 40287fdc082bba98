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
use serde_json::{Value as Json, json};
use simclr_ops::{Figures, Tape, Value, step, weighted_sum};
use std::collections::BTreeMap;
use std::time::Instant;

pub use crate::prefetch::Batches;

/// What a batch costs.
pub struct Loss {
    /// The scalar to lower, on the tape; without weight decay. It is what is shown as the loss.
    pub value: Value,
    /// A scalar to lower along with it that is no part of what is shown, such as that of a head that only reads.
    pub beside: Option<Value>,
    /// Whatever else is worth writing down: scalars, f32 or f64, wherever they were worked out.
    pub metrics: Vec<(&'static str, Tensor)>,
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
    fn loss(&mut self, tape: &Tape, batch: Self::Batch) -> Result<Loss>;

    /// Figures on held-out images, such as `top1`. Must not change what training goes on with.
    ///
    /// # Errors
    /// When images cannot be read.
    fn evaluate(&mut self) -> Result<Vec<(&'static str, f64)>>;

    /// The metric of a step that progress shows beside the loss, a share, and what it is called there.
    fn watched(&self) -> Option<(&'static str, &'static str)> {
        None
    }

    /// Last changes to the parameters, before the checkpoint is written.
    ///
    /// # Errors
    /// When they cannot be changed.
    fn finish(&mut self) -> Result<()> {
        Ok(())
    }

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
    /// What was worth writing down of the last step, where this run did it.
    pub last_step: Vec<(&'static str, f64)>,
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
    let mut last_step = Vec::new();
    let mut progress = Progress::new(options.title.clone(), total, options.progress);
    let mut batches = Prefetch::new(task.batches(), start..total, options.prefetch)?;
    // A step whose figures a GPU is still working out: it is given the next one meanwhile.
    let mut pending: Option<Pending> = None;

    for step in start..total {
        let done = step + 1;
        let logged = step < 20 || done % log_every == 0 || done == total;
        let evaluates = done == total || done % evaluate_every == 0;
        let saves = done == total || done % save_every == 0;
        let clock = Instant::now();
        let input = batches.next()?;
        let lr = schedule.lr(step);
        let at = |step: u64, lr: f64| {
            format!("step {step} of {total} (learning rate {lr:.3e}); the last saved state is that of step {saved}")
        };
        let next = advance(task, input, optimizer.as_mut(), training, (step, lr), logged);
        let next = next.map_err(of_memory).with_context(|| at(step, lr))?;
        let stops = options.stop_after == Some(done);
        let waits = next.figures.are_here() || evaluates || saves || stops;
        let mut ready = vec![pending.replace(next)];
        if waits {
            ready.push(pending.take());
        }
        speed.add(batch, clock);
        for pending in ready.into_iter().flatten() {
            let (done, lr, logged) = (pending.step + 1, pending.lr, pending.logged);
            let report = pending.report(training.weight_decay).with_context(|| at(done - 1, lr))?;
            let note = task.watched().and_then(|(metric, called)| {
                let share = report.metrics.iter().find(|(name, _)| *name == metric)?.1;
                Some(format!("{called} {:.1} %", 100.0 * share))
            });
            progress.update(done, speed.images_per_s(), Some(report.loss), note.as_deref());
            if logged {
                let mut values = vec![
                    ("loss", report.loss),
                    ("weight_decay", report.decay),
                    ("total_loss", report.total),
                    ("lr", lr),
                    ("grad_norm", report.grad_norm),
                    ("images_per_s", speed.images_per_s()),
                ];
                values.extend(&report.metrics);
                run.log(done, &values)?;
                speed = Speed::default();
            }
            last_step = report.metrics;
        }
        if evaluates {
            let metrics = task.evaluate().with_context(|| format!("evaluating after step {done}"))?;
            run.log(done, &metrics)?;
            last_metrics = Some(metrics);
        }
        // Last, so that a state never claims measurements that are not in the file.
        if saves {
            save(task, optimizer.as_ref(), run, done, seconds())?;
            saved = done;
        }
        if stops {
            let metrics = last_metrics.unwrap_or_default();
            return Ok(Outcome { steps: done, seconds: seconds(), metrics, last_step });
        }
    }
    // A run that was interrupted after its last step has logged this evaluation already.
    let metrics = match last_metrics {
        Some(metrics) => metrics,
        None => task.evaluate().context("evaluating at the end")?,
    };
    task.finish()?;
    checkpoint::save(&run.checkpoint_dir(), task.store(), &task.model_config())?;
    let shown: Vec<_> = metrics.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
    progress.finish(&shown.join("  "));
    Ok(Outcome { steps: total, seconds: seconds(), metrics, last_step })
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

/// A step that was launched: its figures may still be on their way.
struct Pending {
    step: u64,
    lr: f64,
    logged: bool,
    /// The loss; what is lowered beside it; the squares of what decays; those of the gradients, where it is logged; the
    /// metrics.
    figures: Figures,
    beside: bool,
    decays: bool,
    names: Vec<&'static str>,
}

struct Report {
    loss: f64,
    decay: f64,
    total: f64,
    /// NaN where the step is not logged.
    grad_norm: f64,
    metrics: Vec<(&'static str, f64)>,
}

impl Pending {
    /// Waits for the figures; an error where the loss is not finite.
    fn report(self, weight_decay: f64) -> Result<Report> {
        let mut figures = self.figures.read()?.into_iter();
        let mut next = || figures.next().unwrap_or(f64::NAN);
        let loss = next();
        let beside = if self.beside { next() } else { 0.0 };
        let decay = if self.decays { 0.5 * weight_decay * next() } else { 0.0 };
        let grad_norm = if self.logged { next().sqrt() } else { f64::NAN };
        let total = loss + beside + decay;
        if !total.is_finite() {
            bail!(
                "the loss is {loss} (beside it {beside}, weight decay {decay}), not a finite number; try a lower \
                 learning_rate or a longer warmup, and look whether the images hold numbers that are not finite"
            )
        }
        Ok(Report { loss, decay, total, grad_norm, metrics: self.names.into_iter().zip(figures).collect() })
    }
}

/// One step: loss, gradients, and the optimiser's. A loss that is not finite shows when the figures are read, which
/// is before anything is evaluated or saved.
fn advance<T: Task>(
    task: &mut T,
    batch: T::Batch,
    optimizer: &mut dyn Optimizer,
    training: &TrainingConfig,
    (step, lr): (u64, f64),
    logged: bool,
) -> Result<Pending> {
    let tape = Tape::new().recomputing(training.recompute);
    let Loss { value, beside, metrics } = task.loss(&tape, batch)?;
    let (names, metrics): (Vec<_>, Vec<_>) = metrics.into_iter().unzip();
    let mut scalars: Vec<_> =
        [Some(&value), beside.as_ref()].into_iter().flatten().map(|v| v.tensor().clone()).collect();
    let lowered = match &beside {
        Some(beside) => weighted_sum(&tape, &[(1.0, &value), (1.0, beside)])?,
        None => value,
    };
    let factor = training.weight_decay;
    let decays = |p: &&Param| factor > 0.0 && decays(training.optimizer, p) && task.trains(p);
    let decaying: Vec<&Param> = task.store().trainable().filter(decays).collect();
    if !decaying.is_empty() {
        scalars.push(step::sum_of_squares(&decaying.iter().map(|p| &p.tensor).collect::<Vec<_>>())?);
    }
    let mut grads = tape.backward(&lowered)?;
    drop(lowered);
    tidy(task, &mut grads)?;
    add_decay(&mut grads, &decaying, factor as f32)?;
    if logged {
        let gradients: Vec<&Tensor> = task.store().trainable().filter_map(|p| grads.get(&p.tensor)).collect();
        scalars.push(step::sum_of_squares(&gradients)?);
    }
    let (beside, decays) = (beside.is_some(), !decaying.is_empty());
    optimizer.step(task.store(), &grads, lr)?;
    scalars.extend(metrics);
    let figures = Figures::of(&scalars.iter().collect::<Vec<_>>())?;
    Ok(Pending { step, lr, logged, figures, beside, decays, names })
}

/// Says what to do where a GPU's memory is short.
fn of_memory(error: anyhow::Error) -> anyhow::Error {
    match format!("{error:?}").contains("OUT_OF_MEMORY") {
        true => error.context(
            "the GPU's memory is too small for this step: set dtype = \"bf16\", recompute = true, a chunk or a smaller \
             batch (`simclr-pretrain --estimate` tells what fits)",
        ),
        false => error,
    }
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
fn add_decay(grads: &mut GradStore, decaying: &[&Param], factor: f32) -> Result<()> {
    for p in decaying.iter().filter(|p| grads.get(&p.tensor).is_none()).collect::<Vec<_>>() {
        grads.insert(&p.tensor, p.tensor.zeros_like()?);
    }
    let pairs: Vec<_> = decaying.iter().filter_map(|p| Some((grads.get(&p.tensor)?, &p.tensor))).collect();
    Ok(step::decay(&pairs, factor)?)
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
