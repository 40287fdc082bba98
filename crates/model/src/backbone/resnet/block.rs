//! A residual block, basic or bottleneck.

use super::units::{SelectiveKernel, Shortcut, SqueezeExcite};
use crate::init::Builder;
use crate::layers::{BatchNorm, Conv};
use crate::outline::{Op, Outline};
use crate::pass::Pass;
use anyhow::Result;
use simclr_ops::{ConvInput, Fused, Value, add_relu};
use std::ops::Range;
use std::rc::Rc;

/// What every block of a network shares.
#[derive(Clone, Copy)]
pub struct Style {
    pub bottleneck: bool,
    pub sk_ratio: f64,
    pub se_ratio: f64,
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

    /// The block's output; where the tape asks for it, what lies between is recomputed in the backward pass.
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
