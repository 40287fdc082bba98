//! One forward pass: the tape, the parameters as values on it, and what batch norm does.

use anyhow::Result;
use candle_core::{DType, Tensor};
use simclr_core::params::{Kind, Param, ParamId, ParamStore};
use simclr_ops::{Tape, Value, with_rounded};
use std::cell::{Cell, RefCell};
use std::ops::Range;

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
    params: Params<'a>,
}

/// Where a pass has its parameters from.
enum Params<'a> {
    Store {
        store: &'a ParamStore,
        trainable: &'a dyn Fn(&Param) -> bool,
        // One leaf a parameter, made when it is first used: two views through one network share it.
        leaves: RefCell<Vec<Option<Value>>>,
        // Whether convolutions' weights are rounded beside their numbers.
        rounded: Cell<bool>,
    },
    /// Another pass: the values of its parameters from `first` on.
    Given { first: usize, values: &'a [Value] },
}

impl<'a> Pass<'a> {
    /// A pass in which every parameter can receive a gradient.
    pub fn new(tape: &'a Tape, store: &'a ParamStore, mode: Mode) -> Self {
        Self::with_trainable(tape, store, mode, &|_| true)
    }

    /// A pass in which only the parameters that `trainable` accepts receive gradients.
    pub fn with_trainable(
        tape: &'a Tape,
        store: &'a ParamStore,
        mode: Mode,
        trainable: &'a dyn Fn(&Param) -> bool,
    ) -> Self {
        let leaves = RefCell::new(vec![None; store.ids().len()]);
        Self { tape, mode, params: Params::Store { store, trainable, leaves, rounded: Cell::new(false) } }
    }

    /// A parameter as a value on the tape.
    pub fn param(&self, id: ParamId) -> Value {
        let (store, trainable, leaves) = match &self.params {
            Params::Store { store, trainable, leaves, .. } => (store, trainable, leaves),
            Params::Given { first, values } => return values[id.index() - first].clone(),
        };
        let mut leaves = leaves.borrow_mut();
        let slot = &mut leaves[id.index()];
        slot.get_or_insert_with(|| {
            let param = store.get(id);
            if trainable(param) { self.tape.leaf(&param.tensor) } else { Value::constant(param.tensor.clone()) }
        })
        .clone()
    }

    /// Has convolutions' weights rounded for maps of `dtype`, all at once, where that spares each convolution to do it. The
    /// weights must not change before the pass is over.
    ///
    /// # Errors
    /// When memory is short.
    pub(crate) fn prepare(&self, dtype: DType) -> Result<()> {
        let Params::Store { store, leaves, rounded, .. } = &self.params else { return Ok(()) };
        if dtype != DType::BF16 || rounded.replace(true) {
            return Ok(());
        }
        let ids: Vec<ParamId> = store.ids().filter(|id| store.get(*id).kind == Kind::Conv).collect();
        let values: Vec<Value> = ids.iter().map(|id| self.param(*id)).collect();
        let mut leaves = leaves.borrow_mut();
        for (id, value) in ids.iter().zip(with_rounded(&values)?) {
            leaves[id.index()] = Some(value);
        }
        Ok(())
    }

    /// The numbers of a running statistic.
    pub(crate) fn statistic(&self, id: ParamId) -> Tensor {
        match &self.params {
            Params::Store { store, .. } => store.get(id).tensor.clone(),
            Params::Given { first, values } => values[id.index() - first].tensor().clone(),
        }
    }

    /// The parameters of a range as values, running statistics as constants.
    fn values(&self, range: &Range<usize>) -> Vec<Value> {
        match &self.params {
            Params::Store { store, .. } => {
                let one = |id: ParamId| match store.get(id).kind {
                    Kind::Statistic | Kind::Variance => Value::constant(self.statistic(id)),
                    _ => self.param(id),
                };
                store.ids().skip(range.start).take(range.len()).map(one).collect()
            }
            Params::Given { first, values } => values[range.start - first..range.end - first].to_vec(),
        }
    }

    /// The output of `forward`, a stretch of the network over `x` that uses the parameters of `range` alone, with all
    /// between recomputed in the backward pass (see [`Tape::recomputed`]).
    ///
    /// # Errors
    /// When `forward` fails.
    pub(crate) fn recomputed(
        &self,
        range: &Range<usize>,
        x: &Value,
        forward: impl Fn(&Pass<'_>, &Value) -> Result<(Value, Vec<Tensor>)> + 'static,
    ) -> Result<(Value, Vec<Tensor>)> {
        let (first, mode, values) = (range.start, self.mode, self.values(range));
        let inputs: Vec<&Value> = [x].into_iter().chain(&values).collect();
        let outputs = self.tape.recomputed(&inputs, move |tape, inputs| {
            let pass = Pass { tape, mode, params: Params::Given { first, values: &inputs[1..] } };
            forward(&pass, &inputs[0]).map_err(|e| candle_core::Error::msg(format!("{e:#}")))
        })?;
        Ok(outputs)
    }
}
