//! One step of training: loss, gradients, weight decay, the optimiser's step, and the figures of it that are read later.

use super::ranks::{Figure, Ranks, Summed};
use super::task::{Loss, Task};
use super::watched::{Seen, Watched};
use crate::config::TrainingConfig;
use crate::optim::Optimizer;
use crate::params::{Param, ParamStore};
use anyhow::{Result, bail};
use candle_core::backprop::GradStore;
use simclr_ops::{Figures, optim, weighted_sum};

/// Which step it is, and what becomes of it.
#[derive(Clone, Copy)]
pub(super) struct At {
    pub step: u64,
    pub lr: f64,
    pub logged: bool,
    /// This rank was asked to stop.
    pub stop: bool,
}

/// A step that was launched: its figures may still be on their way.
pub(super) struct Pending {
    pub at: At,
    /// What [`Summed`] reads: the loss; what is lowered beside it; the metrics. Then the squares of what decays, and what
    /// [`Watched`] reads.
    pub figures: Figures,
    summed: Summed,
    watched: Watched,
    beside: bool,
    decays: bool,
    names: Vec<&'static str>,
}

pub(super) struct Report {
    pub loss: f64,
    pub decay: f64,
    pub total: f64,
    pub grad_norm: f64,
    /// Figures of each part of the network, where the step is logged.
    pub by_part: Vec<(String, f64)>,
    pub metrics: Vec<(&'static str, f64)>,
    /// A rank was asked to stop.
    pub stop: bool,
}

impl Pending {
    /// Waits for the figures; an error where the loss or a gradient is not finite, which names the layer where it began. `store`
    /// holds the parameters that were trained.
    pub fn report(self, weight_decay: f64, store: &ParamStore) -> Result<Report> {
        let numbers = self.figures.read()?;
        let (summed, own) = numbers.split_at(self.summed.len().min(numbers.len()));
        let (means, stop) = self.summed.read(summed)?;
        let mut means = means.into_iter();
        let mut next = || means.next().flatten().unwrap_or(f64::NAN);
        let loss = next();
        let beside = if self.beside { next() } else { 0.0 };
        let (decaying, watched) = own.split_at(usize::from(self.decays).min(own.len()));
        let decay = decaying.first().map_or(0.0, |squares| 0.5 * weight_decay * squares);
        let Seen { grad_norm, by_part, fault } = self.watched.read(store, watched)?;
        let total = loss + beside + decay;
        if !total.is_finite() || fault.is_some() {
            let place = fault.map(|fault| format!("; {fault}")).unwrap_or_default();
            bail!(
                "the loss is {loss} (beside it {beside}, weight decay {decay}), the norm of the gradients {grad_norm}: not finite \
                 numbers{place}. Try a lower learning_rate or a longer warmup, dtype = \"f32\" where it is another, and look \
                 whether the images hold numbers that are not finite"
            )
        }
        let metrics = self.names.into_iter().zip(means).filter_map(|(name, value)| Some((name, value?))).collect();
        Ok(Report { loss, decay, total, grad_norm, by_part, metrics, stop })
    }
}

/// One step: loss, gradients, and the optimiser's. A loss that is not finite shows when the figures are read, which
/// is before anything is evaluated or saved.
pub(super) fn advance<T: Task>(
    task: &mut T,
    batch: T::Batch,
    optimizer: &mut dyn Optimizer,
    (training, ranks): (&TrainingConfig, &mut Ranks),
    at: At,
) -> Result<Pending> {
    let tape = ranks.tape(training.recompute);
    let Loss { value, beside, metrics } = task.loss(&tape, batch)?;
    let share = ranks.share();
    let losses = [Some(&value), beside.as_ref()].into_iter().flatten();
    let mut figures: Vec<_> = losses.map(|v| Figure { value: v.tensor().clone(), weight: share }).collect();
    let names = metrics.iter().map(|metric| metric.name).collect();
    figures.extend(metrics.into_iter().map(|metric| Figure { value: metric.value, weight: metric.of as f32 * share }));
    let lowered = match &beside {
        Some(beside) => weighted_sum(&tape, &[(1.0, &value), (1.0, beside)])?,
        None => value,
    };
    let factor = training.weight_decay;
    let decays = |p: &&Param| factor > 0.0 && optimizer.decays(p) && task.trains(p);
    let decaying: Vec<&Param> = task.store().trainable().filter(decays).collect();
    let mut own = Vec::new();
    if !decaying.is_empty() {
        own.push(optim::sum_of_squares(&decaying.iter().map(|p| &p.tensor).collect::<Vec<_>>())?);
    }
    let (mut grads, mut scalars, summed) = ranks.backward(tape, &lowered, task.store(), (&figures, at.stop))?;
    drop(lowered);
    tidy(task, &mut grads)?;
    add_decay(&mut grads, &decaying, factor as f32)?;
    let (beside, decays) = (beside.is_some(), !decaying.is_empty());
    let mut watched = Watched::begin(task.store(), &grads, at.logged)?;
    optimizer.step(task.store(), &grads, at.lr)?;
    own.extend(watched.end(task.store())?);
    drop(grads);
    task.after_step(at.step)?;
    scalars.extend(own);
    let figures = Figures::of(&scalars.iter().collect::<Vec<_>>())?;
    Ok(Pending { at, figures, summed, watched, beside, decays, names })
}

/// What CUDA, and what cuDNN and cuBLAS, call a lack of memory.
const OF_MEMORY: [&str; 3] = ["OUT_OF_MEMORY", "ALLOC_FAILED", "ALLOCATION_FAILED"];

/// Says what to do where a GPU's memory is short.
pub(super) fn of_memory(error: anyhow::Error) -> anyhow::Error {
    let text = format!("{error:?}");
    match OF_MEMORY.iter().any(|name| text.contains(name)) {
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

/// Adds the gradient of `factor / 2 |w|^2`; a weight that the loss does not reach gets one for it.
fn add_decay(grads: &mut GradStore, decaying: &[&Param], factor: f32) -> Result<()> {
    for p in decaying.iter().filter(|p| grads.get(&p.tensor).is_none()).collect::<Vec<_>>() {
        grads.insert(&p.tensor, p.tensor.zeros_like()?);
    }
    let pairs: Vec<_> = decaying.iter().filter_map(|p| Some((grads.get(&p.tensor)?, &p.tensor))).collect();
    Ok(optim::decay(&pairs, factor)?)
}

#[cfg(test)]
impl Pending {
    /// The same step on a device that has its figures ready at `due`.
    pub fn until(self, due: std::time::Instant) -> Self {
        let read = self.figures;
        let wait = move || {
            std::thread::sleep(due.saturating_duration_since(std::time::Instant::now()));
            read.read()
        };
        Self { figures: Figures::later(wait), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::of_memory;
    use anyhow::anyhow;

    /// As cudarc writes the errors of the driver, of cuDNN and of cuBLAS.
    #[test]
    fn a_lack_of_memory_is_known_by_all_its_names() {
        for name in [
            "CUDA_ERROR_OUT_OF_MEMORY",
            "CUDNN_STATUS_ALLOC_FAILED",
            "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
            "CUBLAS_STATUS_ALLOC_FAILED",
        ] {
            let told = format!("{:#}", of_memory(anyhow!("DriverError({name})").context("step 3")));
            assert!(told.contains("recompute = true") && told.contains(name), "{told}");
        }
        let other = format!("{:#}", of_memory(anyhow!("CUDA_ERROR_LAUNCH_FAILED")));
        assert!(!other.contains("recompute"), "{other}");
    }
}
