//! Convolution and linear layers.

use crate::cpu::conv::{self, Geometry};
use crate::cpu::norm::{self, Affine};
use crate::cpu::window::Source;
use crate::cpu::{from_vec, update, with_slice};
use crate::norm::Normalized;
use crate::tape::{Gradients, NodeId, Tape, Value};
use candle_core::{Result, Tensor, bail};
use std::rc::Rc;

/// Zeros around an image before a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// None: only whole windows.
    Valid,
    /// The reference's rule: `(k - 1) / 2` before and the rest of `k - 1` after, whatever the stride.
    Fixed,
    /// This many rows and columns on every side.
    Explicit(usize),
}

/// What a convolution reads: a value, or one whose normalisation it applies as it reads.
#[derive(Clone)]
pub struct Input {
    tensor: Tensor,
    affine: Option<Rc<Affine>>,
    node: Option<NodeId>,
}

impl From<&Value> for Input {
    fn from(v: &Value) -> Self {
        Self { tensor: v.tensor().clone(), affine: None, node: v.node() }
    }
}

impl From<&Normalized> for Input {
    fn from(v: &Normalized) -> Self {
        Self { tensor: v.x.clone(), affine: Some(v.affine.clone()), node: v.node }
    }
}

impl Input {
    fn read<R>(&self, f: impl FnOnce(Source<'_>) -> R) -> Result<R> {
        with_slice(&self.tensor, |map| Ok(f(Source { map, affine: self.affine.as_deref() })))
    }

    /// Something that stands on the tape where the input does.
    fn value(&self) -> Value {
        Value::at(self.tensor.clone(), self.node)
    }

    /// Adds the gradients of weights and input, given that of the output.
    fn back(self, g: &Geometry, dy: &Tensor, weight: (&Tensor, Option<NodeId>), gradients: &mut Gradients) -> Result<()> {
        with_slice(dy, |dy| {
            let (weight, w_node) = weight;
            if w_node.is_some() {
                let dw = self.read(|x| conv::weight_gradient(g, x, dy))?;
                gradients.add(w_node, from_vec(dw, weight.shape())?)?;
            }
            if self.node.is_some() {
                with_slice(weight, |w| match gradients.take(self.node) {
                    // A gradient that waits has no other owner: the sums go on from it.
                    Some(sum) => {
                        update(&sum, |sum| drop(conv::input_gradient(g, dy, w, Some(sum))))?;
                        gradients.add(self.node, sum)
                    }
                    None => match conv::input_gradient(g, dy, w, None) {
                        Some(dx) => gradients.add(self.node, from_vec(dx, self.tensor.shape())?),
                        None => Ok(()),
                    },
                })?;
            }
            Ok(())
        })
    }
}

/// Convolves `x` `[N, H, W, C]` with `weight` `[O, K, K, C]`; no bias. The result is `[N, OH, OW, O]`.
///
/// # Errors
/// When shapes do not fit one another.
pub fn conv2d(
    tape: &Tape,
    x: impl Into<Input>,
    weight: &Value,
    stride: usize,
    padding: Padding,
) -> Result<Value> {
    let x: Input = x.into();
    let (n, h, w, c) = x.tensor.dims4()?;
    let (o, k, k2, wc) = weight.tensor().dims4()?;
    if k != k2 || wc != c || stride == 0 {
        bail!("conv2d: weight [{o}, {k}, {k2}, {wc}] with stride {stride} does not fit an input of {c} channels")
    }
    let (before, total) = match padding {
        Padding::Valid => (0, 0),
        Padding::Fixed => ((k - 1) / 2, k - 1),
        Padding::Explicit(p) => (p, 2 * p),
    };
    if h + total < k || w + total < k {
        bail!("conv2d: a {k}x{k} kernel does not fit an image of {h}x{w} with {padding:?} padding")
    }
    let (oh, ow) = ((h + total - k) / stride + 1, (w + total - k) / stride + 1);
    let g = Geometry { n, h, w, c, o, k, stride, before, oh, ow };
    // A batch norm follows wherever training goes: its moments are taken while the output is in cache.
    let moments = tape.tracks(&[&x.value(), weight]);
    let (out, parts) = x.read(|x| with_slice(weight.tensor(), |w| Ok(conv::forward(&g, x, w, moments))))??;
    let (saved, w_node) = (weight.tensor().clone(), weight.node());
    let value = tape.record(&[&x.value(), weight], from_vec(out, (n, oh, ow, o))?, move |dy, gradients| {
        x.back(&g, &dy, (&saved, w_node), gradients)
    });
    Ok(value.with_moments(moments.then(|| norm::moments(&parts))))
}

/// `x` `[R, D]` times `weight` `[O, D]` (or `[O, 1, 1, D]`) transposed, plus `bias` `[O]`.
///
/// # Errors
/// When shapes do not fit one another.
pub fn linear(tape: &Tape, x: &Value, weight: &Value, bias: Option<&Value>) -> Result<Value> {
    let (r, d) = x.tensor().dims2()?;
    let o = match *weight.tensor().dims() {
        [o, wd] | [o, 1, 1, wd] if wd == d => o,
        _ => bail!("linear: weight {:?} does not fit an input of {d} columns", weight.tensor().shape()),
    };
    let g = Geometry { n: r, h: 1, w: 1, c: d, o, k: 1, stride: 1, before: 0, oh: 1, ow: 1 };
    let input = Input::from(x);
    let (mut out, _) = input.read(|x| with_slice(weight.tensor(), |w| Ok(conv::forward(&g, x, w, false))))??;
    if let Some(bias) = bias {
        if bias.tensor().dims1()? != o {
            bail!("linear: bias of {:?} for {o} outputs", bias.tensor().shape())
        }
        with_slice(bias.tensor(), |b| {
            out.chunks_exact_mut(o).for_each(|row| row.iter_mut().zip(b).for_each(|(y, b)| *y += b));
            Ok(())
        })?;
    }
    let (saved, w_node, b_node) = (weight.tensor().clone(), weight.node(), bias.and_then(Value::node));
    let none = Value::constant(weight.tensor().clone());
    Ok(tape.record(&[x, weight, bias.unwrap_or(&none)], from_vec(out, (r, o))?, move |dy, gradients| {
        if b_node.is_some() {
            let db = with_slice(&dy, |dy| {
                let mut db = vec![0.0f64; o];
                dy.chunks_exact(o).for_each(|row| db.iter_mut().zip(row).for_each(|(b, g)| *b += *g as f64));
                Ok(db.iter().map(|b| *b as f32).collect())
            })?;
            gradients.add(b_node, from_vec(db, o)?)?;
        }
        input.back(&g, &dy, (&saved, w_node), gradients)
    }))
}
