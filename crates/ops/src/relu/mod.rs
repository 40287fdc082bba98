//! ReLU, with an addition before it.

mod cpu;
#[cfg(all(test, unix))]
mod emulated;
mod gpu;
#[cfg(test)]
mod tests;

use crate::gpu::dispatch;
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
    let out = dispatch!(input => add_relu(input, added))?;
    let (saved, x_node, r_node) = (out.clone(), x.node(), residual.and_then(Value::node));
    Ok(tape.record(&[x, residual.unwrap_or(x)], out, move |dy, gradients| {
        dispatch!(&dy => mask(&saved, &dy))?;
        if r_node.is_some() {
            gradients.add(r_node, dy.copy()?)?;
        }
        gradients.add(x_node, dy)
    }))
}
