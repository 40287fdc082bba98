//! Convolution and linear layers.

use crate::cpu::conv::{self, Geometry};
use crate::cpu::{from_vec, with_slice};
use crate::tape::{Tape, Value};
use candle_core::{Result, bail};

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

/// Convolves `x` `[N, H, W, C]` with `weight` `[O, K, K, C]`; no bias. The result is `[N, OH, OW, O]`.
///
/// # Errors
/// When shapes do not fit one another.
pub fn conv2d(tape: &Tape, x: &Value, weight: &Value, stride: usize, padding: Padding) -> Result<Value> {
    let (n, h, w, c) = x.tensor().dims4()?;
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
    let out = with_slice(x.tensor(), |x| with_slice(weight.tensor(), |w| Ok(conv::forward(&g, x, w))))?;
    let out = from_vec(out, (n, oh, ow, o))?;
    let (saved_x, saved_w, x_node, w_node) = (x.tensor().clone(), weight.tensor().clone(), x.node(), weight.node());
    Ok(tape.record(&[x, weight], out, move |dy, gradients| {
        with_slice(&dy, |dy| {
            if w_node.is_some() {
                let dw = with_slice(&saved_x, |x| Ok(conv::weight_gradient(&g, x, dy)))?;
                gradients.add(w_node, from_vec(dw, saved_w.shape())?)?;
            }
            if x_node.is_some() {
                let dx = with_slice(&saved_w, |w| Ok(conv::input_gradient(&g, dy, w)))?;
                gradients.add(x_node, from_vec(dx, saved_x.shape())?)?;
            }
            Ok(())
        })
    }))
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
    let mut out = with_slice(x.tensor(), |x| with_slice(weight.tensor(), |w| Ok(conv::forward(&g, x, w))))?;
    if let Some(bias) = bias {
        if bias.tensor().dims1()? != o {
            bail!("linear: bias of {:?} for {o} outputs", bias.tensor().shape())
        }
        with_slice(bias.tensor(), |b| {
            out.chunks_exact_mut(o).for_each(|row| row.iter_mut().zip(b).for_each(|(y, b)| *y += b));
            Ok(())
        })?;
    }
    let (saved_x, saved_w, x_node, w_node) = (x.tensor().clone(), weight.tensor().clone(), x.node(), weight.node());
    let b_node = bias.and_then(Value::node);
    let none = Value::constant(weight.tensor().clone());
    Ok(tape.record(&[x, weight, bias.unwrap_or(&none)], from_vec(out, (r, o))?, move |dy, gradients| {
        with_slice(&dy, |dy| {
            if b_node.is_some() {
                let mut db = vec![0.0f64; o];
                dy.chunks_exact(o).for_each(|row| db.iter_mut().zip(row).for_each(|(b, g)| *b += *g as f64));
                gradients.add(b_node, from_vec(db.iter().map(|b| *b as f32).collect(), o)?)?;
            }
            if w_node.is_some() {
                let dw = with_slice(&saved_x, |x| Ok(conv::weight_gradient(&g, x, dy)))?;
                gradients.add(w_node, from_vec(dw, saved_w.shape())?)?;
            }
            if x_node.is_some() {
                let dx = with_slice(&saved_w, |w| Ok(conv::input_gradient(&g, dy, w)))?;
                gradients.add(x_node, from_vec(dx, (r, d))?)?;
            }
            Ok(())
        })
    }))
}
