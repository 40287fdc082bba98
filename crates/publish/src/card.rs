//! The model card: metadata that the hub reads, and what a person should know, from the run's own files alone.

use crate::describe::timm_has;
use crate::facts::{Facts, RunFacts};
use serde_json::Value as Json;
use simclr_core::config::{LabelAmount, MaxPool, Stem};
use simclr_core::hub::RepoId;
use simclr_core::stages::Method;
use simclr_model::ModelSpec;
use std::fmt::Write;

/// Classes that the card names.
const CLASSES: usize = 30;

/// What a run saw: its name for people, and its place on the hub where it has one.
fn dataset(run: &RunFacts) -> (String, Option<String>) {
    let data = &run.manifest["config"]["data"];
    let name = data["dataset"].as_str().unwrap_or("unknown");
    let hub = data["hub"].as_str();
    let place = hub.or_else(|| simclr_data::source::named(name)?.hub);
    (simclr_data::source::title(name, hub).into(), place.map(String::from))
}

/// `README.md` of the repository.
pub fn write(facts: &Facts, repo: &RepoId, license: &str) -> String {
    let mut out = metadata(facts, repo, license);
    let spec = &facts.spec;
    let _ = write!(out, "\n# {}\n\n{}\n", repo.name, summary(facts));
    out += &network(facts);
    match &facts.run {
        Some(run) => {
            out += &measured(run);
            out += &training(run);
        }
        None => {
            out +=
                "\nNo run was kept beside this checkpoint: how it was trained and what it reaches is not known here.\n"
        }
    }
    out += &loading(spec, repo);
    out += &uses(facts);
    let _ = writeln!(out, "\n## Files\n\n`model.safetensors` has SHA-256 `{}`.", facts.sha256);
    out
}

/// One figure of the model index: type, name, value.
type Figure = (&'static str, String, f64);

/// What this very checkpoint reaches.
fn figures(run: &RunFacts) -> Vec<Figure> {
    let own = |value: &Json, what: &str| -> Vec<Figure> {
        let kinds = [("top1", "accuracy", "Top-1 accuracy"), ("top5", "top_5_accuracy", "Top-5 accuracy")];
        let of =
            |(key, kind, name): (&str, &'static str, &str)| Some((kind, format!("{name}{what}"), value[key].as_f64()?));
        kinds.into_iter().filter_map(of).collect()
    };
    if run.stage.own_row().is_some() {
        return own(&run.result, "");
    }
    let title = |method: &Method| format!(" ({})", method.title().to_lowercase());
    run.rows.iter().flat_map(|(method, row)| own(row, &title(method))).collect()
}

fn metadata(facts: &Facts, repo: &RepoId, license: &str) -> String {
    let timm = timm_has(&facts.spec);
    let task = if facts.spec.classes > 0 { "image-classification" } else { "image-feature-extraction" };
    let library = if timm { "timm" } else { "candle" };
    let mut out = format!("---\nlicense: {license}\nlibrary_name: {library}\npipeline_tag: {task}\ntags:\n");
    let backbone = facts.spec.model.backbone.name.as_str();
    for tag in ["simclr", "simclrv2", "self-supervised", "contrastive-learning", backbone, "candle", "safetensors"] {
        let _ = writeln!(out, "- {tag}");
    }
    let Some(run) = &facts.run else { return out + "---\n" };
    let (name, id) = dataset(run);
    if let Some(id) = &id {
        let _ = writeln!(out, "datasets:\n- {id}");
    }
    let figures = figures(run);
    if !figures.is_empty() {
        let kind = id.unwrap_or_else(|| run.dataset().into());
        let _ = write!(
            out,
            "metrics:\n- accuracy\nmodel-index:\n- name: {}\n  results:\n  - task:\n      type: image-classification\n    \
             dataset:\n      name: {}\n      type: {}\n      split: test\n    metrics:\n",
            yaml(&repo.name),
            yaml(&name),
            yaml(&kind)
        );
        for (kind, name, value) in figures {
            let _ = writeln!(out, "    - type: {kind}\n      name: {name}\n      value: {value}");
        }
    }
    out + "---\n"
}

/// A string in the quotes of JSON, which YAML reads, too.
fn yaml(text: &str) -> String {
    Json::from(text).to_string()
}

fn summary(facts: &Facts) -> String {
    let link = "[SimCLRv2](https://arxiv.org/abs/2006.10029)";
    let Some(run) = &facts.run else {
        return format!("A {} of {link}.", facts.spec.model.title());
    };
    let labels = run.labels().map(LabelAmount::words).unwrap_or_default();
    let about = run.stage.summary.replace("{labels}", &labels).replace("{data}", &dataset(run).0);
    format!("A {}, {}.", facts.spec.model.title(), about.replace("{method}", link))
}

/// A row of a table of two columns.
fn row(name: &str, value: &str) -> String {
    format!("| {name} | {value} |\n")
}

fn network(facts: &Facts) -> String {
    let (spec, m) = (&facts.spec, &facts.spec.model);
    let stem = match m.stem {
        _ if !m.is_resnet() => String::new(),
        Stem::Cifar => row("stem", "one 3x3 convolution at full resolution, no pool"),
        _ if m.sk_ratio > 0.0 => row("stem", "three 3x3 convolutions, the first strided, and a max pool"),
        _ => row("stem", "a strided 7x7 convolution and a max pool"),
    };
    let online = facts.run.as_ref().is_some_and(|run| run.stage.own_row().is_none());
    let classifier = match (spec.classes, spec.proj_selector) {
        (0, _) => "none".to_string(),
        (n, _) if online => format!(
            "{n} classes, trained beside the encoder with all labels, to watch it: no gradient of \
            it reached the encoder"
        ),
        (n, 0) => format!("{n} classes, on the encoder's features"),
        (n, k) => format!("{n} classes, on the output of layer {k} of the projection head (-1: the last)"),
    };
    let names = classes(spec).map_or_else(String::new, |names| row("classes", &names));
    format!(
        "\n| | |\n|---|---|\n| network | {} |\n{stem}| projection head | {} layers, {} outputs |\n\
         | classifier | {classifier} |\n{names}| parameters | {} in the file, running statistics aside |\n\
         | images | {}x{}, {} channels, values in 0..1, not normalised by mean and deviation |\n",
        m.title(),
        m.proj_layers,
        m.proj_dim,
        facts.parameters,
        spec.image_size,
        spec.image_size,
        spec.in_channels
    )
}

/// Names of the classes, where they say more than numbers; some of them where they are many.
fn classes(spec: &ModelSpec) -> Option<String> {
    let names = &spec.class_names;
    if names.iter().enumerate().all(|(i, name)| *name == i.to_string()) {
        return None;
    }
    let plain = |name: &String| name.replace('|', "\\|").replace(['\n', '\r'], " ");
    let some = names.iter().take(CLASSES).map(plain).collect::<Vec<_>>().join(", ");
    Some(match names.len().saturating_sub(CLASSES) {
        0 => some,
        more => format!("{some}, and {more} more: `class_names` in `config.json` has them all, in order"),
    })
}

fn measured(run: &RunFacts) -> String {
    let figures = figures(run);
    if figures.is_empty() {
        return "\nIts accuracy was not measured.\n".into();
    }
    let mut out = format!("\n## Measured\n\nOn the test images of {}:\n\n| | % |\n|---|---|\n", dataset(run).0);
    for (_, name, value) in figures {
        let _ = writeln!(out, "| {name} | {:.2} |", 100.0 * value);
    }
    for row in run.rows.iter().map(|(_, row)| row).filter(|row| row["n"].as_u64().is_some_and(|n| n > 1)) {
        let percent = |key: &str| 100.0 * row[key].as_f64().unwrap_or(f64::NAN);
        let _ = writeln!(
            out,
            "\nOver {} random subsets of the labels, this one among them, top-1 is {:.2} ± {:.2} (mean, deviation).",
            row["n"],
            percent("top1"),
            percent("top1_std")
        );
    }
    out
}

fn training(run: &RunFacts) -> String {
    let (manifest, result) = (&run.manifest, &run.result);
    let mut rows = vec![
        ("stage".to_string(), run.stage.name.to_string()),
        ("images".into(), format!("{} of {}", result["examples"], dataset(run).0)),
    ];
    if let Some(labels) = run.labels() {
        rows.push(("labels".into(), format!("{} (subset {})", labels.words(), manifest["subset"])));
    }
    for (name, value) in manifest["config"][run.stage.name].as_object().into_iter().flatten() {
        match value {
            Json::Object(inner) if name == "training" => rows.extend(inner.iter().map(|(k, v)| (k.clone(), plain(v)))),
            Json::Object(_) | Json::Null | Json::Array(_) => {}
            value => rows.push((name.clone(), plain(value))),
        }
    }
    let seconds = result["seconds"].as_f64().unwrap_or_default();
    rows.push(("steps".into(), result["steps"].to_string()));
    rows.push(("time".into(), format!("{} s on {}", (seconds * 10.0).round() / 10.0, plain(&result["device"]))));
    rows.push(("seed".into(), manifest["config"]["seed"].to_string()));
    rows.push(("version".into(), format!("{}, numerics {}", plain(&manifest["version"]), manifest["numerics"])));
    for (name, hash) in manifest["inputs"].as_object().into_iter().flatten() {
        rows.push((format!("started from ({name})"), format!("SHA-256 `{}`", plain(hash))));
    }
    let mut out = String::from("\n## Training\n\n| | |\n|---|---|\n");
    for (name, value) in rows {
        let _ = writeln!(out, "| {name} | {} |", value.replace('|', "\\|"));
    }
    out + "\n`config.toml` is the whole experiment, every default written out (folders of the author's machine aside).\n"
}

fn plain(value: &Json) -> String {
    match (value, value.as_f64()) {
        (Json::String(text), _) => text.clone(),
        // A number of single precision that was kept as a double: the digits that it does not have are left out.
        (Json::Number(_), Some(v)) if value.is_f64() && f64::from(v as f32) == v => (v as f32).to_string(),
        (Json::Object(map), _) if map.len() == 1 => map.iter().map(|(unit, n)| format!("{n} {unit}")).collect(),
        _ => value.to_string(),
    }
}

fn loading(spec: &ModelSpec, repo: &RepoId) -> String {
    let size = spec.image_size;
    let channels = spec.in_channels;
    let mut out = format!(
        "\n## How to load it\n\nIn Rust, every command of the project takes it by name:\n\n```sh\n\
         simclr-eval embed --checkpoint hf://{repo} --images DIR --out features.safetensors\n\
         simclr-finetune --config my-experiment.toml --from hf://{repo} --labels 0.1 --out runs/mine\n```\n\n\
         ```rust\nlet model = simclr_stage::Checkpoint::load(\"hf://{repo}\".as_ref())?.model()?;\n\
         let features = model.features(std::iter::once(Ok(images)), 0)?; // images: f32 [N, {size}, {size}, {channels}]\n\
         ```\n"
    );
    if !spec.model.is_resnet() {
        return out;
    }
    let _ = write!(
        out,
        "\nIn Python, `simclr_resnet.py` of this repository is the same network and gives the same numbers:\n\n\
         ```python\nimport sys\nfrom huggingface_hub import snapshot_download\n\n\
         folder = snapshot_download(\"{repo}\")\nsys.path.insert(0, folder)\nimport simclr_resnet\n\n\
         model = simclr_resnet.load(folder)\nfeatures = model.features(images)  # float32 [N, {channels}, {size}, {size}] in 0..1\n\
         outputs = model(images)  # {}\n```\n",
        if spec.classes > 0 { "logits" } else { "features: it has no classifier" }
    );
    if timm_has(spec) && spec.model.max_pool == MaxPool::Torch {
        let _ = write!(
            out,
            "\ntimm loads the same weights:\n\n```python\nimport timm\n\n\
             model = timm.create_model(\"hf-hub:{repo}\", pretrained=True).eval()\n```\n",
        );
    } else if timm_has(spec) {
        let _ = write!(
            out,
            "\ntimm loads the same weights; its max pool stands one pixel elsewhere, which the second line mends:\n\n\
             ```python\nimport timm\n\nmodel = timm.create_model(\"hf-hub:{repo}\", pretrained=True).eval()\n\
             model.maxpool = timm.layers.create_pool2d(\"max\", 3, stride=2, padding=\"same\")\n```\n\n\
             Without that line, and in torchvision's `resnet{}` by state dict, outputs are close but not equal.{}\n",
            spec.model.depth,
            if spec.classes > 0 && spec.proj_selector != 0 {
                " The classifier stands on the projection head, which timm does not have: it gets the encoder alone."
            } else {
                ""
            }
        );
    }
    out
}

fn uses(facts: &Facts) -> String {
    let mut out = String::from("\n## Intended use\n\n");
    out += match facts.spec.classes {
        0 => "Features of images for research: nearest neighbours, linear probes, fine-tuning on few labels.",
        _ => {
            "Research: classification of images like those that it was trained on, features for nearest neighbours and \
              linear probes, and as a start for fine-tuning or distillation."
        }
    };
    out += " Nobody has examined it for use on people, or where a mistake does harm. It tells nothing \
            reliable of images unlike those named below.\n\n## Trained on\n\n";
    match &facts.run {
        None => out += "Not known here.\n",
        Some(run) => {
            let (name, id) = dataset(run);
            let place = id.map(|id| format!(" ([{id}](/datasets/{id}))")).unwrap_or_default();
            let _ = write!(out, "{name}{place}: {} images in this stage.", run.result["examples"]);
            if run.manifest["inputs"].as_object().is_some_and(|inputs| !inputs.is_empty()) {
                out += " What the checkpoint that it started from had seen is not told here.";
            }
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;
    use simclr_core::stages;

    fn facts(name: &str, labels: Json, result: Json, rows: Vec<Json>) -> Facts {
        let stage = stages::named(name).unwrap();
        let rows = rows.into_iter().zip(Method::of(stage, None)).map(|(row, method)| (method, row)).collect();
        let manifest = json!({
            "stage": name, "labels": labels, "subset": 1, "version": "0.1.0", "numerics": 3,
            "inputs": {"checkpoint": "abc"},
            "config": {"seed": 5, "data": {"dataset": "cifar10"}, name: {
                "min_area": f64::from(0.08_f32), "training": {"length": {"epochs": 2.0}, "optimizer": "sgd"}
            }},
        });
        let run = RunFacts { manifest, result, config: toml::Table::new(), rows, stage };
        let model = serde_json::from_value(json!({"depth": 50, "sk_ratio": 0.0625})).unwrap();
        let spec = ModelSpec::new(&model, 3, 32, 10, 1);
        Facts { weights: "w".into(), sha256: "5ad".into(), spec, parameters: 12, run: Some(run) }
    }

    #[test]
    fn figures_are_those_of_the_files() {
        let repo: RepoId = "me/net".parse().unwrap();
        let row = json!({"name": "finetuned", "labels": 0.1, "top1": 0.8, "top1_std": 0.01, "n": 3});
        let result =
            json!({"top1": 0.8125, "top5": 0.99, "examples": 5000, "steps": 7, "seconds": 12.34, "device": "cpu"});
        let card = write(&facts("finetune", json!(0.1), result, vec![row]), &repo, "mit");
        for part in [
            "license: mit\n",
            "datasets:\n- uoft-cs/cifar10\n",
            "- type: accuracy\n      name: Top-1 accuracy\n      value: 0.8125\n",
            "ResNet-50 with selective kernels, fine-tuned on 10 % of the labels of CIFAR-10",
            "| Top-1 accuracy | 81.25 |",
            "Over 3 random subsets of the labels, this one among them, top-1 is 80.00 ± 1.00",
            "| labels | 10 % of the labels (subset 1) |",
            "| min_area | 0.08 |",
            "| length | 2.0 epochs |",
            "| time | 12.3 s on cpu |",
            "hf://me/net",
        ] {
            assert!(card.contains(part), "{part:?} in {card}");
        }
        assert!(!card.contains("timm"), "timm does not have this network");
    }

    #[test]
    fn what_was_not_measured_is_not_told() {
        let repo: RepoId = "me/net".parse().unwrap();
        let result = json!({"examples": 50, "steps": 7, "seconds": 1.0, "device": "cpu", "online_test_top1": 0.9});
        let card = write(&facts("pretrain", Json::Null, result, vec![]), &repo, "mit");
        assert!(card.contains("was not measured") && !card.contains("model-index"), "{card}");
        let bare = write(&Facts { run: None, ..facts("pretrain", Json::Null, json!({}), vec![]) }, &repo, "mit");
        assert!(bare.contains("not known here") && !bare.contains("CIFAR"), "{bare}");
    }

    #[test]
    fn classes_are_named_and_many_are_shortened() {
        let repo: RepoId = "me/net".parse().unwrap();
        let mut facts = Facts { run: None, ..facts("pretrain", Json::Null, json!({}), vec![]) };
        let with = |facts: &mut Facts, names: Vec<String>| {
            facts.spec.classes = names.len();
            facts.spec.class_names = names;
            write(facts, &repo, "mit")
        };
        let card = with(&mut facts, vec!["cat".into(), "a|b".into()]);
        assert!(card.contains("| classes | cat, a\\|b |\n"), "{card}");
        let many = with(&mut facts, (0..100).map(|i| format!("kind {i}")).collect());
        assert!(many.contains("kind 29, and 70 more") && !many.contains("kind 30"), "{many}");
        let numbers = with(&mut facts, (0..3).map(|i| i.to_string()).collect());
        assert!(!numbers.contains("| classes |"), "{numbers}");
    }

    #[test]
    fn another_backbone_is_no_resnet() {
        let repo: RepoId = "me/net".parse().unwrap();
        let mut facts = Facts { run: None, ..facts("pretrain", Json::Null, json!({}), vec![]) };
        facts.spec.model = serde_json::from_value(json!({"backbone": "vit"})).unwrap();
        let card = write(&facts, &repo, "mit");
        assert!(card.contains("| network | backbone vit |") && card.contains("- vit\n"), "{card}");
        for wrong in ["ResNet", "stem", "simclr_resnet.py", "timm"] {
            assert!(!card.contains(wrong), "{wrong} in {card}");
        }
    }
}
