//! Made-up outcomes of the shapes that studies have, for tests of what is shown of them. No number here was measured.

use crate::outcome::{Axis, Cell, Claim, Made, Measure, Outcome, Published, Verdict};
use simclr_core::config::LabelAmount;
use simclr_core::rng::{Purpose, Rng};
use simclr_report::look::{Judge, Look, Map, Query};
use std::collections::BTreeMap;

/// Studies that [`outcome`] makes up.
pub const STUDIES: [&str; 7] =
    ["model-size", "head", "distill-objective", "distill-student", "memory", "labels", "temperature"];

/// What a cell is asked for: its values by axis, its parameters, how much better it is than others.
type Wanted = (Vec<(&'static str, String)>, u64, f64);

/// A title, axes with their titles, cells, and methods with their labels.
type Shape = (&'static str, Vec<(&'static str, &'static str)>, Vec<Wanted>, Vec<(&'static str, LabelAmount)>);

/// The outcome of one of [`STUDIES`]; `labels` is what any other name gets.
pub fn outcome(study: &str) -> Outcome {
    let one = |axis: &'static str, values: &[(&str, u64, f64)]| -> Vec<Wanted> {
        values.iter().map(|(value, params, better)| (vec![(axis, value.to_string())], *params, *better)).collect()
    };
    let share = LabelAmount::Share;
    let (title, axes, cells, methods): Shape = match study {
        "model-size" => (
            "Bigger networks, fewer labels",
            vec![("size", "Network")],
            one(
                "size",
                &[
                    ("18, width 1/8", 180_000, 0.0),
                    ("18, width 1/8, SK", 230_000, 0.02),
                    ("18, width 1/4", 700_000, 0.05),
                    ("34, width 1/4", 1_340_000, 0.06),
                    ("18, width 1/4, SK", 950_000, 0.07),
                    ("18, width 1/2", 2_800_000, 0.09),
                ],
            ),
            vec![
                ("supervised", share(0.01)),
                ("finetuned", share(0.01)),
                ("supervised", share(0.1)),
                ("finetuned", share(0.1)),
                ("linear-eval", LabelAmount::ALL),
            ],
        ),
        "head" => {
            let mut cells = Vec::new();
            for layers in 2i32..=4 {
                for from in 0..=layers {
                    let values = vec![("layers", layers.to_string()), ("from", from.to_string())];
                    let better = 0.01 * f64::from(layers) + 0.03 * f64::from(from) * f64::from(3 - from);
                    cells.push((values, 700_000 + 16_000 * layers as u64, better));
                }
            }
            let methods = vec![("finetuned", share(0.01)), ("finetuned", share(0.1))];
            (
                "How deep a head, and from which layer",
                vec![("layers", "Layers of the head"), ("from", "Fine-tuned from")],
                cells,
                methods,
            )
        }
        "distill-objective" => (
            "What the student is trained on",
            vec![("objective", "Objective")],
            one(
                "objective",
                &[
                    ("labels only", 700_000, 0.0),
                    ("labels and distillation, labeled images", 700_000, 0.04),
                    ("labels and distillation, all images", 700_000, 0.2),
                    ("distillation only, all images", 700_000, 0.19),
                ],
            ),
            vec![("distilled-student", share(0.01)), ("distilled-student", share(0.1))],
        ),
        "distill-student" => (
            "Students of many sizes",
            vec![("student", "Student")],
            one(
                "student",
                &[("same network", 2_800_000, 0.1), ("18, width 1/4", 700_000, 0.08), ("18, width 1/8", 180_000, 0.0)],
            ),
            vec![("finetuned", share(0.01)), ("distilled-student", share(0.01)), ("distilled-student", share(0.1))],
        ),
        "memory" => (
            "A memory of negatives",
            vec![("memory", "Memory")],
            one("memory", &[("without", 700_000, 0.02), ("with", 700_000, 0.0)]),
            vec![
                ("finetuned", share(0.01)),
                ("finetuned", share(0.1)),
                ("linear-eval", LabelAmount::ALL),
                ("knn", LabelAmount::ALL),
            ],
        ),
        "temperature" => (
            "Temperature of the contrastive loss",
            vec![("temperature", "Temperature")],
            one(
                "temperature",
                &[
                    ("0.05", 700_000, 0.0),
                    ("0.1", 700_000, 0.03),
                    ("0.2", 700_000, 0.04),
                    ("0.5", 700_000, 0.02),
                    ("1.0", 700_000, -0.03),
                ],
            ),
            vec![("finetuned", share(0.01)), ("linear-eval", LabelAmount::ALL)],
        ),
        _ => {
            let amounts = [0.01, 0.05, 0.1, 0.5, 1.0];
            let mut methods: Vec<_> = amounts
                .iter()
                .flat_map(|amount| [("supervised", share(*amount)), ("finetuned", share(*amount))])
                .collect();
            methods.push(("linear-eval", LabelAmount::ALL));
            ("How many labels pretraining is worth", vec![], vec![(vec![], 700_000, 0.1)], methods)
        }
    };
    let axes: Vec<Axis> = axes
        .into_iter()
        .map(|(name, title)| {
            let mut values: Vec<String> = Vec::new();
            let of = cells.iter().flat_map(|(of, ..)| of).filter(|(axis, _)| *axis == name);
            of.for_each(|(_, value)| {
                if !values.contains(value) {
                    values.push(value.clone())
                }
            });
            Axis { name: name.into(), title: title.into(), values }
        })
        .collect();
    let cells: Vec<Cell> = cells.iter().map(|wanted| cell(study, wanted, &methods)).collect();
    Outcome {
        study: study.into(),
        scale: "small".into(),
        title: title.into(),
        question: "Made up for a test: does what the paper found on ImageNet show on small pictures <as well>, and by how much?".into(),
        base: "configs/textures.toml".into(),
        dataset: "procedural textures, 2000 test images".into(),
        axes,
        made: Made {
            commit: "0123456789abcdef0123456789abcdef01234567+".into(),
            numerics: 7,
            hardware: "a made-up processor, 2 cores".into(),
            simd: "avx512".into(),
            date: "2026-11-28".into(),
            seconds: 3456.0,
            runs: 42,
            at_once: 1,
        },
        cells,
        claims: claims(),
        conclusions: vec![],
        published: vec![Published {
            title: "Table 1 of the paper: top-1 on ImageNet".into(),
            columns: ["ResNet", "Parameters (M)", "1 %", "10 %", "100 %", "Linear", "Supervised"].map(String::from).to_vec(),
            rows: [["50", "24", "57.9", "68.4", "76.3", "71.7", "76.6"], ["152, 3x, SK", "795", "74.9", "80.1", "83.1", "79.8", "80.5"]]
                .iter()
                .map(|row| row.map(String::from).to_vec())
                .collect(),
        }],
        missing: vec![],
    }
}

fn cell(study: &str, (values, params, better): &Wanted, methods: &[(&str, LabelAmount)]) -> Cell {
    let id = values.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>().join("-");
    let measure = |(method, labels): &(&str, LabelAmount)| {
        let mut rng = Rng::stream(*params, Purpose::Test, &[study.len() as u64, method.len() as u64, id.len() as u64]);
        let amount = if let LabelAmount::Share(share) = labels { *share } else { 1.0 };
        let base = 0.75 + 0.07 * libm::log10(amount) + better + if *method == "supervised" { -0.1 } else { 0.0 };
        Measure {
            method: (*method).into(),
            labels: *labels,
            seeds: vec![0, 1, 2],
            top1: (0..3).map(|_| base + 0.012 * f64::from(rng.normal())).collect(),
            params: *params,
            seconds: 95.5,
            runs: (0..3).map(|seed| format!("runs-of-{id}/{method}-{labels}-{seed}")).collect(),
        }
    };
    let differs = values.iter().map(|(axis, value)| [format!("table.{axis}"), "\"base\"".into(), format!("{value:?}")]);
    Cell {
        id: if id.is_empty() { "base".into() } else { id.clone() },
        values: values.iter().map(|(axis, value)| (axis.to_string(), value.clone())).collect::<BTreeMap<_, _>>(),
        differs: differs.collect(),
        cost: *params as f64 / 700_000.0,
        measures: methods.iter().map(measure).collect(),
    }
}

/// One of each verdict.
fn claims() -> Vec<Claim> {
    let claim = |text: &str, mean: f64, interval: [f64; 2], verdict, published| Claim {
        text: text.into(),
        difference: "the largest network less the smallest, fine-tuned on 1 % of the labels".into(),
        mean,
        interval,
        n: if verdict == Verdict::Open { 1 } else { 3 },
        verdict,
        published,
    };
    vec![
        claim("Bigger networks are better with few labels.", 9.03, [6.2, 11.86], Verdict::Confirmed, Some(17.0)),
        claim("The gain is larger where labels are fewer.", 0.85, [-1.3, 3.0], Verdict::NotSeen, Some(5.3)),
        claim("Selective kernels help.", -1.21, [-2.0, -0.42], Verdict::Opposite, None),
        claim("A deeper network helps at the same width.", 0.0, [0.0, 0.0], Verdict::Open, Some(4.2)),
    ]
}

/// A small PNG, as the source of an `<img>`.
const PICTURE: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAK0lEQVR42mPQcIwq7lm67zoDlNZggNKODFA6igFKFzNA6R4GKL2UAUrvAwB8BB/hanI11AAAAABJRU5ErkJggg==";

/// What a made-up network sees: ten classes, of which some are confused.
pub fn look() -> Look {
    let classes =
        ["waves", "checks", "dots", "stripes", "bricks", "scales", "noise", "weave", "rings", "marble and stone"];
    let mut rng = Rng::stream(5, Purpose::Test, &[]);
    let labels: Vec<u32> = (0..600).map(|i| i % 10).collect();
    let mut map = |title: &str, spread: f32| {
        let centre = |label: u32| [libm::cosf(label as f32) * 10.0, libm::sinf(2.0 * label as f32) * 7.0];
        let points = labels.iter().map(|label| centre(*label).map(|at| at + spread * rng.normal())).collect();
        Map { title: title.into(), points }
    };
    let maps = vec![
        map("The two principal components, which hold 41 % of the variance", 3.0),
        map("t-SNE, perplexity 30", 1.0),
    ];
    let confusion =
        (0..10).flat_map(|class| [(class, class, 150 - 4 * class as usize), (class, (class + 1) % 10, 12)]).collect();
    let query = |label: u32| {
        let near =
            |i: u32| (PICTURE.to_string(), if i % 3 == 2 { (label + 1) % 10 } else { label }, 0.97 - 0.01 * i as f32);
        Query { picture: PICTURE.into(), label, nearest: (0..8).map(near).collect() }
    };
    Look {
        network: "Fine-tuned on 1 % of the labels, the base's cell, seed 0".into(),
        images: 1440,
        of: 2000,
        among: 6000,
        classes: classes.map(String::from).to_vec(),
        judge: Judge::Classifier,
        top1: 0.917,
        confusion,
        labels,
        maps,
        gallery: (0..10).map(query).collect(),
    }
}
