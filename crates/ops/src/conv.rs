//! Convolution and linear layers.

use crate::cpu::conv::{self, Geometry};
use crate::cpu::norm::{self, Affine, Part};
use crate::cpu::wide::Element;
use crate::cpu::window::Source;
use crate::cpu::{by_element, from_vec, update_elements, update_with, with_elements, with_slice};
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

/// How a GPU's convolutions of f32 maps multiply; the CPU's are exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// In f32.
    Exact,
    /// Factors may be rounded to TF32, 10 bits behind the point, which tensor cores multiply many times as fast.
    Tf32,
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
        Self { tensor: v.x.clone(), affine: v.affine.clone(), node: v.node }
    }
}

impl Input {
    fn read<T: Element, R>(&self, f: impl FnOnce(Source<'_, T>) -> Result<R>) -> Result<R> {
        with_elements(&self.tensor, |map| f(Source { map, affine: self.affine.as_deref() }))
    }

    /// The convolution with `weight`, and the moments of its output where they are wanted.
    fn convolve(&self, g: &Geometry, weight: &Tensor, moments: bool) -> Result<(Tensor, Vec<Part>)> {
        on_gpu!(self.tensor, {
            by_element!(self.tensor, T => Ok((crate::cuda::conv::forward::<T>(g, &self.tensor, weight)?, vec![])))
        });
        by_element!(self.tensor, T => with_slice(weight, |w| self.read::<T, _>(|x| {
            let (out, parts) = conv::forward(g, x, w, moments);
            Ok((from_vec(out, (g.n, g.oh, g.ow, g.o))?, parts))
        })))
    }

    /// Something that stands on the tape where the input does.
    fn value(&self) -> Value {
        Value::at(self.tensor.clone(), self.node)
    }

    /// Adds the gradients of weights and input, given that of the output.
    fn back(
        self,
        g: &Geometry,
        dy: &Tensor,
        weight: (&Tensor, Option<NodeId>),
        gradients: &mut Gradients,
    ) -> Result<()> {
        let (weight, w_node) = weight;
        on_gpu!(self.tensor, self.back_on_gpu(g, dy, (weight, w_node), gradients));
        if w_node.is_some() {
            let dw = by_element!(self.tensor, T => with_elements::<T, _>(dy, |dy| {
                self.read(|x| Ok(conv::weight_gradient(g, x, dy)))
            }))?;
            gradients.add(w_node, from_vec(dw, weight.shape())?)?;
        }
        if self.node.is_some() {
            // A gradient that waits has no other owner: the sums go on from it.
            let waiting = gradients.take(self.node);
            let dx = by_element!(self.tensor, T => with_slice(weight, |w| with_elements::<T, _>(dy, |dy| match waiting {
                Some(sum) => {
                    update_elements(&sum, |sum| drop(conv::input_gradient(g, dy, w, Some(sum))))?;
                    Ok(sum)
                }
                None => from_vec(conv::input_gradient(g, dy, w, None).unwrap_or_default(), self.tensor.shape()),
            })))?;
            gradients.add(self.node, dx)?;
        }
        Ok(())
    }
}

#[cfg(feature = "cuda")]
impl Input {
    /// As [`Input::back`], by cuDNN.
    fn back_on_gpu(
        self,
        g: &Geometry,
        dy: &Tensor,
        (weight, w_node): (&Tensor, Option<NodeId>),
        gradients: &mut Gradients,
    ) -> Result<()> {
        use crate::cuda::conv;
        if w_node.is_some() {
            let dw = by_element!(self.tensor, T => conv::weight_gradient::<T>(g, &self.tensor, dy))?;
            gradients.add(w_node, dw.reshape(weight.shape())?)?;
        }
        if self.node.is_some() {
            let waiting = gradients.take(self.node);
            let dx = by_element!(self.tensor, T => conv::input_gradient::<T>(g, dy, weight, waiting))?;
            gradients.add(self.node, dx.reshape(self.tensor.shape())?)?;
        }
        Ok(())
    }
}

/// Convolves `x` `[N, H, W, C]` with `weight` `[O, K, K, C]`; no bias. The result is `[N, OH, OW, O]`.
///
/// # Errors
/// When shapes do not fit one another.
pub fn conv2d(tape: &Tape, x: impl Into<Input>, weight: &Value, stride: usize, padding: Padding) -> Result<Value> {
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
    // A batch norm follows wherever training goes: its moments are taken while the output is in cache, on the CPU.
    let moments = tape.tracks(&[&x.value(), weight]) && x.tensor.device().is_cpu();
    let (out, parts) = x.convolve(&g, weight.tensor(), moments)?;
    let (saved, w_node) = (weight.tensor().clone(), weight.node());
    let value =
        tape.record(&[&x.value(), weight], out, move |dy, gradients| x.back(&g, &dy, (&saved, w_node), gradients));
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
    let out = input.convolve(&g, weight.tensor(), false)?.0.reshape((r, o))?;
    if let Some(bias) = bias {
        if bias.tensor().dims1()? != o {
            bail!("linear: bias of {:?} for {o} outputs", bias.tensor().shape())
        }
        add_bias(&out, bias.tensor(), o)?;
    }
    let (saved, w_node, b_node) = (weight.tensor().clone(), weight.node(), bias.and_then(Value::node));
    let none = Value::constant(weight.tensor().clone());
    Ok(tape.record(&[x, weight, bias.unwrap_or(&none)], out, move |dy, gradients| {
        if b_node.is_some() {
            gradients.add(b_node, sum_rows(&dy, o)?)?;
        }
        input.back(&g, &dy, (&saved, w_node), gradients)
    }))
}

/// Adds a bias `[O]` to every row.
fn add_bias(out: &Tensor, bias: &Tensor, o: usize) -> Result<()> {
    on_gpu!(out, crate::cuda::tape::add_bias(out, bias));
    update_with(out, bias, |out, b| {
        out.chunks_exact_mut(o).for_each(|row| row.iter_mut().zip(b).for_each(|(y, b)| *y += b));
    })
}

/// The sum of each of `o` columns.
fn sum_rows(dy: &Tensor, o: usize) -> Result<Tensor> {
    on_gpu!(dy, crate::cuda::tape::sum_rows(dy));
    let sums = with_slice(dy, |dy| {
        let mut db = vec![0.0f64; o];
        dy.chunks_exact(o).for_each(|row| db.iter_mut().zip(row).for_each(|(b, g)| *b += *g as f64));
        Ok(db.iter().map(|b| *b as f32).collect())
    })?;
    from_vec(sums, o)
}
