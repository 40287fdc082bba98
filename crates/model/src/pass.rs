//! One forward pass: the tape, the parameters as values on it, and what batch norm does.

use anyhow::Result;
use simclr_core::params::{ParamId, ParamStore};
use simclr_ops::{Moments, Tape, Value, cpu};
use std::cell::RefCell;

/// Share of the old running statistic that a training step keeps.
const BN_MOMENTUM: f32 = 0.9;

/// What batch norm normalises with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The batch's moments, which also move the running statistics.
    Train,
    /// The running statistics.
    Eval,
}

/// One forward pass over a parameter store.
pub struct Pass<'a> {
    /// Where operations are recorded.
    pub tape: &'a Tape,
    /// Batch norm's mode.
    pub mode: Mode,
    store: &'a ParamStore,
    trainable: &'a dyn Fn(&str) -> bool,
    // One leaf a parameter, made when it is first used: two views through one network share it.
    values: RefCell<Vec<Option<Value>>>,
}

impl<'a> Pass<'a> {
    /// A pass in which every parameter can receive a gradient.
    pub fn new(tape: &'a Tape, store: &'a ParamStore, mode: Mode) -> Self {
        Self::with_trainable(tape, store, mode, &|_| true)
    }

    /// A pass in which only the parameters whose name `trainable` accepts receive gradients.
    pub fn with_trainable(
        tape: &'a Tape,
        store: &'a ParamStore,
        mode: Mode,
        trainable: &'a dyn Fn(&str) -> bool,
    ) -> Self {
        let values = RefCell::new(vec![None; store.iter().count()]);
        Self { tape, mode, store, trainable, values }
    }

    /// A parameter as a value on the tape.
    pub fn param(&self, id: ParamId) -> Value {
        let mut values = self.values.borrow_mut();
        let slot = &mut values[id.index()];
        slot.get_or_insert_with(|| {
            let param = self.store.get(id);
            if (self.trainable)(&param.name) {
                self.tape.leaf(&param.tensor)
            } else {
                Value::constant(param.tensor.clone())
            }
        })
        .clone()
    }

    /// The numbers of a running statistic.
    pub(crate) fn statistic(&self, id: ParamId) -> candle_core::Tensor {
        self.store.get(id).tensor.clone()
    }

    /// Moves running statistics towards a batch's moments (the variance is the biased one, as in the reference).
    pub(crate) fn update_statistics(&self, mean: ParamId, var: ParamId, moments: &Moments) -> Result<()> {
        for (id, batch) in [(mean, &moments.mean), (var, &moments.var)] {
            cpu::update(&self.store.get(id).tensor, |running| {
                for (r, b) in running.iter_mut().zip(batch) {
                    *r = BN_MOMENTUM * *r + (1.0 - BN_MOMENTUM) * b;
                }
            })?;
        }
        Ok(())
    }
}
