//! The files of a run folder and of a checkpoint, each named here once for every crate.
//!
//! ```text
//! RUN/manifest.json          what decides the result
//!     config.toml            the whole experiment, every default written out
//!     metrics.jsonl          the course of training, a line a measurement
//!     events.out.tfevents.*  the same for TensorBoard
//!     labels.json            which images' labels were used
//!     classes.json           names of the classes that it began with
//!     state-STEP.safetensors what resumes the run after STEP steps; the last two are kept
//!     checkpoint/            what the next stage takes: model.safetensors, config.json
//!     best/                  the same as it was at the best evaluation, and best.json, which says when
//!     before-extend-STEP/    what the run was when it was extended: manifest, state, checkpoint, best, result
//!     checkpoint/            what the next stage takes: model.safetensors, config.json; later calibration.json
//!     held-out.json          which labeled pictures it measures on, where there is no test split
//!     result.json            written last: the run is complete
//!
//! EXPERIMENT/pretrain, eval            runs of the stages that `cargo xtask reproduce` runs once
//!     labels-0.1/subset-0/finetuned    and of those that it runs for each label set; `stages` has their names
//!     log/                             what they said
//!     report/                          index.html for people, results.json for programs
//!     predictions.csv                  what the best network makes of pictures without label and held-out ones
//!     next-to-label.csv                pictures whose labels would help most
//!     review.json                      what the report shows of both
//! ```

/// There while a process works on a run.
pub const LOCK: &str = ".lock";
/// What decides the result of a run.
pub const MANIFEST: &str = "manifest.json";
/// The whole experiment of a run, every default written out.
pub const EXPERIMENT: &str = "config.toml";
/// The course of training: a line of JSON a measurement.
pub const METRICS: &str = "metrics.jsonl";
/// How the names of TensorBoard's files begin.
pub const EVENTS: &str = "events.out.tfevents";
/// Which images' labels a stage used.
pub const LABELS: &str = "labels.json";
/// Names of the classes that a run began with.
pub const CLASSES: &str = "classes.json";
/// How the names of what resumes a run begin.
pub const STATES: &str = "state-";
/// What resumed a run of an earlier version.
pub const STATE: &str = "state.safetensors";
/// Which labeled pictures were held out to measure on, where the dataset has no test pictures.
pub const HELD_OUT: &str = "held-out.json";
/// What a run came to; written last.
pub const RESULT: &str = "result.json";
/// What a baseline's result says of its features where it has no network.
pub const PIXELS: &str = "pixels";

/// Where a run keeps its checkpoint.
pub const CHECKPOINT: &str = "checkpoint";
/// The weights of a checkpoint.
pub const MODEL: &str = "model.safetensors";
/// What describes the network beside them.
pub const CONFIG: &str = "config.json";

/// Where a run keeps the network of its best evaluation.
pub const BEST: &str = "best";
/// Step and accuracy of that evaluation.
pub const BEST_FACTS: &str = "best.json";
/// How sure a classifier may be, measured on held-out images; beside its weights.
pub const CALIBRATION: &str = "calibration.json";

/// What an experiment's best network makes of the pictures without label and the held-out ones: a line a picture.
pub const PREDICTIONS: &str = "predictions.csv";
/// The pictures of an experiment to label next, the most useful first.
pub const NEXT_TO_LABEL: &str = "next-to-label.csv";
/// What a review of an experiment leaves for its report.
pub const REVIEW: &str = "review.json";

/// The nearest images of some test images, which an evaluation leaves for the report.
pub const NEIGHBOURS: &str = "neighbours.json";
/// What a look at a network through the test images leaves for the page of a study.
pub const LOOK: &str = "look.json";
/// The linear probe of an evaluation, which no network loads: it reads standardised features.
pub const PROBE: &str = "probe.safetensors";

/// What an inspection of a dataset came to.
pub const INSPECTED: &str = "data.json";
/// Pictures of the dataset and their views.
pub const SHEET: &str = "sheet.png";

/// The experiment that was made for a person's own pictures.
pub const OWN_EXPERIMENT: &str = "experiment.toml";
/// What that experiment was made from.
pub const RECIPE: &str = "recipe.json";

/// Where an experiment keeps results of earlier labels.
pub const EARLIER: &str = "earlier";
/// What the runs of all folds came to.
pub const FOLDS: &str = "folds.json";

/// Where studies keep the runs that they share.
pub const POOL: &str = "runs/pool";
/// Where each study keeps its own files, by name and scale.
pub const STUDIES: &str = "runs/experiments";
/// Where a study keeps the experiments of its cells.
pub const CELLS: &str = "cells";
/// Where a study keeps looks at its networks.
pub const LOOKS: &str = "looks";
/// The scale of the grid of one key.
pub const ABLATION: &str = "ablation";
/// Where studies are described.
pub const STUDY_FILES: &str = "configs/experiments";

/// Where an experiment keeps what its stages said.
pub const LOGS: &str = "log";
/// Where an experiment keeps its report.
pub const REPORT: &str = "report";
/// The report for people.
pub const PAGE: &str = "index.html";
/// The report for programs.
pub const RESULTS: &str = "results.json";

/// What resumes a run after `step` steps.
pub fn state_after(step: u64) -> String {
    format!("{STATES}{step}.safetensors")
}

/// Where a run that is trained further keeps what it was after `step` steps.
pub fn before_extend(step: u64) -> String {
    format!("before-extend-{step}")
}

/// Where an experiment keeps the runs on one subset of the labels; `labels` is their amount, as `--labels` has it.
pub fn label_set(labels: impl std::fmt::Display, subset: usize) -> String {
    format!("labels-{labels}/subset-{subset}")
}
