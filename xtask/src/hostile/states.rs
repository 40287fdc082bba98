//! Damage to the folder of a run that is to go on, or that has finished.

use super::bytes::{Tensors, flipped};
use super::case::{Case, Damage, Expect, ODD_FILES, Seeds, accepted, copy, odd_file, refused, write};
use crate::layout::{
    BEST, CHECKPOINT, CLASSES, CONFIG, EVENTS, EXPERIMENT, LABELS, MANIFEST, METRICS, MODEL, RESULT, state_after,
};
use crate::soak::Draws;
use anyhow::{Context, Result};
use serde_json::{Value as Json, json};
use std::path::Path;
use std::sync::Arc;

/// Steps of a seed; it keeps a state of the last and of the one before.
const STEPS: u64 = 2;

/// What stands in the place of a file of JSON.
const TEXTS: &[(&str, &[u8])] = &[
    ("empty", b""),
    ("half", b"{\"stage\": \"pret"),
    ("a-table", b"{}"),
    ("a-list", b"[]"),
    ("null", b"null"),
    ("number", b"1e999"),
    ("not-utf8", b"\xff\xfe\xfd"),
    ("nulls", &[0; 4096]),
    ("escape-codes", b"\x1b[31m{}\x07"),
];

struct Cases<'a> {
    seeds: &'a Seeds,
    found: Vec<Case>,
}

impl Cases<'_> {
    /// Adds a run that is damaged and then started with `--resume`, or without it.
    fn add(&mut self, seed: &str, name: &str, resume: bool, expect: Expect, damage: Damage) {
        let (program, own) = match seed {
            "pretrained" => ("simclr-pretrain", String::new()),
            "finetuned" => ("simclr-finetune", format!("--from {} --labels 1", self.seeds.path("pretrained"))),
            _ => ("simclr-eval", format!("--checkpoint {}", self.seeds.path("finetuned"))),
        };
        let (seeds, seed) = (self.seeds.clone(), seed.to_string());
        let again = if resume { "resumed" } else { "again" };
        self.found.push(Case::new("state", format!("{seed}-{name}-{again}"), program, expect, move |dir| {
            let run = dir.join("run");
            copy(&seeds.at(&seed), &run)?;
            damage(&run)?;
            let resume = if resume { " --resume" } else { "" };
            let (config, run) = (seeds.path("hostile.toml"), run.display());
            Ok(super::case::words(&format!("--config {config} --device cpu --out {run}{resume} {own}")))
        }));
    }

    /// A run that was cut off before its result was written.
    fn unfinished(
        &mut self,
        seed: &str,
        name: &str,
        expect: Expect,
        damage: impl Fn(&Path) -> Result<()> + Send + Sync + 'static,
    ) {
        let damage = move |run: &Path| {
            std::fs::remove_file(run.join(RESULT)).context("no result")?;
            damage(run)
        };
        self.add(seed, name, true, expect, Arc::new(damage));
    }
}

/// All cases.
///
/// # Errors
/// When a seed is missing.
pub fn cases(seeds: &Seeds) -> Result<Vec<Case>> {
    let mut cases = Cases { seeds, found: Vec::new() };
    for seed in ["pretrained", "finetuned", "measured"] {
        cases.add(seed, "control", true, accepted(), Arc::new(|_| Ok(())));
        cases.add(seed, "control", false, accepted(), Arc::new(|_| Ok(())));
    }
    for seed in ["pretrained", "finetuned"] {
        states(&mut cases, seed)?;
        manifests(&mut cases, seed);
        results(&mut cases, seed);
        others(&mut cases, seed);
    }
    Ok(cases.found)
}

/// The newest state is damaged: the one before it is used, and both are named. Both are: that is an error.
fn states(cases: &mut Cases<'_>, seed: &str) -> Result<()> {
    let (newest, before) = (state_after(STEPS), state_after(STEPS - 1));
    let whole = cases.seeds.read(&format!("{seed}/{newest}"))?;
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().context("a length")?) as usize;
    cases.unfinished(seed, "unfinished-control", accepted(), |_| Ok(()));
    let mut damaged: Vec<(String, Vec<u8>)> = Vec::new();
    for end in [0, 1, 8, 9, header / 2, header, header + 5, whole.len() / 2, whole.len() - 1] {
        damaged.push((format!("cut-at-{end}"), whole[..end].to_vec()));
    }
    let mut draws = Draws::new(5);
    for round in 0..16 {
        damaged.push((format!("bit-{round}"), flipped(&whole, 1, &mut draws)));
        let mut bytes = whole.clone();
        bytes.splice(..header, flipped(&whole[..header], 1, &mut draws));
        damaged.push((format!("header-bit-{round}"), bytes));
    }
    let tensor = "model/bn1.running_var";
    for (name, number) in [("nan", f32::NAN), ("inf", f32::INFINITY), ("negative", -1.0)] {
        let mut file = Tensors::of(&whole)?;
        file.set(tensor, number)?;
        damaged.push((format!("{name}-variance"), file.bytes()));
    }
    damaged.push(("and-more".into(), [whole.as_slice(), b"more"].concat()));
    damaged.push(("of-zeros".into(), vec![0; whole.len()]));
    let mut file = Tensors::of(&whole)?;
    file.header.remove("__metadata__");
    damaged.push(("without-facts".into(), file.bytes()));
    for (name, bytes) in damaged {
        let (own, older) = (newest.clone(), before.clone());
        let expect = Expect::Accepted(vec![newest.clone(), before.clone()]);
        let bytes = Arc::new(bytes);
        let same = bytes.clone();
        cases.unfinished(seed, &format!("state-{name}"), expect, move |run| write(&run.join(&own), same.as_slice()));
        let own = newest.clone();
        let both = move |run: &Path| {
            write(&run.join(&own), bytes.as_slice())?;
            write(&run.join(&older), bytes.as_slice())
        };
        cases.unfinished(seed, &format!("both-states-{name}"), refused(&["state-"]), both);
    }
    for kind in ODD_FILES {
        let own = newest.clone();
        // One that is not there is an older run.
        let expect = if *kind == "missing" { accepted() } else { Expect::Accepted(vec![newest.clone()]) };
        cases.unfinished(seed, &format!("state-is-{kind}"), expect, move |run| odd_file(kind, &run.join(&own)));
    }
    let (a, b) = (newest.clone(), before.clone());
    cases.unfinished(seed, "no-state", accepted(), move |run| {
        [&a, &b].iter().try_for_each(|name| std::fs::remove_file(run.join(name)).context("no state"))
    });
    let (a, b) = (newest, before);
    cases.unfinished(seed, "states-of-other-names", accepted(), move |run| {
        std::fs::remove_file(run.join(&a)).context("no state")?;
        std::fs::copy(run.join(&b), run.join("state-.safetensors")).context("copying")?;
        std::fs::copy(run.join(&b), run.join("state-99999999999999999999999.safetensors")).context("copying")?;
        Ok(())
    });
    Ok(())
}

fn manifests(cases: &mut Cases<'_>, seed: &str) {
    for (name, text) in TEXTS {
        cases.unfinished(seed, &format!("manifest-{name}"), refused(&["run"]), move |run| {
            write(&run.join(MANIFEST), text)
        });
    }
    for kind in ODD_FILES {
        cases.unfinished(seed, &format!("manifest-is-{kind}"), refused(&[MANIFEST]), move |run| {
            odd_file(kind, &run.join(MANIFEST))
        });
    }
    for (name, key, value) in [
        ("of-another-version", "numerics", json!(3)),
        ("of-a-later-version", "numerics", json!(10_000)),
        ("version-text", "numerics", json!("six")),
        ("of-another-stage", "stage", json!("distill")),
        ("stage-null", "stage", json!(null)),
        ("config-null", "config", json!(null)),
        ("inputs-list", "inputs", json!([1, 2])),
        ("of-another-config", "config_sha256", json!("0")),
        ("of-a-long-value", "stage", json!("x".repeat(100_000))),
        ("of-escape-codes", "stage", json!("\u{1b}[31mred\u{7}")),
    ] {
        let damage = move |run: &Path| edit(&run.join(MANIFEST), key, value.clone());
        // The checksum alone is for people: what the experiment says is compared.
        let expect = if key == "config_sha256" { super::case::either(&["run"]) } else { refused(&["run", key]) };
        cases.unfinished(seed, &format!("manifest-{name}"), expect, damage);
    }
    let padded = |run: &Path| write(&run.join(MANIFEST), vec![b' '; 60 << 20]);
    cases.unfinished(seed, "manifest-of-60-MB", refused(&[MANIFEST]), padded);
}

/// A result that does not hold: the run is not finished. It ends again from its last state, or says how.
fn results(cases: &mut Cases<'_>, seed: &str) {
    let mut damaged: Vec<(String, Damage)> = Vec::new();
    for (name, text) in TEXTS {
        damaged.push((format!("result-{name}"), Arc::new(move |run: &Path| write(&run.join(RESULT), text))));
    }
    damaged.push((
        "result-of-another-stage".into(),
        Arc::new(|run: &Path| edit(&run.join(RESULT), "stage", json!("distill"))),
    ));
    for (name, file) in [("no-model", MODEL), ("no-description", CONFIG)] {
        let damage = move |run: &Path| std::fs::remove_file(run.join(CHECKPOINT).join(file)).context("no file");
        damaged.push((name.into(), Arc::new(damage)));
    }
    for (name, bytes) in [("empty-model", &b""[..]), ("another-model", b"another")] {
        let damage = move |run: &Path| write(&run.join(CHECKPOINT).join(MODEL), bytes);
        damaged.push((name.into(), Arc::new(damage)));
    }
    damaged.push((
        "no-checkpoint".into(),
        Arc::new(|run: &Path| std::fs::remove_dir_all(run.join(CHECKPOINT)).context("none")),
    ));
    damaged.push(("result-of-60-MB".into(), Arc::new(|run: &Path| write(&run.join(RESULT), vec![b' '; 60 << 20]))));
    for kind in ["folder", "zero", "fifo"] {
        damaged.push((format!("result-is-{kind}"), Arc::new(move |run: &Path| odd_file(kind, &run.join(RESULT)))));
    }
    for (name, damage) in damaged {
        cases.add(seed, &name, false, refused(&["run"]), damage.clone());
        cases.add(seed, &name, true, Expect::Accepted(vec![RESULT.into()]), damage);
    }
}

/// Files that tell of a run and decide nothing of it, and what a crash leaves.
fn others(cases: &mut Cases<'_>, seed: &str) {
    for (name, text) in TEXTS {
        cases.unfinished(seed, &format!("metrics-{name}"), accepted(), move |run| write(&run.join(METRICS), text));
    }
    cases.unfinished(seed, "metrics-cut", accepted(), |run| {
        let path = run.join(METRICS);
        let text = std::fs::read(&path).context("no metrics")?;
        write(&path, &text[..text.len() - 9])
    });
    cases.unfinished(seed, "metrics-of-huge-steps", accepted(), |run| {
        write(&run.join(METRICS), "{\"step\":18446744073709551615,\"loss\":1}\n{\"step\":-1}\n{\"step\":1e300}\n")
    });
    cases
        .unfinished(seed, "metrics-in-one-long-line", accepted(), |run| write(&run.join(METRICS), vec![b'x'; 4 << 20]));
    cases
        .unfinished(seed, "metrics-missing", accepted(), |run| std::fs::remove_file(run.join(METRICS)).context("none"));
    for kind in ["fifo", "zero", "folder"] {
        let expect = refused(&[METRICS]);
        cases.unfinished(seed, &format!("metrics-is-{kind}"), expect, move |run| odd_file(kind, &run.join(METRICS)));
    }
    for name in ["", ".1.2.3", ".1.2.0"].map(|end| format!("{EVENTS}{end}")) {
        cases
            .unfinished(seed, &format!("{name}-of-noise"), accepted(), move |run| write(&run.join(&name), [0xff; 999]));
    }
    cases.unfinished(seed, "half-written-files", accepted(), |run| {
        [&state_after(STEPS), RESULT, MANIFEST, METRICS]
            .iter()
            .try_for_each(|name| write(&run.join(format!(".{name}.partial")), "half"))
    });
    cases.unfinished(seed, "no-experiment", accepted(), |run| {
        std::fs::remove_file(run.join(EXPERIMENT)).context("none")
    });
    cases.unfinished(seed, "experiment-of-noise", super::case::either(&[EXPERIMENT]), |run| {
        write(&run.join(EXPERIMENT), [0xff; 99])
    });
    cases.unfinished(seed, "best-of-noise", super::case::either(&["run"]), |run| {
        write(&run.join(BEST).join(MODEL), [0xff; 99])
    });
    cases.unfinished(seed, "a-folder-in-the-checkpoint's-place", super::case::either(&[CHECKPOINT]), |run| {
        std::fs::remove_dir_all(run.join(CHECKPOINT)).context("none")?;
        write(&run.join(CHECKPOINT), "a file")
    });
    cases.unfinished(seed, "nothing-but-a-manifest", accepted(), |run| {
        let manifest = std::fs::read(run.join(MANIFEST)).context("none")?;
        std::fs::remove_dir_all(run).context("none")?;
        write(&run.join(MANIFEST), manifest)
    });
    cases.unfinished(seed, "nothing-but-a-state", refused(&["state-", MANIFEST]), |run| {
        std::fs::remove_file(run.join(MANIFEST)).context("none")
    });
    for name in [CLASSES, LABELS] {
        cases.unfinished(seed, &format!("{name}-of-noise"), super::case::either(&[name]), move |run| {
            let path = run.join(name);
            if path.exists() { write(&path, [0xff; 99]) } else { Ok(()) }
        });
    }
}

/// Sets a key of a file of JSON.
fn edit(path: &Path, key: &str, value: Json) -> Result<()> {
    let mut table: Json = serde_json::from_slice(&std::fs::read(path)?)?;
    table[key] = value;
    write(path, table.to_string())
}
