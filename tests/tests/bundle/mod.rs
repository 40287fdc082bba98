//! Writes TensorFlow checkpoints, for tests: its own code from the format up, so that reader and writer share no mistake.
#![allow(dead_code)]

use simclr_model::SimClr;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A checkpoint to be written: tensors by key.
#[derive(Clone, Default)]
pub struct Draft(pub BTreeMap<String, Stored>);

/// A tensor as it lies in a shard.
#[derive(Clone)]
pub struct Stored {
    pub dtype: u64,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
    crc: u32,
}

/// CRC-32C, bit by bit.
pub fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 == 1 { (c >> 1) ^ 0x82f6_3b78 } else { c >> 1 })
    })
}

fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

fn varint(mut n: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while n >= 128 {
        bytes.push(n as u8 | 128);
        n >>= 7;
    }
    bytes.push(n as u8);
    bytes
}

fn int(number: u64, value: u64) -> Vec<u8> {
    [varint(number << 3), varint(value)].concat()
}

fn bytes(number: u64, value: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

fn sealed(mut block: Vec<u8>) -> Vec<u8> {
    block.push(0);
    let crc = masked(crc32c(&block));
    block.extend(crc.to_le_bytes());
    block
}

/// A block of rows: each shares what it can with the one before, but for every 16th.
fn block(rows: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let (mut data, mut restarts, mut before): (Vec<u8>, Vec<u32>, &[u8]) = (vec![], vec![], &[]);
    for (i, (key, value)) in rows.iter().enumerate() {
        let shared = if i % 16 == 0 { 0 } else { key.iter().zip(before).take_while(|(a, b)| a == b).count() };
        if i % 16 == 0 {
            restarts.push(data.len() as u32);
        }
        for n in [shared, key.len() - shared, value.len()] {
            data.extend(varint(n as u64));
        }
        data.extend(&key[shared..]);
        data.extend(value);
        before = key;
    }
    data.extend(restarts.iter().chain(&[restarts.len() as u32]).flat_map(|n| n.to_le_bytes()));
    data
}

/// A table with `per_block` rows a block.
pub fn table(rows: &[(Vec<u8>, Vec<u8>)], per_block: usize) -> Vec<u8> {
    let (mut file, mut index) = (Vec::new(), Vec::new());
    let add = |file: &mut Vec<u8>, block: Vec<u8>| {
        let handle = [varint(file.len() as u64), varint(block.len() as u64)].concat();
        file.extend(sealed(block));
        handle
    };
    for rows in rows.chunks(per_block) {
        index.push((rows.last().unwrap().0.clone(), add(&mut file, block(rows))));
    }
    let mut footer = [add(&mut file, block(&[])), add(&mut file, block(&index))].concat();
    footer.resize(40, 0);
    [file, footer, 0xdb47_7524_8b80_fb57u64.to_le_bytes().to_vec()].concat()
}

impl Draft {
    pub fn raw(&mut self, key: &str, dtype: u64, shape: &[usize], bytes: Vec<u8>) {
        let crc = masked(crc32c(&bytes));
        self.0.insert(key.into(), Stored { dtype, shape: shape.into(), bytes, crc });
    }

    pub fn floats(&mut self, key: &str, shape: &[usize], values: &[f32]) {
        self.raw(key, 1, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect());
    }

    pub fn integer(&mut self, key: &str, value: i64) {
        self.raw(key, 9, &[], value.to_le_bytes().to_vec());
    }

    pub fn string(&mut self, key: &str, value: &[u8]) {
        let length = (value.len() as u32).to_le_bytes();
        let check = masked(crc32c(&length)).to_le_bytes();
        // The sum over everything takes the length as four bytes, the file has it as a varint.
        let crc = masked(crc32c(&[&length[..], &check, value].concat()));
        let bytes = [varint(value.len() as u64), check.to_vec(), value.to_vec()].concat();
        self.0.insert(key.into(), Stored { dtype: 7, shape: vec![], bytes, crc });
    }

    /// Writes the files, and gives the prefix.
    pub fn write(&self, prefix: &Path, shards: usize) -> PathBuf {
        let mut data = vec![Vec::new(); shards];
        let mut rows = vec![(vec![], [int(1, shards as u64), bytes(3, &int(1, 1))].concat())];
        for (i, (key, t)) in self.0.iter().enumerate() {
            let shard = &mut data[i % shards];
            let shape: Vec<u8> = t.shape.iter().flat_map(|d| bytes(2, &int(1, *d as u64))).collect();
            let mut entry = [int(1, t.dtype), bytes(2, &shape), int(3, (i % shards) as u64)].concat();
            entry.extend([int(4, shard.len() as u64), int(5, t.bytes.len() as u64), vec![6 << 3 | 5]].concat());
            entry.extend(t.crc.to_le_bytes());
            rows.push((key.clone().into_bytes(), entry));
            shard.extend(&t.bytes);
        }
        let name = |suffix: String| PathBuf::from(format!("{}{suffix}", prefix.display()));
        for (i, bytes) in data.iter().enumerate() {
            std::fs::write(name(format!(".data-{i:05}-of-{shards:05}")), bytes).unwrap();
        }
        std::fs::write(name(".index".into()), table(&rows, 100)).unwrap();
        prefix.into()
    }

    /// A tensor in the layout of files, as TensorFlow has it.
    fn turned(&mut self, key: &str, t: &candle_core::Tensor) {
        let t = match t.rank() {
            4 => t.permute((2, 3, 1, 0)).unwrap(),
            2 => t.t().unwrap(),
            _ => t.clone(),
        };
        self.floats(key, t.dims(), &t.flatten_all().unwrap().to_vec1::<f32>().unwrap());
    }

    /// `model` as the TF1 code saves it, with optimiser state of what `trained` accepts.
    pub fn names(model: &SimClr, trained: impl Fn(&str) -> bool) -> Self {
        let (mut draft, tensors) = (Self::default(), model.store.save_map().unwrap());
        let (mut convs, mut norms, mut last) = (0, 0, String::new());
        for param in model.store.iter() {
            let (base, leaf) = param.name.rsplit_once('.').unwrap();
            let norm = base.rsplit('.').next().unwrap().starts_with("bn")
                || tensors.contains_key(&format!("{base}.running_mean"));
            if base != last {
                *if norm { &mut norms } else { &mut convs } += 1;
                last = base.into();
            }
            let numbered = |stem: &str, n: usize| if n == 1 { stem.into() } else { format!("{stem}_{}", n - 1) };
            let path = match base.split('.').collect::<Vec<_>>()[..] {
                ["fc"] => "head_supervised/linear_layer/dense".to_string(),
                ["projection", j] => format!("head_contrastive/nl_{j}/dense"),
                ["projection", j, "bn"] => format!("head_contrastive/nl_{j}/batch_normalization"),
                _ if norm => numbered("base_model/batch_normalization", norms),
                _ => numbered("base_model/conv2d", convs),
            };
            let key = format!("{path}/{}", leaf_of(norm, leaf));
            draft.turned(&key, &tensors[&param.name]);
            if !leaf.starts_with("running") && trained(&param.name) {
                draft.turned(&format!("{key}/Momentum"), &tensors[&param.name]);
            }
        }
        draft.integer("global_step", 77);
        draft
    }

    /// `model` as the TF2 code saves it, with the graph of its objects.
    pub fn objects(model: &SimClr) -> Self {
        let (mut draft, mut paths) = (Self::default(), Vec::new());
        for (name, tensor) in &model.store.save_map().unwrap() {
            let path = object_path(model, name);
            let key = format!("{path}/.ATTRIBUTES/VARIABLE_VALUE");
            draft.turned(&key, tensor);
            draft.turned(&format!("{path}/.OPTIMIZER_SLOT/optimizer/m/.ATTRIBUTES/VARIABLE_VALUE"), tensor);
            paths.push((path, key));
        }
        for (path, value) in [("global_step", 5), ("save_counter", 1), ("optimizer/decay", 0)] {
            let key = format!("{path}/.ATTRIBUTES/VARIABLE_VALUE");
            draft.integer(&key, value);
            paths.push((path.into(), key));
        }
        draft.string("_CHECKPOINTABLE_OBJECT_GRAPH", &graph(&paths));
        draft
    }
}

fn leaf_of(norm: bool, leaf: &str) -> &'static str {
    match (norm, leaf) {
        (true, "weight") => "gamma",
        (true, "bias") => "beta",
        (_, "running_mean") => "moving_mean",
        (_, "running_var") => "moving_variance",
        (_, "weight") => "kernel",
        _ => "bias",
    }
}

/// Where the TF2 code's objects hold the variable that is called `name` here.
fn object_path(model: &SimClr, name: &str) -> String {
    let (shape, parts) = (&model.spec.model, name.split('.').collect::<Vec<_>>());
    let (sk, bottleneck, leaf) = (shape.sk_ratio > 0.0, shape.depth >= 50, parts[parts.len() - 1]);
    let imagenet = shape.stem == simclr_core::config::Stem::Imagenet;
    let (conv, norm) = (leaf_of(false, leaf), leaf_of(true, leaf));
    match parts[..parts.len() - 1] {
        ["fc"] => format!("model/supervised_head/linear_layer/dense/{conv}"),
        ["projection", j] => format!("model/_projection_head/linear_layers/{j}/dense/{conv}"),
        ["projection", j, "bn"] => format!("model/_projection_head/linear_layers/{j}/bn_relu/bn/{norm}"),
        [layer, block, ref rest @ ..] if layer.starts_with("layer") => {
            let group: usize = layer[5..].parse().unwrap();
            let shortcut = if bottleneck { "projection_layers" } else { "shortcut_layers" };
            // Before the projection come a pad (at stride 2) and a pool.
            let before = if sk { 1 + usize::from(group > 1) } else { 0 };
            let main = |i: usize| {
                format!("{}/{i}", if bottleneck { "conv_relu_dropblock_layers" } else { "conv2d_bn_layers" })
            };
            let place = match (rest, bottleneck, sk) {
                (["downsample", n], ..) if (*n == "0") || (*n == "1" && sk) => {
                    format!("{shortcut}/{before}/conv2d/{conv}")
                }
                (["downsample", _], ..) => format!("{shortcut}/{}/bn/{norm}", before + 1),
                (["se", fc], true, _) => {
                    format!(
                        "{}/se_{}/{conv}",
                        main(if sk { 8 } else { 9 }),
                        if *fc == "fc1" { "reduce" } else { "expand" }
                    )
                }
                (["se", fc], ..) => format!("se_layer/se_{}/{conv}", if *fc == "fc1" { "reduce" } else { "expand" }),
                (["conv1"], ..) => format!("{}/conv2d/{conv}", main(0)),
                (["bn1"], ..) => format!("{}/bn/{norm}", main(1)),
                (["conv2"], false, _) => format!("{}/conv2d/{conv}", main(2)),
                (["bn2"], false, _) => format!("{}/bn/{norm}", main(3)),
                (["conv2"], ..) => format!("{}/conv2d/{conv}", main(3)),
                (["bn2"], ..) => format!("{}/bn/{norm}", main(4)),
                (["conv2", "conv"], ..) => format!("{}/conv2d_fixed_padding/conv2d/{conv}", main(3)),
                (["conv2", "bn"], ..) => format!("{}/batch_norm_relu/bn/{norm}", main(3)),
                (["conv2", "fc_reduce"], ..) => format!("{}/conv2d_0/{conv}", main(3)),
                (["conv2", "bn_reduce"], ..) => format!("{}/batch_norm_relu_1/bn/{norm}", main(3)),
                (["conv2", "fc_select"], ..) => format!("{}/conv2d_1/{conv}", main(3)),
                (["conv3"], ..) => format!("{}/conv2d/{conv}", main(if sk { 5 } else { 6 })),
                (["bn3"], ..) => format!("{}/bn/{norm}", main(if sk { 6 } else { 7 })),
                other => panic!("{name}: {other:?}"),
            };
            format!("model/resnet_model/block_groups/{}/layers/{block}/{place}", group - 1)
        }
        ref stem => {
            let at = match (stem, imagenet && sk) {
                (["conv1"], _) | (["conv1", "0"], _) => 0,
                (["bn1"], false) => 2,
                (["bn1"], true) => 6,
                (["conv1", n], _) => {
                    [("1", 1), ("3", 2), ("4", 3), ("6", 4)].iter().find(|(own, _)| own == n).unwrap().1
                }
                other => panic!("{name}: {other:?}"),
            };
            let unit = if [1, 3, 6].contains(&at) || (at == 2 && stem[0] == "bn1") {
                format!("bn/{norm}")
            } else {
                format!("conv2d/{conv}")
            };
            format!("model/resnet_model/initial_conv_relu_max_pool/{at}/{unit}")
        }
    }
}

/// A graph with a node for every part of every path.
fn graph(paths: &[(String, String)]) -> Vec<u8> {
    let mut nodes: Vec<(BTreeMap<&str, usize>, Option<&str>)> = vec![Default::default()];
    for (path, key) in paths {
        let mut at = 0;
        for part in path.split('/') {
            let next = nodes.len();
            at = *nodes[at].0.entry(part).or_insert(next);
            if at == next {
                nodes.push(Default::default());
            }
        }
        nodes[at].1 = Some(key);
    }
    let message = |(children, key): &(BTreeMap<&str, usize>, Option<&str>)| {
        let mut node = Vec::new();
        for (name, id) in children {
            node.extend(bytes(1, &[int(1, *id as u64), bytes(2, name.as_bytes())].concat()));
        }
        if let Some(key) = key {
            node.extend(bytes(2, &[bytes(1, b"VARIABLE_VALUE"), bytes(2, b"name"), bytes(3, key.as_bytes())].concat()));
        }
        bytes(1, &node)
    };
    nodes.iter().flat_map(message).collect()
}
