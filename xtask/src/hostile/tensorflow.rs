//! Damaged checkpoints of TensorFlow, given to `simclr-import-tf`.

use super::bytes::flipped;
use super::case::{Case, Damage, Expect, ODD_FILES, Seeds, copy, either, odd_file, refused, write};
use crate::soak::Draws;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The program.
const IMPORT: &str = "simclr-import-tf";
/// The index of a checkpoint, and its numbers.
const ENDS: [&str; 2] = [".index", ".data-00000-of-00001"];

/// All cases.
///
/// # Errors
/// When a seed is missing.
pub fn cases(seeds: &Seeds) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for (kind, prefix) in [("tf1", "model.ckpt-250228"), ("tf2", "ckpt-1"), ("saved_model", "variables/variables")] {
        // The 64-pixel network is known by its heads; what it may not know it asks for, and that is no damage.
        add(&mut cases, seeds, (kind, prefix), "control", Expect::Accepted(vec![]), Arc::new(|_| Ok(())));
    }
    let (kind, prefix) = ("tf1", "model.ckpt-250228");
    let mut draws = Draws::new(9);
    for end in ENDS {
        let whole = Arc::new(seeds.read(&format!("{kind}/{prefix}{end}"))?);
        let length = whole.len();
        for at in [0, 1, 7, 48, length / 3, length / 2, length - 49, length - 48, length - 9, length - 1] {
            let whole = whole.clone();
            let damage = move |prefix: &Path| write(&with(prefix, end), &whole[..at]);
            add(
                &mut cases,
                seeds,
                (kind, prefix),
                &format!("{end}-cut-at-{at}"),
                refused(&["model.ckpt"]),
                Arc::new(damage),
            );
        }
        for round in 0..24 {
            let bytes = Arc::new(flipped(&whole, 1, &mut draws));
            // A bit between two entries, or that says what nobody reads, may be any.
            let damage = move |prefix: &Path| write(&with(prefix, end), bytes.as_slice());
            add(
                &mut cases,
                seeds,
                (kind, prefix),
                &format!("{end}-bit-{round}"),
                either(&["model.ckpt"]),
                Arc::new(damage),
            );
        }
        for kind_of_file in ODD_FILES {
            let damage = move |prefix: &Path| odd_file(kind_of_file, &with(prefix, end));
            let name = format!("{end}-is-{kind_of_file}");
            add(&mut cases, seeds, (kind, prefix), &name, refused(&["model.ckpt"]), Arc::new(damage));
        }
        for (name, bytes) in
            [("of-zeros", vec![0; length]), ("of-noise", (0..length).map(|_| draws.bits() as u8).collect())]
        {
            let bytes: Arc<Vec<u8>> = Arc::new(bytes);
            let damage = move |prefix: &Path| write(&with(prefix, end), bytes.as_slice());
            add(
                &mut cases,
                seeds,
                (kind, prefix),
                &format!("{end}-{name}"),
                refused(&["model.ckpt"]),
                Arc::new(damage),
            );
        }
    }
    let other = seeds.read("tf2/ckpt-1.index")?;
    let damage = move |prefix: &Path| write(&with(prefix, ".index"), &other);
    add(&mut cases, seeds, (kind, prefix), "index-of-another", refused(&["model.ckpt"]), Arc::new(damage));
    for (name, line) in [
        ("selector-99", "--proj-selector 99"),
        ("selector-smallest", "--proj-selector -9223372036854775808"),
        ("selector-text", "--proj-selector last"),
        ("size-0", "--image-size 0"),
        ("size-largest", "--image-size 18446744073709551615"),
        ("size-minus-1", "--image-size=-1"),
    ] {
        let expect = refused(&[if name.starts_with("selector") {
            "proj-selector|proj_selector"
        } else {
            "image-size|image_size"
        }]);
        let seeds = seeds.clone();
        cases.push(Case::new("tensorflow", format!("option-{name}"), IMPORT, expect, move |dir| {
            let from = seeds.path(&format!("{kind}/{prefix}"));
            Ok(super::case::words(&format!("{from} --out {} {line}", dir.join("out").display())))
        }));
    }
    Ok(cases)
}

fn add(cases: &mut Vec<Case>, seeds: &Seeds, (kind, prefix): (&str, &str), name: &str, expect: Expect, damage: Damage) {
    let (from, prefix, kind) = (seeds.at(kind), prefix.to_string(), kind.to_string());
    cases.push(Case::new("tensorflow", format!("{kind}-{name}"), IMPORT, expect, move |dir| {
        let own = dir.join(&kind);
        copy(&from, &own).context("the seed")?;
        let prefix = own.join(&prefix);
        damage(&prefix)?;
        Ok(super::case::words(&format!("{} --out {}", prefix.display(), dir.join("out").display())))
    }));
}

/// A prefix with an end behind its name.
fn with(prefix: &Path, end: &str) -> PathBuf {
    let mut name = prefix.as_os_str().to_owned();
    name.push(end);
    name.into()
}
