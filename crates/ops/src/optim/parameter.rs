//! What a step of an optimiser changes.

use candle_core::{Result, Tensor, bail};

/// One parameter of a step, changed in place together with its states; all f32, of one shape, on one device.
pub struct Parameter<'a> {
    /// What error messages call it.
    pub name: &'a str,
    /// The weights.
    pub weight: &'a Tensor,
    /// Their gradient.
    pub gradient: &'a Tensor,
    /// Momentum, or Adam's first moment.
    pub first: &'a Tensor,
    /// Adam's second moment.
    pub second: Option<&'a Tensor>,
    /// LARS decays it and adapts its rate.
    pub adapted: bool,
}

/// Checks that everything of a parameter has the shape of its weights.
///
/// # Errors
/// When a tensor has another.
pub fn check(parameters: &[Parameter<'_>]) -> Result<()> {
    for p in parameters {
        let others = [Some(p.gradient), Some(p.first), p.second];
        if let Some(other) = others.into_iter().flatten().find(|t| t.dims() != p.weight.dims()) {
            bail!("updating {}: a tensor of shape {:?} beside weights {:?}", p.name, other.dims(), p.weight.dims())
        }
    }
    Ok(())
}
