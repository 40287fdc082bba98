//! The tape: records what produced each value, and walks back through it once.
//!
//! A node holds one `FnOnce` that turns the gradient of its output into gradients of its inputs and drops what it
//! saved as it runs. A gradient with one consumer is moved, with more it is added in place. Nodes are visited in
//! reverse order of recording, which is a topological order.

use crate::cpu::add_assign;
use crate::cpu::norm::Moments;
use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, bail};
use std::cell::RefCell;
use std::rc::Rc;

/// Where a value stands on its tape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeId(usize);

/// A tensor, and where it stands on the tape if a gradient can flow to it.
#[derive(Clone, Debug)]
pub struct Value {
    tensor: Tensor,
    node: Option<NodeId>,
    moments: Option<Rc<Moments>>,
}

impl Value {
    /// A value that no gradient reaches.
    pub fn constant(tensor: Tensor) -> Self {
        Self { tensor, node: None, moments: None }
    }

    /// A tensor that stands at a node.
    pub(crate) fn at(tensor: Tensor, node: Option<NodeId>) -> Self {
        Self { tensor, node, moments: None }
    }

    /// The same value, which carries the moments of its channels for a batch norm to come.
    pub(crate) fn with_moments(self, moments: Option<Moments>) -> Self {
        Self { moments: moments.map(Rc::new), ..self }
    }

    /// The moments of the channels, where whoever computed the value had them at hand.
    pub(crate) fn moments(&self) -> Option<&Moments> {
        self.moments.as_deref()
    }

    /// The numbers.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// The node that a gradient flows to; `None` for a constant.
    pub fn node(&self) -> Option<NodeId> {
        self.node
    }

    /// The same numbers, cut off from the tape (a stop-gradient).
    pub fn detach(&self) -> Self {
        Self::constant(self.tensor.clone())
    }
}

type Backward = Box<dyn FnOnce(Tensor, &mut Gradients) -> Result<()>>;

enum Node {
    Leaf(Tensor),
    Op(Backward),
}

/// The gradients that wait for their node while the tape is walked back.
pub struct Gradients(Vec<Option<Tensor>>);

impl Gradients {
    /// Adds `gradient` to what `node` has received; does nothing for a constant.
    ///
    /// # Errors
    /// When the shape differs from that of an earlier contribution.
    pub fn add(&mut self, node: Option<NodeId>, gradient: Tensor) -> Result<()> {
        let Some(NodeId(i)) = node else { return Ok(()) };
        match &self.0[i] {
            // A gradient that came by move has this one owner, so adding in place is seen by nobody else.
            Some(sum) => add_assign(sum, &gradient)?,
            None => self.0[i] = Some(gradient),
        }
        Ok(())
    }

    /// What `node` has received so far, to be added to in place and handed back by [`Gradients::add`]: an op that can add
    /// while it writes spares a pass over memory.
    pub fn take(&mut self, node: Option<NodeId>) -> Option<Tensor> {
        self.0[node?.0].take()
    }
}

/// Records operations on values. `Tape::inference()` records nothing and keeps nothing alive.
pub struct Tape {
    nodes: RefCell<Vec<Node>>,
    recording: bool,
}

impl Default for Tape {
    fn default() -> Self {
        Self::new()
    }
}

impl Tape {
    /// A tape that records.
    pub fn new() -> Self {
        Self { nodes: RefCell::default(), recording: true }
    }

    /// A tape that records nothing: every value is a constant.
    pub fn inference() -> Self {
        Self { nodes: RefCell::default(), recording: false }
    }

    /// A value whose gradient is wanted, such as a parameter.
    pub fn leaf(&self, tensor: &Tensor) -> Value {
        let node = self.recording.then(|| self.push(Node::Leaf(tensor.clone())));
        Value { tensor: tensor.clone(), node, moments: None }
    }

    /// Whether a gradient can flow to any of `inputs`; an op saves nothing for the way back when it cannot.
    pub fn tracks(&self, inputs: &[&Value]) -> bool {
        self.recording && inputs.iter().any(|v| v.node.is_some())
    }

    /// Records that `output` came from `inputs`; `backward` gets the gradient of `output` and hands gradients to the
    /// inputs' nodes. It must not keep or share the gradient tensors that it hands out.
    pub fn record(
        &self,
        inputs: &[&Value],
        output: Tensor,
        backward: impl FnOnce(Tensor, &mut Gradients) -> Result<()> + 'static,
    ) -> Value {
        if !self.tracks(inputs) {
            return Value::constant(output);
        }
        let node = self.push(Node::Op(Box::new(backward)));
        Value { tensor: output, node: Some(node), moments: None }
    }

    fn push(&self, node: Node) -> NodeId {
        let mut nodes = self.nodes.borrow_mut();
        nodes.push(node);
        NodeId(nodes.len() - 1)
    }

    /// Gradients of the scalar `loss` with respect to every leaf, keyed by the leaf's tensor.
    ///
    /// # Errors
    /// When `loss` is not a scalar on this tape.
    pub fn backward(self, loss: &Value) -> Result<GradStore> {
        if loss.tensor.elem_count() != 1 {
            bail!("backward needs a scalar loss, not a tensor of shape {:?}", loss.tensor.shape())
        }
        self.backward_from(&[(loss, loss.tensor.ones_like()?)])
    }

    /// Gradients with respect to every leaf, given those of some values (`(value, gradient)` pairs).
    ///
    /// # Errors
    /// When a value is a constant, or an op fails.
    pub fn backward_from(self, seeds: &[(&Value, Tensor)]) -> Result<GradStore> {
        let mut nodes = self.nodes.into_inner();
        let mut gradients = Gradients(vec![None; nodes.len()]);
        for (value, gradient) in seeds {
            if value.node.is_none() {
                bail!("no gradient can flow from a constant: is anything that it depends on a leaf of this tape?")
            }
            gradients.add(value.node, gradient.copy()?)?;
        }
        let mut store = GradStore::default();
        while let Some(node) = nodes.pop() {
            let Some(gradient) = gradients.0[nodes.len()].take() else { continue };
            match node {
                Node::Leaf(tensor) => {
                    store.insert(&tensor, gradient);
                }
                Node::Op(backward) => backward(gradient, &mut gradients)?,
            }
        }
        Ok(store)
    }
}
