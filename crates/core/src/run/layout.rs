//! The files of a run folder and of a checkpoint, each named here once for every crate.
//!
//! ```text
//! RUN/manifest.json          what decides the result
//!     config.toml            the whole experiment, every default written out
//!     metrics.jsonl          the course of training, a line a measurement
//!     events.out.tfevents.*  the same for TensorBoard
//!     labels.json            which images' labels were used
//!     state.safetensors      what resumes the run
//!     checkpoint/            what the next stage takes: model.safetensors, config.json
//!     result.json            written last: the run is complete
//! EXPERIMENT/STAGE...        the runs of `cargo xtask reproduce`, and their report: index.html, results.json
//! ```

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
/// What resumes a run.
pub const STATE: &str = "state.safetensors";
/// What a run came to; written last.
pub const RESULT: &str = "result.json";

/// Where a run keeps its checkpoint.
pub const CHECKPOINT: &str = "checkpoint";
/// The weights of a checkpoint.
pub const MODEL: &str = "model.safetensors";
/// What describes the network beside them.
pub const CONFIG: &str = "config.json";

/// The nearest images of some test images, which an evaluation leaves for the report.
pub const NEIGHBOURS: &str = "neighbours.json";
/// What an inspection of a dataset came to.
pub const INSPECTED: &str = "data.json";
/// The report of an experiment.
pub const REPORT: &str = "index.html";
/// The figures of an experiment's report.
pub const RESULTS: &str = "results.json";
