//! Gates: ReLU, squeeze-and-excitation's sigmoid gate, and the two streams of a selective kernel.

use crate::cpu::gate::{AddRelu, Products, Scale, Select, SelectGradient};
use crate::cpu::norm::mask;
use crate::cpu::wide::{Element, padded, wide};
use crate::cpu::{by_element, filled, from_vec, update_elements_with, with_elements, with_slice};
use crate::pool::{means, spread};
use crate::tape::{Tape, Value};
use candle_core::{Result, bail};
use rayon::prelude::*;

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + libm::expf(-x))
}

/// `max(x, 0)`, any shape.
///
/// # Errors
/// When `x` is not a contiguous f32 tensor.
pub fn relu(tape: &Tape, x: &Value) -> Result<Value> {
    add_relu(tape, x, None)
}

/// `max(x + residual, 0)`, any shape.
///
/// # Errors
/// When shapes differ.
pub fn add_relu(tape: &Tape, x: &Value, residual: Option<&Value>) -> Result<Value> {
    const CHUNK: usize = 1 << 15;
    let shape = x.tensor().shape();
    if let Some(r) = residual
        && r.tensor().shape() != shape
    {
        bail!("add_relu: {:?} and {:?} have different shapes", x.tensor().shape(), r.tensor().shape())
    }
    on_gpu!(x.tensor(), crate::cuda::tape::add_relu(tape, x, residual));
    let out = by_element!(x.tensor(), T => with_elements::<T, _>(x.tensor(), |x| {
        let sum = |r: Option<&[T]>| {
            filled(x.len(), |out| {
                out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).enumerate().for_each(|(i, (out, x))| {
                    wide(AddRelu { x, residual: r.map(|r| &r[i * CHUNK..][..x.len()]), out });
                })
            })
        };
        match residual {
            Some(r) => with_elements(r.tensor(), |r| from_vec(sum(Some(r)), shape)),
            None => from_vec(sum(None), shape),
        }
    }))?;
    let (saved, x_node, r_node) = (out.clone(), x.node(), residual.and_then(Value::node));
    Ok(tape.record(&[x, residual.unwrap_or(x)], out, move |dy, gradients| {
        by_element!(dy, T => update_elements_with(&dy, &saved, |dy: &mut [T], y: &[T]| mask(y, dy)))?;
        if r_node.is_some() {
            gradients.add(r_node, dy.copy()?)?;
        }
        gradients.add(x_node, dy)
    }))
}

/// `x * sigmoid(gate)`: `x` `[N, H, W, C]`, `gate` `[N, C]` (squeeze-and-excitation, Hu et al. 2018, equation 4).
///
/// # Errors
/// When shapes do not fit one another.
pub fn sigmoid_gate(tape: &Tape, x: &Value, gate: &Value) -> Result<Value> {
    let (n, h, w, c) = x.tensor().dims4()?;
    if gate.tensor().dims() != [n, c] {
        bail!("sigmoid_gate: gate of shape {:?} for maps {:?}", gate.tensor().shape(), x.tensor().shape())
    }
    on_gpu!(x.tensor(), {
        let streams = crate::cuda::pool::Streams { n, pixels: h * w, f: c, streams: 1 };
        crate::cuda::tape::gated(tape, x, gate, streams, (n, h, w, c))
    });
    let open: Vec<f32> = with_slice(gate.tensor(), |g| Ok(g.iter().map(|g| sigmoid(*g)).collect()))?;
    let shape = (n, h, w, c);
    let out = by_element!(x.tensor(), T => {
        with_elements::<T, _>(x.tensor(), |x| from_vec(scaled(x, &open, n, c), shape))
    })?;
    let (saved, x_node, gate_node) = (x.tensor().clone(), x.node(), gate.node());
    Ok(tape.record(&[x, gate], out, move |dy, gradients| {
        let (dx, d_gate) = by_element!(dy, T => with_elements::<T, _>(&dy, |dy| {
            with_elements(&saved, |x| {
                let size = h * w * c;
                let d_gate = filled(n * c, |d_gate| {
                    let rows = d_gate.par_chunks_mut(c).zip(x.par_chunks(size)).zip(dy.par_chunks(size));
                    rows.enumerate().for_each(|(i, ((d, x), dy))| {
                        d.fill(0.0);
                        wide(Products { x, dy, sums: d, channels: c });
                        d.iter_mut().zip(&open[i * c..]).for_each(|(d, a)| *d *= a * (1.0 - a));
                    })
                });
                Ok((from_vec(scaled(dy, &open, n, c), shape)?, d_gate))
            })
        }))?;
        gradients.add(x_node, dx)?;
        gradients.add(gate_node, from_vec(d_gate, (n, c))?)
    }))
}

/// Each of `n` images times its own scale a channel.
fn scaled<T: Element>(x: &[T], scale: &[f32], n: usize, c: usize) -> Vec<T> {
    let size = x.len() / n;
    filled(x.len(), |out| {
        out.par_chunks_mut(size).zip(x.par_chunks(size)).zip(scale.par_chunks(c)).for_each(|((out, x), scale)| {
            wide(Scale { x, scale: &padded(scale), channels: c, out });
        })
    })
}

fn streams(x: &Value) -> Result<(usize, usize, usize, usize)> {
    let (n, h, w, c2) = x.tensor().dims4()?;
    if c2 % 2 != 0 {
        bail!("selective kernel: {c2} channels do not split into two streams")
    }
    Ok((n, h, w, c2 / 2))
}

/// The two streams added and averaged over the image: `[N, H, W, 2F]` to f32 `[N, F]`.
///
/// # Errors
/// When `x` has an odd number of channels.
pub fn stream_mean(tape: &Tape, x: &Value) -> Result<Value> {
    let (n, h, w, f) = streams(x)?;
    on_gpu!(x.tensor(), {
        let streams = crate::cuda::pool::Streams { n, pixels: h * w, f, streams: 2 };
        crate::cuda::tape::pixel_mean(tape, x, streams)
    });
    let both = by_element!(x.tensor(), T => with_elements::<T, _>(x.tensor(), |x| Ok(means(x, (n, h * w, 2 * f)))))?;
    let out = both.chunks_exact(2 * f).flat_map(|both| (0..f).map(|j| both[j] + both[f + j])).collect();
    let (node, dtype) = (x.node(), x.tensor().dtype());
    Ok(tape.record(&[x], from_vec::<f32>(out, (n, f))?, move |dy, gradients| {
        let share = 1.0 / (h * w) as f32;
        let dx = with_slice(&dy, |dy| {
            let row = |i: usize| dy[i * f..][..f].iter().map(|g| g * share).collect::<Vec<_>>().repeat(2);
            spread(dtype, (n, h * w, 2 * f), row)?.reshape((n, h, w, 2 * f))
        })?;
        gradients.add(node, dx)
    }))
}

/// The streams mixed by a softmax over the pair: `a0 x[..F] + a1 x[F..]` with `(a0, a1) = softmax(logits[..F],
/// logits[F..])`; `x` `[N, H, W, 2F]`, `logits` f32 `[N, 2F]` (selective kernels, Li et al. 2019, equations 5 and 6).
///
/// # Errors
/// When shapes do not fit one another.
pub fn stream_select(tape: &Tape, x: &Value, logits: &Value) -> Result<Value> {
    let (n, h, w, f) = streams(x)?;
    if logits.tensor().dims() != [n, 2 * f] {
        bail!("selective kernel: logits of shape {:?} for maps {:?}", logits.tensor().shape(), x.tensor().shape())
    }
    on_gpu!(x.tensor(), {
        let streams = crate::cuda::pool::Streams { n, pixels: h * w, f, streams: 2 };
        crate::cuda::tape::gated(tape, x, logits, streams, (n, h, w, f))
    });
    let first: Vec<f32> = with_slice(logits.tensor(), |l| {
        // A softmax over two is a sigmoid of the difference.
        Ok(l.chunks_exact(2 * f).flat_map(|l| (0..f).map(|j| sigmoid(l[j] - l[f + j]))).collect())
    })?;
    let size = h * w * f;
    let out = by_element!(x.tensor(), T => with_elements::<T, _>(x.tensor(), |x| {
        let mixed = filled::<T>(n * size, |out| {
            let images = out.par_chunks_mut(size).zip(x.par_chunks(2 * size)).zip(first.par_chunks(f));
            images.for_each(|((out, x), a)| wide(Select { x, first: &padded(a), width: f, out }));
        });
        from_vec(mixed, (n, h, w, f))
    }))?;
    let (saved, x_node, logits_node) = (x.tensor().clone(), x.node(), logits.node());
    Ok(tape.record(&[x, logits], out, move |dy, gradients| {
        let mut d_logits = vec![0.0f32; n * 2 * f];
        let dx = by_element!(dy, T => with_elements::<T, _>(&dy, |dy| with_elements(&saved, |x| {
            let dx = filled::<T>(2 * n * size, |dx| {
                let images = dx.par_chunks_mut(2 * size).zip(d_logits.par_chunks_mut(2 * f)).enumerate();
                images.for_each(|(i, (dx, dl))| {
                    let (x, dy) = (&x[2 * i * size..][..2 * size], &dy[i * size..][..size]);
                    let (a, mut sums) = (&first[i * f..][..f], vec![0.0f32; f]);
                    wide(SelectGradient { x, dy, first: &padded(a), width: f, dx, sums: &mut sums });
                    for j in 0..f {
                        dl[j] = sums[j] * a[j] * (1.0 - a[j]);
                        dl[f + j] = -dl[j];
                    }
                })
            });
            from_vec(dx, (n, h, w, 2 * f))
        })))?;
        gradients.add(x_node, dx)?;
        gradients.add(logits_node, from_vec(d_logits, (n, 2 * f))?)
    }))
}
