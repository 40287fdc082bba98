//! The tape: records what produced each value, and walks it backward once.
//!
//! A node holds one `FnOnce` that turns the gradient of its output into gradients of its inputs and drops what it
//! saved as it runs. A gradient with one consumer is moved, with more it is added in place. Nodes are visited in
//! reverse order of recording, which is a topological order. A leaf's gradient is handed out as soon as the last op that
//! used the leaf has added to it.
//!
//! A stretch of operations can be recomputed in the backward pass instead of kept ([`Tape::recomputed`]): its first forward
//! runs on a tape that rehearses, where each op takes the same way as on one that records, and nothing stays.

mod candle;
mod ranks;

use crate::collective::Group;
use crate::tensor::add_assign;
use candle_core::backprop::GradStore;
use candle_core::{Device, Result, Tensor, bail};
use std::any::Any;
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
    note: Option<Rc<dyn Any>>,
}

impl Value {
    /// A value that no gradient reaches.
    pub fn constant(tensor: Tensor) -> Self {
        Self { tensor, node: None, note: None }
    }

    /// A tensor that stands at a node.
    pub(crate) fn at(tensor: Tensor, node: Option<NodeId>) -> Self {
        Self { tensor, node, note: None }
    }

    /// The same value with a note: what the op that computed it knows of it and a later op would have to compute again.
    /// The tape does not look at it; a note is true of the numbers, so it may be ignored.
    pub(crate) fn with_note<N: Any>(self, note: Option<N>) -> Self {
        Self { note: note.map(|note| Rc::new(note) as Rc<dyn Any>), ..self }
    }

    /// The note, where there is one of this kind.
    pub(crate) fn note<N: Any>(&self) -> Option<&N> {
        self.note.as_deref()?.downcast_ref()
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
    /// With the nodes of its inputs.
    Op(Backward, Vec<NodeId>),
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

/// What becomes of operations on a tape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// They are recorded.
    Records,
    /// They run as if recorded, so that they give the same bits; what they would keep is dropped at once.
    Rehearses,
    /// No gradient is wanted of any value.
    Silent,
}

/// Records operations on values. `Tape::inference()` records nothing and keeps nothing alive.
pub struct Tape {
    nodes: RefCell<Vec<Node>>,
    kind: Kind,
    recomputes: bool,
    replays: bool,
    group: Group,
    /// Images of a batch, over all ranks; 0 where the rank is alone.
    images: usize,
}

impl Default for Tape {
    fn default() -> Self {
        Self::new()
    }
}

impl Tape {
    fn of(kind: Kind) -> Self {
        Self { nodes: RefCell::default(), kind, recomputes: false, replays: false, group: Group::default(), images: 0 }
    }

    /// A tape that records.
    pub fn new() -> Self {
        Self::of(Kind::Records)
    }

    /// A tape that records nothing: every value is a constant.
    pub fn inference() -> Self {
        Self::of(Kind::Silent)
    }

    /// The same tape, which asks networks to have their blocks recomputed rather than kept, or not to.
    pub fn recomputing(self, recomputes: bool) -> Self {
        Self { recomputes, ..self }
    }

    /// Whether a network should hand its blocks to [`Tape::recomputed`].
    pub fn recomputes(&self) -> bool {
        self.recomputes && self.kind == Kind::Records
    }

    /// Whether what runs on this tape has run before: what a forward does besides its output, such as moving running
    /// statistics, is left out then.
    pub fn replays(&self) -> bool {
        self.replays
    }

    /// A value whose gradient is wanted, such as a parameter.
    pub fn leaf(&self, tensor: &Tensor) -> Value {
        let node = (self.kind != Kind::Silent).then(|| self.push(Node::Leaf(tensor.clone())));
        Value::at(tensor.clone(), node)
    }

    /// Whether a gradient can flow to any of `inputs`; an op saves nothing for the backward pass when it cannot.
    pub fn tracks(&self, inputs: &[&Value]) -> bool {
        self.kind != Kind::Silent && inputs.iter().any(|v| v.node.is_some())
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
        let from = inputs.iter().filter_map(|v| v.node).collect();
        let node = self.push(Node::Op(Box::new(backward), from));
        Value::at(output, Some(node))
    }

    fn push(&self, node: Node) -> NodeId {
        let mut nodes = self.nodes.borrow_mut();
        if self.kind == Kind::Records {
            nodes.push(node);
        }
        NodeId(nodes.len().saturating_sub(1))
    }

    /// The output of `forward` over `inputs`, of which only the inputs are kept: in the backward pass `forward` runs again,
    /// on a tape that records and [`replays`](Self::replays). Outputs, gradients and the order of all sums are those of
    /// `forward` run on this tape itself. What comes beside the output is that of the first run.
    ///
    /// `forward` gets a tape and the inputs as values on it; whatever a gradient should reach must be among them.
    ///
    /// # Errors
    /// When `forward` fails; in the backward pass also when it made a leaf of its own.
    pub fn recomputed(
        &self,
        inputs: &[&Value],
        forward: impl Fn(&Tape, &[Value]) -> Result<(Value, Vec<Tensor>)> + 'static,
    ) -> Result<(Value, Vec<Tensor>)> {
        let kept: Vec<Value> = inputs.iter().map(|v| (*v).clone()).collect();
        if self.kind != Kind::Records || !self.tracks(inputs) {
            return forward(self, &kept);
        }
        let (recomputes, replays, group, images) = (self.recomputes, self.replays, self.group.clone(), self.images);
        let rehearsal = Self { recomputes, replays, group: group.clone(), images, ..Self::of(Kind::Rehearses) };
        let (first, beside) = forward(&rehearsal, &rehearsal.stand_ins(&kept))?;
        if first.node.is_none() {
            return Ok((first, beside));
        }
        let value = self.record(inputs, first.tensor, move |dy, gradients| {
            let tape = Self { recomputes, replays: true, group: group.clone(), images, ..Self::new() };
            let (output, _) = forward(&tape, &tape.stand_ins(&kept))?;
            let outer: Vec<NodeId> = kept.iter().filter_map(|v| v.node).collect();
            drop(kept);
            let nodes = tape.nodes.into_inner();
            let mut inner = Gradients(vec![None; nodes.len()]);
            // Sums that have begun outside go on inside: their terms are added in the order of an ordinary walk.
            for (slot, node) in inner.0.iter_mut().zip(&outer) {
                *slot = gradients.take(Some(*node));
            }
            inner.add(output.node, dy)?;
            drop(output);
            walk(nodes, inner, |i, _, gradient| match outer.get(i) {
                Some(node) => gradients.add(Some(*node), gradient),
                None => bail!("recomputed: a leaf was made inside; hand it over as an input"),
            })
        });
        Ok((Value { note: first.note, ..value }, beside))
    }

    /// The same values on this tape: leaves for those that a gradient reaches on theirs.
    fn stand_ins(&self, values: &[Value]) -> Vec<Value> {
        let one = |v: &Value| Value { node: v.node.and_then(|_| self.leaf(&v.tensor).node), ..v.clone() };
        values.iter().map(one).collect()
    }

    /// Gradients of the scalar `loss` with respect to every leaf, keyed by the leaf's tensor.
    ///
    /// # Errors
    /// When `loss` is not a scalar on this tape.
    pub fn backward(self, loss: &Value) -> Result<GradStore> {
        let mut store = GradStore::default();
        self.backward_scaled(loss, 1.0, |leaf, gradient| {
            store.insert(leaf, gradient);
            Ok(())
        })?;
        Ok(store)
    }

    /// As [`Tape::backward`], of `factor` times `loss`; `leaf` gets each leaf's tensor and gradient as soon as no op can add to
    /// it any more, in an order that follows from the operations alone.
    ///
    /// # Errors
    /// When `loss` is not a scalar on this tape, or `leaf` fails.
    pub fn backward_scaled(
        self,
        loss: &Value,
        factor: f32,
        leaf: impl FnMut(&Tensor, Tensor) -> Result<()>,
    ) -> Result<()> {
        if loss.tensor.elem_count() != 1 {
            bail!("backward needs a scalar loss, not a tensor of shape {:?}", loss.tensor.shape())
        }
        // Made on the host: a GPU then needs no kernel for it.
        let seed = Tensor::new(factor, &Device::Cpu)?.reshape(loss.tensor.shape())?.to_device(loss.tensor.device())?;
        self.walk_from([(loss, seed)], leaf)
    }

    /// Gradients with respect to every leaf, given those of some values (`(value, gradient)` pairs), which nobody else holds:
    /// they are written over.
    ///
    /// # Errors
    /// When a value is a constant, or an op fails.
    pub fn backward_over<'a>(self, seeds: impl IntoIterator<Item = (&'a Value, Tensor)>) -> Result<GradStore> {
        let mut store = GradStore::default();
        self.walk_from(seeds, |leaf, gradient| {
            store.insert(leaf, gradient);
            Ok(())
        })?;
        Ok(store)
    }

    fn walk_from<'a>(
        self,
        seeds: impl IntoIterator<Item = (&'a Value, Tensor)>,
        mut leaf: impl FnMut(&Tensor, Tensor) -> Result<()>,
    ) -> Result<()> {
        if self.kind == Kind::Rehearses {
            bail!("no gradient can flow on a tape that only rehearses")
        }
        let nodes = self.nodes.into_inner();
        let mut gradients = Gradients(vec![None; nodes.len()]);
        for (value, gradient) in seeds {
            if value.node.is_none() {
                bail!("no gradient can flow from a constant: is anything that it depends on a leaf of this tape?")
            }
            gradients.add(value.node, gradient)?;
        }
        walk(nodes, gradients, |_, tensor, gradient| leaf(tensor, gradient))
    }
}

/// Walks back through `nodes`, dropping each as it is done; `leaf` gets place, tensor and gradient of the leaves, each as soon
/// as the ops that use it are done.
fn walk(
    mut nodes: Vec<Node>,
    mut gradients: Gradients,
    mut leaf: impl FnMut(usize, &Tensor, Tensor) -> Result<()>,
) -> Result<()> {
    let mut users = vec![0u32; nodes.len()];
    for node in &nodes {
        if let Node::Op(_, from) = node {
            from.iter().for_each(|NodeId(i)| users[*i] += 1);
        }
    }
    while let Some(node) = nodes.pop() {
        let place = nodes.len();
        let gradient = gradients.0[place].take();
        match (node, gradient) {
            (Node::Leaf(tensor), Some(gradient)) => leaf(place, &tensor, gradient)?,
            (Node::Leaf(_), None) => {}
            (Node::Op(backward, from), gradient) => {
                if let Some(gradient) = gradient {
                    backward(gradient, &mut gradients)?;
                }
                for NodeId(i) in from {
                    users[i] -= 1;
                    if users[i] == 0
                        && let Node::Leaf(tensor) = &nodes[i]
                        && let Some(gradient) = gradients.0[i].take()
                    {
                        leaf(i, tensor, gradient)?;
                    }
                }
            }
        }
    }
    Ok(())
}
