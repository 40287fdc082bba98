//! What the cells of a study take, before anybody runs them.

use super::args::StudyArgs;
use crate::forecast::{GPU, Line, Networks, bytes, line, time};
use anyhow::{Context, Result, ensure};
use candle_core::Device;
use simclr_core::bounds;
use simclr_core::cli::{self, say};
use simclr_core::config::Config;
use simclr_core::disk;
use simclr_core::readable::columns;
use simclr_core::run::layout;
use simclr_core::stages::PRETRAIN;
use simclr_report::plan::Job;
use simclr_study::{Plan, is_finished};
use std::collections::BTreeSet;

/// Options of `simclr-eval study estimate`.
#[derive(Clone, Debug, clap::Args)]
pub struct EstimateArgs {
    #[command(flatten)]
    study: StudyArgs,

    /// Training images, where the dataset is not here to be counted [default: as the study's file has it]
    #[arg(long, value_name = "N", value_parser = cli::size(&bounds::IMAGES))]
    images: Option<usize>,

    /// Numbers of GPUs, each of which is a column
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "1,8,32", value_parser = cli::size(&bounds::COUNT))]
    gpus: Vec<usize>,
}

/// Prints a line a cell.
///
/// # Errors
/// When the study is not valid, or a network cannot be estimated.
pub fn estimate(args: &EstimateArgs) -> Result<()> {
    ensure!(args.gpus.iter().all(|n| *n > 0), "--gpus: numbers of at least 1, such as 1,8,32");
    let plan = args.study.plan(args.images)?;
    say(page(&plan, &args.gpus)?.trim_end());
    Ok(())
}

/// What a cell needs that no cell before it did.
#[derive(Default)]
struct Row {
    name: String,
    runs: usize,
    shared: usize,
    done: usize,
    cost: f64,
    /// On each number of GPUs; nothing where a run does not fit.
    seconds: Vec<Option<f64>>,
    memory: f64,
    gpu_memory: Vec<f64>,
}

impl Row {
    fn new(name: &str, gpus: usize) -> Self {
        Self { name: name.into(), seconds: vec![Some(0.0); gpus], gpu_memory: vec![0.0; gpus], ..Self::default() }
    }

    fn add(&mut self, job: &Job, line: &Line) {
        self.cost += job.cost;
        self.memory = self.memory.max(line.memory.unwrap_or(0.0));
        for (at, on) in line.on.iter().enumerate() {
            self.seconds[at] = self.seconds[at].and_then(|sum| Some(sum + on.seconds?));
            let memory = on.step.as_ref().map_or(0.0, |step| step.memory);
            self.gpu_memory[at] = self.gpu_memory[at].max(memory);
        }
    }

    fn join(&mut self, other: &Self) {
        self.runs += other.runs;
        self.shared += other.shared;
        self.done += other.done;
        self.cost += other.cost;
        self.memory = self.memory.max(other.memory);
        for at in 0..self.seconds.len() {
            self.seconds[at] = self.seconds[at].and_then(|sum| Some(sum + other.seconds[at]?));
            self.gpu_memory[at] = self.gpu_memory[at].max(other.gpu_memory[at]);
        }
    }
}

fn page(plan: &Plan, gpus: &[usize]) -> Result<String> {
    let (mut networks, mut seen) = (Networks::default(), BTreeSet::new());
    let mut rows: Vec<Row> = plan.cells.iter().map(|cell| Row::new(&cell.id, gpus.len())).collect();
    let mut paces = Vec::new();
    for trial in &plan.trials {
        let row = &mut rows[trial.cell];
        for job in &trial.jobs {
            row.runs += 1;
            if !seen.insert(job.id.clone()) {
                row.shared += 1;
                continue;
            }
            if is_finished(job) {
                row.done += 1;
                let seconds = disk::read_json(&job.dir.join(layout::RESULT))?["seconds"].as_f64();
                paces.extend(seconds.map(|seconds| (seconds, job.cost)));
            }
            networks.make(job, &trial.config, classes(&trial.config)?)?;
            let line = line(&trial.config, job, &networks, gpus).with_context(|| job.title.clone())?;
            row.add(job, &line);
        }
    }
    let (seconds, cost) = paces.iter().fold((0.0, 0.0), |sum, pace| (sum.0 + pace.0, sum.1 + pace.1));
    let pace = match cost > 0.0 {
        true => Some((seconds / cost, format!("the pace of the {} runs that have finished in the pool", paces.len()))),
        false => {
            measured(plan).map(|pace| (pace, "the pace of a few steps of the first pretraining, just measured".into()))
        }
    };
    let mut all = Row::new("all", gpus.len());
    rows.iter().for_each(|row| all.join(row));
    rows.push(all);
    Ok(table(plan, &rows, gpus, pace))
}

/// Images of the batch that is measured; a larger one takes no less time an image.
const BATCH: usize = 64;

/// Seconds that a unit of work takes on this processor, where the images of the first pretraining are here.
fn measured(plan: &Plan) -> Option<f64> {
    let trial = plan.trials.first()?;
    let job = trial.jobs.iter().find(|job| job.stage.name == PRETRAIN)?;
    let mut config = trial.config.clone();
    config.pretrain.training.batch = config.pretrain.training.batch.min(BATCH);
    let per_s = simclr_pretrain::images_per_s(&config, &Device::Cpu).ok()?;
    Some(job.load.images() / per_s / job.cost)
}

fn classes(config: &Config) -> Result<usize> {
    Ok(simclr_data::source::find(&config.data)?.classes.unwrap_or(1000))
}

fn table(plan: &Plan, rows: &[Row], gpus: &[usize], pace: Option<(f64, String)>) -> String {
    let (study, cells, seeds) = (&plan.study, plan.cells.len(), plan.study.seeds.len());
    let mut text = format!(
        "{} at the scale {}: {cells} cells x {seeds} seeds over {}; nothing is run\n\n",
        study.name, study.scale, study.base_name
    );
    let mut head: Vec<String> = ["cell", "runs", "shared", "done"].map(String::from).to_vec();
    head.extend(pace.as_ref().map(|_| "here".to_string()));
    head.push("memory".into());
    head.extend(gpus.iter().flat_map(|n| [format!("{n} {}", GPU.name), "memory".into()]));
    let mut table = vec![head];
    for row in rows {
        let mut cells = vec![row.name.clone(), row.runs.to_string(), row.shared.to_string(), row.done.to_string()];
        cells.extend(pace.as_ref().map(|(pace, _)| time(pace * row.cost)));
        cells.push(bytes(row.memory));
        for (seconds, memory) in row.seconds.iter().zip(&row.gpu_memory) {
            cells.extend([seconds.map_or("does not fit".into(), time), bytes(*memory)]);
        }
        table.push(cells);
    }
    text += &columns(&table);
    text += "\nTimes are of the runs that a cell does not share with one above it, one after another.\n";
    text += &match pace {
        Some((_, known)) => format!("`here` is at {known}.\n"),
        None => {
            "The images are not here, or too large for a few steps: nothing is known of this machine's pace.\n".into()
        }
    };
    text + "The first memory is that of a step on a processor. GPUs are a model, not a measurement (`simclr-eval estimate` tells more).\n"
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use simclr_study::{Choice, Study};
    use std::path::Path;

    /// What nobody can run here can be told of: each study on CIFAR-10 and on ImageNet, without a picture.
    #[test]
    fn the_larger_scales_are_told_of_without_their_images() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/experiments");
        let mut told = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if !path.is_file() {
                continue;
            }
            for scale in ["medium", "paper"] {
                let choice = Choice { seeds: Some(vec![0]), ..Choice::default() };
                let plan = Plan::new(Study::load(&path, scale).unwrap(), &choice, Path::new("nowhere")).unwrap();
                let page = page(&plan, &[64]).unwrap();
                assert!(page.lines().any(|line| line.starts_with("all ") && line.contains("GB")), "{scale}: {page}");
                assert!(
                    !page.contains("does not fit") && page.contains("nothing is known of this machine's pace"),
                    "{page}"
                );
                told += 1;
            }
        }
        assert!(told >= 14, "{told}");
    }
}
