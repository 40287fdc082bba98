//! Damaged checkpoints, each given to every command that takes one.

use super::bytes::{Tensors, flipped};
use super::case::{Case, Damage, Expect, ODD_FILES, Seeds, accepted, copy, odd_file, refused, words, write};
use super::descriptions;
use crate::layout::{CHECKPOINT, CONFIG, MODEL};
use crate::soak::Draws;
use anyhow::{Context, Result};
use serde_json::json;
use std::sync::Arc;

/// The commands that take a checkpoint: a name, a program, and a line with `{checkpoint}`, `{seeds}` and `{dir}`.
const COMMANDS: [(&str, &str, &str); 7] = [
    (
        "embed",
        "simclr-eval",
        "embed --checkpoint {checkpoint} --images {seeds}/pictures --device cpu --out {dir}/out.csv",
    ),
    ("classify", "simclr-eval", "classify --checkpoint {checkpoint} --images {seeds}/pictures --device cpu"),
    ("eval", "simclr-eval", "--config {seeds}/hostile.toml --checkpoint {checkpoint} --device cpu --out {dir}/out"),
    ("publish", "simclr-eval", "publish {checkpoint} --repo me/net --dry-run"),
    (
        "finetune",
        "simclr-finetune",
        "--config {seeds}/hostile.toml --from {checkpoint} --labels 1 --device cpu --out {dir}/out",
    ),
    (
        "distill",
        "simclr-distill",
        "--config {seeds}/hostile.toml --teacher {checkpoint} --student small --device cpu --out {dir}/out",
    ),
    ("pretrain", "simclr-pretrain", "--config {seeds}/hostile.toml --from {checkpoint} --device cpu --out {dir}/out"),
];

/// All cases.
///
/// # Errors
/// When a seed is missing.
pub fn cases(seeds: &Seeds) -> Result<Vec<Case>> {
    let mut damages: Vec<(String, Expect, Damage)> = Vec::new();
    weights(seeds, &mut damages)?;
    files(seeds, &mut damages)?;
    damages.extend(descriptions::damages());
    let mut cases = Vec::new();
    for (name, expect, damage) in damages {
        for (command, program, line) in COMMANDS {
            let (seeds, damage) = (seeds.clone(), damage.clone());
            cases.push(Case::new("checkpoints", format!("{name}+{command}"), program, expect.clone(), move |dir| {
                let checkpoint = dir.join(CHECKPOINT);
                copy(&seeds.at("finetuned").join(CHECKPOINT), &checkpoint)?;
                damage(&checkpoint)?;
                let line = line.replace("{checkpoint}", &checkpoint.display().to_string());
                Ok(words(&line.replace("{seeds}", &seeds.path("")).replace("{dir}", &dir.display().to_string())))
            }));
        }
    }
    Ok(cases)
}

/// Changes the tensors of a checkpoint.
fn tensors(change: impl Fn(&mut Tensors) -> Result<()> + Send + Sync + 'static) -> Damage {
    Arc::new(move |dir| {
        let path = dir.join(MODEL);
        let mut file = Tensors::of(&std::fs::read(&path)?)?;
        change(&mut file)?;
        write(&path, file.bytes())
    })
}

fn weights(seeds: &Seeds, into: &mut Vec<(String, Expect, Damage)>) -> Result<()> {
    let mut add = |name: &str, parts: &[&str], damage: Damage| {
        into.push((name.to_string(), refused(&[&[CHECKPOINT], parts].concat()), damage));
    };
    for (kind, number) in [("nan", f32::NAN), ("inf", f32::INFINITY), ("minus-inf", f32::NEG_INFINITY)] {
        for tensor in ["conv1.weight", "layer2.0.bn1.weight", "bn1.running_var", "layer4.1.bn2.running_mean"] {
            add(&format!("{kind}-in-{tensor}"), &[tensor], tensors(move |file| file.set(tensor, number)));
        }
    }
    for number in [-1.0, -1e-6, f32::MIN] {
        let tensor = "layer1.0.bn1.running_var";
        add(&format!("variance-{number:e}"), &[tensor], tensors(move |file| file.set(tensor, number)));
    }
    for (dtype, size) in [("I32", 4), ("I64", 8), ("U8", 1), ("I8", 1), ("BOOL", 1), ("U32", 4), ("I16", 2)] {
        let change = move |file: &mut Tensors| {
            file.retype(dtype, size);
            Ok(())
        };
        add(&format!("tensors-of-{dtype}"), &[], tensors(change));
    }
    let drop = |file: &mut Tensors| file.header.remove("layer3.0.conv1.weight").map(|_| ()).context("no tensor");
    add("a-tensor-is-missing", &["layer3.0.conv"], tensors(drop));
    add(
        "no-tensors",
        &[],
        tensors(|file| {
            file.header.clear();
            file.data.clear();
            Ok(())
        }),
    );
    let renamed = |file: &mut Tensors| {
        let entry = file.header.remove("conv1.weight").context("no tensor")?;
        file.header.insert("conv1.wieght".into(), entry);
        Ok(())
    };
    add("a-tensor-is-renamed", &["conv1.weight|conv1.wieght"], tensors(renamed));
    let entry = |key: &'static str, value: serde_json::Value| {
        tensors(move |file: &mut Tensors| {
            file.header["conv1.weight"][key] = value.clone();
            Ok(())
        })
    };
    for (name, shape) in
        [("other", json!([1, 9, 1, 1])), ("flat", json!([9])), ("empty", json!([])), ("zero", json!([0, 1, 3, 3]))]
    {
        add(&format!("shape-{name}"), &[], entry("shape", shape));
    }
    for (name, shape) in [
        ("overflow", json!([u64::MAX, 2, 3, 3])),
        ("huge", json!([1u64 << 40, 1, 3, 3])),
        ("negative", json!([-1, 1, 3, 3])),
        ("float", json!([1.5, 1, 3, 3])),
        ("text", json!("1x1x3x3")),
        ("null", json!(null)),
    ] {
        add(&format!("shape-{name}"), &[MODEL], entry("shape", shape));
    }
    for (name, dtype) in [("unknown", json!("F12")), ("null", json!(null)), ("number", json!(32)), ("empty", json!(""))]
    {
        add(&format!("dtype-{name}"), &[MODEL], entry("dtype", dtype));
    }
    for (name, offsets) in [
        ("past-the-end", json!([0, 1u64 << 40])),
        ("backwards", json!([36, 0])),
        ("negative", json!([-4, 32])),
        ("overlapping", json!([4, 40])),
        ("equal", json!([0, 0])),
        ("overflow", json!([u64::MAX - 3, u64::MAX])),
        ("three", json!([0, 4, 8])),
    ] {
        add(&format!("offsets-{name}"), &[MODEL], entry("data_offsets", offsets));
    }
    let whole = seeds.read(&format!("finetuned/{CHECKPOINT}/{MODEL}"))?;
    let file = Tensors::of(&whole)?;
    let text = serde_json::Value::Object(file.header.clone()).to_string();
    let twice = text.replacen("{", "{\"conv1.weight\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},", 1);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for (name, header) in [
        ("a-name-twice", twice.into_bytes()),
        ("header-of-brackets", deep.into_bytes()),
        ("header-of-nulls", vec![0; 64]),
        ("header-not-utf8", vec![0xff; 64]),
        ("header-a-list", b"[]".to_vec()),
        ("header-empty", vec![]),
        ("header-of-30-MB", vec![b' '; 30 << 20]),
    ] {
        let bytes = Arc::new(Tensors::framed(&header, &file.data));
        add(name, &[], Arc::new(move |dir| write(&dir.join(MODEL), bytes.as_slice())));
    }
    Ok(())
}

/// The file as a whole: lengths, ends, bits, and what is no file.
fn files(seeds: &Seeds, into: &mut Vec<(String, Expect, Damage)>) -> Result<()> {
    let whole = Arc::new(seeds.read(&format!("finetuned/{CHECKPOINT}/{MODEL}"))?);
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().context("a length")?) as usize;
    let mut add = |name: String, expect: Expect, damage: Damage| into.push((name, expect, damage));
    add("control".into(), accepted(), Arc::new(|_| Ok(())));
    for end in [0, 1, 7, 8, 9, header / 2, header - 1, header, header + 1, (header + whole.len()) / 2, whole.len() - 1]
    {
        let whole = whole.clone();
        add(format!("cut-at-{end}"), refused(&[MODEL]), Arc::new(move |dir| write(&dir.join(MODEL), &whole[..end])));
    }
    for length in [0u64, 1, header as u64 - 9, header as u64, 100 << 20, u64::from(u32::MAX), 1 << 40, u64::MAX] {
        let mut bytes = whole.to_vec();
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        add(
            format!("header-of-{length}-bytes"),
            refused(&[MODEL]),
            Arc::new(move |dir| write(&dir.join(MODEL), &bytes)),
        );
    }
    let mut draws = Draws::new(1);
    for round in 0..12 {
        // Of the header alone: what a weight was before its bits changed nobody knows.
        let bytes = [flipped(&whole[..header], 1, &mut draws).as_slice(), &whole[header..]].concat();
        add(
            format!("header-bit-{round}"),
            refused(&[CHECKPOINT]),
            Arc::new(move |dir| write(&dir.join(MODEL), &bytes)),
        );
    }
    for kind in ODD_FILES {
        add(
            format!("{MODEL}-is-{kind}"),
            refused(&[CHECKPOINT]),
            Arc::new(move |dir| odd_file(kind, &dir.join(MODEL))),
        );
        add(format!("{CONFIG}-is-{kind}"), refused(&[CONFIG]), Arc::new(move |dir| odd_file(kind, &dir.join(CONFIG))));
    }
    Ok(())
}
