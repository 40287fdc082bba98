//! TF2's object graph: which key of a checkpoint belongs to which layer.
//!
//! A checkpoint of objects names a variable by some path that leads to it; in a SavedModel that is often a mere place in
//! a list (`trainable_variables_list/12`). The graph beside the variables holds all paths, so the network is walked by
//! the attributes of its layers, and the keys are read off the nodes.

use super::bundle::Bundle;
use super::names::{LAYER, NORM, Unit, Units, Variables, refuse};
use super::wire::fields;
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeSet;

/// The key that holds the graph.
pub const GRAPH: &str = "_CHECKPOINTABLE_OBJECT_GRAPH";
const SUFFIX: &str = "/.ATTRIBUTES/VARIABLE_VALUE";

/// Attributes of the reference's layers that lead to variables, in the order in which it creates what they hold.
const ORDER: [&str; 21] = [
    "initial_conv_relu_max_pool",
    "block_groups",
    "layers",
    "shortcut_layers",
    "projection_layers",
    "conv2d_bn_layers",
    "conv_relu_dropblock_layers",
    "se_layer",
    // A selective-kernel unit.
    "conv2d_fixed_padding",
    "batch_norm_relu",
    "conv2d_0",
    "batch_norm_relu_1",
    "conv2d_1",
    // A squeeze-and-excitation gate.
    "se_reduce",
    "se_expand",
    // A convolution, a batch norm, a head's layer.
    "conv2d",
    "bn",
    "linear_layers",
    "linear_layer",
    "dense",
    "bn_relu",
];

/// Layers within layers: no walk goes deeper (group, list, block, list, unit, convolution, and a few to spare).
const DEEPEST: usize = 16;

/// An object: its attributes, and the key of its value where it is a variable.
#[derive(Default)]
struct Node {
    children: Vec<(String, usize)>,
    key: Option<String>,
}

struct Graph(Vec<Node>);

impl Variables {
    /// The variables of a TF2 checkpoint or SavedModel, by the graph of its objects.
    ///
    /// # Errors
    /// When the graph is damaged, holds no SimCLR model, names variables that the checkpoint lacks, or leaves variables of
    /// unknown meaning.
    pub fn of_objects(bundle: &Bundle) -> Result<Self> {
        let graph = Graph::parse(&bundle.string(GRAPH)?).with_context(|| format!("the object graph in {GRAPH}"))?;
        // Node 0 is the root; it is the model itself where that alone was saved.
        let model = graph.child(0, "model").unwrap_or(0);
        let encoder = graph.child(model, "resnet_model").with_context(|| {
            let names: Vec<_> =
                graph.0.iter().take(1).flat_map(|n| &n.children).map(|(name, _)| name.as_str()).collect();
            format!(
                "the object graph has no model.resnet_model (its root has: {}); is this a SimCLR model?",
                names.join(", ")
            )
        })?;
        let mut walk = Walk { graph: &graph, bundle, seen: BTreeSet::new(), pooled: None };
        let mut found = Self { encoder: walk.part(encoder, "model/resnet_model")?, ..Self::default() };
        found.pooled_shortcut = walk.pooled;
        for (name, part) in [("_projection_head", &mut found.head), ("supervised_head", &mut found.classifier)] {
            if let Some(node) = graph.child(model, name) {
                *part = walk.part(node, &format!("model/{name}"))?;
            }
        }
        found.sort_out(bundle)?;
        Ok(found)
    }

    /// Every variable is part of the network, or is left aside for a known reason.
    fn sort_out(&mut self, bundle: &Bundle) -> Result<()> {
        let parts = [&self.encoder, &self.head, &self.classifier];
        let units = parts.iter().flat_map(|part| part.layers.iter().chain(&part.norms));
        let used: BTreeSet<String> = units.flat_map(|unit| unit.keys.values().cloned()).collect();
        let mut unknown = Vec::new();
        for key in bundle.keys().filter(|key| !used.contains(*key)) {
            let name = key.strip_suffix(SUFFIX).unwrap_or(key);
            if key == GRAPH {
                self.skip("object graph");
            } else if let Some((variable, slot)) = name.split_once("/.OPTIMIZER_SLOT/") {
                self.slots.insert(format!("{variable}{SUFFIX}"));
                self.skip(&format!("{} slots", slot.rsplit('/').next().unwrap_or(slot)));
            } else if name == "global_step" || name == "optimizer/iter" {
                self.step = Some(key.into());
                self.skip("global_step");
            } else if name == "save_counter" {
                self.skip("save_counter");
            } else if name.starts_with("optimizer/") {
                self.skip("optimiser variables");
            } else if name.contains("/keras_api/metrics/") {
                self.skip("metrics");
            } else {
                unknown.push(key);
            }
        }
        refuse(&unknown)
    }
}

impl Graph {
    /// Reads a `TrackableObjectGraph`.
    fn parse(message: &[u8]) -> Result<Self> {
        let mut nodes = Vec::new();
        for (number, field) in fields(message)? {
            if number == 1 {
                nodes.push(node(field.bytes()?).with_context(|| format!("node {}", nodes.len()))?);
            }
        }
        ensure!(!nodes.is_empty(), "it has no nodes");
        let graph = Self(nodes);
        for (name, child) in graph.0.iter().flat_map(|node| &node.children) {
            ensure!(*child < graph.0.len(), "{name} leads to node {child} of {}", graph.0.len());
        }
        Ok(graph)
    }

    fn child(&self, node: usize, name: &str) -> Option<usize> {
        self.0[node].children.iter().find(|(own, _)| own == name).map(|(_, child)| *child)
    }

    /// Children of a list, in order, with their positions.
    fn items(&self, node: usize) -> Vec<(usize, usize)> {
        let children = self.0[node].children.iter();
        let mut items: Vec<_> = children.filter_map(|(name, child)| Some((name.parse().ok()?, *child))).collect();
        items.sort_unstable();
        items
    }
}

fn node(message: &[u8]) -> Result<Node> {
    let mut node = Node::default();
    for (number, field) in fields(message)? {
        match number {
            1 => {
                let (mut id, mut name) = (0, "");
                for (number, field) in fields(field.bytes()?)? {
                    match number {
                        1 => id = field.int()?,
                        2 => name = field.text()?,
                        _ => (),
                    }
                }
                node.children.push((name.into(), usize::try_from(id)?));
            }
            2 => {
                let (mut name, mut key) = ("", "");
                for (number, field) in fields(field.bytes()?)? {
                    match number {
                        1 => name = field.text()?,
                        3 => key = field.text()?,
                        _ => (),
                    }
                }
                if name == "VARIABLE_VALUE" {
                    node.key = Some(key.into());
                }
            }
            _ => (),
        }
    }
    Ok(node)
}

/// A walk through the layers of a network.
struct Walk<'a> {
    graph: &'a Graph,
    bundle: &'a Bundle,
    seen: BTreeSet<usize>,
    pooled: Option<bool>,
}

impl Walk<'_> {
    fn part(&mut self, node: usize, path: &str) -> Result<Units> {
        let mut part = Units::default();
        self.visit(node, path, 0, &mut part)?;
        Ok(part)
    }

    fn visit(&mut self, node: usize, path: &str, depth: usize, part: &mut Units) -> Result<()> {
        ensure!(depth < DEEPEST, "{path}: layers within layers within layers; this is no SimCLR model");
        if !self.seen.insert(node) {
            return Ok(());
        }
        for (leaves, norm) in [(&LAYER[..], false), (&NORM[..], true)] {
            let unit = self.unit(node, path, leaves)?;
            if !unit.keys.is_empty() {
                if norm { &mut part.norms } else { &mut part.layers }.push(unit);
            }
        }
        for name in ORDER {
            if let Some(child) = self.graph.child(node, name) {
                if name == "shortcut_layers" || name == "projection_layers" {
                    self.notice_pool(child);
                }
                self.visit(child, &format!("{path}/{name}"), depth + 1, part)?;
            }
        }
        for (position, child) in self.graph.items(node) {
            self.visit(child, &format!("{path}/{position}"), depth + 1, part)?;
        }
        Ok(())
    }

    /// The layer or batch norm whose variables are attributes of `node`.
    fn unit(&self, node: usize, path: &str, leaves: &[&str]) -> Result<Unit> {
        let mut unit = Unit { path: path.into(), ..Unit::default() };
        for leaf in leaves {
            let Some(child) = self.graph.child(node, leaf) else { continue };
            let Some(key) = &self.graph.0[child].key else { continue };
            if !self.bundle.has(key) {
                bail!("{path}/{leaf} is missing: the object graph calls it {key}, but the index has no such tensor")
            }
            unit.keys.insert((*leaf).into(), key.clone());
        }
        Ok(unit)
    }

    /// A shortcut whose convolution is not the first of its layers pools before.
    fn notice_pool(&mut self, list: usize) {
        let items = self.graph.items(list);
        if let Some(at) = items.iter().find(|(_, child)| self.graph.child(*child, "conv2d").is_some()) {
            self.pooled = Some(at.0 > 0);
        }
    }
}
