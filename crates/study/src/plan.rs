//! The runs of a study: those of all cells and seeds, each once however many cells share it.
//!
//! A run of a stage is called after what decides its result: the seed, the tables of its experiment that it reads, its own options, and
//! the runs that it begins with. Where too little went into the name, the stage refuses the folder, for its manifest says more; where too
//! much did, a run is not shared. Neither gives a wrong result.

use crate::file::Study;
use crate::grid::{self, Cell};
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::{Value as Json, json};
use simclr_core::config::{Config, LabelAmount};
use simclr_core::run::layout;
use simclr_core::stages::{DISTILL, EVAL};
use simclr_core::{disk, run::NUMERICS};
use simclr_report::plan::{self, Job};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Digits of a run's name: two of a million runs share one by a chance of one in two millions.
const DIGITS: usize = 16;

/// Classes of files that are not here: those of ImageNet.
const CLASSES: usize = 1000;

/// Tables that every stage may read, beside its own.
const COMMON: [&str; 5] = ["seed", "dtype", "data", "model", "augment"];

/// A run of a stage, for one or more cells.
#[derive(Clone, Debug, Serialize)]
pub struct SharedJob {
    /// What it runs, and where.
    #[serde(flatten)]
    pub job: Job,
    /// The experiment's file: that of the first cell that needs it.
    pub config: PathBuf,
}

/// A cell with one seed.
pub struct Trial {
    /// Which cell, as an index into [`Plan::cells`].
    pub cell: usize,
    /// Which seed.
    pub seed: u64,
    /// Its experiment.
    pub config: Config,
    /// Its runs in the order of a plan; folders are those of the pool.
    pub jobs: Vec<Job>,
}

/// All that a study runs.
pub struct Plan {
    /// The study at its scale.
    pub study: Study,
    /// Its cells, in the order of the grid.
    pub cells: Vec<Cell>,
    /// Every cell with every seed: all cells with the first seed, then all with the next.
    pub trials: Vec<Trial>,
}

/// What of a study is planned; all of it by default.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Changes on top of every cell, as `--set` has them.
    pub set: Vec<String>,
    /// Only these cells.
    pub cells: Option<Vec<String>>,
    /// These seeds instead of the file's.
    pub seeds: Option<Vec<u64>>,
    /// Training images, where the dataset is not here to be counted; the file may tell them, too.
    pub images: Option<usize>,
}

impl Plan {
    /// The plan of a study whose runs lie in the folder `pool`.
    ///
    /// # Errors
    /// When a cell's experiment is not valid, or measures what there is not.
    pub fn new(mut study: Study, choice: &Choice, pool: &Path) -> Result<Self> {
        if let Some(seeds) = &choice.seeds {
            study.seeds.clone_from(seeds);
            study.check()?;
        }
        study.images = choice.images.or(study.images);
        let mut cells = grid::cells(&study)?;
        if let Some(wanted) = &choice.cells {
            let unknown = wanted.iter().find(|id| cells.iter().all(|cell| cell.id != **id));
            let known: Vec<_> = cells.iter().map(|cell| cell.id.as_str()).collect();
            ensure!(
                unknown.is_none(),
                "no cell {}; there are {}",
                unknown.map_or("", String::as_str),
                known.join(", ")
            );
            cells.retain(|cell| wanted.contains(&cell.id));
        }
        let mut trials = Vec::new();
        for &seed in &study.seeds {
            for (number, cell) in cells.iter().enumerate() {
                let config = cell.config(&study, seed, &choice.set)?;
                let jobs =
                    shared(cell, &config, pool, study.images).with_context(|| format!("the cell {}", cell.id))?;
                trials.push(Trial { cell: number, seed, config, jobs });
            }
        }
        Ok(Self { study, cells, trials })
    }

    /// The runs, each once, what others need first. Experiments are to lie in `folder`, see [`Self::write_configs`].
    pub fn runs(&self, folder: &Path) -> Vec<SharedJob> {
        let mut runs: Vec<SharedJob> = Vec::new();
        let mut users: BTreeMap<String, usize> = BTreeMap::new();
        for trial in &self.trials {
            let cell = &self.cells[trial.cell];
            for job in &trial.jobs {
                *users.entry(job.id.clone()).or_default() += 1;
                if runs.iter().any(|run| run.job.id == job.id) {
                    continue;
                }
                let title = format!("{} · {}, seed {}", job.title, cell.id, trial.seed);
                let config = folder.join(config_name(&cell.id, trial.seed));
                runs.push(SharedJob { job: Job { title, ..job.clone() }, config });
            }
        }
        for run in &mut runs {
            let others = users[&run.job.id] - 1;
            if others > 0 {
                run.job.title += &format!(" (and {others} more)");
            }
        }
        runs
    }

    /// Writes the experiment of every cell and seed into `folder`.
    ///
    /// # Errors
    /// When one cannot be written.
    pub fn write_configs(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        self.trials.iter().try_for_each(|trial| {
            let path = folder.join(config_name(&self.cells[trial.cell].id, trial.seed));
            disk::write(&path, trial.config.to_toml()?.as_bytes())
        })
    }
}

/// The name of the file with a cell's experiment.
pub fn config_name(cell: &str, seed: u64) -> String {
    format!("{cell}-seed-{seed}.toml")
}

/// The jobs of a cell's experiment that lead to what is measured of it, in the pool.
fn shared(cell: &Cell, config: &Config, pool: &Path, images: Option<usize>) -> Result<Vec<Job>> {
    // Any folder would do: it is replaced.
    let out = Path::new("experiment");
    let mut jobs = match images {
        None => plan::jobs(config, out)?,
        Some(train) => {
            let data = simclr_data::source::find(&config.data)?;
            plan::jobs_on(config, out, (train, data.test.estimate(), data.classes.unwrap_or(CLASSES)))?
        }
    };
    let measured = |job: &Job| match &job.row {
        Some(row) => cell.measure.contains(&row.method.to_string()),
        None => job.stage.rows.iter().any(|row| cell.measure.iter().any(|name| name == row.name)),
    };
    let begins_with = |job: &Job, other: &Job| job.args.iter().any(|arg| Path::new(arg) == other.dir);
    // Whoever is needed stands before: one walk from the last to the first finds all.
    let mut wanted: Vec<bool> = jobs.iter().map(measured).collect();
    for at in (0..jobs.len()).rev() {
        for before in 0..at {
            wanted[before] |= wanted[at] && begins_with(&jobs[at], &jobs[before]);
        }
    }
    for name in &cell.measure {
        let known = jobs.iter().any(|job| match &job.row {
            Some(row) => row.method.to_string() == *name,
            None => job.stage.rows.iter().any(|row| row.name == name),
        });
        ensure!(known, "measure: the experiment {} has no \"{name}\"", config.name);
    }
    let mut wanted = wanted.into_iter();
    jobs.retain(|_| wanted.next() == Some(true));

    let mut places: BTreeMap<PathBuf, (String, PathBuf)> = BTreeMap::new();
    for job in &mut jobs {
        // Runs that it begins with have got their names.
        let of = |arg: &String| places.get(Path::new(arg)).cloned();
        let words: Vec<String> = job.args.iter().map(|arg| of(arg).map_or_else(|| arg.clone(), |(id, _)| id)).collect();
        let decides =
            json!({"program": job.program, "words": words, "tables": tables(config, job)?, "numerics": NUMERICS});
        let id = format!("{}-{}", leaf(&job.id), &disk::sha256(decides.to_string().as_bytes())[..DIGITS]);
        job.args = job.args.iter().map(|arg| of(arg).map_or_else(|| arg.clone(), |(_, dir)| text(&dir))).collect();
        let dir = pool.join(&id);
        places.insert(std::mem::replace(&mut job.dir, dir.clone()), (id.clone(), dir));
        job.id = id;
    }
    Ok(jobs)
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn leaf(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or(id)
}

/// What of an experiment decides a job's result.
fn tables(config: &Config, job: &Job) -> Result<Json> {
    let labels = job.row.as_ref().map_or(LabelAmount::ALL, |row| row.labels);
    let all = serde_json::to_value(config.at_labels(labels)?).context("writing an experiment")?;
    let mut kept: BTreeMap<&str, Json> = COMMON.iter().map(|name| (*name, all[name].clone())).collect();
    let stage = job.stage.name;
    match job.row.as_ref().and_then(|row| row.method.student.as_deref()) {
        Some(student) => kept.insert(DISTILL, all[DISTILL][student].clone()),
        None if all[stage].is_null() => kept.insert(stage, all["stage"][stage].clone()),
        None => kept.insert(stage, all[stage].clone()),
    };
    if stage != EVAL {
        // How test images are cut: a stage that trains reads no more of that table.
        kept.insert(EVAL, json!([all[EVAL]["crop"], all[EVAL]["resize"]]));
    }
    Ok(json!(kept))
}

/// Whether a run of the pool has finished.
pub fn is_finished(job: &Job) -> bool {
    job.dir.join(layout::RESULT).is_file()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::file_tests::study;
    use std::collections::BTreeSet;

    fn plan(set: &[&str]) -> Plan {
        let set = set.iter().map(ToString::to_string).collect();
        Plan::new(study(), &Choice { set, ..Choice::default() }, Path::new("pool")).unwrap()
    }

    fn ids(plan: &Plan, stage: &str) -> BTreeSet<String> {
        let jobs = plan.trials.iter().flat_map(|trial| &trial.jobs);
        jobs.filter(|job| job.stage.name == stage).map(|job| job.id.clone()).collect()
    }

    #[test]
    fn cells_share_what_nothing_of_theirs_decides() {
        let plan = plan(&[]);
        assert_eq!(plan.trials.len(), 6);
        // Three cells pretrain differently, with two seeds each; a high temperature is not fine-tuned.
        assert_eq!((ids(&plan, "pretrain").len(), ids(&plan, "finetune").len(), ids(&plan, "eval").len()), (6, 4, 6));
        let mut one = study();
        one.axes[1].values.retain(|value| value.name == "low");
        one.axes[0].values[1].set = "finetune.proj_selector = 0".parse().unwrap();
        one.skip.clear();
        let plan = Plan::new(one, &Choice::default(), Path::new("pool")).unwrap();
        assert_eq!((ids(&plan, "pretrain").len(), ids(&plan, "finetune").len(), ids(&plan, "eval").len()), (2, 4, 2));
        let runs = plan.runs(Path::new("cells"));
        assert_eq!(runs.len(), 8);
        let shared = runs.iter().find(|run| run.job.stage.name == "pretrain").unwrap();
        assert_eq!(shared.job.title, "pretraining · 1-low, seed 0 (and 1 more)");
        let tuned = runs.iter().find(|run| run.job.stage.name == "finetune").unwrap();
        assert_eq!(tuned.job.args[..2], ["--from".to_string(), format!("pool/{}", shared.job.id)]);
    }

    #[test]
    fn what_decides_a_run_changes_its_name_and_those_of_runs_that_follow() {
        let before = plan(&[]);
        for (set, pretraining, tuning, probe) in [
            ("pretrain.temperature=0.3", true, true, true),
            ("finetune.training.learning_rate=0.3", false, true, false),
            ("eval.knn_k=7", false, false, true),
            ("supervised.training.learning_rate=0.3", false, false, false),
            ("data.limit=500", true, true, true),
        ] {
            let after = plan(&[set]);
            let changed = |stage| ids(&before, stage) != ids(&after, stage);
            assert_eq!(
                (changed("pretrain"), changed("finetune"), changed("eval")),
                (pretraining, tuning, probe),
                "{set}"
            );
        }
    }

    #[test]
    fn cells_and_seeds_can_be_chosen() {
        let choose = |cells: &[&str], seeds: &[u64]| {
            let cells = Some(cells.iter().map(ToString::to_string).collect());
            Plan::new(study(), &Choice { cells, seeds: Some(seeds.into()), ..Choice::default() }, Path::new("pool"))
        };
        let plan = choose(&["2-low"], &[5]).unwrap();
        assert_eq!((plan.trials.len(), plan.trials[0].seed), (1, 5));
        assert!(
            choose(&["3-low"], &[5])
                .err()
                .unwrap()
                .to_string()
                .contains("no cell 3-low; there are 1-low, 1-high, 2-low")
        );
        assert!(choose(&["2-low"], &[]).err().unwrap().to_string().contains("seeds = []"));
    }
}
