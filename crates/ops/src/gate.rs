//! Gates: ReLU, squeeze-and-excitation's sigmoid gate, and the two streams of a selective kernel.

use crate::cpu::norm::mask;
use crate::cpu::{filled, from_vec, update_with, vectorized, with_slice};
use crate::tape::{Tape, Value};
use candle_core::{Result, bail};
use rayon::prelude::*;

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
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
    if let Some(r) = residual
        && r.tensor().shape() != x.tensor().shape()
    {
        bail!("add_relu: {:?} and {:?} have different shapes", x.tensor().shape(), r.tensor().shape())
    }
    const CHUNK: usize = 1 << 15;
    let sum = |x: &[f32], r: Option<&[f32]>| {
        filled(x.len(), |out| {
            out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).enumerate().for_each(|(i, (out, x))| {
                let r = r.map(|r| &r[i * CHUNK..][..x.len()]);
                vectorized(
                    #[inline(always)]
                    || match r {
                        Some(r) => out.iter_mut().zip(x).zip(r).for_each(|((o, x), r)| *o = (x + r).max(0.0)),
                        None => out.iter_mut().zip(x).for_each(|(o, x)| *o = x.max(0.0)),
                    },
                )
            })
        })
    };
    let out = with_slice(x.tensor(), |x| match residual {
        Some(r) => with_slice(r.tensor(), |r| Ok(sum(x, Some(r)))),
        None => Ok(sum(x, None)),
    })?;
    let out = from_vec(out, x.tensor().shape())?;
    let (saved, x_node, r_node) = (out.clone(), x.node(), residual.and_then(Value::node));
    Ok(tape.record(&[x, residual.unwrap_or(x)], out, move |dy, gradients| {
        update_with(&dy, &saved, |dy, y| mask(y, dy))?;
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
    let size = h * w * c;
    let open: Vec<f32> = with_slice(gate.tensor(), |g| Ok(g.iter().map(|g| sigmoid(*g)).collect()))?;
    let scale = move |x: &[f32], open: &[f32]| {
        filled(n * size, |out| {
            let rows = out.par_chunks_mut(size).zip(x.par_chunks(size)).zip(open.par_chunks(c));
            rows.for_each(|((out, x), open)| {
                for (out, x) in out.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
                    out.iter_mut().zip(x).zip(open).for_each(|((o, x), a)| *o = x * a);
                }
            })
        })
    };
    let out = from_vec(with_slice(x.tensor(), |x| Ok(scale(x, &open)))?, (n, h, w, c))?;
    let (saved, x_node, gate_node) = (x.tensor().clone(), x.node(), gate.node());
    Ok(tape.record(&[x, gate], out, move |dy, gradients| {
        let (dx, d_gate) = with_slice(&dy, |dy| {
            with_slice(&saved, |x| {
                let d_gate = filled(n * c, |d_gate| {
                    let rows = d_gate.par_chunks_mut(c).zip(x.par_chunks(size)).zip(dy.par_chunks(size));
                    rows.enumerate().for_each(|(i, ((d, x), dy))| {
                        d.fill(0.0);
                        for (x, dy) in x.chunks_exact(c).zip(dy.chunks_exact(c)) {
                            d.iter_mut().zip(x).zip(dy).for_each(|((d, x), g)| *d += x * g);
                        }
                        d.iter_mut().zip(&open[i * c..]).for_each(|(d, a)| *d *= a * (1.0 - a));
                    })
                });
                Ok((scale(dy, &open), d_gate))
            })
        })?;
        gradients.add(x_node, from_vec(dx, (n, h, w, c))?)?;
        gradients.add(gate_node, from_vec(d_gate, (n, c))?)
    }))
}

fn streams(x: &Value) -> Result<(usize, usize, usize, usize)> {
    let (n, h, w, c2) = x.tensor().dims4()?;
    if c2 % 2 != 0 {
        bail!("selective kernel: {c2} channels do not split into two streams")
    }
    Ok((n, h, w, c2 / 2))
}

/// The two streams added and averaged over the image: `[N, H, W, 2F]` to `[N, F]`.
///
/// # Errors
/// When `x` has an odd number of channels.
pub fn stream_mean(tape: &Tape, x: &Value) -> Result<Value> {
    let (n, h, w, f) = streams(x)?;
    let share = 1.0 / (h * w) as f32;
    let out = with_slice(x.tensor(), |x| {
        Ok(filled(n * f, |out| {
            out.par_chunks_mut(f).zip(x.par_chunks(h * w * 2 * f)).for_each(|(out, x)| {
                out.fill(0.0);
                for half in x.chunks_exact(f) {
                    out.iter_mut().zip(half).for_each(|(o, x)| *o += x);
                }
                out.iter_mut().for_each(|o| *o *= share);
            })
        }))
    })?;
    let node = x.node();
    Ok(tape.record(&[x], from_vec(out, (n, f))?, move |dy, gradients| {
        let dx = with_slice(&dy, |dy| {
            Ok(filled(n * h * w * 2 * f, |dx| {
                dx.par_chunks_mut(h * w * 2 * f).zip(dy.par_chunks(f)).for_each(|(dx, dy)| {
                    let row: Vec<f32> = dy.iter().map(|g| g * share).collect();
                    dx.chunks_exact_mut(f).for_each(|half| half.copy_from_slice(&row));
                })
            }))
        })?;
        gradients.add(node, from_vec(dx, (n, h, w, 2 * f))?)
    }))
}

/// The streams mixed by a softmax over the pair: `a0 x[..F] + a1 x[F..]` with `(a0, a1) = softmax(logits[..F],
/// logits[F..])`; `x` `[N, H, W, 2F]`, `logits` `[N, 2F]` (selective kernels, Li et al. 2019, equations 5 and 6).
///
/// # Errors
/// When shapes do not fit one another.
pub fn stream_select(tape: &Tape, x: &Value, logits: &Value) -> Result<Value> {
    let (n, h, w, f) = streams(x)?;
    if logits.tensor().dims() != [n, 2 * f] {
        bail!("selective kernel: logits of shape {:?} for maps {:?}", logits.tensor().shape(), x.tensor().shape())
    }
    let first: Vec<f32> = with_slice(logits.tensor(), |l| {
        // A softmax over two is a sigmoid of the difference.
        Ok(l.chunks_exact(2 * f).flat_map(|l| (0..f).map(|j| sigmoid(l[j] - l[f + j]))).collect())
    })?;
    let out = with_slice(x.tensor(), |x| {
        Ok(filled(n * h * w * f, |out| {
            let images = out.par_chunks_mut(h * w * f).zip(x.par_chunks(h * w * 2 * f)).zip(first.par_chunks(f));
            images.for_each(|((out, x), a)| {
                for (out, x) in out.chunks_exact_mut(f).zip(x.chunks_exact(2 * f)) {
                    let (x0, x1) = x.split_at(f);
                    let pairs = out.iter_mut().zip(x0).zip(x1).zip(a);
                    pairs.for_each(|(((o, x0), x1), a)| *o = a * x0 + (1.0 - a) * x1);
                }
            })
        }))
    })?;
    let (saved, x_node, logits_node) = (x.tensor().clone(), x.node(), logits.node());
    Ok(tape.record(&[x, logits], from_vec(out, (n, h, w, f))?, move |dy, gradients| {
        let (dx, d_logits) = with_slice(&dy, |dy| {
            with_slice(&saved, |x| {
                let mut d_logits = vec![0.0f32; n * 2 * f];
                let dx = filled(n * h * w * 2 * f, |dx| {
                    let images = dx.par_chunks_mut(h * w * 2 * f).zip(d_logits.par_chunks_mut(2 * f)).enumerate();
                    images.for_each(|(i, (dx, dl))| {
                        let (x, dy) = (&x[i * h * w * 2 * f..], &dy[i * h * w * f..]);
                        let (a, mut da) = (&first[i * f..][..f], vec![0.0f32; f]);
                        let pixels = dx.chunks_exact_mut(2 * f).zip(x.chunks_exact(2 * f)).zip(dy.chunks_exact(f));
                        for ((dx, x), dy) in pixels {
                            for j in 0..f {
                                dx[j] = a[j] * dy[j];
                                dx[f + j] = (1.0 - a[j]) * dy[j];
                                da[j] += dy[j] * (x[j] - x[f + j]);
                            }
                        }
                        for j in 0..f {
                            dl[j] = da[j] * a[j] * (1.0 - a[j]);
                            dl[f + j] = -dl[j];
                        }
                    })
                });
                Ok((dx, d_logits))
            })
        })?;
        gradients.add(x_node, from_vec(dx, (n, h, w, 2 * f))?)?;
        gradients.add(logits_node, from_vec(d_logits, (n, 2 * f))?)
    }))
}
