//! A study for tests, and mistakes in its file.
#![allow(clippy::unwrap_used)]

use crate::Study;
use std::path::Path;

const TEXT: &str = r#"
title = "A test"
question = "Does it work?"
measure = ["finetuned", "linear-eval"]

[[axis]]
name = "layers"
title = "Layers"
values = [
    { name = "1", set = { model.proj_layers = 3 } },
    { name = "2", set = { model.proj_layers = 2, finetune.proj_selector = 0 } },
]

[[axis]]
name = "temperature"
title = "Temperature"
values = [
    { name = "low", set = { pretrain.temperature = 0.05 } },
    { name = "high", set = { pretrain.temperature = 1.0 }, measure = ["linear-eval"] },
]

[[skip]]
layers = "2"
temperature = "high"

[[claim]]
text = "Less is more"
difference = "1 less 2"
plus = [{ cell = { layers = "1", temperature = "low" }, method = "finetuned", labels = 0.01 }]
minus = [{ cell = { layers = "2", temperature = "low" }, method = "finetuned", labels = 0.01 }]

[scale.small]
base = "BASE"
seeds = [0, 1]
set = { reproduce.labels = [0.01] }
"#;

fn base() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/experiments/base/textures.toml").display().to_string()
}

fn load(text: &str) -> anyhow::Result<Study> {
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    std::fs::write(file.path(), text.replace("BASE", &base())).unwrap();
    Study::load(file.path(), "small")
}

/// Two axes of two values, one combination skipped.
pub fn study() -> Study {
    load(TEXT).unwrap()
}

#[test]
fn a_mistake_is_named() {
    for (from, to, said) in [
        ("seeds = [0, 1]", "seeds = []", "seeds = []"),
        ("seeds = [0, 1]", "seeds = [1, 1]", "\"1\" stands twice"),
        ("[scale.small]", "[scale.large]", "no scale \"small\"; it has large"),
        ("name = \"low\"", "name = \"a/b\"", "use letters"),
        ("layers = \"2\"\n", "layers = \"5\"\n", "no \"5\", but 1, 2"),
        (
            "measure = [\"finetuned\", \"linear-eval\"]",
            "measure = [\"knn\"]",
            "\"linear-eval\", which is not in measure",
        ),
        ("method = \"finetuned\"", "method = \"knn\"", "\"knn\" is not in measure"),
        ("difference =", "differences =", "unknown key"),
        ("title = \"A test\"", "", "missing key title"),
    ] {
        assert!(TEXT.contains(from), "{from}");
        let message = format!("{:#}", load(&TEXT.replacen(from, to, 1)).unwrap_err());
        assert!(message.contains(said), "{said}: {message}");
    }
}

/// Every study of the project at every scale: each cell is a valid experiment, and each claim finds its cells.
#[test]
fn all_studies_can_be_planned() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/experiments");
    let mut found = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        found += 1;
        for scale in ["small", "medium", "paper"] {
            let study = Study::load(&path, scale).unwrap();
            assert!(scale != "small" || study.seeds.len() >= 3, "{}: an interval needs three seeds", study.name);
            let plan = crate::Plan::new(study, &crate::Choice::default(), Path::new("pool")).unwrap();
            for claim in &plan.study.claims {
                for term in claim.plus.iter().chain(&claim.minus) {
                    let cell =
                        plan.cells.iter().filter(|cell| term.cell.iter().all(|(k, v)| cell.values.get(k) == Some(v)));
                    let cells: Vec<_> = cell.collect();
                    assert_eq!(cells.len(), 1, "{} at {scale}: {}", plan.study.name, claim.text);
                    let measured = cells[0].measure.contains(&term.method);
                    assert!(measured, "{} at {scale}: {} of {}", plan.study.name, term.method, cells[0].id);
                }
            }
        }
    }
    assert!(found >= 7, "{found} studies");
}
