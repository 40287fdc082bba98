//! A small repository with pages and results, and what is said when either does not fit.
#![allow(clippy::unwrap_used)]

use super::*;
use serde_json::{Value, json};
use simclr_core::run::layout::{MANIFEST, REPORT, RESULT, RESULTS};

struct Repository(tempfile::TempDir);

impl Repository {
    /// One with a page of results of `tiny`, which are of this code.
    fn new() -> Self {
        let repository = Self(tempfile::tempdir().unwrap());
        let readme = "# R\n\n<!-- results: tiny -->\n<!-- end -->\n\nMore.\n";
        repository.put("README.md", readme);
        repository
            .put("docs/results.md", "<!-- studies: claims -->\n<!-- end -->\n<!-- studies: tables -->\n<!-- end -->\n");
        repository.put("results/tiny.json", &tiny().to_string());
        repository
    }

    fn root(&self) -> &Path {
        self.0.path()
    }

    fn put(&self, name: &str, text: &str) {
        let path = self.root().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.root().join(name)).unwrap()
    }

    fn run(&self, name: &str, seed: u64, top1: f64) -> PathBuf {
        self.report(
            name,
            json!({"config": "tiny", "seed": seed, "seconds": 60.0, "missing": [], "rows": [
                {"name": "finetuned", "labels": 0.01, "params": 10, "top1_each": [top1]},
                {"name": "distilled-small", "labels": 0.01, "params": 5, "top1_each": [top1]},
            ]}),
            NUMERICS,
        )
    }

    fn report(&self, name: &str, results: Value, numerics: u32) -> PathBuf {
        self.put(&format!("{name}/{REPORT}/{RESULTS}"), &results.to_string());
        self.put(
            &format!("{name}/labels-0.01/subset-0/finetuned/{MANIFEST}"),
            &json!({"numerics": numerics}).to_string(),
        );
        self.root().join(name)
    }

    fn add(&self, runs: &[PathBuf]) -> Result<(PathBuf, String)> {
        self.add_beside(runs, None)
    }

    fn add_beside(&self, runs: &[PathBuf], propagated: Option<&Path>) -> Result<(PathBuf, String)> {
        let text = |text: &str| text.to_string();
        let place = Where { commit: text("abc"), hardware: text("H"), date: text("2026-11-28") };
        add(self.root(), None, runs, propagated, &place)
    }

    fn propagated(&self, name: &str, changed: Value) {
        let mut result = json!({"top1": 0.5, "labels": 0.01, "subset": 0, "features": "pixels", "numerics": NUMERICS});
        result.as_object_mut().unwrap().extend(changed.as_object().unwrap().clone());
        self.put(&format!("{name}/{RESULT}"), &result.to_string());
    }
}

fn tiny() -> Value {
    json!({
        "experiment": "tiny", "config": "configs/tiny.toml", "about": "20 test images", "over": "seeds 0, 1", "images_a_class": 1000,
        "made": {"commit": "abc", "numerics": NUMERICS, "hardware": "two cores", "date": "2026-11-28", "seconds": 90.0},
        "rows": [
            {"method": "supervised", "title": "Supervised", "labels": 0.01, "top1": 0.5, "top1_std": 0.1, "n": 3},
            {"method": "finetuned", "title": "Fine-tuned", "labels": 0.01, "params": 700000, "top1_each": [0.7, 0.8]},
            {"method": "finetuned", "title": "Fine-tuned", "labels": 0.1, "params": 700000, "top1_each": [0.9, 0.9]},
            {"method": "knn", "title": "Nearest neighbours", "labels": 1.0, "params": 700000, "top1_each": [0.6]},
        ],
    })
}

#[test]
fn a_table_has_a_row_a_method_and_a_column_an_amount() {
    let repository = Repository::new();
    assert_eq!(write(repository.root()).unwrap().len(), 2);
    let page = repository.read("README.md");
    for line in [
        "`configs/tiny.toml`: 20 test images; n values over seeds 0, 1.",
        "| | parameters | n | 1 % (10 a class) | 10 % (100 a class) |",
        "| Supervised | | 3 | 50.00 ± 10.00 | |",
        "| Fine-tuned | 0.70 M | 2 | 75.00 ± 7.07 (70.00, 80.00) | 90.00 ± 0.00 (90.00, 90.00) |",
        "On the frozen encoder, by all labels: Nearest neighbours 60.00.",
        "More.",
    ] {
        assert!(page.lines().any(|l| l == line), "{line}\nis not in\n{page}");
    }
    assert!(page.contains("two cores; 1 min 30 s a run; 2026-11-28, commit abc, numerics"), "{page}");
    assert_eq!(complaints(repository.root()).unwrap(), [""; 0]);
    assert!(write(repository.root()).unwrap().is_empty());
}

#[test]
fn an_edit_by_hand_is_seen() {
    let repository = Repository::new();
    write(repository.root()).unwrap();
    let page = repository.read("README.md");
    repository.put("README.md", &page.replace("75.00", "95.00"));
    let said = complaints(repository.root()).unwrap().join("\n");
    assert!(said.contains("edited by hand") && said.contains("95.00") && said.contains("75.00"), "{said}");
    // Outside of tables anything may stand.
    repository.put("README.md", &page.replace("More.", "Other words."));
    assert_eq!(complaints(repository.root()).unwrap(), [""; 0]);
}

#[test]
fn results_of_an_earlier_code_say_so() {
    let repository = Repository::new();
    let mut old = tiny();
    old["made"]["numerics"] = json!(NUMERICS - 1);
    repository.put("results/tiny.json", &old.to_string());
    write(repository.root()).unwrap();
    let said = complaints(repository.root()).unwrap().join("\n");
    assert!(said.contains("tiny.json: is of numerics") && said.contains("`stale`"), "{said}");
    old["stale"] = json!("it takes a week");
    repository.put("results/tiny.json", &old.to_string());
    write(repository.root()).unwrap();
    assert_eq!(complaints(repository.root()).unwrap(), [""; 0]);
    assert!(repository.read("README.md").contains("it takes a week"));
    // What is new has no such excuse.
    old["made"]["numerics"] = json!(NUMERICS);
    repository.put("results/tiny.json", &old.to_string());
    write(repository.root()).unwrap();
    assert!(complaints(repository.root()).unwrap().join("\n").contains("take it out"));
}

#[test]
fn every_file_is_shown_and_every_mark_has_a_file() {
    let repository = Repository::new();
    repository.put("results/other.json", &tiny().to_string());
    write(repository.root()).unwrap();
    let said = complaints(repository.root()).unwrap().join("\n");
    assert!(said.contains("other.json: no page shows it"), "{said}");
    repository.put("README.md", "<!-- results: nothing -->\n<!-- end -->\n");
    assert!(format!("{:#}", write(repository.root()).unwrap_err()).contains("there is no results/nothing.json"));
    let mut wrong = tiny();
    wrong["rows"][1]["top1_each"] = json!([75.0]);
    repository.put("results/tiny.json", &wrong.to_string());
    assert!(
        format!("{:#}", write(repository.root()).unwrap_err())
            .contains("finetuned with 1 % of the labels: expected values")
    );
}

#[test]
fn finished_runs_of_one_experiment_become_a_file() {
    let repository = Repository::new();
    let runs = [repository.run("a", 0, 0.5), repository.run("b", 1, 0.75)];
    let (path, said) = repository.add(&runs).unwrap();
    assert!(path.ends_with("results/tiny.json") && said == "2 values of each, over seeds 0, 1", "{said}");
    let Kind::Measured(measured) = File::read(&path).unwrap().kind else { panic!("not an experiment") };
    // Words of the file that was there stay; what it had no words for is called as in a report.
    assert_eq!((measured.about.as_str(), measured.images_a_class), ("20 test images", Some(1000)));
    let titles: Vec<&str> = measured.rows.iter().map(|row| row.title.as_str()).collect();
    assert_eq!(titles, ["Fine-tuned", "Distilled: small"]);
    assert!(measured.table().contains("62.50 ± 17.68 (50.00, 75.00)"), "{}", measured.table());

    let refused = |runs: &[PathBuf], why: &str| {
        let message = repository.add(runs).unwrap_err().to_string();
        assert!(message.contains(why), "{message}");
    };
    refused(&[runs[0].clone(), repository.run("again", 0, 0.5)], "both are of seed 0");
    refused(&[repository.root().join("nowhere")], "no report is there");
    let empty = |config: &str, missing: &[&str]| json!({"config": config, "seed": 7, "seconds": 1.0, "missing": missing, "rows": []});
    refused(&[repository.report("c", empty("tiny", &["distilled"]), NUMERICS)], "distilled is missing");
    refused(&[repository.report("d", empty("tiny", &[]), NUMERICS - 1)], "run it again");
    refused(&[runs[0].clone(), repository.report("e", empty("else", &[]), NUMERICS)], "one file holds one experiment");
    refused(&[runs[0].clone(), repository.report("f", empty("tiny", &[]), NUMERICS)], "different rows");
}

#[test]
fn labels_spread_over_pixels_are_a_row_beside_networks() {
    let repository = Repository::new();
    let runs = [repository.run("a", 0, 0.5)];
    let spread = repository.root().join("spread");
    repository.propagated("spread/labels-0.01/subset-2", json!({"subset": 2, "top1": 0.75}));
    repository.propagated("spread/labels-0.01/subset-1", json!({"subset": 1}));
    repository.propagated("spread/labels-0.1/subset-0", json!({"labels": 0.1, "top1": 0.875}));
    let (path, _) = repository.add_beside(&runs, Some(&spread)).unwrap();
    let Kind::Measured(measured) = File::read(&path).unwrap().kind else { panic!("not an experiment") };
    let row = "| Labels spread over nearest pixels | | 1, 2 | 62.50 ± 17.68 (50.00, 75.00) | 87.50 |";
    assert!(measured.table().lines().any(|line| line == row), "{}", measured.table());

    let refused = |changed: Value, why: &str| {
        repository.propagated("spread/labels-0.1/subset-1", changed);
        let message = repository.add_beside(&runs, Some(&spread)).unwrap_err().to_string();
        assert!(message.contains(why), "{message}");
    };
    refused(json!({"features": "runs/a"}), "without a network");
    refused(json!({"numerics": NUMERICS - 1}), "run it again");
    refused(json!({"numerics": null}), "run it again");
}

fn study() -> Value {
    json!({
        "study": "head", "scale": "small", "title": "Depth of the head", "question": "Is a deeper head better?",
        "base": "base/textures.toml", "dataset": "textures, 2000 test images",
        "axes": [{"name": "depth", "title": "layers", "values": ["2", "3"]}],
        "made": {"commit": "abc", "numerics": NUMERICS, "hardware": "two cores", "simd": "avx2", "date": "2026-11-28",
            "seconds": 3600.0, "runs": 12, "at_once": 2},
        "cells": [{"id": "2", "values": {"depth": "2"}, "differs": [], "measures": [{"method": "finetuned", "labels": 0.01,
            "seeds": [0, 1], "top1": [0.5, 0.6], "params": 700000, "seconds": 5.0, "runs": ["a", "b"]}],
            "cost": 1.0}],
        "claims": [{"text": "deeper is better", "difference": "3 less 2", "mean": 2.0, "interval": [0.5, 3.5], "n": 3,
            "verdict": "confirmed", "published": 1.5}],
        "published": [{"title": "Table 9", "columns": ["head", "top-1"], "rows": [["2", "60.1"]]}],
        "missing": [], "conclusions": ["Take 3."],
    })
}

#[test]
fn studies_have_their_claims_and_cells() {
    let repository = Repository::new();
    let mut unfinished = study();
    unfinished["missing"] = json!(["x"]);
    repository.put(&format!("runs/head/{RESULTS}"), &unfinished.to_string());
    let folder = [repository.root().join("runs/head")];
    assert!(repository.add(&folder).unwrap_err().to_string().contains("have not finished"));
    repository.put(&format!("runs/head/{RESULTS}"), &study().to_string());
    assert!(repository.add(&folder).unwrap().0.ends_with("results/head-small.json"));
    write(repository.root()).unwrap();
    let page = repository.read("docs/results.md");
    for line in [
        "| head, small | deeper is better | +2.00 [+0.50, +3.50] | 3 | confirmed | +1.5 |",
        "### Depth of the head (`head`, small)",
        "| layers | method | parameters | n | 1 % of the labels |",
        "| 2 | finetuned | 0.70 M | 2 | 55.00 ± 7.07 |",
        "- Take 3.",
        "Published, not measured here: Table 9",
        "| 2 | 60.1 |",
    ] {
        assert!(page.lines().any(|l| l == line), "{line}\nis not in\n{page}");
    }
    assert!(
        page.contains("two cores (avx2); 12 runs, 2 at once, 1 h 0 min of computing; 2026-11-28, commit abc"),
        "{page}"
    );
    assert_eq!(complaints(repository.root()).unwrap(), [""; 0]);
}
