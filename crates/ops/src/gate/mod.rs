//! Gates: squeeze-and-excitation's sigmoid gate, and the choice between the two streams of a selective kernel.

mod cpu;
#[cfg(all(test, unix))]
mod emulated;
mod gpu;
#[cfg(test)]
mod tests;

use crate::gpu::dispatch;
use crate::mean::streams::Streams;
use crate::tape::{Tape, Value};
use candle_core::{Result, bail};

/// `x * sigmoid(gate)`: `x` `[N, H, W, C]`, `gate` f32 `[N, C]` (squeeze-and-excitation, Hu et al. 2018, equation 4).
///
/// # Errors
/// When shapes do not fit one another.
pub fn sigmoid_gate(tape: &Tape, x: &Value, gate: &Value) -> Result<Value> {
    let (n, h, w, f) = x.tensor().dims4()?;
    if gate.tensor().dims() != [n, f] {
        bail!("sigmoid_gate: gate of shape {:?} for maps {:?}", gate.tensor().shape(), x.tensor().shape())
    }
    let (s, input) = (Streams { n, pixels: h * w, f, streams: 1 }, x.tensor().clone());
    let open = dispatch!(&input => open(gate.tensor(), s))?;
    let out = dispatch!(&input => scale(&input, &open, s))?;
    let (x_node, gate_node) = (x.node(), gate.node());
    Ok(tape.record(&[x, gate], out, move |dy, gradients| {
        let dx = dispatch!(&dy => scale(&dy, &open, s))?;
        let d_gate = dispatch!(&dy => scale_gradient(&input, &dy, &open, s))?;
        gradients.add(x_node, dx)?;
        gradients.add(gate_node, d_gate)
    }))
}

/// The streams mixed by a softmax over the pair: `a0 x[..F] + a1 x[F..]` with `(a0, a1) = softmax(logits[..F],
/// logits[F..])`; `x` `[N, H, W, 2F]`, `logits` f32 `[N, 2F]` (selective kernels, Li et al. 2019, equations 5 and 6).
///
/// # Errors
/// When shapes do not fit one another.
pub fn stream_select(tape: &Tape, x: &Value, logits: &Value) -> Result<Value> {
    let (n, h, w, c) = x.tensor().dims4()?;
    if c % 2 != 0 {
        bail!("selective kernel: {c} channels do not split into two streams")
    }
    if logits.tensor().dims() != [n, c] {
        bail!("selective kernel: logits of shape {:?} for maps {:?}", logits.tensor().shape(), x.tensor().shape())
    }
    let (s, input) = (Streams { n, pixels: h * w, f: c / 2, streams: 2 }, x.tensor().clone());
    let open = dispatch!(&input => open(logits.tensor(), s))?;
    let out = dispatch!(&input => select(&input, &open, s, (n, h, w, c / 2)))?;
    let (x_node, logits_node) = (x.node(), logits.node());
    Ok(tape.record(&[x, logits], out, move |dy, gradients| {
        let [dx, d_logits] = dispatch!(&dy => select_gradient(&input, &dy, &open, s))?;
        gradients.add(x_node, dx)?;
        gradients.add(logits_node, d_logits)
    }))
}
