//! Tensors that an optimiser remembers beside each trained parameter.

use crate::params::ParamStore;
use anyhow::{Context, Result, ensure};
use candle_core::Tensor;
use candle_core::backprop::GradStore;
use simclr_ops::optim::{self, Parameter};
use std::collections::BTreeMap;

/// Zeros beside each trained parameter, under its name and `suffix`, where the parameter is.
pub fn zeros(store: &ParamStore, suffix: &str) -> Result<ParamStore> {
    let mut slots = ParamStore::new(store.device().clone());
    for p in store.trainable() {
        slots.add(&format!("{}{suffix}", p.name), p.kind, p.part, p.tensor.zeros_like()?)?;
    }
    Ok(slots)
}

/// The trained parameters that have a gradient, with what is remembered of each; `adapted` is asked for its place.
pub fn parameters<'a>(
    store: &'a ParamStore,
    grads: &'a GradStore,
    (first, second): (&'a ParamStore, Option<&'a ParamStore>),
    adapted: impl Fn(usize) -> bool,
) -> Vec<Parameter<'a>> {
    let mut seconds = second.map(ParamStore::iter);
    let mut list = Vec::new();
    for (i, (p, first)) in store.trainable().zip(first.iter()).enumerate() {
        let second = seconds.as_mut().and_then(Iterator::next).map(|p| &p.tensor);
        if let Some(gradient) = grads.get(&p.tensor) {
            let (name, weight, first) = (p.name.as_str(), &p.tensor, &first.tensor);
            list.push(Parameter { name, weight, gradient, first, second, adapted: adapted(i) });
        }
    }
    list
}

/// The tensors of slots as they are in memory: this never leaves the project.
pub fn state(slots: &[&ParamStore]) -> BTreeMap<String, Tensor> {
    slots.iter().flat_map(|s| s.iter()).map(|p| (p.name.clone(), p.tensor.clone())).collect()
}

/// Takes over what [`state`] gave.
pub fn restore(slots: &[&ParamStore], state: &BTreeMap<String, Tensor>) -> Result<()> {
    let known: usize = slots.iter().map(|s| s.iter().count()).sum();
    ensure!(known == state.len(), "optimiser state of {} tensors, expected {known}", state.len());
    for p in slots.iter().flat_map(|s| s.iter()) {
        let saved = state.get(&p.name).with_context(|| format!("no optimiser state for {}", p.name))?;
        ensure!(saved.dims() == p.tensor.dims(), "optimiser state {} has another shape", p.name);
        optim::assign(&p.tensor, saved)?;
    }
    Ok(())
}
