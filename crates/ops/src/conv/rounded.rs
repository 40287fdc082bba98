//! Weights that are there rounded to bf16, as convolutions on a GPU read them beside maps of bf16.

use crate::gpu::Gpu;
use crate::optim;
use crate::tape::Value;
use candle_core::{DType, Result, Tensor};

/// The note on a value: its numbers, rounded.
struct Rounded(Tensor);

/// The same values. Those on a GPU have their numbers rounded to bf16 beside them, all by one launch: convolutions with maps
/// of bf16 then need not round them each time. It stays true as long as nobody changes the weights in place.
///
/// # Errors
/// When a value is no contiguous f32 tensor, or memory is short.
pub fn with_rounded(values: &[Value]) -> Result<Vec<Value>> {
    let tensors: Vec<&Tensor> = values.iter().map(Value::tensor).collect();
    if tensors.iter().all(|t| Gpu::of(t).is_none()) {
        return Ok(values.to_vec());
    }
    let rounded = optim::round(&tensors)?;
    Ok(values.iter().zip(rounded).map(|(v, rounded)| v.clone().with_note(Some(Rounded(rounded)))).collect())
}

/// The numbers of a weight as a convolution with maps of this dtype reads them.
pub fn as_read(weight: &Value, maps: DType) -> &Tensor {
    match weight.note::<Rounded>() {
        Some(Rounded(rounded)) if maps == DType::BF16 => rounded,
        _ => weight.tensor(),
    }
}
