//! What resumes a run: the model's, the optimiser's and the task's tensors in one file.

use super::task::Task;
use super::watch::Watch;
use crate::optim::Optimizer;
use crate::params::{Kind, Match};
use crate::run::states::{self, State};
use crate::run::{Best, Run, best};
use crate::tensors;
use anyhow::{Context, Result};
use candle_core::Tensor;
use serde_json::json;
use simclr_ops::engines;
use std::collections::BTreeMap;

const MODEL: &str = "model/";
const OPTIMIZER: &str = "optimizer/";
const TASK: &str = "task/";

pub(super) fn save<T: Task>(
    task: &T,
    optimizer: &dyn Optimizer,
    run: &Run,
    (step, seconds): (u64, f64),
    (watch, kept): (&Watch, usize),
) -> Result<()> {
    if !run.leads() {
        return Ok(());
    }
    let parts = [(MODEL, task.store().save_map()?), (OPTIMIZER, optimizer.state()), (TASK, task.state()?)];
    // The last step's numbers are in no loss yet.
    let variance = |name: &str| task.store().by_name(name).is_some_and(|p| p.kind == Kind::Variance);
    let numbers =
        parts.iter().flat_map(|(part, tensors)| tensors.iter().map(move |(name, tensor)| (*part, name, tensor)));
    let floats = numbers.filter(|(part, _, tensor)| *part != TASK || tensor.dtype().is_float());
    tensors::check(floats.map(|(part, name, tensor)| (name.as_str(), tensor, part == MODEL && variance(name))))
        .context(
            "the step left numbers with which no training goes on, and no state is saved; try a lower learning_rate",
        )?;
    let mut tensors = BTreeMap::new();
    for (prefix, part) in parts {
        tensors.extend(part.into_iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor)));
    }
    // What a GPU computed with: other engines sum in another order.
    let mut state = json!({"seconds": seconds, "engines": engines::export()});
    watch.save(&mut state);
    run.sync()?;
    states::save(run.dir(), step, kept, (&tensors, &state))?;
    best::settle(run.dir())
}

/// Writes the network as it would be handed on now, as that of the best evaluation, and goes on as before.
pub(super) fn keep_best<T: Task>(task: &mut T, run: &Run, best: Best) -> Result<()> {
    let (weights, state) = (task.store().save_map()?, task.state()?);
    task.finish()?;
    if run.leads() {
        best::keep(run.dir(), best, &task.store().save_map()?, &task.model_config())?;
    }
    task.store().load_map(&weights, Match::EXACT)?;
    task.restore(&state)
}

/// Takes over the saved state: steps done and seconds spent. `None`, and an empty record, when nothing was saved yet.
pub(super) fn resume<T: Task>(
    task: &mut T,
    optimizer: &mut dyn Optimizer,
    run: &mut Run,
    watch: &mut Watch,
) -> Result<Option<(u64, f64)>> {
    let Some(State { step, tensors, facts: state }) = states::load(run.dir(), run.leads())? else {
        rewind(run, 0, None)?;
        return Ok(None);
    };
    let part = |prefix: &str| -> BTreeMap<String, Tensor> {
        let named = |(name, tensor): (&String, &Tensor)| Some((name.strip_prefix(prefix)?.to_string(), tensor.clone()));
        tensors.iter().filter_map(named).collect()
    };
    let mut inner = || -> Result<(u64, f64)> {
        watch.restore(&state)?;
        task.store().load_map(&part(MODEL), Match::EXACT)?;
        optimizer.restore(&part(OPTIMIZER))?;
        task.restore(&part(TASK))?;
        engines::import(state["engines"].as_str().unwrap_or_default())?;
        Ok((step, state["seconds"].as_f64().unwrap_or(0.0)))
    };
    let resumed = inner().with_context(|| format!("resuming {}", run.dir().display()))?;
    rewind(run, resumed.0, watch.best())?;
    Ok(Some(resumed))
}

/// Drops what was measured past `step`, and the network of a later evaluation than `best`.
fn rewind(run: &mut Run, step: u64, best: Option<Best>) -> Result<()> {
    run.rewind(step)?;
    if run.leads() { best::rewind(run.dir(), best) } else { Ok(()) }
}
