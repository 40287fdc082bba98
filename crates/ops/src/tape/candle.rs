//! A bridge to candle's autograd: ordinary candle ops as one node of the tape.

use super::{Tape, Value};
use candle_core::{Result, Tensor, Var, bail};

impl Tape {
    /// What `f` makes of `inputs` by ordinary candle ops, with candle's own gradients, as one node of the tape; on either
    /// device, in any dtype that the ops have.
    ///
    /// It is meant for what is new or small: a layer, head or loss written with candle-nn works at once, and an op of this
    /// crate can take its place when it matters. Inputs are copied, and all that candle keeps for its backward lives until
    /// this node's.
    ///
    /// `f` gets a tensor for each input, and whatever a gradient should reach must be among them, parameters too. It may
    /// run a second time where the tape recomputes, so it must give the same again.
    ///
    /// ```
    /// use candle_core::{Device, Result, Tensor};
    /// use candle_nn::ops::layer_norm_slow;
    /// use simclr_ops::{Tape, Value};
    ///
    /// /// LayerNorm, then GELU: `x` `[R, D]`, `gamma` and `beta` `[D]`.
    /// fn norm_gelu(tape: &Tape, x: &Value, gamma: &Value, beta: &Value) -> Result<Value> {
    ///     tape.candle(&[x, gamma, beta], |t| layer_norm_slow(&t[0], &t[1], &t[2], 1e-5)?.gelu_erf())
    /// }
    ///
    /// # fn main() -> Result<()> {
    /// let tape = Tape::new();
    /// let x = Tensor::new(&[[1f32, 2., 4.], [3., -1., 0.]], &Device::Cpu)?;
    /// let (gamma, beta) = (Tensor::new(&[1f32, 1., 1.], &Device::Cpu)?, Tensor::zeros_like(&x.get(0)?)?);
    /// let [x, g, b] = [&x, &gamma, &beta].map(|t| tape.leaf(t));
    /// let out = norm_gelu(&tape, &x, &g, &b)?;
    /// let gradients = tape.backward_over([(&out, out.tensor().ones_like()?)])?;
    /// assert_eq!(gradients.get(&gamma).map(|g| g.dims().to_vec()), Some(vec![3]));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When `f` fails. In backward also when no gradient arrives at an input that awaits one: candle-nn's fused ops have
    /// none and say nothing, so take `layer_norm_slow` rather than `LayerNorm`, and `softmax` rather than
    /// `softmax_last_dim`; what `f` does not use belongs not in its inputs, and what is to stay as it is goes in as
    /// [`Value::detach`].
    pub fn candle(&self, inputs: &[&Value], f: impl FnOnce(&[Tensor]) -> Result<Tensor>) -> Result<Value> {
        if !self.tracks(inputs) {
            let plain: Vec<Tensor> = inputs.iter().map(|v| v.tensor().detach()).collect();
            return Ok(Value::constant(f(&plain)?.detach().contiguous()?));
        }
        // Each input is a variable of its own, even where two are one value: candle keys gradients by tensor, and the tape
        // adds up what comes to one node.
        let variable = |v: &&Value| match v.node() {
            Some(_) => Ok(Var::from_tensor(&v.tensor().detach())?.into_inner()),
            None => Ok(v.tensor().detach()),
        };
        let variables = inputs.iter().map(variable).collect::<Result<Vec<Tensor>>>()?;
        let output = f(&variables)?;
        let nodes: Vec<_> = inputs.iter().map(|v| v.node()).collect();
        let value = output.detach().contiguous()?;
        Ok(self.record(inputs, value, move |dy, gradients| {
            // candle begins with ones: times them, `dy` is what it goes on with.
            let found = (output * dy)?.backward()?;
            for (i, (node, variable)) in nodes.into_iter().zip(&variables).enumerate() {
                match (node, found.get(variable)) {
                    // Candle may hand one tensor to several inputs; here each gradient has one owner.
                    (Some(_), Some(gradient)) => gradients.add(node, gradient.force_contiguous()?)?,
                    (Some(_), None) => bail!(
                        "Tape::candle: no gradient reaches input {i}: a fused op without a backward stands between, or \
                         the input is not used; take candle's plain ops, or hand it over detached"
                    ),
                    (None, _) => {}
                }
            }
            Ok(())
        }))
    }
}
