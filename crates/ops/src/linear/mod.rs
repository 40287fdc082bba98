//! Linear layers: convolutions of images of one pixel, and biases.

mod cpu;
#[cfg(all(test, unix))]
mod emulated;
mod gpu;
#[cfg(test)]
mod tests;

use crate::conv::ConvInput;
use crate::conv::geometry::Geometry;
use crate::gpu::dispatch;
use crate::tape::{Tape, Value};
use candle_core::{Result, bail};

/// `x` `[R, D]` times `weight` `[O, D]` (or `[O, 1, 1, D]`) transposed, plus `bias` `[O]`: `[R, O]`.
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
    let input = ConvInput::from(x);
    let out = input.convolve(&g, weight.tensor(), false)?.0.reshape((r, o))?;
    if let Some(bias) = bias {
        if bias.tensor().dims1()? != o {
            bail!("linear: bias of {:?} for {o} outputs", bias.tensor().shape())
        }
        dispatch!(&out => add_bias(&out, bias.tensor()))?;
    }
    let (saved, w_node, b_node) = (weight.tensor().clone(), weight.node(), bias.and_then(Value::node));
    let none = Value::constant(weight.tensor().clone());
    Ok(tape.record(&[x, weight, bias.unwrap_or(&none)], out, move |dy, gradients| {
        if b_node.is_some() {
            gradients.add(b_node, dispatch!(&dy => sum_rows(&dy))?)?;
        }
        input.backward(&g, &dy, (&saved, w_node), gradients)
    }))
}
