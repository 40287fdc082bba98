//! Residual blocks: basic, bottleneck, selective kernel, squeeze-and-excitation, shortcuts.

use crate::init::Builder;
use crate::layers::{BatchNorm, Conv};
use crate::outline::{Op, Outline};
use crate::pass::Pass;
use anyhow::Result;
use simclr_ops::{
    ConvInput, Fused, PoolPadding, Value, add_relu, avg_pool2d, global_avg_pool, relu, sigmoid_gate, stream_mean,
    stream_select,
};
use std::ops::Range;
use std::rc::Rc;

/// What every block of a network shares.
#[derive(Clone, Copy)]
pub struct Style {
    pub bottleneck: bool,
    pub sk_ratio: f64,
    pub se_ratio: f64,
}

/// Two 3x3 streams mixed by attention over the pooled features (Li et al. 2019, in the paper's variant).
struct SelectiveKernel {
    conv: Conv,
    bn: BatchNorm,
    reduce: Conv,
    bn_reduce: BatchNorm,
    select: Conv,
}

impl SelectiveKernel {
    /// Least hidden width of the attention.
    const MIN_HIDDEN: usize = 32;

    fn new(b: &mut Builder<'_>, f: usize, stride: usize, ratio: f64) -> Result<Self> {
        let hidden = ((f as f64 * ratio) as usize).max(Self::MIN_HIDDEN);
        Ok(Self {
            conv: Conv::new(b, "conv", 2 * f, 3, f, stride)?,
            bn: BatchNorm::new(b, "bn", 2 * f, 1.0, true)?,
            reduce: Conv::new(b, "fc_reduce", hidden, 1, f, 1)?,
            bn_reduce: BatchNorm::new(b, "bn_reduce", hidden, 1.0, true)?,
            select: Conv::new(b, "fc_select", 2 * f, 1, hidden, 1)?,
        })
    }

    fn outline(&self, o: &mut Outline<'_>) {
        self.conv.outline(o);
        o.norm(false, true);
        let from = o.map;
        o.map.channels /= 2;
        self.reduce.outline_rows(o);
        self.select.outline_rows(o);
        o.push(Op::Gate { from, to: o.map });
    }

    fn forward(&self, pass: &Pass<'_>, x: ConvInput) -> Result<Value> {
        let streams = self.bn.relu(pass, &self.conv.forward(pass, x)?)?;
        let pooled = stream_mean(pass.tape, &streams)?;
        let hidden = self.bn_reduce.relu(pass, &self.reduce.forward_rows(pass, &pooled)?)?;
        let logits = self.select.forward_rows(pass, &hidden)?;
        Ok(stream_select(pass.tape, &streams, &logits)?)
    }
}

/// A gate on channels from the pooled features (Hu et al. 2018).
struct SqueezeExcite {
    reduce: Conv,
    expand: Conv,
}

impl SqueezeExcite {
    fn new(b: &mut Builder<'_>, f: usize, out: usize, ratio: f64) -> Result<Self> {
        let (mut b, hidden) = (b.under("se"), ((f as f64 * ratio) as usize).max(1));
        Ok(Self { reduce: Conv::dense(&mut b, "fc1", hidden, out)?, expand: Conv::dense(&mut b, "fc2", out, hidden)? })
    }

    fn outline(&self, o: &mut Outline<'_>) {
        self.reduce.outline_rows(o);
        self.expand.outline_rows(o);
        o.push(Op::Gate { from: o.map, to: o.map });
    }

    fn forward(&self, pass: &Pass<'_>, x: &Value) -> Result<Value> {
        let pooled = global_avg_pool(pass.tape, x)?;
        let hidden = relu(pass.tape, &self.reduce.forward_rows(pass, &pooled)?)?;
        Ok(sigmoid_gate(pass.tape, x, &self.expand.forward_rows(pass, &hidden)?)?)
    }
}

/// The projection of the input that a group's first block adds; pooled first in networks with selective kernels.
struct Shortcut {
    pool: Option<usize>,
    conv: Conv,
    bn: BatchNorm,
}

impl Shortcut {
    fn new(b: &mut Builder<'_>, c: usize, out: usize, stride: usize, pooled: bool) -> Result<Self> {
        let mut b = b.under("downsample");
        // Position 0 is the pool where there is one.
        let (conv, bn) = if pooled { ("1", "2") } else { ("0", "1") };
        Ok(Self {
            pool: pooled.then_some(stride),
            conv: Conv::new(&mut b, conv, out, 1, c, if pooled { 1 } else { stride })?,
            bn: BatchNorm::new(&mut b, bn, out, 1.0, true)?,
        })
    }

    fn outline(&self, o: &mut Outline<'_>) {
        if let Some(stride) = self.pool {
            o.pool(stride);
        }
        self.conv.outline(o);
        // What is added to something is not kept.
        o.norm(false, false);
    }

    fn forward(&self, pass: &Pass<'_>, x: &Value) -> Result<Value> {
        let pooled = match self.pool {
            None => x.clone(),
            Some(1) => avg_pool2d(pass.tape, x, 2, 1, PoolPadding::Same)?,
            Some(stride) => avg_pool2d(pass.tape, x, 2, stride, PoolPadding::ZerosAtEnd)?,
        };
        self.bn.forward(pass, &self.conv.forward(pass, &pooled)?, Fused::default())
    }
}

enum Middle {
    Plain(Conv, BatchNorm),
    Selective(SelectiveKernel),
}

/// A residual block: `relu(main(x) + shortcut(x))`.
pub struct Block {
    shortcut: Option<Shortcut>,
    first: Option<(Conv, BatchNorm)>,
    middle: Middle,
    last: (Conv, BatchNorm),
    gate: Option<SqueezeExcite>,
    /// Its parameters stand together in the store.
    params: Range<usize>,
}

impl Block {
    /// `c` input channels, `f` the block's own width; a group's first block has a projected shortcut.
    pub fn new(b: &mut Builder<'_>, s: Style, c: usize, f: usize, stride: usize, first: bool) -> Result<Self> {
        let (out, start) = (s.out_channels(f), b.declared());
        let shortcut = if first { Some(Shortcut::new(b, c, out, stride, s.sk_ratio > 0.0)?) } else { None };
        // The last batch norm of a block starts at gamma 0: a fresh block is its shortcut.
        let (head, middle, last) = if s.bottleneck {
            let head = (Conv::new(b, "conv1", f, 1, c, 1)?, BatchNorm::new(b, "bn1", f, 1.0, true)?);
            let middle = if s.sk_ratio > 0.0 {
                Middle::Selective(SelectiveKernel::new(&mut b.under("conv2"), f, stride, s.sk_ratio)?)
            } else {
                Middle::Plain(Conv::new(b, "conv2", f, 3, f, stride)?, BatchNorm::new(b, "bn2", f, 1.0, true)?)
            };
            let last = (Conv::new(b, "conv3", out, 1, f, 1)?, BatchNorm::new(b, "bn3", out, 0.0, true)?);
            (Some(head), middle, last)
        } else {
            let conv1 = Conv::new(b, "conv1", f, 3, c, stride)?;
            let middle = Middle::Plain(conv1, BatchNorm::new(b, "bn1", f, 1.0, true)?);
            let last = (Conv::new(b, "conv2", f, 3, f, 1)?, BatchNorm::new(b, "bn2", f, 0.0, true)?);
            (None, middle, last)
        };
        let gate = if s.se_ratio > 0.0 { Some(SqueezeExcite::new(b, f, out, s.se_ratio)?) } else { None };
        Ok(Self { shortcut, first: head, middle, last, gate, params: start..b.declared() })
    }

    /// The block's output; where the tape asks for it, what lies between is recomputed on the way back.
    pub fn forward(self: &Rc<Self>, pass: &Pass<'_>, x: &Value) -> Result<Value> {
        if !pass.tape.recomputes() {
            return self.kept(pass, x);
        }
        let block = self.clone();
        Ok(pass.recomputed(&self.params, x, move |pass, x| Ok((block.kept(pass, x)?, vec![])))?.0)
    }

    /// What the forward does, in its order.
    pub fn outline(&self, o: &mut Outline<'_>) {
        let input = o.map;
        if let Some(shortcut) = &self.shortcut {
            shortcut.outline(o);
        }
        o.map = input;
        if let Some((conv, _)) = &self.first {
            conv.outline(o);
            o.norm(false, true);
        }
        match &self.middle {
            Middle::Plain(conv, _) => {
                conv.outline(o);
                o.norm(false, true);
            }
            Middle::Selective(unit) => unit.outline(o),
        }
        self.last.0.outline(o);
        o.norm(self.gate.is_none(), true);
        if let Some(gate) = &self.gate {
            gate.outline(o);
            o.push(Op::Add { map: o.map });
        }
    }

    fn kept(&self, pass: &Pass<'_>, x: &Value) -> Result<Value> {
        let shortcut = match &self.shortcut {
            Some(s) => s.forward(pass, x)?,
            None => x.clone(),
        };
        let mut y = ConvInput::from(x);
        if let Some((conv, bn)) = &self.first {
            y = ConvInput::from(&bn.relu_into(pass, &conv.forward(pass, y)?)?);
        }
        y = match &self.middle {
            Middle::Plain(conv, bn) => ConvInput::from(&bn.relu_into(pass, &conv.forward(pass, y)?)?),
            Middle::Selective(unit) => ConvInput::from(&unit.forward(pass, y)?),
        };
        let (conv, bn) = &self.last;
        let y = conv.forward(pass, y)?;
        match &self.gate {
            None => bn.forward(pass, &y, Fused { residual: Some(&shortcut), relu: true }),
            Some(gate) => {
                let y = gate.forward(pass, &bn.forward(pass, &y, Fused::default())?)?;
                Ok(add_relu(pass.tape, &y, Some(&shortcut))?)
            }
        }
    }
}

impl Style {
    /// Channels that a block of width `f` gives.
    pub fn out_channels(&self, f: usize) -> usize {
        if self.bottleneck { 4 * f } else { f }
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
    use simclr_ops::{Tape, cpu};

    /// Odd sizes tell the two paddings apart: at stride 2 zeros at the end count in the mean, at stride 1 nothing does.
    #[test]
    fn a_pooled_shortcut_pads_as_the_reference() {
        let ones = Value::constant(Tensor::ones((1, 3, 3, 1), DType::F32, &Device::Cpu).unwrap());
        for (stride, want) in [(2, vec![1.0, 0.5, 0.5, 0.25]), (1, vec![1.0; 9])] {
            let mut store = ParamStore::new(Device::Cpu);
            let shortcut = Shortcut::new(&mut Builder::new(&mut store, None), 1, 1, stride, true).unwrap();
            let convolution = store.by_name("downsample.1.weight").unwrap();
            cpu::update(&convolution.tensor, |w| w.fill(1.0)).unwrap();
            for (name, value) in [("weight", 1.0), ("running_var", 1.0)] {
                let tensor = &store.by_name(&format!("downsample.2.{name}")).unwrap().tensor;
                cpu::update(tensor, |w| w.fill(value)).unwrap();
            }
            let tape = Tape::inference();
            let out = shortcut.forward(&Pass::new(&tape, &store, Mode::Eval), &ones).unwrap();
            let got = out.tensor().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_close(&format!("stride {stride}"), &got, &want, 1e-4);
        }
    }
}
