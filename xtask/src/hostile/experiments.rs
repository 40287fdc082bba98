//! Experiment files: every key with values of a wrong type and out of its range, combinations that cannot be, and what is no TOML.

use super::case::{Case, Expect, ODD_FILES, Seeds, accepted, odd_file, refused, words, write};
use super::seeds::EXPERIMENT as SEED;
use crate::layout::EXPERIMENT;
use anyhow::{Context, Result};
use std::sync::Arc;
use toml::{Table, Value};

/// The file's name in a case.
const FILE: &str = "case.toml";

/// Keys for which -1 has a meaning.
const MAY_BE_MINUS_ONE: [&str; 2] = ["proj_selector", "freeze_after"];
/// Keys that take any whole number.
const ANY_NUMBER: [&str; 1] = ["seed"];
/// Keys that take any text, as far as a plan can know.
const ANY_TEXT: [&str; 2] = ["name", "dir"];

/// All cases.
///
/// # Errors
/// When the seed is no experiment.
pub fn cases(seeds: &Seeds) -> Result<Vec<Case>> {
    let text = String::from_utf8(seeds.read(&format!("pretrained/{EXPERIMENT}"))?).context("the seed's experiment")?;
    let whole: Table = text.parse().context("the seed's experiment")?;
    let mut cases = Vec::new();
    let mut add = |name: &str, expect: Expect, text: String| cases.push(plan(name, expect, text.into_bytes()));
    add("control", accepted(), text.clone());
    let mut paths = Vec::new();
    keys(&whole, "", &mut paths);
    for path in &paths {
        let value = at(&whole, path).context("a key")?;
        for (name, wrong) in wrong_values(path, value) {
            let mut table = whole.clone();
            set(&mut table, path, wrong);
            add(&format!("{path}={name}"), refused(&[FILE, &named(path)]), toml::to_string(&table)?);
        }
        if value.is_table() {
            let mut table = whole.clone();
            set(&mut table, &format!("{path}.kee"), Value::Integer(1));
            // Below `distill` any name is a student, and of a length's keys each is one.
            let expect = if path == "distill" { refused(&[FILE, "distill"]) } else { refused(&[FILE, &named(path)]) };
            add(&format!("{path}.kee"), expect, toml::to_string(&table)?);
        }
    }
    for path in
        ["data", "data.dataset", "data.image_size", "model", "model.depth", "pretrain", "finetune", "supervised"]
    {
        let mut table = whole.clone();
        remove(&mut table, path);
        add(&format!("no-{path}"), refused(&[FILE, path.rsplit('.').next().unwrap_or(path)]), toml::to_string(&table)?);
    }
    for stage in ["pretrain", "finetune", "supervised", "distill.self"] {
        for key in ["length", "batch", "learning_rate"] {
            let mut table = whole.clone();
            remove(&mut table, &format!("{stage}.training.{key}"));
            add(&format!("no-{stage}.training.{key}"), refused(&[FILE, key]), toml::to_string(&table)?);
        }
    }
    for (i, (line, parts)) in LINES.iter().enumerate() {
        let expect = if parts.is_empty() { accepted() } else { refused(&[&["hostile.toml|--set"], *parts].concat()) };
        cases.push(with_set(seeds, &format!("set-{i}-{line}"), expect, line.split(" ; ").map(String::from).collect()));
    }
    for (name, text, expect) in texts(seeds) {
        cases.push(plan(&name, expect, text));
    }
    for kind in ODD_FILES {
        cases.push(Case::new("experiments", format!("file-is-{kind}"), "simclr-eval", refused(&[FILE]), move |dir| {
            let file = dir.join(FILE);
            odd_file(kind, &file)?;
            Ok(words(&format!("plan --config {} --out {}", file.display(), dir.join("out").display())))
        }));
    }
    trained(seeds, &mut cases);
    Ok(cases)
}

/// A file that is planned by: nothing is trained.
fn plan(name: &str, expect: Expect, text: Vec<u8>) -> Case {
    let text = Arc::new(text);
    Case::new("experiments", name, "simclr-eval", expect, move |dir| {
        let file = dir.join(FILE);
        write(&file, text.as_slice())?;
        Ok(words(&format!("plan --config {} --out {}", file.display(), dir.join("out").display())))
    })
}

fn with_set(seeds: &Seeds, name: &str, expect: Expect, set: Vec<String>) -> Case {
    let seeds = seeds.clone();
    Case::new("experiments", name, "simclr-eval", expect, move |dir| {
        let mut line =
            words(&format!("plan --config {} --out {}", seeds.path("hostile.toml"), dir.join("out").display()));
        set.iter().for_each(|pair| line.extend(["--set".to_string(), pair.clone()]));
        Ok(line)
    })
}

/// What must be refused of a key, by the type of its value.
fn wrong_values(path: &str, value: &Value) -> Vec<(&'static str, Value)> {
    let key = path.rsplit('.').next().unwrap_or(path);
    let mut found = Vec::new();
    let text = |text: &str| Value::String(text.into());
    match value {
        Value::Integer(_) | Value::Float(_) => {
            found.extend([
                ("text", text("deep")),
                ("number-as-text", text("3")),
                ("true", Value::Boolean(true)),
                ("list", Value::Array(vec![])),
                ("nan", Value::Float(f64::NAN)),
                ("inf", Value::Float(f64::INFINITY)),
                ("minus-inf", Value::Float(f64::NEG_INFINITY)),
                ("1e300", Value::Float(1e300)),
                ("minus-3", Value::Integer(-3)),
            ]);
            if !MAY_BE_MINUS_ONE.contains(&key) {
                found.push(("minus-1", Value::Integer(-1)));
            }
            if !ANY_NUMBER.contains(&key) {
                found.push(("largest", Value::Integer(i64::MAX)));
                found.push(("1e18", Value::Integer(1_000_000_000_000_000_000)));
            }
            if value.is_integer() {
                found.push(("1.5", Value::Float(1.5)));
            }
        }
        Value::String(_) => {
            found.extend([("number", Value::Integer(5)), ("list", Value::Array(vec![]))]);
            if !ANY_TEXT.contains(&key) {
                found.extend([("nonsense", text("nonsense")), ("empty", text(""))]);
                found.extend([("long", text(&"x".repeat(100_000))), ("escape-codes", text("\u{1b}[31m\u{7}"))]);
            }
        }
        Value::Boolean(_) => {
            found.extend([("text", text("yes")), ("number", Value::Integer(1)), ("list", Value::Array(vec![]))])
        }
        Value::Array(_) => {
            found.extend([("number", Value::Integer(5)), ("text", text("all of them"))]);
            found.push(("lists", Value::Array(vec![Value::Array(vec![])])));
        }
        Value::Table(_) => found.extend([("number", Value::Integer(5)), ("list", Value::Array(vec![text("a")]))]),
        Value::Datetime(_) => {}
    }
    found
}

/// What a message must name: a length is one value, whichever of its three keys is set.
fn named(path: &str) -> String {
    let last = path.rsplit('.').next().unwrap_or(path);
    match path.strip_suffix(&format!(".{last}")) {
        Some(parent) if ["steps", "epochs", "images"].contains(&last) => parent.into(),
        _ => path.into(),
    }
}

fn keys(table: &Table, at: &str, found: &mut Vec<String>) {
    for (key, value) in table {
        let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
        found.push(path.clone());
        if let Value::Table(inner) = value {
            keys(inner, &path, found);
        }
    }
}

fn at<'a>(table: &'a Table, path: &str) -> Option<&'a Value> {
    match path.split_once('.') {
        None => table.get(path),
        Some((key, rest)) => at(table.get(key)?.as_table()?, rest),
    }
}

fn set(table: &mut Table, path: &str, value: Value) {
    match path.split_once('.') {
        None => drop(table.insert(path.into(), value)),
        Some((key, rest)) => {
            if let Some(Value::Table(inner)) = table.get_mut(key) {
                set(inner, rest, value);
            }
        }
    }
}

fn remove(table: &mut Table, path: &str) {
    match path.split_once('.') {
        None => drop(table.remove(path)),
        Some((key, rest)) => {
            if let Some(Value::Table(inner)) = table.get_mut(key) {
                remove(inner, rest);
            }
        }
    }
}

/// Overrides (` ; ` between them) and what the message must name; nothing where they are valid.
const LINES: &[(&str, &[&str])] = &[
    ("pretrain.training.warmup={steps=3}", &["pretrain.training", "warmup"]),
    ("finetune.training.warmup={epochs=1e300}", &["finetune.training", "warmup"]),
    ("finetune.training.length={epochs=1e300}", &["finetune.training", "length|epochs"]),
    ("finetune.training.length={epochs=-1}", &["finetune.training", "length|epochs"]),
    ("finetune.training.length={epochs=nan}", &["finetune.training", "length|epochs"]),
    ("finetune.training.length={epochs=1, steps=1}", &["finetune.training.length"]),
    ("finetune.training.length={hours=1}", &["finetune.training.length"]),
    ("finetune.training.length={steps=0}", &["finetune.training.length"]),
    ("finetune.training.length={images=9223372036854775807}", &["finetune.training", "length|images"]),
    ("pretrain.training.eval_every={steps=0}", &["pretrain.training.eval_every"]),
    ("pretrain.training.eval_every={epochs=nan}", &["pretrain.training.eval_every"]),
    ("pretrain.training.checkpoint_every={steps=0}", &["pretrain.training.checkpoint_every"]),
    ("pretrain.training.checkpoint_every={epochs=-3}", &["pretrain.training.checkpoint_every"]),
    ("pretrain.training.patience=-1", &["pretrain.training.patience"]),
    ("pretrain.training.chunk=0", &["pretrain.training.chunk"]),
    ("pretrain.training.chunk=-1", &["pretrain.training.chunk"]),
    ("pretrain.training.recompute=1", &["pretrain.training.recompute"]),
    ("pretrain.training.batch=0", &["pretrain.training.batch"]),
    ("pretrain.training.learning_rate=-0.0001", &["pretrain.training.learning_rate"]),
    ("pretrain.training.momentum=2", &["pretrain.training.momentum"]),
    ("pretrain.training.weight_decay=inf", &["pretrain.training.weight_decay"]),
    ("pretrain.training.optimizer={name=\"lars\", speed=1}", &["pretrain.training.optimizer", "speed"]),
    ("pretrain.training.optimizer={speed=1}", &["pretrain.training.optimizer"]),
    ("pretrain.training.optimizer=[\"sgd\"]", &["pretrain.training.optimizer"]),
    ("pretrain.temperature=0", &["pretrain.temperature"]),
    ("pretrain.online_head=\"every\"", &["pretrain.online_head"]),
    ("finetune.freeze_after=99", &["finetune", "freeze_after"]),
    ("finetune.freeze_after=-2", &["finetune", "freeze_after"]),
    ("finetune.proj_selector=99", &["finetune", "proj_selector"]),
    ("finetune.proj_selector=-2", &["finetune", "proj_selector"]),
    ("supervised.proj_selector=17", &["supervised", "proj_selector"]),
    ("finetune.at=[{labels=0.1}, {labels=0.1}]", &["finetune.at", "0.1"]),
    ("finetune.at=[{}]", &["finetune.at", "labels"]),
    ("finetune.at=[{labels=7.5}]", &["finetune.at"]),
    ("finetune.at=[{labels=0.1, training={batch=0}}]", &["finetune.at", "batch"]),
    ("finetune.at=[{labels=0.1, trainning={batch=1}}]", &["finetune.at", "trainning"]),
    ("finetune.at={labels=0.1}", &["finetune.at"]),
    ("distill.self.teacher=\"small\"", &["distill.", "teacher"]),
    ("distill.self.teacher=\"self\"", &["distill.self.teacher"]),
    ("distill.self.teacher=\"nobody\"", &["distill.self.teacher", "nobody"]),
    ("distill.self.temperature=0", &["distill.self.temperature"]),
    ("distill.self.teacher_weight=1.5", &["distill.self.teacher_weight"]),
    ("distill.small.model.depth=19", &["distill.small.model.depth"]),
    ("distill.small.model.width=0", &["distill.small.model.width"]),
    ("distill={}", &[]),
    ("model.width=0", &["model.width"]),
    ("model.width=0.001", &["model.width"]),
    ("model.width=65", &["model.width"]),
    ("model.depth=19", &["model.depth"]),
    ("model.depth=0", &["model.depth"]),
    ("model.proj_layers=17", &["model.proj_layers"]),
    ("model.proj_dim=0", &["model.proj_dim"]),
    ("model.proj_dim=100000", &["model.proj_dim"]),
    ("model.sk_ratio=1.5", &["model.sk_ratio"]),
    ("model.backbone=\"none\"", &["model.backbone|model.depth"]),
    ("model.stem=\"none\"", &["model.stem"]),
    ("data.image_size=0", &["data.image_size"]),
    ("data.image_size=4097", &["data.image_size"]),
    ("data.channels=0", &["data.channels"]),
    ("data.channels=17", &["data.channels"]),
    ("data.limit=0", &["data.limit"]),
    ("data.prefetch=1000000", &["data.prefetch"]),
    ("data.max_pixels=0", &["data.max_pixels"]),
    ("data.max_pixels=9223372036854775807", &["data.max_pixels"]),
    ("data.held_out=1", &["data.held_out"]),
    ("data.held_out=nan", &["data.held_out"]),
    ("data.fold=[3, 2]", &["data.fold"]),
    ("data.fold=[0, 1]", &["data.fold"]),
    ("data.fold=[0, 101]", &["data.fold"]),
    ("data.range=[5, 1]", &["data.range"]),
    ("data.range=[nan, 1]", &["data.range"]),
    ("data.range=\"max\"", &["data.range"]),
    ("data.corrupt=\"ignore\"", &["data.corrupt"]),
    ("data.cache=9223372036854775807", &["data.cache"]),
    ("data.shuffle_buffer=-1", &["data.shuffle_buffer"]),
    ("data.label_columns=[\"a\"]", &["data.label_columns"]),
    ("data.lists=[{labels=2.0, file=\"x\"}]", &["data.lists"]),
    ("data.lists=[{labels=0.1, file=\"x\"}, {labels=0.1, file=\"y\"}]", &["lists", "0.1"]),
    ("data.dataset=\"mnist\"", &["data.dataset", "mnist"]),
    ("augment.min_area=0", &["augment.min_area"]),
    ("augment.min_area=1.5", &["augment.min_area"]),
    ("augment.color_strength=1e30", &["augment.color_strength"]),
    ("augment.color_probability=1.01", &["augment.color_probability"]),
    ("augment.transforms=[]", &[]),
    ("augment.transforms=[\"crop\", \"flop\"]", &["augment.transforms[1]", "flop"]),
    ("augment.transforms=[\"flip\", \"crop\"]", &["augment.transforms"]),
    ("augment.transforms=[{name=\"blur\", sigma=[2.0, 1.0]}]", &["augment.transforms[0]"]),
    ("augment.transforms=[{name=\"blur\", sigma=[0.1, 1e300]}]", &["augment.transforms[0]"]),
    ("augment.transforms=[{name=\"blur\", probability=2}]", &["augment.transforms[0]"]),
    ("augment.transforms=[{name=\"jitter\", strength=nan}]", &["augment.transforms[0]"]),
    ("augment.transforms=[{name=\"jitter\", strength=1e300}]", &["augment.transforms[0]"]),
    ("augment.transforms=[{name=\"solarize\", threshold=-1}]", &["augment.transforms[0]"]),
    ("augment.transforms=[{name=\"crop\", min_area=0}]", &["augment.transforms[0]"]),
    ("augment.transforms=[{name=\"central_crop\", share=0}]", &["augment.transforms[0]"]),
    ("augment.transforms=\"crop\"", &["augment.transforms"]),
    ("reproduce.labels=[0]", &["reproduce.labels"]),
    ("reproduce.labels=[nan]", &["reproduce.labels"]),
    ("reproduce.labels=[0.1, 0.1]", &["reproduce.labels"]),
    ("reproduce.labels=[\"x-per-class\"]", &["reproduce.labels"]),
    ("reproduce.labels=[\"0-per-class\"]", &["reproduce.labels"]),
    ("reproduce.subsets=0", &["reproduce.subsets"]),
    ("reproduce.subsets=1000000000", &["reproduce.subsets"]),
    ("eval.crop=0", &["eval.crop"]),
    ("eval.crop=nan", &["eval.crop"]),
    ("eval.crop=1.5", &["eval.crop"]),
    ("eval.crop=\"middle\"", &["eval.crop"]),
    ("eval.knn_k=0", &["eval.knn_k"]),
    ("eval.knn_temperature=0", &["eval.knn_temperature"]),
    ("eval.batch=0", &["eval.batch"]),
    ("eval.linear.epochs=0", &["eval.linear.epochs"]),
    ("eval.linear.batch=0", &["eval.linear.batch"]),
    ("eval.linear.views=0", &["eval.linear.views"]),
    ("eval.linear.views=1000000000", &["eval.linear.views"]),
    ("stage.none.x=1", &["stage.none"]),
    ("name=\"\"", &["name"]),
    ("name=\"a/../../b\"", &["name"]),
    ("pretrain.temprature=1", &["pretrain.temprature", "temperature"]),
    ("model=5", &["model"]),
    ("model.width.x=1", &["model.width"]),
    ("=5", &["--set"]),
    ("model.width", &["--set", "model.width"]),
    ("model..width=1", &["--set", "model..width"]),
    (".=1", &["--set"]),
    ("pretrain.training.batch=[", &["pretrain.training.batch"]),
    ("pretrain.training.batch=4\nx=1", &["pretrain.training.batch"]),
    ("seed=-1", &["seed"]),
    ("seed=9223372036854775807", &[]),
    ("seed=18446744073709551616", &["seed"]),
];

/// Files that are no experiments, or hardly so.
fn texts(seeds: &Seeds) -> Vec<(String, Vec<u8>, Expect)> {
    let seed = SEED.replace("IDX", &seeds.path("idx"));
    let wide: Vec<u8> = seed.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let refused = || refused(&[FILE]);
    let mut found = vec![
        ("text-empty".to_string(), Vec::new(), refused()),
        ("text-nulls".into(), vec![0; 500], refused()),
        ("text-not-utf8".into(), [seed.as_bytes(), b"\n# \xff\xfe"].concat(), refused()),
        ("text-utf16".into(), [&[0xff, 0xfe], wide.as_slice()].concat(), refused()),
        ("text-crlf".into(), seed.replace('\n', "\r\n").into_bytes(), accepted()),
        ("text-with-comments".into(), format!("{seed}\n# ü 漢字\n").into_bytes(), accepted()),
        ("text-json".into(), b"{\"name\": \"x\"}".to_vec(), refused()),
        ("text-of-20-MB".into(), format!("{seed}\n{}", "# x\n".repeat(5 << 20)).into_bytes(), refused()),
        ("key-of-1-MB".into(), format!("{}=1\n{seed}", "k".repeat(1 << 20)).into_bytes(), refused()),
        ("value-of-1-MB".into(), seed.replacen("18", &"9".repeat(1 << 20), 1).into_bytes(), refused()),
        (
            "text-of-1-MB-for-a-number".into(),
            seed.replacen("depth = 18", &format!("depth = \"{}\"", "x".repeat(1 << 20)), 1).into_bytes(),
            refused(),
        ),
        ("escape-codes-in-a-key".into(), format!("\"\\u001b[31m\\u0007\" = 1\n{seed}").into_bytes(), refused()),
        (
            "escape-codes-in-a-value".into(),
            seed.replacen("depth = 18", "depth = \"\\u001b[31m\\u0007\"", 1).into_bytes(),
            refused(),
        ),
    ];
    for (name, more) in [
        ("a-key-twice", "[model]\ndepth = 18\n".to_string()),
        ("a-table-twice", "[pretrain]\ntemperature = 1\n[pretrain]\n".into()),
        ("half-a-table", "[pretrain".into()),
        ("half-a-string", "[x]\ny = \"abc".into()),
        ("no-value", "[x]\ny =\n".into()),
        ("a-date", "[x]\ny = 1979-13-45\n".into()),
        ("lists-of-10000-levels", format!("[x]\ny = {}{}\n", "[".repeat(10_000), "]".repeat(10_000))),
        ("tables-of-10000-levels", format!("[x]\ny = {}{}\n", "{a=".repeat(10_000), "}".repeat(10_000))),
        ("a-key-of-10000-parts", format!("[x]\n{} = 1\n", vec!["a"; 10_000].join("."))),
        ("a-table-of-10000-parts", format!("[{}]\n", vec!["a"; 10_000].join("."))),
        ("a-number-too-large", "[x]\ny = 99999999999999999999999\n".into()),
        ("100000-tables", (0..100_000).fold(String::new(), |text, i| text + &format!("[x{i}]\n"))),
    ] {
        found.push((format!("text-{name}"), format!("{seed}\n{more}").into_bytes(), refused()));
    }
    for cut in [10, 60, 100, 200] {
        found.push((format!("cut-at-{cut}"), seed.as_bytes()[..cut].to_vec(), refused()));
    }
    found
}

/// Experiments that are valid by their ranges, and are run.
fn trained(seeds: &Seeds, cases: &mut Vec<Case>) {
    for (name, program, own, set, expect) in [
        (
            "explodes",
            "simclr-pretrain",
            "",
            "pretrain.training.learning_rate=1e9 pretrain.training.length={steps=40}",
            super::case::either(&["learning_rate"]),
        ),
        ("no-such-folder", "simclr-pretrain", "", "data.dir=/nowhere", refused(&["/nowhere"])),
        ("other-channels", "simclr-pretrain", "", "data.channels=3", super::case::either(&["data.channels"])),
        (
            "textures-have-3-channels",
            "simclr-pretrain",
            "",
            "data.dataset=\"textures\" data.limit=16 data.channels=1",
            accepted(),
        ),
        ("a-batch-past-the-data", "simclr-pretrain", "", "pretrain.training.batch=64", super::case::either(&["batch"])),
        (
            "a-batch-past-memory",
            "simclr-pretrain",
            "",
            "pretrain.training.batch=1048576",
            refused(&["pretrain.training.batch|memory"]),
        ),
        (
            "images-past-memory",
            "simclr-pretrain",
            "",
            "data.image_size=4096 pretrain.training.batch=4096",
            refused(&["image_size|batch|memory"]),
        ),
        ("a-network-past-memory", "simclr-pretrain", "", "model.width=64", refused(&["model.width|memory"])),
        (
            "a-head-past-memory",
            "simclr-pretrain",
            "",
            "model.width=64 model.proj_dim=65536",
            refused(&["model|memory"]),
        ),
        ("no-such-loss", "simclr-pretrain", "", "pretrain.loss=\"none\"", refused(&["pretrain.loss"])),
        (
            "no-such-setting-of-a-loss",
            "simclr-pretrain",
            "",
            "pretrain.loss={name=\"nt-xent\",queue=4}",
            refused(&["pretrain.loss.queue"]),
        ),
        ("bf16", "simclr-pretrain", "", "dtype=\"bf16\"", accepted()),
        (
            "labels-of-no-class",
            "simclr-finetune",
            "--from scratch --labels 1000-per-class",
            "seed=1",
            super::case::either(&["labels"]),
        ),
        ("labels-0", "simclr-finetune", "--from scratch --labels 0", "seed=1", refused(&["--labels"])),
        ("labels-nan", "simclr-finetune", "--from scratch --labels nan", "seed=1", refused(&["--labels"])),
        ("labels-words", "simclr-finetune", "--from scratch --labels some", "seed=1", refused(&["--labels"])),
        (
            "subset-largest",
            "simclr-finetune",
            "--from scratch --labels 1 --subset 18446744073709551615",
            "seed=1",
            super::case::either(&["subset"]),
        ),
    ] {
        let seeds = seeds.clone();
        cases.push(Case::new("experiments", format!("run-{name}"), program, expect, move |dir| {
            let (config, out) = (seeds.path("hostile.toml"), dir.join("out"));
            let mut line = words(&format!("--config {config} --device cpu --out {} {own}", out.display()));
            set.split(' ').for_each(|pair| line.extend(["--set".to_string(), pair.to_string()]));
            Ok(line)
        }));
    }
}
