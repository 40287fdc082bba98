//! The units of a residual block: selective kernel, squeeze-and-excitation, projected shortcut.

use crate::init::Builder;
use crate::layers::{BatchNorm, Conv};
use crate::outline::{Op, Outline};
use crate::pass::Pass;
use anyhow::Result;
use simclr_ops::{
    ConvInput, Fused, PoolPadding, Value, avg_pool2d, global_avg_pool, relu, sigmoid_gate, stream_mean, stream_select,
};

/// Two 3x3 streams mixed by attention over the pooled features (Li et al. 2019, in the paper's variant).
pub struct SelectiveKernel {
    conv: Conv,
    bn: BatchNorm,
    reduce: Conv,
    bn_reduce: BatchNorm,
    select: Conv,
}

impl SelectiveKernel {
    /// Least hidden width of the attention.
    const MIN_HIDDEN: usize = 32;

    pub fn new(b: &mut Builder<'_>, f: usize, stride: usize, ratio: f64) -> Result<Self> {
        let hidden = ((f as f64 * ratio) as usize).max(Self::MIN_HIDDEN);
        Ok(Self {
            conv: Conv::new(b, "conv", 2 * f, 3, f, stride)?,
            bn: BatchNorm::new(b, "bn", 2 * f, 1.0, true)?,
            reduce: Conv::new(b, "fc_reduce", hidden, 1, f, 1)?,
            bn_reduce: BatchNorm::new(b, "bn_reduce", hidden, 1.0, true)?,
            select: Conv::new(b, "fc_select", 2 * f, 1, hidden, 1)?,
        })
    }

    pub fn outline(&self, o: &mut Outline<'_>) {
        self.conv.outline(o);
        o.norm(false, true);
        let from = o.map;
        o.map.channels /= 2;
        self.reduce.outline_rows(o);
        self.bn_reduce.outline_rows(o, &self.reduce);
        self.select.outline_rows(o);
        o.push(Op::Gate { from, to: o.map });
    }

    pub fn forward(&self, pass: &Pass<'_>, x: ConvInput) -> Result<Value> {
        let streams = self.bn.relu(pass, &self.conv.forward(pass, x)?)?;
        let pooled = stream_mean(pass.tape, &streams)?;
        let hidden = self.bn_reduce.relu(pass, &self.reduce.forward_rows(pass, &pooled)?)?;
        let logits = self.select.forward_rows(pass, &hidden)?;
        Ok(stream_select(pass.tape, &streams, &logits)?)
    }
}

/// A gate on channels from the pooled features (Hu et al. 2018).
pub struct SqueezeExcite {
    reduce: Conv,
    expand: Conv,
}

impl SqueezeExcite {
    pub fn new(b: &mut Builder<'_>, f: usize, out: usize, ratio: f64) -> Result<Self> {
        let (mut b, hidden) = (b.under("se"), ((f as f64 * ratio) as usize).max(1));
        Ok(Self { reduce: Conv::dense(&mut b, "fc1", hidden, out)?, expand: Conv::dense(&mut b, "fc2", out, hidden)? })
    }

    pub fn outline(&self, o: &mut Outline<'_>) {
        self.reduce.outline_rows(o);
        self.expand.outline_rows(o);
        o.push(Op::Gate { from: o.map, to: o.map });
    }

    pub fn forward(&self, pass: &Pass<'_>, x: &Value) -> Result<Value> {
        let pooled = global_avg_pool(pass.tape, x)?;
        let hidden = relu(pass.tape, &self.reduce.forward_rows(pass, &pooled)?)?;
        Ok(sigmoid_gate(pass.tape, x, &self.expand.forward_rows(pass, &hidden)?)?)
    }
}

/// The projection of the input that a group's first block adds; pooled first in networks with selective kernels.
pub struct Shortcut {
    pool: Option<usize>,
    conv: Conv,
    bn: BatchNorm,
}

impl Shortcut {
    pub fn new(b: &mut Builder<'_>, c: usize, out: usize, stride: usize, pooled: bool) -> Result<Self> {
        let mut b = b.under("downsample");
        // Position 0 is the pool where there is one.
        let (conv, bn) = if pooled { ("1", "2") } else { ("0", "1") };
        Ok(Self {
            pool: pooled.then_some(stride),
            conv: Conv::new(&mut b, conv, out, 1, c, if pooled { 1 } else { stride })?,
            bn: BatchNorm::new(&mut b, bn, out, 1.0, true)?,
        })
    }

    pub fn outline(&self, o: &mut Outline<'_>) {
        if let Some(stride) = self.pool {
            o.pool(stride);
        }
        self.conv.outline(o);
        // What is added to something is not kept.
        o.norm(false, false);
    }

    pub fn forward(&self, pass: &Pass<'_>, x: &Value) -> Result<Value> {
        let pooled = match self.pool {
            None => x.clone(),
            Some(1) => avg_pool2d(pass.tape, x, 2, 1, PoolPadding::Same)?,
            Some(stride) => avg_pool2d(pass.tape, x, 2, stride, PoolPadding::ZerosAtEnd)?,
        };
        self.bn.forward(pass, &self.conv.forward(pass, &pooled)?, Fused::default())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Mode;
    use candle_core::{DType, Device, Tensor};
    use simclr_core::params::ParamStore;
    use simclr_core::testing::assert_close;
    use simclr_ops::{Tape, tensor};

    /// Odd sizes tell the two paddings apart: at stride 2 zeros at the end count in the mean, at stride 1 nothing does.
    #[test]
    fn a_pooled_shortcut_pads_as_the_reference() {
        let ones = Value::constant(Tensor::ones((1, 3, 3, 1), DType::F32, &Device::Cpu).unwrap());
        for (stride, want) in [(2, vec![1.0, 0.5, 0.5, 0.25]), (1, vec![1.0; 9])] {
            let mut store = ParamStore::new(Device::Cpu);
            let shortcut = Shortcut::new(&mut Builder::new(&mut store, None), 1, 1, stride, true).unwrap();
            let convolution = store.by_name("downsample.1.weight").unwrap();
            tensor::update(&convolution.tensor, |w| w.fill(1.0)).unwrap();
            for (name, value) in [("weight", 1.0), ("running_var", 1.0)] {
                let tensor = &store.by_name(&format!("downsample.2.{name}")).unwrap().tensor;
                tensor::update(tensor, |w| w.fill(value)).unwrap();
            }
            let tape = Tape::inference();
            let out = shortcut.forward(&Pass::new(&tape, &store, Mode::Eval), &ones).unwrap();
            let got = out.tensor().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_close(&format!("stride {stride}"), &got, &want, 1e-4);
        }
    }
}
