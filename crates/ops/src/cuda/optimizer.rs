//! LARS, SGD and Adam over all parameters at once, by the kernels of `optimizer.cu`.

use super::machine::{At, Launch, Machine, args};
use crate::step::{AdamStep, LarsStep};
use candle_core::Result;

const SOURCE: &str = "optimizer";
/// Elements of a block, as in the kernels.
const CHUNK: usize = 1 << 14;

/// One parameter: weights, gradient and states, all of `len` numbers.
#[derive(Clone, Copy)]
pub struct Slot {
    pub w: At<f32>,
    pub g: At<f32>,
    pub first: At<f32>,
    /// Adam's second moment.
    pub second: Option<At<f32>>,
    pub len: usize,
    /// LARS decays it and adapts its rate.
    pub adapted: bool,
}

/// The parameters of a step, where kernels find them.
pub struct Slots<M: Machine> {
    table: M::Memory<i64>,
    count: usize,
    chunks: usize,
}

impl<M: Machine> Slots<M> {
    /// Lists the parameters; empty ones are left out.
    pub fn new(m: &M, slots: &[Slot]) -> Result<Self> {
        let (mut table, mut count, mut chunks) = (Vec::new(), 0, 0);
        for s in slots.iter().filter(|s| s.len > 0) {
            let addresses = [s.w, s.g, s.first, s.second.unwrap_or(At::none())].map(|at| at.0 as i64);
            table.extend(addresses);
            table.extend([s.len as i64, chunks as i64, i64::from(s.adapted)]);
            count += 1;
            chunks += s.len.div_ceil(CHUNK);
        }
        Ok(Self { table: m.upload(&table)?, count, chunks })
    }

    /// One step of LARS. `classic`: the rate enters the momentum.
    pub fn lars(&self, m: &M, step: LarsStep) -> Result<()> {
        let LarsStep { lr, eta, momentum, decay, classic, nesterov } = step;
        let (table, count, squares) = (m.at(&self.table), self.count as i64, m.room::<f64>(2 * self.chunks)?);
        let args = args![table, count, momentum, decay, classic, nesterov, m.at(&squares)];
        m.launch(Launch::rows(SOURCE, "lars_norms", self.chunks, args)?)?;
        let args = args![table, count, m.at(&squares), lr, eta, momentum, decay, classic, nesterov];
        m.launch(Launch::rows(SOURCE, "lars_update", self.chunks, args)?)
    }

    /// One step of SGD with Nesterov momentum.
    pub fn sgd(&self, m: &M, lr: f32, momentum: f32) -> Result<()> {
        let args = args![m.at(&self.table), self.count as i64, lr, momentum];
        m.launch(Launch::rows(SOURCE, "sgd_update", self.chunks, args)?)
    }

    /// One step of Adam.
    pub fn adam(&self, m: &M, AdamStep { lr, betas: (b1, b2), eps }: AdamStep) -> Result<()> {
        let args = args![m.at(&self.table), self.count as i64, lr, b1, b2, eps];
        m.launch(Launch::rows(SOURCE, "adam_update", self.chunks, args)?)
    }

    /// Adds `factor` times the weights to the gradients.
    pub fn decay(&self, m: &M, factor: f32) -> Result<()> {
        let args = args![m.at(&self.table), self.count as i64, factor];
        m.launch(Launch::rows(SOURCE, "decay_gradients", self.chunks, args)?)
    }

    /// The sum of the squares of all weights.
    pub fn sum_of_squares(&self, m: &M) -> Result<M::Memory<f64>> {
        let (squares, out) = (m.room::<f64>(self.chunks)?, m.room::<f64>(1)?);
        let args = args![m.at(&self.table), self.count as i64, m.at(&squares)];
        m.launch(Launch::rows(SOURCE, "sum_squares", self.chunks, args)?)?;
        m.launch(Launch::rows(SOURCE, "sum_all", 1, args![m.at(&squares), self.chunks as i64, m.at(&out)])?)?;
        Ok(out)
    }
}
