//! ReLU, with an addition before it.

mod cpu;
#[cfg(all(test, unix))]
mod emulated;
mod gpu;
#[cfg(test)]
mod tests;

use crate::gpu::Gpu;
use crate::tape::{Tape, Value};
use candle_core::{Result, bail};

/// `max(x, 0)`, any shape.
///
/// # Errors
/// When `x` is not contiguous, or neither f32 nor bf16.
pub fn relu(tape: &Tape, x: &Value) -> Result<Value> {
    add_relu(tape, x, None)
}

/// `max(x + residual, 0)`, any shape.
///
/// # Errors
/// When shapes differ.
pub fn add_relu(tape: &Tape, x: &Value, residual: Option<&Value>) -> Result<Value> {
    let (input, added) = (x.tensor(), residual.map(Value::tensor));
    if let Some(r) = added
        && r.shape() != input.shape()
    {
        bail!("add_relu: {:?} and {:?} have different shapes", input.shape(), r.shape())
    }
    let (x_node, r_node) = (x.node(), residual.and_then(Value::node));
    let inputs = [x, residual.unwrap_or(x)];
    let Some(gpu) = Gpu::of(input) else {
        let out = cpu::add_relu(input, added)?;
        let saved = out.clone();
        return Ok(tape.record(&inputs, out, move |dy, gradients| {
            cpu::mask(&saved, &dy)?;
            if r_node.is_some() {
                gradients.add(r_node, dy.copy()?)?;
            }
            gradients.add(x_node, dy)
        }));
    };
    let (out, mask) = gpu::add_relu(&gpu, input, added, tape.tracks(&inputs))?;
    Ok(tape.record(&inputs, out, move |dy, gradients| {
        let Some(mask) = &mask else { bail!("add_relu: its forward ran on a tape that tracks nothing") };
        if let Some(copy) = gpu::mask(&gpu, mask, &dy, r_node.is_some())? {
            gradients.add(r_node, copy)?;
        }
        gradients.add(x_node, dy)
    }))
}
